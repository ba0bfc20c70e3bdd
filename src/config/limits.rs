//! Limits of connections and requests, and of the lives of workers.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use super::error::ConfigError;
use super::layers::Layers;

/// Limits of one connection and its requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// How long an idle connection is kept; zero closes after each answer.
    pub keepalive: Duration,
    /// How long the head of a request may take.
    pub header_timeout: Duration,
    /// How long a client may read nothing while an answer waits.
    pub write_timeout: Duration,
    /// Connections of one worker at the same time.
    pub connections: usize,
    /// Bytes of a request line.
    pub request_line: usize,
    /// Number of header fields.
    pub request_fields: usize,
    /// Bytes of one header field.
    pub request_field_size: usize,
    /// Bytes of a whole head.
    pub request_head: usize,
}

/// After how many requests a worker is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxRequests {
    least: u64,
    jitter: u64,
}

impl MaxRequests {
    /// A number for one worker, so that not all are replaced at the same time.
    pub fn with_jitter(self) -> u64 {
        // A fresh hasher has random keys, which is random enough here.
        let random = RandomState::new().hash_one(std::process::id());
        self.least + random % (self.jitter + 1)
    }
}

pub(super) fn max_requests(layers: &Layers) -> Result<Option<MaxRequests>, ConfigError> {
    let least = layers.integer("MAX_REQUESTS")?.unsigned_abs();
    let jitter = layers.integer("MAX_REQUESTS_JITTER")?.unsigned_abs();
    Ok((least > 0).then_some(MaxRequests { least, jitter }))
}

pub(super) fn limits(layers: &Layers) -> Result<Limits, ConfigError> {
    Ok(Limits {
        keepalive: layers.seconds("KEEPALIVE")?,
        header_timeout: layers.seconds("HEADER_TIMEOUT")?,
        write_timeout: layers.seconds("WRITE_TIMEOUT")?,
        connections: layers.count("WORKER_CONNECTIONS")?,
        request_line: layers.count("LIMIT_REQUEST_LINE")?,
        request_fields: layers.count("LIMIT_REQUEST_FIELDS")?,
        request_field_size: layers.count("LIMIT_REQUEST_FIELD_SIZE")?,
        request_head: layers.count("LIMIT_REQUEST_HEAD")?,
    })
}
