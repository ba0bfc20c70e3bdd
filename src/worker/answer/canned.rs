//! The answers that hyper itself gives to bytes that are not HTTP. hyper leaves their bodies empty;
//! this module adds the envelope of all other errors, with the fields that all answers have.
//!
//! The module recognises them as they leave: the last bytes before a connection closes are a head of status
//! 400, 414 or 431 that announces no body. No answer of the service looks like that.

use std::ops::Deref;

use hyper::StatusCode;

use super::error::ApiError;

/// Upper bound of the bytes of such a head.
const HEAD_MAX: usize = 256;
const NO_BODY: &str = "content-length: 0\r\n";
/// Offset of the status in a head, behind `HTTP/1.1 `.
const STATUS_AT: usize = 9;

/// A canned answer in the last of some pieces to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::worker) struct Canned {
    pub(in crate::worker) status: StatusCode,
    /// Bytes of its head, which ends the pieces.
    head_len: usize,
    /// Offset in the head of the statement that there is no body.
    no_body_at: usize,
    /// Whether the status changes from hyper's to 414.
    is_corrected: bool,
}

/// Returns the canned answer at the end of these pieces.
pub(in crate::worker) fn find<P: Deref<Target = [u8]>>(pieces: &[P]) -> Option<Canned> {
    let last = pieces.iter().rev().find(|piece| !piece.is_empty())?;
    // A quick look that nearly all answers fail: they end with a body.
    if !last.ends_with(b"\r\n\r\n") {
        return None;
    }
    let begin = last.len().saturating_sub(HEAD_MAX);
    // hyper uses the version of the request before.
    let begin = begin + find_last(&last[begin..], b"HTTP/1.")?;
    let head = std::str::from_utf8(&last[begin..]).ok()?;
    let status = match head.get(9..12)? {
        "400" => StatusCode::BAD_REQUEST,
        "414" => StatusCode::URI_TOO_LONG,
        "431" => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        _ => return None,
    };
    Some(Canned { status, head_len: head.len(), no_body_at: head.find(NO_BODY)?, is_corrected: false })
}

impl Canned {
    /// Turns this into the answer to a request line that did not end before hyper's buffer was
    /// full. hyper answers 431 or 414, depending on how the bytes arrived.
    pub(in crate::worker) fn to_endless_line(self) -> Canned {
        let too_long = StatusCode::URI_TOO_LONG;
        match self.status {
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
                Canned { status: too_long, is_corrected: true, ..self }
            }
            _ => self,
        }
    }

    /// Returns the pieces with a body and with these fields (lines that each end with CR and LF),
    /// and the length of that body.
    pub(in crate::worker) fn completed<P: Deref<Target = [u8]>>(
        &self,
        pieces: &[P],
        fields: &str,
    ) -> (Vec<u8>, usize) {
        let message = match self.status {
            StatusCode::URI_TOO_LONG => "The request line is too long",
            StatusCode::BAD_REQUEST => "The request is no valid HTTP",
            _ => "The head of the request is too large",
        };
        let body = ApiError::Refused { status: self.status, message }.envelope();
        let fields = format!(
            "content-type: application/json; charset=utf-8\r\nx-content-type-options: nosniff\r\n\
             content-length: {}\r\n{fields}",
            body.len()
        );
        let mut bytes: Vec<u8> = pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
        let at = bytes.len() - self.head_len + self.no_body_at;
        bytes.splice(at..at + NO_BODY.len(), fields.into_bytes());
        if self.is_corrected {
            let begin = at - self.no_body_at + STATUS_AT;
            let end = bytes[begin..].iter().position(|byte| *byte == b'\r').map_or(begin, |len| begin + len);
            bytes.splice(begin..end, self.status.to_string().into_bytes());
        }
        bytes.extend_from_slice(body.as_bytes());
        (bytes, body.len())
    }
}

fn find_last(bytes: &[u8], sought: &[u8]) -> Option<usize> {
    bytes.windows(sought.len()).rposition(|window| window == sought)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANNED: &[u8] = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

    fn replaced(pieces: &[&[u8]]) -> Option<Vec<u8>> {
        find(pieces).map(|canned| canned.completed(pieces, "x-id: 7\r\n").0)
    }

    #[test]
    fn canned_answers_get_a_body_behind_any_bytes() {
        let whole = replaced(&[CANNED]).unwrap();
        let text = String::from_utf8(whole.clone()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("connection: close\r\n") && !head.contains("content-length: 0"), "{head}");
        assert!(
            head.contains(&format!("content-length: {}\r\n", body.len())) && head.ends_with("\r\nx-id: 7")
        );
        assert_eq!(find(&[CANNED]).unwrap().completed(&[CANNED], "").1, body.len());
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["errors"][0]["message"], "The request is no valid HTTP");
        // hyper's buffer was full before the request line ended.
        let large = [&CANNED[..9], b"431 Request Header Fields Too Large", &CANNED[24..]].concat();
        let long = find(&[&large[..]]).unwrap().to_endless_line();
        assert_eq!(long.status, 414);
        let text = String::from_utf8(long.completed(&[&large[..]], "").0).unwrap();
        assert!(text.starts_with("HTTP/1.1 414 URI Too Long\r\nconnection: close\r\n"), "{text}");
        assert!(text.contains("The request line is too long"), "{text}");
        // After the answer to a request before, in one piece or in several.
        let before = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nOKOKOK";
        let expected = [&before[..], &whole].concat();
        assert_eq!(replaced(&[&[&before[..], CANNED].concat()[..]]).unwrap(), expected);
        assert_eq!(replaced(&[before, CANNED, b""]).unwrap(), expected);
        // hyper keeps the version of the request before.
        let old = [b"HTTP/1.0", &CANNED[8..]].concat();
        assert!(
            replaced(&[&old[..]])
                .is_some_and(|bytes| bytes.starts_with(b"HTTP/1.0 400") && bytes.ends_with(b"}"))
        );
    }

    #[test]
    fn other_answers_are_left_alone() {
        for bytes in [
            &b""[..],
            b"\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 304 Not Modified\r\netag: \"x\"\r\n\r\n",
            b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 400 Bad Request\r\ncontent-length: 99\r\n\r\n",
            b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n{}",
        ] {
            assert_eq!(find(&[bytes]), None, "{}", String::from_utf8_lossy(bytes));
        }
        assert_eq!(find::<&[u8]>(&[]), None);
        assert_eq!(find(&[CANNED, b"x"]), None);
    }
}
