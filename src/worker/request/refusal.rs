//! The answers that hyper itself gives to bytes that are not HTTP: the worker counts, logs and
//! identifies them like all answers.

use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, DATE, HeaderName, HeaderValue};
use slog::debug;

use super::service::{NO_STORE, Service};
use crate::scoreboard::endpoint_number;
use crate::telemetry::AccessRecord;
use crate::worker::watch::caller::Peer;

/// Most bytes of a request line that the log shows.
const LOGGED_LINE_MAX: usize = 2048;

/// An answer that hyper itself has given.
pub(in crate::worker) struct Refusal {
    pub(in crate::worker) status: StatusCode,
    pub(in crate::worker) request_id: Option<HeaderValue>,
    /// Bytes of its body.
    pub(in crate::worker) len: usize,
}

impl Service {
    /// Returns an id for such an answer, and its fields as lines.
    pub(in crate::worker) fn refusal_fields(&self) -> (Option<HeaderValue>, String) {
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

    /// Counts and logs an answer of hyper; `head` holds the bytes that could not be read as a request.
    pub(in crate::worker) fn refused_by_hyper(
        &self,
        refusal: &Refusal,
        head: &[u8],
        peer: Peer,
        reason: &hyper::Error,
    ) {
        let text = reason.to_string();
        // hyper has read the head by then. The remaining bytes are the body that it cannot measure.
        let is_past = ["content-length", "transfer-encoding"].iter().any(|field| text.contains(field));
        let (method, target, protocol) = request_line(if is_past { b"" } else { head });
        let (status, id) = (refusal.status.as_u16(), refusal.request_id.as_ref());
        self.slot.begin_request(&method, &target);
        self.slot.end_request(endpoint_number(None), status, Duration::ZERO);
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

/// Returns method, target and protocol, as far as the bytes in place of a request line show them.
fn request_line(head: &[u8]) -> (String, String, &'static str) {
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.trim_ascii_end();
    let line = String::from_utf8_lossy(&line[..line.len().min(LOGGED_LINE_MAX)]);
    let mut words = line.splitn(3, ' ');
    let mut word = || words.next().filter(|word| !word.is_empty()).unwrap_or("-").to_owned();
    let (method, target) = (word(), word());
    let protocol = match words.next() {
        Some("HTTP/1.1") => "HTTP/1.1",
        Some("HTTP/1.0") => "HTTP/1.0",
        _ => "-",
    };
    (method, target, protocol)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_lines_are_told_as_far_as_they_are_there() {
        for (head, line) in [
            (&b"G(T /x?y HTTP/1.1\r\nHost: x\r\n\r\n"[..], ("G(T", "/x?y", "HTTP/1.1")),
            (b"GET /x HTTP/1.0\n", ("GET", "/x", "HTTP/1.0")),
            (b"GET /x HTTP/2.0\r\n", ("GET", "/x", "-")),
            (b"GET  /x HTTP/1.1\r\n", ("GET", "-", "-")),
            (b"hello", ("hello", "-", "-")),
            (b"\xff\x00", ("\u{fffd}\0", "-", "-")),
            (b"\r\n", ("-", "-", "-")),
            (b"", ("-", "-", "-")),
        ] {
            let (method, target, protocol) = request_line(head);
            assert_eq!((method.as_str(), target.as_str(), protocol), line);
        }
        assert_eq!(request_line(&[b'x'; 100_000]).0.len(), LOGGED_LINE_MAX);
    }
}
