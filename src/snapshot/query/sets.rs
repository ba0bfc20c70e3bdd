//! Sets of indexes that a query makes: short ones are lists, and long ones bitmaps.

use super::selection::{Members, Selection};
use crate::snapshot::format::Suffix;
use crate::snapshot::open::Bits;

/// A set of more than this part of all indexes is a bitmap: sorting a list of 2,000 takes longer than
/// clearing a bitmap of 1,000,000.
const SPARSE: usize = 512;

/// A set of indexes that a query is making.
pub(super) enum IndexSet<'a> {
    Sparse(Vec<u32>),
    Dense(Vec<u64>),
    /// A set from the snapshot.
    Ready(Bits<'a>),
}

impl<'a> IndexSet<'a> {
    /// An empty set for indexes below `count`, of which at most `expected` will be added.
    pub(super) fn new(count: u32, expected: usize) -> Self {
        if expected > count as usize / SPARSE {
            return IndexSet::Dense(vec![0; (count as usize).div_ceil(64)]);
        }
        IndexSet::Sparse(Vec::with_capacity(expected))
    }

    /// The set of the entities of these suffixes, out of `count`.
    pub(super) fn of(found: &[Suffix], count: u32) -> Self {
        let mut set = IndexSet::new(count, found.len());
        found.iter().for_each(|suffix| set.add(suffix.entity.get()));
        set
    }

    /// Adds an index to a set that is not [`IndexSet::Ready`].
    pub(super) fn add(&mut self, at: u32) {
        match self {
            IndexSet::Sparse(list) => list.push(at),
            IndexSet::Dense(words) => words[at as usize / 64] |= 1 << (at % 64),
            IndexSet::Ready(_) => {}
        }
    }

    /// The members in ascending order.
    pub(super) fn into_selection(self) -> Selection<'a> {
        let bits = match self {
            IndexSet::Sparse(list) => return Selection::List(ascending(list)),
            IndexSet::Dense(words) => Bits::made(words),
            IndexSet::Ready(bits) => bits,
        };
        Selection::Members(Members::all(bits))
    }

    /// The finished set.
    pub(super) fn lookup(self) -> Lookup<'a> {
        match self {
            IndexSet::Sparse(list) => Lookup::Sparse(ascending(list)),
            IndexSet::Dense(words) => Lookup::Dense(Bits::made(words)),
            IndexSet::Ready(bits) => Lookup::Dense(bits),
        }
    }
}

/// The members of `list` in ascending order, each once.
fn ascending(mut list: Vec<u32>) -> Vec<u32> {
    list.sort_unstable();
    list.dedup();
    list
}

/// A finished set of indexes.
pub(super) enum Lookup<'a> {
    Sparse(Vec<u32>),
    Dense(Bits<'a>),
}

impl Lookup<'_> {
    #[inline]
    pub(super) fn holds(&self, at: u32) -> bool {
        match self {
            Lookup::Sparse(list) => list.binary_search(&at).is_ok(),
            Lookup::Dense(bits) => bits.holds(at),
        }
    }
}
