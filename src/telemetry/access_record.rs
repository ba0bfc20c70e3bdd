//! The data of one request for the access log.

use std::net::IpAddr;

/// A request and its answer. Texts are raw; the line escapes them.
pub struct AccessRecord<'a> {
    /// The client, also one behind a trusted proxy; `None` for a Unix socket.
    pub client: Option<IpAddr>,
    /// `http` or `https`, from the client's view.
    pub scheme: &'static str,
    /// The method.
    pub method: &'a str,
    /// Path and query string.
    pub target: &'a str,
    /// As `HTTP/1.1`.
    pub protocol: &'static str,
    /// The status of the answer.
    pub status: u16,
    /// The id of the request; empty for none.
    pub request_id: &'a [u8],
    /// Trace and calling span of the W3C trace context.
    pub trace: Option<(&'a str, &'a str)>,
    /// The value of a field of the request's head, by its name in lower case.
    pub request_header: &'a dyn Fn(&str) -> Option<&'a [u8]>,
    /// The same of the answer's head.
    pub response_header: &'a dyn Fn(&str) -> Option<&'a [u8]>,
}
