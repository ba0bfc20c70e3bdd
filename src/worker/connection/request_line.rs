//! Request lines with unencoded characters that browsers, curl and scripts send and hyper refuses:
//! `?album="Heroes"`, `?artist=<unknown>`. Gunicorn and nginx serve them. This module
//! percent-encodes them before hyper reads them, which does not change their meaning.
//!
//! The module follows heads by their lines only, and changes only request targets. It stops at a
//! head that may have a body: only hyper knows where that body ends, and a byte of a body must
//! never change.

use memchr::{memchr, memchr2};

/// Bytes of a header line that are examined.
const PREFIX: usize = 32;

/// The place of the next byte of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In the method, or in the empty lines before it.
    Method,
    /// In the request target.
    Target,
    /// Behind the request target.
    Version,
    /// In a header line.
    Field,
    /// In bytes that must not change.
    Opaque,
}

/// The state of the heads on one connection.
#[derive(Debug)]
pub(in crate::worker) struct RequestLines {
    place: Place,
    /// The beginning of the current line; a target is not stored.
    line: [u8; PREFIX],
    /// Bytes of this line; those beyond `PREFIX` count but are not stored.
    line_len: usize,
    /// Whether the current head announces a body.
    has_body: bool,
}

impl RequestLines {
    /// Begins at the start of a connection.
    pub(in crate::worker) fn new() -> Self {
        RequestLines { place: Place::Method, line: [0; PREFIX], line_len: 0, has_body: false }
    }

    /// Takes the next bytes of the connection. Returns the bytes that hyper reads in their place;
    /// `None` means the same bytes.
    pub(in crate::worker) fn encoded(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut changed: Option<Vec<u8>> = None;
        let mut rest = bytes;
        while !rest.is_empty() && self.place != Place::Opaque {
            let fields = self.whole_fields(rest);
            if fields > 0 {
                if let Some(output) = &mut changed {
                    output.extend_from_slice(&rest[..fields]);
                }
                rest = &rest[fields..];
                continue;
            }
            let (piece, end) = self.piece(rest);
            if self.place == Place::Target && piece.iter().copied().any(is_refused) {
                let done = bytes.len() - rest.len();
                let output = changed.get_or_insert_with(|| bytes[..done].to_vec());
                encode(piece, output);
            } else if let Some(output) = &mut changed {
                output.extend_from_slice(piece);
            }
            self.note(piece);
            if end {
                self.advance(piece.last().copied());
            }
            rest = &rest[piece.len()..];
        }
        if let Some(output) = &mut changed {
            output.extend_from_slice(rest);
        }
        changed
    }

    /// Reports whether a request line has begun and not ended.
    pub(in crate::worker) fn is_in_line(&self) -> bool {
        matches!(self.place, Place::Target | Place::Version)
            || (self.place == Place::Method && self.line_len > 0)
    }

    /// Passes over complete header lines, the usual case, and returns their length in bytes. The
    /// empty line does not count.
    fn whole_fields(&mut self, bytes: &[u8]) -> usize {
        let mut done = 0;
        if self.place != Place::Field || self.line_len > 0 {
            return done;
        }
        while let Some(end) = memchr(b'\n', &bytes[done..]) {
            let line = &bytes[done..=done + end];
            match line[0] {
                b'\r' | b'\n' => break,
                b'c' | b'C' | b't' | b'T' => self.has_body |= announces_body(line),
                _ => {}
            }
            done += line.len();
        }
        done
    }

    /// Returns the bytes up to the end of the current place, that end included, and whether there
    /// is one.
    fn piece<'b>(&self, bytes: &'b [u8]) -> (&'b [u8], bool) {
        let end = match self.place {
            Place::Method | Place::Target => memchr2(b' ', b'\n', bytes),
            Place::Version | Place::Field | Place::Opaque => memchr(b'\n', bytes),
        };
        end.map_or((bytes, false), |end| (&bytes[..=end], true))
    }

    fn note(&mut self, piece: &[u8]) {
        if let Some(free) = self.line.get_mut(self.line_len..) {
            let len = piece.len().min(free.len());
            free[..len].copy_from_slice(&piece[..len]);
        }
        self.line_len += piece.len();
    }

    /// Ends the current place with the byte `last`.
    fn advance(&mut self, last: Option<u8>) {
        self.place = match (self.place, last) {
            (Place::Method, Some(b' ')) => Place::Target,
            (Place::Target, Some(b' ')) => Place::Version,
            (Place::Method, _) if self.is_empty_line() => Place::Method,
            // This is not a request line: hyper answers 400 and closes.
            (Place::Method | Place::Target | Place::Opaque, _) => Place::Opaque,
            (Place::Version, _) => Place::Field,
            (Place::Field, _) if !self.is_empty_line() => {
                self.has_body |= announces_body(self.line());
                Place::Field
            }
            (Place::Field, _) if self.has_body => Place::Opaque,
            (Place::Field, _) => Place::Method,
        };
        self.line_len = 0;
    }

    fn line(&self) -> &[u8] {
        &self.line[..self.line_len.min(PREFIX)]
    }

    fn is_empty_line(&self) -> bool {
        matches!(self.line(), b"\n" | b"\r\n")
    }
}

/// Reports whether a header line, or its first `PREFIX` bytes, announces a body.
fn announces_body(line: &[u8]) -> bool {
    let is = |name: &str| line.get(..name.len()).is_some_and(|it| it.eq_ignore_ascii_case(name.as_bytes()));
    if is("transfer-encoding") {
        return true;
    }
    let value = line.get("content-length:".len()..).unwrap_or_default();
    // A value longer than the stored part of the line may end in other digits.
    let is_zero = value.trim_ascii() == b"0" && value.ends_with(b"\n");
    is("content-length") && !is_zero
}

/// Reports whether hyper's URIs refuse this byte, and Gunicorn and nginx take it.
fn is_refused(byte: u8) -> bool {
    matches!(byte, b'"' | b'<' | b'>' | b'`')
}

fn encode(target: &[u8], output: &mut Vec<u8>) {
    for &byte in target {
        if is_refused(byte) {
            output.extend_from_slice(format!("%{byte:02X}").as_bytes());
        } else {
            output.push(byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the bytes that hyper reads if `bytes` arrive in pieces of `len` bytes.
    fn read(bytes: &[u8], len: usize) -> Vec<u8> {
        let mut lines = RequestLines::new();
        bytes.chunks(len).flat_map(|piece| lines.encoded(piece).unwrap_or_else(|| piece.to_vec())).collect()
    }

    #[track_caller]
    fn check(bytes: &str, expected: &str) {
        for len in 1..=bytes.len() {
            let read = read(bytes.as_bytes(), len);
            assert_eq!(String::from_utf8_lossy(&read), expected, "in pieces of {len}");
        }
    }

    #[test]
    fn targets_are_encoded_and_nothing_else() {
        check(
            "GET /a?b=\"<`>\" HTTP/1.1\r\nHost: \"<x>\"\r\n\r\n",
            "GET /a?b=%22%3C%60%3E%22 HTTP/1.1\r\nHost: \"<x>\"\r\n\r\n",
        );
        check("G\"T / HTTP/1.\"\r\n\r\n", "G\"T / HTTP/1.\"\r\n\r\n");
        check("GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\n\r\n");
    }

    #[test]
    fn requests_that_follow_are_encoded_too() {
        for end in ["\r\n", "\n"] {
            let text = "\nGET /?\" HTTP/1.1\nHost: x\nContent-Length: 0\n\n\n\nGET /?< HTTP/1.0\n\nGET /?>"
                .replace('\n', end);
            check(&text, &text.replace("?\"", "?%22").replace('<', "%3C").replace('>', "%3E"));
        }
    }

    #[test]
    fn bytes_that_may_be_a_body_are_left_alone() {
        for field in [
            "Content-Length: 12",
            "content-length:9",
            "TRANSFER-ENCODING: chunked",
            "Content-Length: 00000000000000000000",
        ] {
            let text = format!("POST /? HTTP/1.1\r\n{field}\r\n\r\nGET /?\"<> HTTP/1.1\r\n\r\n");
            check(&text, &text);
        }
        let garbage = "GET\r\n\r\nGET /?\" HTTP/1.1\r\n\r\n";
        check(garbage, garbage);
        let old = "GET /?\r\nGET /?\" HTTP/1.1\r\n\r\n";
        check(old, old);
    }

    proptest::proptest! {
        /// hyper reads the same bytes for all divisions into pieces, and they decode to the sent
        /// ones.
        #[test]
        fn pieces_make_no_difference(
            bytes in "(GET|P| |/|\"|<|\r\n|\n|a|Content-Length: [05]|HTTP/1[.]1){0,60}",
            len in 1usize..20,
        ) {
            let whole = read(bytes.as_bytes(), usize::MAX);
            proptest::prop_assert_eq!(&read(bytes.as_bytes(), len), &whole);
            let text = String::from_utf8(whole).unwrap();
            proptest::prop_assert_eq!(text.replace("%22", "\"").replace("%3C", "<"), bytes);
        }
    }
}
