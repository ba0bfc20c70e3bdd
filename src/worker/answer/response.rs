//! Answers and their heads.

use std::time::Duration;

use bytes::Bytes;
use hyper::body::Body;
use hyper::header::{
    ALLOW, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    HeaderName, HeaderValue, LINK, LOCATION, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{HeaderMap, Response, StatusCode};

use super::body::Payload;
use super::compression::Acceptable;
use super::docs;
use super::entity_tag::{self, Tag};
use super::error::{self, ApiError};
use super::hex;
use super::list::ListBody;

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
/// The type of avalonms, whose documentation calls it plain text.
const TEXT: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

/// Prometheus' text format.
const METRICS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// The hash of the collection that a list is made from.
pub(in crate::worker) const SNAPSHOT: HeaderName = HeaderName::from_static("x-avalon-snapshot");
/// The number of entities that match a list's question.
pub(in crate::worker) const TOTAL_COUNT: HeaderName = HeaderName::from_static("x-total-count");

/// The time that it took to make an answer.
pub(in crate::worker) const TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Forbids browsers to guess another type.
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");

/// Most fields that an answer usually has.
const FIELDS: usize = 12;

/// Returns a plain text.
pub(in crate::worker) fn text(body: &'static str) -> Response<Payload> {
    whole(StatusCode::OK, TEXT, Bytes::from_static(body.as_bytes()))
}

/// Returns a JSON text that was made for this request.
pub(in crate::worker) fn json(body: String) -> Response<Payload> {
    whole(StatusCode::OK, JSON, body.into())
}

/// Returns a document for browsers.
pub(in crate::worker) fn document(content_type: HeaderValue, body: Bytes) -> Response<Payload> {
    whole(StatusCode::OK, content_type, body)
}

/// Redirects the client permanently to this target.
pub(in crate::worker) fn moved(target: String) -> Response<Payload> {
    let mut response = whole(StatusCode::PERMANENT_REDIRECT, TEXT, Bytes::new());
    // Encoded segments and a query string from a request line are valid in a field.
    if let Ok(target) = HeaderValue::try_from(target) {
        response.headers_mut().insert(LOCATION, target);
    }
    response
}

/// Returns metrics in Prometheus' format.
pub(in crate::worker) fn metrics(body: String) -> Response<Payload> {
    whole(StatusCode::OK, METRICS, body.into())
}

/// Returns the answer to OPTIONS.
pub(in crate::worker) fn options() -> Response<Payload> {
    let mut response = whole(StatusCode::OK, TEXT, Bytes::new());
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(error::ALLOW));
    response
}

/// Returns an error in the envelope.
pub(in crate::worker) fn error(error: &ApiError) -> Response<Payload> {
    let mut response = whole(error.status(), JSON, error.envelope().into());
    match error {
        ApiError::MethodNotAllowed => {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static(error::ALLOW));
        }
        // The worker does not read the rest of the request, for example its body.
        ApiError::Refused { .. } => close(&mut response),
        ApiError::CollectionChanged { served, .. } => name_snapshot(&mut response, snapshot_name(*served)),
        _ => {}
    }
    response
}

/// Returns a list in the envelope.
pub(in crate::worker) fn list(body: ListBody, tag: &Tag, coding: Option<Acceptable>) -> Response<Payload> {
    let len = body.len();
    let coding = coding.and_then(|accepted| accepted.for_body_of(len));
    let mut response = bare(Payload::of(body, coding));
    let exact_len = response.body().size_hint().exact();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, JSON);
    headers.insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    if let Some(len) = exact_len {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(len));
    }
    if let Some(coding) = coding {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    }
    headers.insert(ETAG, entity_tag::value(tag, len, coding));
    response
}

/// Adds the number of entities on all pages together, and the links to the other pages.
pub(in crate::worker) fn total(response: &mut Response<Payload>, total: usize, links: Option<HeaderValue>) {
    response.headers_mut().insert(TOTAL_COUNT, HeaderValue::from(total));
    if let Some(links) = links {
        response.headers_mut().insert(LINK, links);
    }
}

/// Returns a whole JSON text with a strong entity tag.
pub(in crate::worker) fn tagged(body: Bytes, tag: Option<HeaderValue>) -> Response<Payload> {
    let mut response = whole(StatusCode::OK, JSON, body);
    tag.into_iter().for_each(|tag| drop(response.headers_mut().insert(ETAG, tag)));
    response
}

/// Returns a whole page with a strong entity tag. Its policy forbids it to load anything.
pub(in crate::worker) fn page(body: Bytes, tag: Option<HeaderValue>) -> Response<Payload> {
    let mut response = tagged(body, tag);
    for (name, value) in [
        (CONTENT_TYPE, TEXT),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static(docs::POLICY)),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ] {
        response.headers_mut().insert(name, value);
    }
    response
}

/// Names the collection of an answer: pages with the same name belong together.
pub(in crate::worker) fn name_snapshot(response: &mut Response<Payload>, name: Option<HeaderValue>) {
    if let Some(name) = name {
        response.headers_mut().insert(SNAPSHOT, name);
    }
}

/// Returns the name of the collection with this hash. It is always valid: hexadecimal digits may
/// stand in a field value.
pub(in crate::worker) fn snapshot_name(hash: u128) -> Option<HeaderValue> {
    HeaderValue::from_bytes(&hex::hash(hash)).ok()
}

/// Names the request field that selects an answer.
pub(in crate::worker) fn vary(response: &mut Response<Payload>) {
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept-encoding"));
}

/// Adds the times of the query and of making the beginning of the list.
pub(in crate::worker) fn timing(response: &mut Response<Payload>, query: Duration, render: Duration) {
    let milliseconds = |duration: Duration| duration.as_secs_f64() * 1000.0;
    let text = format!("query;dur={:.3}, render;dur={:.3}", milliseconds(query), milliseconds(render));
    if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(text)) {
        response.headers_mut().insert(TIMING, value);
    }
}

/// Returns the answer to a client that has the list already: the tag of that list.
pub(in crate::worker) fn not_modified(tag: HeaderValue) -> Response<Payload> {
    let mut response = bare(Payload::whole(Bytes::new()));
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    response.headers_mut().insert(ETAG, tag);
    response
}

/// Tells the client, and hyper, that the connection ends with this answer.
pub(in crate::worker) fn close(response: &mut Response<Payload>) {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
}

/// Returns the answer to HEAD: the answer to GET without the body.
pub(in crate::worker) fn without_body(response: Response<Payload>) -> Response<Payload> {
    response.map(|_| Payload::whole(Bytes::new()))
}

/// Returns an answer with room for all its fields: a map that grows is filled twice.
fn bare(body: Payload) -> Response<Payload> {
    let mut response = Response::new(body);
    *response.headers_mut() = HeaderMap::with_capacity(FIELDS);
    response
}

fn whole(status: StatusCode, content_type: HeaderValue, body: Bytes) -> Response<Payload> {
    let len = body.len();
    let mut response = bare(Payload::whole(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(len));
    response
}
