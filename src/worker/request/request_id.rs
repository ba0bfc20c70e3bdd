//! The id of a request: the client's own id if it is well-formed, else a new one.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};

use crate::worker::answer::hex;

/// The longest id that the worker takes from a client.
const ID_LEN_MAX: usize = 128;

/// Makes ids: random digits of the worker, and a number.
pub(in crate::worker) struct RequestIds {
    header: HeaderName,
    worker: u64,
    made: AtomicU64,
}

impl RequestIds {
    /// Creates ids in the field `header`; `None` if that is not a valid field name.
    pub(in crate::worker) fn new(header: &str) -> Option<Self> {
        let header = HeaderName::from_bytes(header.as_bytes()).ok()?;
        // The keys of the hasher are random, but all workers inherit them from the master.
        let worker = RandomState::new().hash_one((std::process::id(), SystemTime::now()));
        Some(RequestIds { header, worker, made: AtomicU64::new(0) })
    }

    /// Returns the header field of ids.
    pub(in crate::worker) fn header(&self) -> &HeaderName {
        &self.header
    }

    /// Returns the id of a request.
    pub(in crate::worker) fn of(&self, headers: &HeaderMap) -> HeaderValue {
        match headers.get(&self.header) {
            Some(given) if is_sane(given.as_bytes()) => given.clone(),
            _ => self.make(),
        }
    }

    /// Makes a new id.
    pub(in crate::worker) fn make(&self) -> HeaderValue {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let mut text = [0; 32];
        text[..16].copy_from_slice(&hex::digits(self.worker));
        text[16..].copy_from_slice(&hex::digits(number));
        // Hexadecimal digits are always a valid header value.
        HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("0"))
    }
}

/// Reports whether a log, a header and a shell treat an id as one word.
fn is_sane(id: &[u8]) -> bool {
    let sane = |byte: &u8| byte.is_ascii_alphanumeric() || b"._~+/=:-".contains(byte);
    (1..=ID_LEN_MAX).contains(&id.len()) && id.iter().all(sane)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sane_ids_are_kept_and_others_replaced() {
        let ids = RequestIds::new("x-request-id").unwrap();
        let of = |id: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert("x-request-id", HeaderValue::from_bytes(id).unwrap());
            ids.of(&headers).as_bytes().to_vec()
        };
        let longest = [b'a'; ID_LEN_MAX];
        for sane in [&b"7"[..], b"0af7651916cd43dd8448eb211c80319c", b"a-b_c.d~e+f/g=h:i", &longest] {
            assert_eq!(of(sane), sane);
        }
        for insane in [&b""[..], b"a b", b"a,b", b"\"", b"<x>", b"\xff", b"a;b", &[b'a'; ID_LEN_MAX + 1]] {
            let made = of(insane);
            assert_ne!(made, insane);
            assert!(made.len() == 32 && is_sane(&made));
        }
    }

    #[test]
    fn ids_differ() {
        let (one, other) = (RequestIds::new("x").unwrap(), RequestIds::new("x").unwrap());
        let none = HeaderMap::new();
        let made: std::collections::HashSet<_> =
            (0..1000).flat_map(|_| [one.of(&none), other.of(&none)]).collect();
        assert_eq!(made.len(), 2000);
        assert!(RequestIds::new("a b").is_none());
    }
}
