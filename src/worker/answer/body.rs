//! Bodies: one piece, slices of the snapshot, or compressed ones.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame, SizeHint};

use super::compression::{self, Coding, Packed};
use super::list::{ListBody, PIECE, SLICE};
use super::piece::Piece;
use crate::worker::watch::exchange::Exchange;
use crate::worker::watch::turn::{self, Turn};

/// Bytes that the worker copies in the time in which it compresses one byte, or collects one byte from
/// scattered entities and copies it.
const COMPRESSING: usize = turn::LEN / PIECE;
const GATHERING: usize = 8;

/// A body: one piece, or a list that is gathered while it is sent.
pub(in crate::worker) struct Payload {
    kind: PayloadKind,
    exchange: Option<Exchange>,
}

enum PayloadKind {
    Whole(Bytes),
    Stream(Box<Stream>),
}

impl Payload {
    pub(in crate::worker) fn whole(bytes: Bytes) -> Self {
        Payload { kind: PayloadKind::Whole(bytes), exchange: None }
    }

    /// Creates the body of a list. It gathers a short list at once, so that head and body leave in
    /// one write.
    pub(in crate::worker) fn of(mut list: ListBody, coding: Option<Coding>) -> Self {
        let short = list.len() <= PIECE as u64;
        let stored = coding.and_then(|coding| list.stored(coding));
        let kind = match (coding, stored) {
            (_, Some(bytes)) if short => PayloadKind::Whole(Bytes::from_static(bytes)),
            (_, Some(bytes)) => PayloadKind::stream(Source::Stored(bytes)),
            (None, _) if short => PayloadKind::Whole(list.gather(usize::MAX)),
            (None, _) => PayloadKind::stream(Source::Plain(list)),
            (Some(coding), _) if short => {
                PayloadKind::Whole(compression::whole(coding, &list.gather(usize::MAX)))
            }
            (Some(coding), _) => {
                let (packed, taken) = (Box::new(Packed::new(coding)), Piece::default());
                PayloadKind::stream(Source::Compressed { list, packed, taken })
            }
        };
        Payload { kind, exchange: None }
    }

    /// Ends the exchange once this body has been handed over.
    pub(in crate::worker) fn ending(mut self, exchange: Exchange) -> Self {
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

impl PayloadKind {
    fn stream(source: Source) -> Self {
        PayloadKind::Stream(Box::new(Stream { source, rest: None }))
    }
}

/// A long list, sent piece by piece.
struct Stream {
    source: Source,
    /// Set while it waits for the turns of the worker's other connections: hyper asks for one piece after the
    /// other as long as the client reads fast enough.
    rest: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

/// The source of the bytes.
enum Source {
    Plain(ListBody),
    Compressed {
        list: ListBody,
        packed: Box<Packed>,
        /// A piece of the list that is not compressed yet.
        taken: Piece,
    },
    /// The rest of a list that the snapshot holds compressed.
    Stored(&'static [u8]),
}

impl Stream {
    fn next(&mut self, context: &mut Context<'_>, turn: Option<&Turn>) -> Poll<Option<Piece>> {
        loop {
            if self.rest.is_none() && turn.is_some_and(Turn::end) {
                self.rest = Some(Box::pin(tokio::task::yield_now()));
            }
            if let Some(rest) = &mut self.rest {
                ready!(rest.as_mut().poll(context));
                self.rest = None;
            }
            let piece = self.source.next(turn);
            // The encoder may have kept all of it.
            if piece.as_ref().is_none_or(Piece::has_remaining) {
                return Poll::Ready(piece);
            }
        }
    }

    /// Returns the number of bytes still to come, if known.
    fn len(&self) -> Option<u64> {
        match &self.source {
            Source::Plain(list) => Some(list.len()),
            // The head of an answer does not show which source follows.
            Source::Compressed { .. } | Source::Stored(_) => None,
        }
    }
}

impl Source {
    /// Returns the next piece. An empty piece does not mean the end.
    fn next(&mut self, turn: Option<&Turn>) -> Option<Piece> {
        match self {
            Source::Plain(list) => {
                let piece = list.next_piece()?;
                turn.iter().for_each(|turn| turn.add(piece.around() * (GATHERING - 1)));
                Some(piece)
            }
            Source::Stored(rest) => {
                let (bytes, behind) = rest.split_at(rest.len().min(SLICE));
                *rest = behind;
                Some(Piece::from(Bytes::from_static(bytes))).filter(Piece::has_remaining)
            }
            Source::Compressed { list, packed, taken } => {
                if !taken.has_remaining() {
                    *taken = list.next_piece().unwrap_or_default();
                }
                let chunk = taken.chunk();
                let chunk = &chunk[..chunk.len().min(PIECE)];
                let len = chunk.len();
                let bytes = if len == 0 { packed.finish() } else { packed.push(chunk) };
                taken.advance(len);
                turn.iter().for_each(|turn| turn.add(len * COMPRESSING));
                bytes.map(Piece::from)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use bytes::BufMut;

    use proptest::prelude::*;
    use uuid::Uuid;

    use super::super::warning::EMPTY_TAIL;
    use super::*;
    use crate::model::{Collection, Named, Song};
    use crate::rows::Rows;
    use crate::snapshot::query::Runs;
    use crate::snapshot::{self, LIST_HEAD, Owner, Selection, Snapshot, Verify};

    /// Albums with short names, long enough to be borrowed in runs, or only by themselves.
    fn snapshot(lengths: &[usize]) -> &'static Snapshot<'static> {
        let named = |(at, len): (usize, &usize)| Named {
            id: Uuid::from_u128(at as u128),
            name: format!("{at:05}{}", "x".repeat(*len)),
        };
        let albums = lengths.iter().enumerate().map(named).collect();
        opened(&Collection { albums, ..Collection::default() })
    }

    fn opened(collection: &Collection) -> &'static Snapshot<'static> {
        let mut bytes = std::io::Cursor::new(Vec::new());
        snapshot::build(&Rows::of(collection).unwrap(), &mut bytes).unwrap();
        let bytes: &'static [u8] = bytes.into_inner().leak();
        Box::leak(Box::new(Snapshot::open(bytes, Verify::Full).unwrap()))
    }

    fn sent(mut payload: Payload) -> Vec<u8> {
        let mut sent = Vec::new();
        let mut context = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut payload).poll_frame(&mut context) {
            sent.put(frame.into_data().unwrap());
        }
        sent
    }

    proptest! {
        #![proptest_config(crate::chance::cases(64))]

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
                .flat_map(|run| run.map(|at| snapshot.json_run(Owner::Album.into(), at, at + 1)))
                .collect();
            // There are albums, but no songs.
            let expected = [LIST_HEAD, &single.join(&b","[..]), EMPTY_TAIL].concat();
            let mut payload = Payload::of(ListBody::new(snapshot, Owner::Album.into(), selection), None);
            prop_assert_eq!(payload.size_hint().exact(), Some(expected.len() as u64));
            let mut sent = Vec::new();
            let mut context = Context::from_waker(Waker::noop());
            loop {
                match Pin::new(&mut payload).poll_frame(&mut context) {
                    // The other connections have their turn.
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
            let list = ListBody::new(snapshot, Owner::Album.into(), Selection::Range(0..200));
            let (len, turn) = (list.len() as usize, Turn::default());
            let PayloadKind::Stream(mut stream) = Payload::of(list, coding).kind else { panic!("no stream") };
            let (mut rests, mut sent, mut sent_in_turn) = (0, 0, 0);
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

    #[test]
    fn whole_lists_that_are_kept_compressed_are_the_plain_ones() {
        let named = |at: u128| Named { id: Uuid::from_u128(at), name: format!("{at} \"{at}\"") };
        let song = Song {
            id: Uuid::nil(),
            name: None,
            length: None,
            track: None,
            year: None,
            album: 0,
            artist: 0,
            genre: 0,
        };
        let some = |count| (0..count).map(named).collect();
        let collection =
            Collection { albums: some(90_000), artists: some(400), genres: some(20), songs: vec![song] };
        let snapshot = opened(&collection);
        for (kind, kept) in
            [(Owner::Album.into(), true), (Owner::Artist.into(), true), (Owner::Genre.into(), false)]
        {
            let list = |from| ListBody::new(snapshot, kind, Selection::Range(from..snapshot.count(kind)));
            let plain = sent(Payload::of(list(0), None));
            for coding in [Coding::Gzip, Coding::Zstd] {
                assert_eq!(list(0).stored(coding).is_some(), kept, "{kind:?}");
                assert!(list(1).stored(coding).is_none(), "{kind:?}");
                let packed = sent(Payload::of(list(0), Some(coding)));
                assert!(compression::unpacked(coding, &packed) == plain, "{kind:?} in {coding:?}");
                assert!(!kept || list(0).stored(coding) == Some(&packed));
            }
        }
        let without_songs = opened(&Collection { songs: Vec::new(), ..collection });
        let list = ListBody::new(without_songs, Owner::Album.into(), Selection::Range(0..90_000));
        assert!(list.stored(Coding::Gzip).is_none(), "its warning would be missing");
    }
}
