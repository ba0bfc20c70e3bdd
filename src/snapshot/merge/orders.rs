//! Orders and ranks by a value, woven of the old ones.

use std::cmp::Ordering;

use zerocopy::little_endian::U32;

use super::weave::{Member, Weave};
use crate::snapshot::query::galloping::leading;

/// The values of old and new entities.
pub(super) trait Values {
    /// Compares the value of an old entity with that of a new one.
    fn compare(&self, old: u32, new: u32) -> Ordering;

    /// Compares the values of two new ones.
    fn compare_new(&self, a: u32, b: u32) -> Ordering;
}

/// The next order by a value, ties in default order, and the ranks.
pub(super) struct Order {
    /// Next indexes in this order.
    pub(super) order: Vec<u32>,
    /// The dense ranks of the values, by next index.
    pub(super) rank: Vec<u32>,
}

impl Order {
    /// Weaves the order of the `old` indexes and their ranks with the new entities.
    pub(super) fn new(weave: &Weave, old: &[U32], old_rank: &[U32], values: &impl Values) -> Self {
        let mut order = Vec::with_capacity(weave.count() as usize);
        let mut rank = vec![0; weave.count() as usize];
        let mut ranks = Ranks::new(old_rank, values);
        each(weave, old, values, |member, next| {
            order.push(next);
            rank[next as usize] = ranks.of(member);
        });
        Order { order, rank }
    }
}

/// The next order alone.
pub(super) fn order(weave: &Weave, old: &[U32], values: &impl Values) -> Vec<u32> {
    let mut order = Vec::with_capacity(weave.count() as usize);
    each(weave, old, values, |_, next| order.push(next));
    order
}

/// Visits all entities in the next order by a value, with their next indexes.
fn each(weave: &Weave, old: &[U32], values: &impl Values, mut visit: impl FnMut(Member, u32)) {
    let mut sorted: Vec<u32> = (0..weave.added().len() as u32).collect();
    sorted.sort_by(|a, b| values.compare_new(*a, *b));
    let places = places(weave, old, &sorted, values);
    let mut from = 0;
    for at in 0..=sorted.len() {
        let until = places.get(at).copied().unwrap_or(old.len());
        for old in &old[from..until] {
            if let Some(next) = weave.next(old.get()) {
                visit(Member::Kept(old.get()), next);
            }
        }
        from = until;
        if let Some(&new) = sorted.get(at) {
            visit(Member::New(new), weave.added()[new as usize]);
        }
    }
}

/// The place in the `old` order before which each new entity stands; they are `sorted` by value.
fn places(weave: &Weave, old: &[U32], sorted: &[u32], values: &impl Values) -> Vec<usize> {
    let mut places = Vec::with_capacity(sorted.len());
    let (mut begin, mut end) = (0, 0);
    let mut before: Option<u32> = None;
    for &new in sorted {
        // Values that occur often are sought once.
        if before.is_none_or(|before| values.compare_new(before, new) != Ordering::Equal) {
            begin = end + old[end..].partition_point(|at| values.compare(at.get(), new) == Ordering::Less);
            let is_there = old.get(begin).is_some_and(|at| values.compare(at.get(), new) == Ordering::Equal);
            let is_equal = |at: &U32| values.compare(at.get(), new) == Ordering::Equal;
            end = begin + if is_there { leading(&old[begin..], is_equal) } else { 0 };
        }
        before = Some(new);
        begin += old[begin..end].partition_point(|at| weave.compare(at.get(), new) == Ordering::Less);
        places.push(begin);
    }
    places
}

/// Ranks of entities that come in the order of their values.
pub(super) struct Ranks<'a, V> {
    old: &'a [U32],
    values: &'a V,
    last: Option<Member>,
    /// The old rank of the value that has come last, if a kept entity has shown it.
    last_old: Option<u32>,
    rank: u32,
}

impl<'a, V: Values> Ranks<'a, V> {
    /// With the `old` ranks.
    pub(super) fn new(old: &'a [U32], values: &'a V) -> Self {
        Ranks { old, values, last: None, last_old: None, rank: 0 }
    }

    /// The rank of the next entity.
    pub(super) fn of(&mut self, member: Member) -> u32 {
        let is_same = match (self.last, member) {
            (None, _) => true,
            (Some(Member::Kept(_)), Member::Kept(at)) => self.last_old == Some(self.old[at as usize].get()),
            (Some(Member::Kept(old)), Member::New(new)) => self.values.compare(old, new) == Ordering::Equal,
            (Some(Member::New(a)), Member::New(b)) => self.values.compare_new(a, b) == Ordering::Equal,
            (Some(Member::New(new)), Member::Kept(old)) => match self.last_old {
                Some(rank) => rank == self.old[old as usize].get(),
                None => self.values.compare(old, new) == Ordering::Equal,
            },
        };
        self.rank += u32::from(!is_same);
        self.last_old = match member {
            Member::Kept(at) => Some(self.old[at as usize].get()),
            Member::New(_) => self.last_old.filter(|_| is_same),
        };
        self.last = Some(member);
        self.rank
    }
}
