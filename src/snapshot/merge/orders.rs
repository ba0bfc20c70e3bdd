//! Orders and ranks by a value, woven of the old ones. All but the search for the places of new entities reads the old
//! numbers one after the other.

use std::cmp::Ordering;

use zerocopy::little_endian::U32;

use super::weave::{Piece, Weave};
use crate::snapshot::query::galloping::{partition_point, reach};

/// The values of old and new entities.
pub(super) trait Values {
    /// Compares the value of an old entity with that of a new one.
    fn compare(&self, old: u32, new: u32) -> Ordering;

    /// Compares the values of two new ones.
    fn compare_new(&self, a: u32, b: u32) -> Ordering;
}

/// The old indexes in the order of their values, ties in default order.
#[derive(Debug, Clone, Copy)]
pub(super) enum OldOrder<'a> {
    /// All of them, in this order.
    By(&'a [U32]),
    /// That many in default order, which is also that of their values.
    Default(u32),
}

impl OldOrder<'_> {
    fn at(self, place: u32) -> u32 {
        match self {
            OldOrder::By(order) => order[place as usize].get(),
            OldOrder::Default(_) => place,
        }
    }

    fn count(self) -> u32 {
        match self {
            // Entities are numbered in 32 bits.
            OldOrder::By(order) => order.len() as u32,
            OldOrder::Default(count) => count,
        }
    }
}

/// The next order by a value, ties in default order.
pub(super) struct Order<'a> {
    weave: &'a Weave,
    old: OldOrder<'a>,
    /// The new entities in this order.
    added: Vec<Place>,
}

/// A new entity in an order.
#[derive(Debug, Clone, Copy)]
struct Place {
    new: u32,
    /// The place in the old order before which it stands.
    before: u32,
    value: Value,
}

/// The value of a new entity.
#[derive(Debug, Clone, Copy)]
enum Value {
    /// The old entity at this place has it as well.
    Old(u32),
    /// No old entity has it; the one at this place, if there is any, is the first with a greater value.
    New(u32),
    /// That of the new entity before.
    Repeated,
}

impl<'a> Order<'a> {
    /// Weaves the `old` order with the new entities.
    pub(super) fn new(weave: &'a Weave, old: OldOrder<'a>, values: &impl Values) -> Self {
        let mut sorted: Vec<u32> = (0..weave.added().len() as u32).collect();
        sorted.sort_by(|a, b| values.compare_new(*a, *b));
        let mut added: Vec<Place> = Vec::with_capacity(sorted.len());
        let (mut begin, mut end) = (0, 0);
        for new in sorted {
            let is_repeated =
                added.last().is_some_and(|before| values.compare_new(before.new, new) == Ordering::Equal);
            let mut value = Value::Repeated;
            // Values that occur often are sought once.
            if !is_repeated {
                let compare = |place: u32| values.compare(old.at(place), new);
                let first =
                    end + partition_point(old.count() - end, |by| compare(end + by) == Ordering::Less);
                let most = old.count() - first;
                let equal = reach(most, |by| compare(first + by - 1) == Ordering::Equal);
                value = if equal > 0 { Value::Old(first) } else { Value::New(first) };
                (begin, end) = (first, first + equal);
            }
            let is_before = |by: u32| weave.compare(old.at(begin + by), new) == Ordering::Less;
            begin += partition_point(end - begin, is_before);
            added.push(Place { new, before: begin, value });
        }
        Order { weave, old, added }
    }

    /// The next indexes in this order.
    pub(super) fn indexes(&self) -> impl Iterator<Item = u32> {
        let begins = [0].into_iter().chain(self.added.iter().map(|place| place.before));
        let ends = self.added.iter().map(|place| (place.before, Some(place.new)));
        begins.zip(ends.chain([(self.old.count(), None)])).flat_map(|(begin, (end, new))| {
            let kept = (begin..end).filter_map(|place| self.weave.next(self.old.at(place)));
            kept.chain(new.map(|new| self.weave.added()[new as usize]))
        })
    }

    /// The next ranks, of the old ones by old index.
    pub(super) fn ranks(&self, old: &'a [U32]) -> Ranks<'a> {
        let rank_at = |place: u32| old[self.old.at(place) as usize].get();
        let count = old.iter().map(|rank| rank.get()).max().map_or(0, |last| last + 1);
        let mut kept = RankSet::new(count);
        for piece in self.weave.pieces() {
            if let Piece::Kept(run) = piece {
                old[run.start as usize..run.end as usize].iter().for_each(|rank| kept.add(rank.get()));
            }
        }
        let mut before = Vec::new();
        for place in &self.added {
            match place.value {
                Value::Old(place) => kept.add(rank_at(place)),
                Value::New(place) if place < self.old.count() => before.push(rank_at(place)),
                Value::New(_) => before.push(count),
                Value::Repeated => {}
            }
        }
        let values = Weave::new(count, kept.others(), before);
        let (mut added, mut new_values, mut rank) = (vec![0; self.added.len()], values.added().iter(), 0);
        for place in &self.added {
            rank = match place.value {
                // Both have a rank: the old value is kept, and a new one was added above.
                Value::Old(place) => values.next(rank_at(place)).unwrap_or_default(),
                Value::New(_) => new_values.next().copied().unwrap_or_default(),
                Value::Repeated => rank,
            };
            added[place.new as usize] = rank;
        }
        Ranks { weave: self.weave, old, values, added }
    }
}

/// The next ranks of the values of entities.
pub(super) struct Ranks<'a> {
    weave: &'a Weave,
    old: &'a [U32],
    /// From old ranks to next ones.
    values: Weave,
    /// The ranks of the new entities.
    added: Vec<u32>,
}

impl Ranks<'_> {
    /// The ranks of all entities by their next indexes.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        self.weave.pieces().iter().flat_map(|piece| {
            let (kept, new) = match piece {
                Piece::Kept(run) => (run.start as usize..run.end as usize, None),
                Piece::New(new) => (0..0, Some(self.added[*new as usize])),
            };
            // The rank of a kept entity is kept.
            self.old[kept].iter().filter_map(|rank| self.values.next(rank.get())).chain(new)
        })
    }
}

/// A set of ranks.
struct RankSet {
    count: u32,
    bits: Vec<u64>,
}

impl RankSet {
    /// The empty set of ranks below `count`.
    fn new(count: u32) -> Self {
        RankSet { count, bits: vec![0; count.div_ceil(64) as usize] }
    }

    fn add(&mut self, rank: u32) {
        self.bits[rank as usize / 64] |= 1 << (rank % 64);
    }

    /// The ranks that are not in it, ascending.
    fn others(&self) -> Vec<u32> {
        let holes = self.bits.iter().zip((0..).step_by(64)).filter(|(bits, _)| **bits != u64::MAX);
        let of = |(bits, begin): (&u64, u32)| {
            let bits = *bits;
            (0..64).filter(move |bit| bits >> bit & 1 == 0).map(move |bit| begin + bit)
        };
        holes.flat_map(of).filter(|rank| *rank < self.count).collect()
    }
}
