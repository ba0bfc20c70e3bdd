//! What hyper answers by itself, to what is no HTTP: counted, logged and identified like all answers.

use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, DATE, HeaderName, HeaderValue};
use slog::debug;

use super::canned;
use super::routes;
use super::service::{NO_STORE, Service};
use super::status::Peer;
use crate::telemetry::AccessRecord;

/// An answer that hyper has given by itself.
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) request_id: Option<HeaderValue>,
    /// Bytes of its body.
    pub(super) len: usize,
}

impl Service {
    /// An id for what is no request, and the fields that answers to it have, as lines.
    pub(super) fn refusal_fields(&self) -> (Option<HeaderValue>, String) {
        let id = self.request_ids.as_ref().map(|ids| (ids.header(), ids.make()));
        let (date, no_store) = (self.date.now(), NO_STORE);
        let fields = [(&CACHE_CONTROL, &no_store), (&DATE, &date)].into_iter();
        let fields = fields.chain(id.as_ref().map(|(name, id)| (*name, id)));
        let line = |(name, value): (&HeaderName, &HeaderValue)| {
            format!("{name}: {}\r\n", String::from_utf8_lossy(value.as_bytes()))
        };
        let lines = fields.map(line).collect();
        (id.map(|(_, id)| id), lines)
    }

    /// Counts and logs what hyper has answered by itself; `head` is what could not be read as a request.
    pub(super) fn refused_by_hyper(&self, refusal: &Refusal, head: &[u8], peer: Peer, reason: &hyper::Error) {
        let text = reason.to_string();
        // hyper has read the head by then: what is left is the body that it cannot measure.
        let is_past = ["content-length", "transfer-encoding"].iter().any(|field| text.contains(field));
        let (method, target, protocol) = canned::request_line(if is_past { b"" } else { head });
        let (status, id) = (refusal.status.as_u16(), refusal.request_id.as_ref());
        self.slot.begin_request(&method, &target);
        self.slot.end_request(routes::number(None), status, Duration::ZERO);
        self.slot.sent(refusal.len as u64);
        self.statsd.answered(status);
        let client = peer.map(|peer| peer.to_canonical());
        if let Some(log) = &self.access_log {
            let line = log.begin(&AccessRecord {
                client,
                scheme: "http",
                method: &method,
                target: &target,
                protocol,
                status,
                request_id: id.map(HeaderValue::as_bytes).unwrap_or_default(),
                trace: None,
                request_header: &|_| None,
                response_header: &|_| None,
            });
            log.finish(line, refusal.len as u64, Duration::ZERO);
        }
        debug!(self.log, "a request is refused: {}", text; "status" => status,
            "client" => client.map(|client| client.to_string()), "request_id" => id.and_then(|id| id.to_str().ok()));
    }
}
