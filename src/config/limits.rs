//! Limits of connections and requests, and of the lives of workers.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use super::error::ConfigError;
use super::layers::Layers;

/// Limits of one connection and its requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Time for which an idle connection is kept; zero closes after each answer.
    pub keepalive: Duration,
    /// Longest time for the head of a request.
    pub header_timeout: Duration,
    /// Longest time for which a client may read nothing while an answer waits.
    pub write_timeout: Duration,
    /// Most connections of one worker at the same time.
    pub connections: usize,
    /// Most bytes of a request line.
    pub request_line: usize,
    /// Most header fields.
    pub request_fields: usize,
    /// Most bytes of one header field.
    pub request_field_size: usize,
    /// Most bytes of a whole head.
    pub request_head: usize,
}

/// Number of requests after which a worker is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxRequests {
    least: u64,
    jitter: u64,
}

impl MaxRequests {
    /// Returns the number for one worker. It varies, so that not all workers are replaced at the
    /// same time.
    pub fn with_jitter(self) -> u64 {
        // A new hasher has random keys, which is random enough here.
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
