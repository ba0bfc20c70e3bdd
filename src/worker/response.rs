//! Answers: heads, entity tags, and bodies that are slices of the snapshot.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderValue};
use hyper::{Response, StatusCode};
use xxhash_rust::xxh3::xxh3_64;

use super::connection::Activity;
use super::error::{self, ApiError};
use crate::snapshot::query::Runs;
use crate::snapshot::{Kind, Selection, Snapshot};

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
/// As recorded from the original, whose documentation calls it plain text.
const TEXT: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

const LIST_HEAD: &[u8] = b"{\"errors\":[],\"success\":[";
const LIST_TAIL: &[u8] = b"],\"warnings\":[]}";

/// Bytes that are gathered into one piece of a body.
const PIECE: usize = 64 * 1024;
/// Runs of at least so many bytes are sent from the mapping, not copied.
const BORROWED_LEAST: usize = 16 * 1024;

/// A plain text.
pub(super) fn text(body: &'static str) -> Response<Payload> {
    whole(StatusCode::OK, TEXT, Bytes::from_static(body.as_bytes()))
}

/// A JSON text that was made for this request.
pub(super) fn json(body: String) -> Response<Payload> {
    whole(StatusCode::OK, JSON, body.into())
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
    tag: &HeaderValue,
) -> Response<Payload> {
    let body = ListBody::new(snapshot, kind, selection);
    let len = body.left;
    let mut response = Response::new(Payload::of(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, JSON);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(len));
    headers.insert(ETAG, tag.clone());
    response
}

/// What a client that has it already gets.
pub(super) fn not_modified(tag: &HeaderValue) -> Response<Payload> {
    let mut response = Response::new(Payload::whole(Bytes::new()));
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    response.headers_mut().insert(ETAG, tag.clone());
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

/// A strong entity tag of what the snapshot holds and what was asked of it: the same on
/// every server that has the same rows.
pub(super) fn tag(snapshot_hash: u128, kind: Kind, query_string: &str) -> HeaderValue {
    let request = xxh3_64(query_string.as_bytes());
    let text = format!("\"{snapshot_hash:032x}-{}{request:016x}\"", kind as u8);
    // Hexadecimal digits are always a valid header value.
    HeaderValue::from_maybe_shared(Bytes::from(text)).unwrap_or(HeaderValue::from_static("\"\""))
}

/// Whether `If-None-Match` names `tag` (RFC 9110 13.1.2: a weak comparison).
pub(super) fn matches_tag(if_none_match: &HeaderValue, tag: &HeaderValue) -> bool {
    if_none_match.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii).any(|candidate| {
        candidate == b"*" || candidate.strip_prefix(b"W/").unwrap_or(candidate) == tag.as_bytes()
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

/// A body: one piece, or a list that is gathered while it is sent.
pub(super) struct Payload {
    kind: PayloadKind,
    activity: Option<Arc<Activity>>,
}

enum PayloadKind {
    Whole(Bytes),
    List(ListBody),
}

impl Payload {
    fn whole(bytes: Bytes) -> Self {
        Payload { kind: PayloadKind::Whole(bytes), activity: None }
    }

    /// Short lists are gathered at once, so that head and body leave in one write.
    fn of(mut list: ListBody) -> Self {
        if list.left <= PIECE as u64 {
            return Payload::whole(list.gather(usize::MAX));
        }
        Payload { kind: PayloadKind::List(list), activity: None }
    }

    /// Marks the connection as idle once this body has been handed over.
    pub(super) fn watched(mut self, activity: Arc<Activity>) -> Self {
        self.activity = Some(activity);
        self
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        if let Some(activity) = &self.activity {
            activity.answered();
        }
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = match &mut self.kind {
            PayloadKind::Whole(bytes) => Some(std::mem::take(bytes)).filter(|bytes| !bytes.is_empty()),
            PayloadKind::List(list) => list.next_piece(),
        };
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.size_hint().exact() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match &self.kind {
            PayloadKind::Whole(bytes) => bytes.len() as u64,
            PayloadKind::List(list) => list.left,
        })
    }
}

/// A list envelope on its way out.
struct ListBody {
    snapshot: &'static Snapshot<'static>,
    kind: Kind,
    runs: Runs<'static>,
    /// A long run that waits for its turn.
    borrowed: Option<&'static [u8]>,
    /// Whether the head has been given out, and whether any entity has.
    begun: bool,
    listed_some: bool,
    /// Bytes that are still to come.
    left: u64,
}

impl ListBody {
    fn new(snapshot: &'static Snapshot<'static>, kind: Kind, selection: Selection<'static>) -> Self {
        let entities = snapshot.json_len(kind, &selection);
        let left = (LIST_HEAD.len() + LIST_TAIL.len()) as u64 + entities.saturating_sub(1);
        let runs = Runs::new(selection);
        ListBody { snapshot, kind, runs, borrowed: None, begun: false, listed_some: false, left }
    }

    fn next_piece(&mut self) -> Option<Bytes> {
        if self.left == 0 {
            return None;
        }
        let piece = match self.borrowed.take() {
            Some(run) => Bytes::from_static(run),
            None => self.gather(BORROWED_LEAST),
        };
        self.left -= piece.len() as u64;
        Some(piece)
    }

    /// The next runs in one piece, up to one of `borrowed_least` bytes, which is borrowed.
    fn gather(&mut self, borrowed_least: usize) -> Bytes {
        let mut piece = Vec::with_capacity(PIECE.min(self.left as usize));
        if !self.begun {
            piece.extend_from_slice(LIST_HEAD);
            self.begun = true;
        }
        while piece.len() < PIECE {
            let Some(run) = self.runs.next() else {
                piece.extend_from_slice(LIST_TAIL);
                break;
            };
            if self.listed_some {
                piece.push(b',');
            }
            self.listed_some = true;
            let json = self.snapshot.json_run(self.kind, run.start, run.end);
            if json.len() >= borrowed_least {
                self.borrowed = Some(json);
                break;
            }
            piece.extend_from_slice(json);
        }
        piece.into()
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::model::{Collection, Named};
    use crate::snapshot::{self, Verify};

    /// Albums whose names are short, long enough to be borrowed in runs, or by themselves.
    fn snapshot(lengths: &[usize]) -> &'static Snapshot<'static> {
        let named = |(at, len): (usize, &usize)| Named {
            id: Uuid::from_u128(at as u128),
            name: format!("{at:05}{}", "x".repeat(*len)),
        };
        let albums = lengths.iter().enumerate().map(named).collect();
        let mut bytes = std::io::Cursor::new(Vec::new());
        snapshot::build(&Collection { albums, ..Collection::default() }, &mut bytes).unwrap();
        let bytes: &'static [u8] = bytes.into_inner().leak();
        Box::leak(Box::new(Snapshot::open(bytes, Verify::Full).unwrap()))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn bodies_are_the_whole_list_and_as_long_as_announced(
            lengths in prop::collection::vec(prop_oneof![0..40_usize, 10_000..40_000_usize], 1..30),
            picked in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
            neighbours in any::<bool>(),
        ) {
            let snapshot = snapshot(&lengths);
            let count = lengths.len() as u32;
            let selection = if neighbours {
                Selection::Range(picked.len() as u32 % count..count)
            } else {
                Selection::List(picked.iter().map(|at| at.index(lengths.len()) as u32).collect())
            };
            let single: Vec<&[u8]> = Runs::new(selection.clone())
                .flat_map(|run| run.map(|at| snapshot.json_run(Kind::Album, at, at + 1)))
                .collect();
            let expected = [LIST_HEAD, &single.join(&b","[..]), LIST_TAIL].concat();
            let mut payload = list(snapshot, Kind::Album, selection, &HeaderValue::from_static("x")).into_body();
            prop_assert_eq!(payload.size_hint().exact(), Some(expected.len() as u64));
            let mut sent = Vec::new();
            let mut context = Context::from_waker(Waker::noop());
            while let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut payload).poll_frame(&mut context) {
                sent.extend_from_slice(&frame.into_data().unwrap());
                prop_assert_eq!(payload.size_hint().exact(), Some((expected.len() - sent.len()) as u64));
            }
            prop_assert!(sent == expected, "{} bytes instead of {}", sent.len(), expected.len());
        }
    }

    #[test]
    fn tags_are_compared_weakly() {
        let ours = tag(0xabc, Kind::Song, "limit=1");
        let text = ours.to_str().unwrap().to_owned();
        assert_eq!(text.len(), 2 + 32 + 1 + 1 + 16);
        for candidate in [text.clone(), format!("W/{text}"), format!("\"x\" , {text}"), "*".to_owned()] {
            assert!(matches_tag(&HeaderValue::from_str(&candidate).unwrap(), &ours), "{candidate}");
        }
        for candidate in ["", "\"\"", "\"x\""] {
            assert!(!matches_tag(&HeaderValue::from_static(candidate), &ours), "{candidate}");
        }
        assert_ne!(ours, tag(0xabc, Kind::Song, "limit=2"));
        assert_ne!(ours, tag(0xabc, Kind::Album, "limit=1"));
        assert_ne!(ours, tag(0xabd, Kind::Song, "limit=1"));
    }
}
