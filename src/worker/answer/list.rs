//! Lists in the API's envelope, piece by piece.

use std::borrow::Cow;
use std::io::Write;
use std::ops::Range;

use bytes::{Buf, Bytes};

use super::buffers;
use super::compression::Coding;
use super::piece::Piece;
use super::warning::{Warning, tail};
use crate::snapshot::query::Runs;
use crate::snapshot::{Kind, LIST_HEAD, Owner, Selection, Snapshot, SongCounts};
use crate::worker::watch::turn;

/// Most bytes that are gathered into one piece of a body.
pub(in crate::worker) const PIECE: usize = 64 * 1024;
/// Runs of at least this length are sent from the mapping, not copied.
const BORROWED_LEAST: usize = 16 * 1024;
/// Most bytes of such a run that are handed to the kernel at once.
pub(in crate::worker) const SLICE: usize = turn::LEN;

/// A list envelope that is being sent.
pub(in crate::worker) struct ListBody {
    snapshot: &'static Snapshot<'static>,
    kind: Kind,
    tail: Cow<'static, [u8]>,
    runs: Runs<'static>,
    /// The numbers of songs of each entity still to come, if requested.
    counts: Option<Counts>,
    /// Whether it lists all of the kind, in default order, and nothing else.
    whole: bool,
    /// The rest of a long run that is sent from the mapping; empty for none.
    borrowed: &'static [u8],
    /// Whether the head has been sent, and whether any entity has.
    begun: bool,
    listed_some: bool,
    /// Bytes that are still to come.
    left: u64,
}

/// The numbers of songs, which follow the fields of each entity.
struct Counts {
    of_each: std::vec::IntoIter<SongCounts>,
    /// The rest of a run, whose entities are copied one by one.
    run: Range<u32>,
}

impl ListBody {
    pub(in crate::worker) fn new(
        snapshot: &'static Snapshot<'static>,
        kind: Kind,
        selection: Selection<'static>,
    ) -> Self {
        let entities = snapshot.json_len(kind, &selection);
        let tail = tail(snapshot.count(Kind::Song) == 0, &[]);
        let left = (LIST_HEAD.len() + tail.len()) as u64 + entities.saturating_sub(1);
        let whole = matches!(&selection, Selection::Range(range) if *range == (0..snapshot.count(kind)));
        let runs = Runs::new(selection);
        ListBody {
            snapshot,
            kind,
            tail,
            runs,
            counts: None,
            whole,
            borrowed: &[],
            begun: false,
            listed_some: false,
            left,
        }
    }

    /// Adds warnings to the end of the list.
    pub(in crate::worker) fn warning(mut self, warnings: &[Warning]) -> Self {
        if !warnings.is_empty() {
            let tail = tail(self.snapshot.count(Kind::Song) == 0, warnings);
            self.left = self.left + tail.len() as u64 - self.tail.len() as u64;
            (self.tail, self.whole) = (tail, false);
        }
        self
    }

    /// Adds the numbers of songs of each entity to the list.
    pub(in crate::worker) fn counting(mut self, counts: Vec<SongCounts>) -> Self {
        let mut text = Vec::new();
        for counts in &counts {
            text.clear();
            append_counts(&mut text, self.kind, *counts);
            self.left += text.len() as u64;
        }
        self.counts = Some(Counts { of_each: counts.into_iter(), run: 0..0 });
        self.whole = false;
        self
    }

    /// Returns the next run of neighbours; with counts, the next entity.
    fn next_run(&mut self) -> Option<Range<u32>> {
        let Some(counts) = &mut self.counts else { return self.runs.next() };
        if counts.run.is_empty() {
            counts.run = self.runs.next()?;
        }
        counts.run.next().map(|at| at..at + 1)
    }

    /// Returns the number of bytes still to come.
    pub(in crate::worker) fn len(&self) -> u64 {
        self.left
    }

    /// Returns the same list as the snapshot holds it compressed, if it does.
    pub(in crate::worker) fn stored(&self, coding: Coding) -> Option<&'static [u8]> {
        self.whole.then(|| self.snapshot.packed(self.kind, coding.packing())).flatten()
    }

    /// Returns the bytes up to the next long run, as much of that run as leaves at once and, if the
    /// run ends, the bytes that follow it. So a list without gaps leaves in one write if it is
    /// short enough.
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

    /// Gathers the next runs into one piece, up to a run of `borrowed_least` bytes, which is
    /// borrowed.
    pub(in crate::worker) fn gather(&mut self, borrowed_least: usize) -> Bytes {
        let mut piece = buffers::take(PIECE.min(usize::try_from(self.left).unwrap_or(PIECE)));
        if !self.begun {
            piece.extend_from_slice(LIST_HEAD);
            self.begun = true;
        }
        while piece.len() < PIECE {
            let Some(run) = self.next_run() else {
                piece.extend_from_slice(&self.tail);
                break;
            };
            if self.listed_some {
                piece.push(b',');
            }
            self.listed_some = true;
            let json = self.snapshot.json_run(self.kind, run.start, run.end);
            if let Some(counts) = &mut self.counts {
                let (object, end) = json.split_at(json.len() - 1);
                piece.extend_from_slice(object);
                append_counts(&mut piece, self.kind, counts.of_each.next().unwrap_or_default());
                piece.extend_from_slice(end);
                continue;
            }
            if json.len() >= borrowed_least {
                self.borrowed = json;
                break;
            }
            piece.extend_from_slice(json);
        }
        buffers::freeze(piece)
    }
}

/// Appends the fields with the numbers of songs, which follow the others. The number of albums of
/// an album is always one and left out.
pub(in crate::worker) fn append_counts(text: &mut Vec<u8>, kind: Kind, counts: SongCounts) {
    let SongCounts { songs, albums } = counts;
    // A write to a vector cannot fail.
    let _ = match kind {
        Kind::Of(Owner::Album) | Kind::Song => write!(text, ",\"songs\":{songs}"),
        Kind::Of(_) => write!(text, ",\"songs\":{songs},\"albums\":{albums}"),
    };
}
