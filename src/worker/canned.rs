//! Answers that hyper gives by itself, to what is no HTTP: it leaves their bodies empty, and we
//! put the envelope of all other errors into them.
//!
//! They are found where they leave: the last bytes before a connection closes, a head of status
//! 400, 414 or 431 that announces no body. No answer of ours looks like that.

use std::ops::Deref;

use hyper::StatusCode;

use super::error::ApiError;

/// More than such a head has.
const HEAD_MAX: usize = 256;

/// The bytes to send in place of `pieces`, if those end with a canned answer.
pub(super) fn replaced<P: Deref<Target = [u8]>>(pieces: &[P]) -> Option<Vec<u8>> {
    let last = pieces.iter().rev().find(|piece| !piece.is_empty())?;
    // A quick look that nearly all answers fail: they end with a body.
    if !last.ends_with(b"\r\n\r\n") {
        return None;
    }
    let begin = last.len().saturating_sub(HEAD_MAX);
    // In the version of the request before.
    let begin = begin + find_last(&last[begin..], b"HTTP/1.")?;
    let head = std::str::from_utf8(&last[begin..]).ok()?;
    let status = match head.get(9..12)? {
        "400" => StatusCode::BAD_REQUEST,
        "414" => StatusCode::URI_TOO_LONG,
        "431" => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        _ => return None,
    };
    let announced = "content-length: 0\r\n";
    let at = head.find(announced)?;
    let message = match status {
        StatusCode::URI_TOO_LONG => "The request line is too long",
        StatusCode::BAD_REQUEST => "The request is no valid HTTP",
        _ => "The head of the request is too large",
    };
    let body = ApiError::Refused { status, message }.envelope();
    let fields =
        format!("content-type: application/json; charset=utf-8\r\ncontent-length: {}\r\n", body.len());
    let mut bytes: Vec<u8> = pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
    let head_begin = bytes.len() - head.len();
    bytes.splice(head_begin + at..head_begin + at + announced.len(), fields.into_bytes());
    bytes.extend_from_slice(body.as_bytes());
    Some(bytes)
}

fn find_last(bytes: &[u8], sought: &[u8]) -> Option<usize> {
    bytes.windows(sought.len()).rposition(|window| window == sought)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANNED: &[u8] =
        b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\ndate: now\r\n\r\n";

    #[test]
    fn canned_answers_get_a_body_whatever_leaves_with_them() {
        let whole = replaced(&[CANNED]).unwrap();
        let text = String::from_utf8(whole.clone()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("connection: close\r\n") && !head.contains("content-length: 0"), "{head}");
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{head}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["errors"][0]["message"], "The request is no valid HTTP");
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
            assert_eq!(replaced(&[bytes]), None, "{}", String::from_utf8_lossy(bytes));
        }
        assert_eq!(replaced::<&[u8]>(&[]), None);
        assert_eq!(replaced(&[CANNED, b"x"]), None);
    }
}
