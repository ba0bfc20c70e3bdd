//! Answers: places in the tables, in order. Nothing here formats JSON.

use std::ops::Range;

use super::sorted::{Sorted, SortedWalk};
use crate::snapshot::open::{Bits, Cursor};

/// An answer: indexes into the table of its kind.
#[derive(Debug, Clone)]
pub enum Selection<'a> {
    /// Neighbours in default order.
    Range(Range<u32>),
    /// These entities, in this order.
    List(Vec<u32>),
    /// A part of all entities, sorted by a field.
    Sorted(Sorted<'a>),
    /// A part of a set, in default order.
    Members(Members<'a>),
    /// A whole set, sorted by a field.
    Chosen(Chosen<'a>),
}

/// The members of a set from one place to another, counted from 0 in default order.
#[derive(Debug, Clone)]
pub struct Members<'a> {
    pub(super) bits: Bits<'a>,
    pub(super) places: Range<usize>,
}

impl<'a> Members<'a> {
    /// All members of a set.
    pub(super) fn all(bits: Bits<'a>) -> Self {
        Members { places: 0..bits.len(), bits }
    }
}

/// The sorted entities that belong to a set.
#[derive(Debug, Clone)]
pub struct Chosen<'a> {
    pub(super) sorted: Sorted<'a>,
    pub(super) bits: Bits<'a>,
}

impl Selection<'_> {
    /// Nothing.
    pub const EMPTY: Self = Selection::Range(0..0);

    /// The number of entities in it.
    pub fn len(&self) -> usize {
        match self {
            Selection::Range(range) => range.len(),
            Selection::List(list) => list.len(),
            Selection::Sorted(sorted) => sorted.places.len(),
            Selection::Members(members) => members.places.len(),
            Selection::Chosen(chosen) => chosen.bits.len(),
        }
    }

    /// Drops all but the first `len` entities, except for a whole set in another order than the default.
    pub fn truncate(&mut self, len: usize) {
        if len >= self.len() {
            return;
        }
        match self {
            // Both fit into 32 bits, as `len` is below their number.
            Selection::Range(range) => range.end = range.start + len as u32,
            Selection::Sorted(sorted) => sorted.places.end = sorted.places.start + len as u32,
            Selection::List(list) => list.truncate(len),
            Selection::Members(members) => members.places.end = members.places.start + len,
            Selection::Chosen(_) => {}
        }
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Walks through a [`Selection`], as runs of neighbours in default order.
#[derive(Debug)]
pub struct Runs<'a> {
    /// Entities that are still to come.
    left: usize,
    /// An entity that did not belong to the previous run.
    waiting: Option<u32>,
    walk: Walk<'a>,
}

/// The source of the next entity, or of the next run.
#[derive(Debug)]
enum Walk<'a> {
    Range(Range<u32>),
    List(std::vec::IntoIter<u32>),
    Sorted(SortedWalk<'a>),
    Members(Bits<'a>, Cursor),
    Chosen(SortedWalk<'a>, Bits<'a>),
}

impl<'a> Runs<'a> {
    /// Begins at the first entity.
    pub fn new(selection: Selection<'a>) -> Self {
        let left = selection.len();
        let walk = match selection {
            Selection::Range(range) => Walk::Range(range),
            Selection::List(list) => Walk::List(list.into_iter()),
            Selection::Sorted(sorted) => Walk::Sorted(SortedWalk::new(sorted)),
            Selection::Members(Members { bits, places }) => {
                let cursor = bits.cursor(places.start);
                Walk::Members(bits, cursor)
            }
            Selection::Chosen(Chosen { sorted, bits }) => Walk::Chosen(SortedWalk::new(sorted), bits),
        };
        Runs { left, waiting: None, walk }
    }

    /// The next entity, where entities come one by one.
    fn next_single(&mut self) -> Option<u32> {
        match &mut self.walk {
            Walk::List(list) => list.next(),
            Walk::Sorted(walk) => walk.next(),
            Walk::Chosen(walk, bits) => walk.find(|at| bits.holds(*at)),
            Walk::Range(_) | Walk::Members(..) => None,
        }
    }

    fn next_run(&mut self) -> Option<Range<u32>> {
        match &mut self.walk {
            Walk::Range(range) => Some(range.clone()),
            Walk::Members(bits, cursor) => bits.next_run(cursor, self.left),
            Walk::List(_) | Walk::Sorted(_) | Walk::Chosen(..) => {
                let first = self.waiting.take().or_else(|| self.next_single())?;
                let mut run = first..first + 1;
                while run.len() < self.left {
                    match self.next_single()? {
                        next if next == run.end => run.end += 1,
                        next => {
                            self.waiting = Some(next);
                            break;
                        }
                    }
                }
                Some(run)
            }
        }
    }
}

impl Iterator for Runs<'_> {
    type Item = Range<u32>;

    fn next(&mut self) -> Option<Range<u32>> {
        if self.left == 0 {
            return None;
        }
        let run = self.next_run()?;
        self.left -= run.len();
        Some(run)
    }
}
