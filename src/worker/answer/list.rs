//! Lists in the API's envelope, piece by piece.

use bytes::{Buf, Bytes};

use super::buffers;
use super::compression::Coding;
use super::piece::Piece;
use crate::snapshot::query::Runs;
use crate::snapshot::{Kind, LIST_HEAD, LIST_TAIL, Selection, Snapshot};
use crate::worker::watch::turn;

/// The end of a list while nothing has been scanned yet: it tells an empty collection from a question without
/// matches.
pub(in crate::worker) const EMPTY_TAIL: &[u8] =
    b"],\"warnings\":[{\"code\":200,\"message\":\"The collection is empty; \
    nothing has been scanned yet\",\"message_key\":\"avalon.service.warning.empty_collection\",\
    \"payload\":{}}]}";

/// Bytes that are gathered into one piece of a body.
pub(in crate::worker) const PIECE: usize = 64 * 1024;
/// Runs of at least this length are sent from the mapping, not copied.
const BORROWED_LEAST: usize = 16 * 1024;
/// Bytes of such a run that are handed to the kernel at once.
pub(in crate::worker) const SLICE: usize = turn::LEN;

/// A list envelope on its way out.
pub(in crate::worker) struct ListBody {
    snapshot: &'static Snapshot<'static>,
    kind: Kind,
    tail: &'static [u8],
    runs: Runs<'static>,
    /// Whether it lists all of the kind, in default order.
    whole: bool,
    /// The rest of a long run that is sent from the mapping; empty for none.
    borrowed: &'static [u8],
    /// Whether the head has been given out, and whether any entity has.
    begun: bool,
    listed_some: bool,
    /// Bytes that are still to come.
    left: u64,
}

impl ListBody {
    pub(in crate::worker) fn new(
        snapshot: &'static Snapshot<'static>,
        kind: Kind,
        selection: Selection<'static>,
    ) -> Self {
        let entities = snapshot.json_len(kind, &selection);
        let tail = if snapshot.count(Kind::Song) == 0 { EMPTY_TAIL } else { LIST_TAIL };
        let left = (LIST_HEAD.len() + tail.len()) as u64 + entities.saturating_sub(1);
        let whole = matches!(&selection, Selection::Range(range) if *range == (0..snapshot.count(kind)));
        let runs = Runs::new(selection);
        ListBody { snapshot, kind, tail, runs, whole, borrowed: &[], begun: false, listed_some: false, left }
    }

    /// Bytes that are still to come.
    pub(in crate::worker) fn len(&self) -> u64 {
        self.left
    }

    /// The same list as the snapshot holds it compressed, if it does.
    pub(in crate::worker) fn stored(&self, coding: Coding) -> Option<&'static [u8]> {
        self.whole.then(|| self.snapshot.packed(self.kind, coding.packing())).flatten()
    }

    /// The bytes gathered up to the next long run, as much of that run as leaves at once and, where the run
    /// ends, the bytes that follow it: a list without gaps leaves in one write if it is short enough.
    pub(in crate::worker) fn next_piece(&mut self) -> Option<Piece> {
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
    pub(in crate::worker) fn gather(&mut self, borrowed_least: usize) -> Bytes {
        let mut piece = buffers::take(PIECE.min(usize::try_from(self.left).unwrap_or(PIECE)));
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
