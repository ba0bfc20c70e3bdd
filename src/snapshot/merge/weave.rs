//! The next default order: the old one without the entities that are gone, and with the new ones.

use std::cmp::Ordering;
use std::io::{Seek, Write};
use std::ops::Range;

use uuid::Uuid;
use zerocopy::IntoBytes;
use zerocopy::little_endian::U64;

use crate::model::Kind;
use crate::snapshot::build::BuildError;
use crate::snapshot::build::sections::Sections;
use crate::snapshot::format::Column;
use crate::snapshot::open::Texts;

/// Stands for the index of an entity that is gone; no entity has it.
const GONE: u32 = u32::MAX;

/// The neighbours of which most have the same distance to their next indexes: the distances of a large collection fit
/// into a cache of the processor then, and its orders ask for them at random.
const BLOCK: u32 = 256;

/// The next default order of a kind.
#[derive(Debug)]
pub(super) struct Weave {
    /// The next indexes of each block of old ones.
    blocks: Vec<Block>,
    /// The next indexes of the edited blocks, or [`GONE`].
    edited: Vec<u32>,
    /// Old indexes of those that are gone, ascending.
    gone: Vec<u32>,
    /// For each entity that is gone the number of kept ones before it.
    kept_before: Vec<u32>,
    /// For each new entity the old index that it stands before, ascending.
    before: Vec<u32>,
    /// Next indexes of the new entities, ascending.
    added: Vec<u32>,
    pieces: Vec<Piece>,
    count: u32,
}

/// The next indexes of neighbours.
#[derive(Debug, Clone, Copy)]
enum Block {
    /// They stay neighbours; the next index of the first.
    Plain(u32),
    /// The place of their next indexes among those of edited blocks.
    Edited(usize),
}

/// A part of the next default order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// Neighbours that were neighbours before, by their old indexes.
    Kept(Range<u32>),
    /// A new entity.
    New(u32),
}

/// An entity of the next snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Member {
    /// It was there before, with this old index.
    Kept(u32),
    /// It is this new one.
    New(u32),
}

impl Weave {
    /// Of `count` old entities those at `gone` (ascending) go, and the new ones stand `before` these old indexes
    /// (ascending).
    pub(super) fn new(count: u32, gone: Vec<u32>, before: Vec<u32>) -> Self {
        let (blocks, edited) = blocks(count, &gone, &before);
        let mut weave = Weave {
            blocks,
            edited,
            kept_before: gone.iter().zip(0..).map(|(at, rank)| at - rank).collect(),
            gone,
            added: Vec::with_capacity(before.len()),
            before,
            pieces: Vec::new(),
            count: 0,
        };
        let (mut gone_left, mut at) = (0, 0);
        for new in 0..=weave.before.len() {
            let until = weave.before.get(new).copied().unwrap_or(count);
            while at < until {
                let end = weave.gone.get(gone_left).copied().unwrap_or(count).min(until);
                weave.keep(at..end);
                at = end;
                if weave.gone.get(gone_left) == Some(&at) && at < until {
                    gone_left += 1;
                    at += 1;
                }
            }
            if new < weave.before.len() {
                weave.added.push(weave.count);
                weave.pieces.push(Piece::New(new as u32));
                weave.count += 1;
            }
        }
        weave
    }

    fn keep(&mut self, run: Range<u32>) {
        if run.is_empty() {
            return;
        }
        for block in run.start / BLOCK..=(run.end - 1) / BLOCK {
            let begin = run.start.max(block * BLOCK);
            let next = self.count + (begin - run.start);
            match &mut self.blocks[block as usize] {
                // It lies in the run, as nothing cuts it.
                Block::Plain(first) => *first = next,
                Block::Edited(place) => {
                    let end = run.end - block * BLOCK;
                    let edited = &mut self.edited[*place..][..end.min(BLOCK) as usize];
                    edited[(begin % BLOCK) as usize..]
                        .iter_mut()
                        .zip(next..)
                        .for_each(|(at, next)| *at = next);
                }
            }
        }
        self.count += run.len() as u32;
        self.pieces.push(Piece::Kept(run));
    }

    /// How many entities the next snapshot has.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Whether nothing changes.
    pub(super) fn is_plain(&self) -> bool {
        self.gone.is_empty() && self.before.is_empty()
    }

    /// How many are gone, and how many are new.
    pub(super) fn edits(&self) -> (usize, usize) {
        (self.gone.len(), self.added.len())
    }

    /// The parts of the next default order.
    pub(super) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The next index of each new entity.
    pub(super) fn added(&self) -> &[u32] {
        &self.added
    }

    /// The next index of an old entity; `None` if it is gone.
    #[inline]
    pub(super) fn next(&self, old: u32) -> Option<u32> {
        let within = old % BLOCK;
        match self.blocks[(old / BLOCK) as usize] {
            Block::Plain(first) => Some(first + within),
            Block::Edited(place) => Some(self.edited[place + within as usize]).filter(|next| *next != GONE),
        }
    }

    /// The entity at an index of the next snapshot.
    pub(super) fn member(&self, next: u32) -> Member {
        let new = self.added.partition_point(|&at| at < next);
        if self.added.get(new) == Some(&next) {
            return Member::New(new as u32);
        }
        let kept = next - new as u32;
        let gone = self.kept_before.partition_point(|&before| before <= kept);
        Member::Kept(kept + gone as u32)
    }

    /// Whether an old entity, which may be gone, stands before or behind a new one.
    pub(super) fn compare(&self, old: u32, new: u32) -> Ordering {
        if old < self.before[new as usize] { Ordering::Less } else { Ordering::Greater }
    }

    /// The same for a new one by its next index, and `Equal` if that is the index of the old one.
    pub(super) fn compare_place(&self, old: u32, next: u32) -> Ordering {
        match (self.next(old), self.member(next)) {
            (Some(at), _) => at.cmp(&next),
            (None, Member::Kept(other)) => old.cmp(&other),
            (None, Member::New(new)) => self.compare(old, new),
        }
    }

    /// Writes the ids: of kept entities the `old` ones, of new ones those that `new` gives.
    pub(super) fn write_ids<W: Write + Seek>(
        &self,
        kind: Kind,
        old: &[[u8; 16]],
        new: impl Fn(u32) -> Uuid,
        out: &mut Sections<W>,
    ) -> Result<(), BuildError> {
        out.begin(kind, Column::Ids)?;
        for piece in &self.pieces {
            match piece {
                Piece::Kept(run) => out.append(old[run.start as usize..run.end as usize].as_bytes())?,
                Piece::New(at) => out.append(new(*at).as_bytes())?,
            }
        }
        out.end();
        Ok(())
    }

    /// Writes texts: of kept entities the old ones, of new ones those that `new` appends.
    pub(super) fn write_texts<W: Write + Seek>(
        &self,
        kind: Kind,
        (texts, offsets): (Column, Column),
        old: &Texts<'_>,
        new: impl Fn(u32, &mut Vec<u8>),
        out: &mut Sections<W>,
    ) -> Result<(), BuildError> {
        let (mut text, mut lens) = (Vec::new(), Vec::with_capacity(self.added.len()));
        out.begin(kind, texts)?;
        for piece in &self.pieces {
            match piece {
                Piece::Kept(run) => out.append(old.span(run.start, run.end))?,
                Piece::New(at) => {
                    text.clear();
                    new(*at, &mut text);
                    out.append(&text)?;
                    lens.push(text.len() as u64);
                }
            }
        }
        out.end();
        out.begin(kind, offsets)?;
        let mut begin = 0;
        for piece in &self.pieces {
            match piece {
                Piece::Kept(run) => {
                    let first = old.offset(run.start);
                    for at in run.clone() {
                        out.append(U64::new(old.offset(at) - first + begin).as_bytes())?;
                    }
                    begin += old.offset(run.end) - first;
                }
                Piece::New(at) => {
                    out.append(U64::new(begin).as_bytes())?;
                    begin += lens[*at as usize];
                }
            }
        }
        out.append(U64::new(begin).as_bytes())?;
        out.end();
        Ok(())
    }
}

/// The blocks of `count` old indexes, each of which is plain unless an entity in it goes or a new one comes between two
/// of it, and room for the next indexes of the edited ones.
fn blocks(count: u32, gone: &[u32], before: &[u32]) -> (Vec<Block>, Vec<u32>) {
    let mut blocks = vec![Block::Plain(0); count.div_ceil(BLOCK) as usize];
    let mut edited = 0;
    let cuts = before.iter().filter(|at| **at < count && **at % BLOCK != 0);
    for at in gone.iter().chain(cuts) {
        let block = &mut blocks[(at / BLOCK) as usize];
        if let Block::Plain(_) = block {
            *block = Block::Edited(edited);
            edited += BLOCK as usize;
        }
    }
    (blocks, vec![GONE; edited])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn blocks_keep_the_next_indexes(
            count in 0..2000_u32, gone in prop::collection::btree_set(0..2000_u32, 0..6),
            before in prop::collection::vec(prop_oneof![0..=2000_u32, (0..8_u32).prop_map(|block| block * BLOCK)], 0..6),
        ) {
            let gone: Vec<u32> = gone.into_iter().filter(|at| *at < count).collect();
            let mut before: Vec<u32> = before.into_iter().filter(|at| *at <= count).collect();
            before.sort_unstable();
            let weave = Weave::new(count, gone.clone(), before.clone());
            for at in 0..count {
                let less = |of: &[u32], most: u32| of.iter().filter(|other| **other < most).count() as u32;
                let expected = (!gone.contains(&at)).then(|| at - less(&gone, at) + less(&before, at + 1));
                prop_assert_eq!(weave.next(at), expected, "{}", at);
            }
        }

        #[test]
        fn weave_keeps_the_order(
            count in 0..40_u32, gone in prop::collection::btree_set(0..40_u32, 0..20),
            before in prop::collection::vec(0..=40_u32, 0..12),
        ) {
            let gone: Vec<u32> = gone.into_iter().filter(|at| *at < count).collect();
            let mut before: Vec<u32> = before.into_iter().filter(|at| *at <= count).collect();
            before.sort_unstable();
            let weave = Weave::new(count, gone.clone(), before.clone());
            let mut expected = Vec::new();
            for at in 0..=count {
                expected.extend((0..before.len()).filter(|new| before[*new] == at).map(|new| Member::New(new as u32)));
                if at < count && !gone.contains(&at) {
                    expected.push(Member::Kept(at));
                }
            }
            let members = weave.pieces().iter().flat_map(|piece| match piece {
                Piece::Kept(run) => run.clone().map(Member::Kept).collect(),
                Piece::New(new) => vec![Member::New(*new)],
            });
            prop_assert_eq!(members.collect::<Vec<_>>(), expected.clone());
            prop_assert_eq!(weave.count() as usize, expected.len());
            for (next, member) in (0..).zip(expected) {
                prop_assert_eq!(weave.member(next), member);
                match member {
                    Member::Kept(old) => prop_assert_eq!(weave.next(old), Some(next)),
                    Member::New(new) => prop_assert_eq!(weave.added()[new as usize], next),
                }
                for old in 0..count {
                    let by_place = weave.compare_place(old, next);
                    match member {
                        Member::Kept(at) => prop_assert_eq!(by_place, old.cmp(&at)),
                        Member::New(new) => prop_assert_eq!(by_place == Ordering::Less, old < before[new as usize]),
                    }
                }
            }
            prop_assert!(gone.iter().all(|at| weave.next(*at).is_none()));
        }
    }
}
