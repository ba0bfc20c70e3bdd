//! Answers: heads and entity tags.

use std::time::Duration;

use bytes::Bytes;
use hyper::body::Body;
use hyper::header::{
    ALLOW, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderValue, VARY,
};
use hyper::{Response, StatusCode};
use xxhash_rust::xxh3::xxh3_64;

use super::body::Payload;
use super::compression::{Accepted, Coding};
use super::error::{self, ApiError};
use super::hex;
use super::list::ListBody;
use crate::snapshot::{Kind, Selection, Snapshot};

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
/// As recorded from the original, whose documentation calls it plain text.
const TEXT: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

/// Prometheus' text format.
const METRICS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// A plain text.
pub(super) fn text(body: &'static str) -> Response<Payload> {
    whole(StatusCode::OK, TEXT, Bytes::from_static(body.as_bytes()))
}

/// A JSON text that was made for this request.
pub(super) fn json(body: String) -> Response<Payload> {
    whole(StatusCode::OK, JSON, body.into())
}

/// Metrics as Prometheus reads them.
pub(super) fn metrics(body: String) -> Response<Payload> {
    whole(StatusCode::OK, METRICS, body.into())
}

/// The answer to OPTIONS.
pub(super) fn options() -> Response<Payload> {
    let mut response = whole(StatusCode::OK, TEXT, Bytes::new());
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(error::ALLOW));
    response
}

/// An error in the envelope.
pub(super) fn error(error: &ApiError) -> Response<Payload> {
    let mut response = whole(error.status(), JSON, error.envelope().into());
    match error {
        ApiError::MethodNotAllowed => {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static(error::ALLOW));
        }
        // What is left of the request, its body for instance, is not read.
        ApiError::Refused { .. } => close(&mut response),
        _ => {}
    }
    response
}

/// The entities of `selection`, as a list in the envelope.
pub(super) fn list(
    snapshot: &'static Snapshot<'static>,
    kind: Kind,
    selection: Selection<'static>,
    tag: &Tag,
    coding: Option<Accepted>,
) -> Response<Payload> {
    let body = ListBody::new(snapshot, kind, selection);
    let coding = coding.and_then(|accepted| accepted.for_body_of(body.len()));
    let mut response = Response::new(Payload::of(body, coding));
    let len = response.body().size_hint().exact();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, JSON);
    if let Some(len) = len {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(len));
    }
    if let Some(coding) = coding {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    }
    headers.insert(ETAG, tag_value(tag, coding));
    response
}

/// What an answer is chosen by, beside its target.
pub(super) fn vary(response: &mut Response<Payload>) {
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept-encoding"));
}

/// Tells how long it took to find what is listed, and to make the beginning of the list.
pub(super) fn timing(response: &mut Response<Payload>, query: Duration, render: Duration) {
    let milliseconds = |duration: Duration| duration.as_secs_f64() * 1000.0;
    let text = format!("query;dur={:.3}, render;dur={:.3}", milliseconds(query), milliseconds(render));
    if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(text)) {
        response.headers_mut().insert("server-timing", value);
    }
}

/// What a client that has it already gets: the tag of what it has.
pub(super) fn not_modified(tag: HeaderValue) -> Response<Payload> {
    let mut response = Response::new(Payload::whole(Bytes::new()));
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    response.headers_mut().insert(ETAG, tag);
    response
}

/// Tells the client, and hyper, that the connection ends with this answer.
pub(super) fn close(response: &mut Response<Payload>) {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
}

/// The answer to HEAD: as for GET, without the body.
pub(super) fn without_body(response: Response<Payload>) -> Response<Payload> {
    response.map(|_| Payload::whole(Bytes::new()))
}

/// What a strong entity tag says of what the snapshot holds and what was asked of it: the same on
/// every server that has the same rows.
pub(super) fn tag(snapshot_hash: u128, kind: Kind, query_string: &str) -> Tag {
    let mut tag = [b'-'; 50];
    tag[..16].copy_from_slice(&hex::digits((snapshot_hash >> 64) as u64));
    tag[16..32].copy_from_slice(&hex::digits(snapshot_hash as u64));
    tag[33] = b'0' + kind as u8;
    tag[34..].copy_from_slice(&hex::digits(xxh3_64(query_string.as_bytes())));
    tag
}

/// An entity tag without its quotes.
pub(super) type Tag = [u8; 50];

/// The tag in quotes. Other bytes need another one, so a coding is part of it.
fn tag_value(tag: &Tag, coding: Option<Coding>) -> HeaderValue {
    let mut text = Vec::with_capacity(64);
    text.push(b'"');
    text.extend_from_slice(tag);
    if let Some(coding) = coding {
        text.push(b'-');
        text.extend_from_slice(coding.name().as_bytes());
    }
    text.push(b'"');
    // Hexadecimal digits and letters are always a valid header value.
    HeaderValue::from_maybe_shared(Bytes::from(text)).unwrap_or(HeaderValue::from_static("\"\""))
}

/// The tag of what the client has, if `If-None-Match` names `tag`.
pub(super) fn known_tag(if_none_match: &HeaderValue, tag: &Tag) -> Option<HeaderValue> {
    let coding = matches_tag(if_none_match, tag)?;
    // Nearly always the field is that tag as we have given it, and nothing else: it is shared then.
    let rest = if_none_match.as_bytes().strip_prefix(b"\"").and_then(|rest| rest.strip_prefix(&tag[..]));
    let same = rest.and_then(|rest| rest.strip_suffix(b"\"")).is_some_and(|rest| match coding {
        None => rest.is_empty(),
        Some(coding) => rest.strip_prefix(b"-") == Some(coding.name().as_bytes()),
    });
    Some(if same { if_none_match.clone() } else { tag_value(tag, coding) })
}

/// Whether `If-None-Match` names `tag`, and in which coding the client has it (RFC 9110 13.1.2: a
/// weak comparison).
fn matches_tag(if_none_match: &HeaderValue, tag: &Tag) -> Option<Option<Coding>> {
    if_none_match.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii).find_map(|candidate| {
        if candidate == b"*" {
            return Some(None);
        }
        let strong = candidate.strip_prefix(b"W/").unwrap_or(candidate);
        let rest = strong.strip_prefix(b"\"")?.strip_suffix(b"\"")?.strip_prefix(&tag[..])?;
        match rest {
            b"" => Some(None),
            _ => Some(Some(Coding::named(rest.strip_prefix(b"-")?)?)),
        }
    })
}

fn whole(status: StatusCode, content_type: HeaderValue, body: Bytes) -> Response<Payload> {
    let len = body.len();
    let mut response = Response::new(Payload::whole(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(len));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_compared_weakly() {
        let ours = tag(0xabc, Kind::Song, "limit=1");
        let request = xxh3_64(b"limit=1");
        let text = format!("{:032x}-{}{request:016x}", 0xabc, Kind::Song as u8);
        assert_eq!(String::from_utf8_lossy(&ours), text);
        let matches = |candidate: &str| matches_tag(&HeaderValue::from_str(candidate).unwrap(), &ours);
        for coding in [None, Some(Coding::Gzip), Some(Coding::Zstd)] {
            let text = tag_value(&ours, coding).to_str().unwrap().to_owned();
            let shouted = text.replace("gzip", "GZip").replace("zstd", "ZSTD");
            for candidate in [text.clone(), format!("W/{text}"), format!("\"x\" , {text}"), shouted] {
                assert_eq!(matches(&candidate), Some(coding), "{candidate}");
                let known = known_tag(&HeaderValue::from_str(&candidate).unwrap(), &ours).unwrap();
                assert_eq!(known, text, "{candidate}");
            }
        }
        assert_eq!(matches("*"), Some(None));
        for candidate in ["", "\"\"", "\"x\"", &text, &format!("\"{text}-\""), &format!("\"{text}-br\"")] {
            assert_eq!(matches(candidate), None, "{candidate}");
        }
        assert_ne!(ours, tag(0xabc, Kind::Song, "limit=2"));
        assert_ne!(ours, tag(0xabc, Kind::Album, "limit=1"));
        assert_ne!(ours, tag(0xabd, Kind::Song, "limit=1"));
    }
}
