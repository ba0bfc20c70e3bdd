//! Bodies: one piece, slices of the snapshot, or what compression makes of them.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame, SizeHint};

use super::buffers;
use super::compression::{self, Coding, Packed};
use super::exchange::Exchange;
use super::piece::Piece;
use super::turn::{self, Turn};
use crate::snapshot::query::Runs;
use crate::snapshot::{Kind, Selection, Snapshot};

const LIST_HEAD: &[u8] = b"{\"errors\":[],\"success\":[";
const LIST_TAIL: &[u8] = b"],\"warnings\":[]}";
/// The same while nothing has been scanned yet: else nobody could tell that from a question to which
/// nothing matches.
const EMPTY_TAIL: &[u8] = b"],\"warnings\":[{\"code\":200,\"message\":\"The collection is empty; \
    nothing has been scanned yet\",\"message_key\":\"avalon.service.warning.empty_collection\",\
    \"payload\":{}}]}";

/// Bytes that are gathered into one piece of a body.
const PIECE: usize = 64 * 1024;
/// Runs of at least so many bytes are sent from the mapping, not copied.
const BORROWED_LEAST: usize = 16 * 1024;
/// Bytes of such a run that are handed to the kernel at once.
const SLICE: usize = turn::LEN;
/// How many bytes are copied in the time that compressing one takes.
const COMPRESSING: usize = turn::LEN / PIECE;

/// A body: one piece, or a list that is gathered while it is sent.
pub(super) struct Payload {
    kind: PayloadKind,
    exchange: Option<Exchange>,
}

enum PayloadKind {
    Whole(Bytes),
    Stream(Box<Stream>),
}

impl Payload {
    pub(super) fn whole(bytes: Bytes) -> Self {
        Payload { kind: PayloadKind::Whole(bytes), exchange: None }
    }

    /// Short lists are gathered at once, so that head and body leave in one write.
    pub(super) fn of(mut list: ListBody, coding: Option<Coding>) -> Self {
        let short = list.left <= PIECE as u64;
        let kind = match coding {
            None if short => PayloadKind::Whole(list.gather(usize::MAX)),
            Some(coding) if short => PayloadKind::Whole(compression::whole(coding, &list.gather(usize::MAX))),
            _ => PayloadKind::Stream(Box::new(Stream::new(list, coding))),
        };
        Payload { kind, exchange: None }
    }

    /// Ends the exchange once this body has been handed over.
    pub(super) fn ending(mut self, exchange: Exchange) -> Self {
        self.exchange = Some(exchange);
        self
    }
}

impl Body for Payload {
    type Data = Piece;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, Infallible>>> {
        let Payload { kind, exchange } = &mut *self;
        let piece = match kind {
            PayloadKind::Whole(bytes) => {
                Some(std::mem::take(bytes)).filter(|bytes| !bytes.is_empty()).map(Piece::from)
            }
            PayloadKind::Stream(stream) => {
                ready!(stream.next(context, exchange.as_ref().map(Exchange::turn)))
            }
        };
        if let (Some(exchange), Some(piece)) = (exchange, &piece) {
            exchange.sent(piece.remaining());
        }
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.size_hint().exact() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            PayloadKind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            PayloadKind::Stream(stream) => stream.len().map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

/// A long list, sent or compressed and sent piece by piece.
struct Stream {
    list: ListBody,
    /// What compresses it, if anything does.
    packed: Option<Packed>,
    /// What has been taken from the list and is still to be compressed.
    taken: Piece,
    /// While it waits until the other connections of the worker have had their turn: hyper asks for
    /// one piece after the other as long as the client is quick enough.
    rest: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Stream {
    fn new(list: ListBody, coding: Option<Coding>) -> Self {
        Stream { list, packed: coding.map(Packed::new), taken: Piece::default(), rest: None }
    }

    fn next(&mut self, context: &mut Context<'_>, turn: Option<&Turn>) -> Poll<Option<Piece>> {
        loop {
            if self.rest.is_none() && turn.is_some_and(Turn::end) {
                self.rest = Some(Box::pin(tokio::task::yield_now()));
            }
            if let Some(rest) = &mut self.rest {
                ready!(rest.as_mut().poll(context));
                self.rest = None;
            }
            let piece = match &mut self.packed {
                None => self.list.next_piece(),
                Some(_) => self.next_packed(turn),
            };
            // Of what was compressed nothing may have come out yet.
            if piece.as_ref().is_none_or(Piece::has_remaining) {
                return Poll::Ready(piece);
            }
        }
    }

    /// What the next part of the list is compressed to, perhaps nothing yet.
    fn next_packed(&mut self, turn: Option<&Turn>) -> Option<Piece> {
        let packed = self.packed.as_mut()?;
        if !self.taken.has_remaining() {
            self.taken = self.list.next_piece().unwrap_or_default();
        }
        let chunk = self.taken.chunk();
        let chunk = &chunk[..chunk.len().min(PIECE)];
        let len = chunk.len();
        let bytes = if len == 0 { packed.finish() } else { packed.push(chunk) };
        self.taken.advance(len);
        turn.iter().for_each(|turn| turn.add(len * COMPRESSING));
        bytes.map(Piece::from)
    }

    /// Bytes that are still to come, if that is known.
    fn len(&self) -> Option<u64> {
        self.packed.is_none().then_some(self.list.left)
    }
}

/// A list envelope on its way out.
pub(super) struct ListBody {
    snapshot: &'static Snapshot<'static>,
    kind: Kind,
    tail: &'static [u8],
    runs: Runs<'static>,
    /// What is left of a long run that is sent from the mapping; empty: none is.
    borrowed: &'static [u8],
    /// Whether the head has been given out, and whether any entity has.
    begun: bool,
    listed_some: bool,
    /// Bytes that are still to come.
    left: u64,
}

impl ListBody {
    pub(super) fn new(
        snapshot: &'static Snapshot<'static>,
        kind: Kind,
        selection: Selection<'static>,
    ) -> Self {
        let entities = snapshot.json_len(kind, &selection);
        let tail = if snapshot.count(Kind::Song) == 0 { EMPTY_TAIL } else { LIST_TAIL };
        let left = (LIST_HEAD.len() + tail.len()) as u64 + entities.saturating_sub(1);
        let runs = Runs::new(selection);
        ListBody { snapshot, kind, tail, runs, borrowed: &[], begun: false, listed_some: false, left }
    }

    /// Bytes that are still to come.
    pub(super) fn len(&self) -> u64 {
        self.left
    }

    /// What is gathered up to the next long run, as much of that run as leaves at once, and, where it
    /// ends, what follows it: a list without gaps leaves in one write if it is short enough.
    fn next_piece(&mut self) -> Option<Piece> {
        if self.left == 0 {
            return None;
        }
        let before = if self.borrowed.is_empty() { self.gather(BORROWED_LEAST) } else { Bytes::new() };
        let (run, rest) = self.borrowed.split_at(self.borrowed.len().min(SLICE));
        self.borrowed = rest;
        let after =
            if rest.is_empty() && !run.is_empty() { self.gather(BORROWED_LEAST) } else { Bytes::new() };
        let piece = Piece::new(before, Bytes::from_static(run), after);
        self.left -= piece.remaining() as u64;
        Some(piece)
    }

    /// The next runs in one piece, up to one of `borrowed_least` bytes, which is borrowed.
    fn gather(&mut self, borrowed_least: usize) -> Bytes {
        let mut piece = buffers::take(PIECE.min(self.left as usize));
        if !self.begun {
            piece.extend_from_slice(LIST_HEAD);
            self.begun = true;
        }
        while piece.len() < PIECE {
            let Some(run) = self.runs.next() else {
                piece.extend_from_slice(self.tail);
                break;
            };
            if self.listed_some {
                piece.push(b',');
            }
            self.listed_some = true;
            let json = self.snapshot.json_run(self.kind, run.start, run.end);
            if json.len() >= borrowed_least {
                self.borrowed = json;
                break;
            }
            piece.extend_from_slice(json);
        }
        buffers::freeze(piece)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use bytes::BufMut;

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
            // There are albums, but no songs.
            let expected = [LIST_HEAD, &single.join(&b","[..]), EMPTY_TAIL].concat();
            let mut payload = Payload::of(ListBody::new(snapshot, Kind::Album, selection), None);
            prop_assert_eq!(payload.size_hint().exact(), Some(expected.len() as u64));
            let mut sent = Vec::new();
            let mut context = Context::from_waker(Waker::noop());
            loop {
                match Pin::new(&mut payload).poll_frame(&mut context) {
                    // Others have their turn.
                    Poll::Pending => continue,
                    Poll::Ready(Some(Ok(frame))) => sent.put(frame.into_data().unwrap()),
                    Poll::Ready(_) => break,
                }
                prop_assert_eq!(payload.size_hint().exact(), Some((expected.len() - sent.len()) as u64));
            }
            prop_assert!(sent == expected, "{} bytes instead of {}", sent.len(), expected.len());
        }
    }

    #[test]
    fn others_have_their_turn_while_a_long_list_is_sent_or_compressed() {
        let snapshot = snapshot(&[40_000; 200]);
        let mut context = Context::from_waker(Waker::noop());
        for coding in [None, Some(Coding::Gzip), Some(Coding::Zstd)] {
            let list = ListBody::new(snapshot, Kind::Album, Selection::Range(0..200));
            let (len, turn) = (list.len() as usize, Turn::default());
            let (mut stream, mut rests, mut sent, mut sent_in_turn) = (Stream::new(list, coding), 0, 0, 0);
            loop {
                match stream.next(&mut context, Some(&turn)) {
                    Poll::Pending => (rests, sent_in_turn) = (rests + 1, 0),
                    Poll::Ready(Some(piece)) => {
                        // As the exchange does when it hands the piece over.
                        turn.add(piece.remaining());
                        sent += piece.remaining();
                        sent_in_turn += piece.remaining();
                        assert!(sent_in_turn < 3 * turn::LEN, "{sent_in_turn} bytes in one turn");
                    }
                    Poll::Ready(None) => break,
                }
            }
            let turns = if coding.is_some() { len / PIECE } else { len / (2 * turn::LEN) };
            assert!(rests >= turns - 1, "{rests} rests of {coding:?} in {len} bytes");
            assert_eq!(coding.is_none(), sent == len);
        }
    }
}
