//! The checks of a request head that hyper leaves to the service: the limits, the form of the
//! target, and a `Host` that names exactly one host (RFC 9112 3.2). A proxy in front might read
//! another host from the same bytes.

use std::net::Ipv6Addr;

use hyper::header::{HOST, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode, Version};

use crate::config::Limits;
use crate::worker::answer::error::ApiError;

/// Returns the reason to refuse the head of a request, if there is one.
pub(super) fn refusal<B>(request: &Request<B>, limits: &Limits) -> Option<ApiError> {
    let target = request.uri();
    let target_len = target.path_and_query().map_or(0, |target| target.as_str().len())
        + target.authority().map_or(0, |authority| authority.as_str().len() + "http://".len());
    if request.method().as_str().len() + target_len + " HTTP/1.1".len() + 1 > limits.request_line {
        return Some(refused(StatusCode::URI_TOO_LONG, "The request line is too long"));
    }
    if request.headers().len() > limits.request_fields {
        return Some(refused(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "The request has too many header fields",
        ));
    }
    // RFC 9112 3.2.3 and 3.2.4.
    let is_authority = target.scheme().is_none() && target.authority().is_some();
    let odd = (is_authority && request.method() != Method::CONNECT)
        || (target.path() == "*" && request.method() != Method::OPTIONS);
    if odd {
        return Some(refused(StatusCode::BAD_REQUEST, "The target of the request is no path"));
    }
    // RFC 9112 3.2. A request of HTTP/1.0 needs no Host.
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => is_valid_host(host.as_bytes()),
        (None, _) => request.version() == Version::HTTP_10,
        (Some(_), Some(_)) => false,
    };
    if !host {
        return Some(refused(StatusCode::BAD_REQUEST, "The request must name one valid Host"));
    }
    let field_max = limits.request_field_size;
    let too_large = |(name, value): (&HeaderName, &HeaderValue)| {
        name.as_str().len() + value.len() + ": ".len() > field_max
    };
    request.headers().iter().any(too_large).then(|| {
        refused(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "A header field of the request is too large")
    })
}

fn refused(status: StatusCode, message: &'static str) -> ApiError {
    ApiError::Refused { status, message }
}

/// Reports whether this is `uri-host [ ":" port ]` of RFC 9110 7.2, and not empty. It also refuses commas: a
/// name may hold one, but in practice a comma means that a proxy has joined two fields.
fn is_valid_host(host: &[u8]) -> bool {
    let (name, port) = match host {
        [b'[', rest @ ..] => {
            let Some(end) = rest.iter().position(|byte| *byte == b']') else { return false };
            let (address, port) = (&rest[..end], &rest[end + 1..]);
            let address = std::str::from_utf8(address).ok().and_then(|text| text.parse::<Ipv6Addr>().ok());
            return address.is_some() && (port.is_empty() || port.strip_prefix(b":").is_some_and(is_port));
        }
        _ => match host.iter().position(|byte| *byte == b':') {
            Some(at) => (&host[..at], Some(&host[at + 1..])),
            None => (host, None),
        },
    };
    !name.is_empty() && is_name(name) && port.is_none_or(is_port)
}

/// Reports whether the name holds only letters, digits, other bytes of names, and percent-encoded bytes.
fn is_name(mut name: &[u8]) -> bool {
    while let [first, rest @ ..] = name {
        name = match (first, rest) {
            (b'%', [high, low, rest @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => rest,
            (byte, rest) if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+;=".contains(byte) => rest,
            _ => return false,
        };
    }
    true
}

/// Reports whether these are digits of a port; an empty port is the default one.
fn is_port(port: &[u8]) -> bool {
    let all_digits = port.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(port).ok().and_then(|text| text.parse::<u16>().ok());
    all_digits && (port.is_empty() || number.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_from_lookalikes() {
        for host in [
            "x",
            "x:80",
            "x:",
            "example.org",
            "xn--mnchen-3ya.de:8000",
            "a_b",
            "127.0.0.1:1",
            "[::1]",
            "[::1]:8000",
            "[2001:db8::7]:",
            "%C3%A9.example",
            "a;b",
        ] {
            assert!(is_valid_host(host.as_bytes()), "{host}");
        }
        for host in [
            "",
            ":",
            ":80",
            "user@x",
            "user:pass@x:80",
            "x/",
            "x/path",
            "http://x",
            "a,b",
            "a, b",
            "a b",
            "x:y",
            "x:-1",
            "x:65536",
            "x:80:80",
            "x:+80",
            "::1",
            "[::1",
            "[::1]x",
            "[::1]:x",
            "[x]",
            "[]",
            "x?y",
            "x#y",
            "x\\y",
            "%zz",
            "%4",
            "\u{e9}",
            "x\"",
            "<x>",
        ] {
            assert!(!is_valid_host(host.as_bytes()), "{host}");
        }
        assert!(!is_valid_host(b"\xff"));
    }
}
