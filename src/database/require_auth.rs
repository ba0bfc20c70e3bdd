//! libpq's `require_auth`: if the server asks for a login in a way that is not allowed, the client ends it
//! before it sends any proof of its identity. The PostgreSQL client has no such setting, so this module
//! inspects the first message of the server on its way.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::config::database_url::AuthMethod;

/// The first message of a server, as it arrives.
#[derive(Debug)]
pub(super) struct Greeting {
    allowed: Arc<[AuthMethod]>,
    seen: Vec<u8>,
}

/// The server asks in a way that is not allowed.
#[derive(Debug)]
pub(super) struct NotAllowed(&'static str);

impl fmt::Display for NotAllowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server asks for {}, which require_auth does not allow", self.0)
    }
}

impl std::error::Error for NotAllowed {}

impl Greeting {
    pub(super) fn new(allowed: Arc<[AuthMethod]>) -> Greeting {
        Greeting { allowed, seen: Vec::new() }
    }

    /// Takes more bytes. Returns whether the message is complete and allowed.
    pub(super) fn is_right(&mut self, bytes: &[u8]) -> io::Result<bool> {
        self.seen.extend_from_slice(&bytes[..bytes.len().min(9 - self.seen.len())]);
        // Byte `R`, length, kind of request. Any other message is an error of the server rather than a
        // request.
        let Ok([b'R', _, _, _, _, kind @ ..]) = <[u8; 9]>::try_from(self.seen.as_slice()) else {
            return Ok(self.seen.first().is_some_and(|byte| *byte == b'E'));
        };
        let (method, name) = match u32::from_be_bytes(kind) {
            0 => (Some(AuthMethod::None), "no proof at all"),
            3 => (Some(AuthMethod::Password), "the password in clear"),
            5 => (Some(AuthMethod::Md5), "an MD5 hash of the password"),
            10 => (Some(AuthMethod::Scram), "SCRAM-SHA-256"),
            _ => (None, "something else"),
        };
        match method {
            Some(method) if self.allowed.contains(&method) => Ok(true),
            _ => Err(io::Error::other(NotAllowed(name))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_allowed_passes() {
        let request = |kind: u8| [b'R', 0, 0, 0, 8, 0, 0, 0, kind, b'x'];
        let greeting = || Greeting::new(Arc::from([AuthMethod::Scram]));
        assert!(greeting().is_right(&request(10)).unwrap());
        for kind in [0, 3, 5, 7] {
            assert!(greeting().is_right(&request(kind)).is_err(), "{kind}");
        }
        let mut slow = greeting();
        assert!(!slow.is_right(&request(5)[..5]).unwrap());
        assert!(slow.is_right(&request(5)[5..]).is_err());
        assert!(greeting().is_right(b"ERROR").unwrap());
    }
}
