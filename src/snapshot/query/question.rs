//! Questions to a snapshot.

use std::ops::Range;

use uuid::Uuid;

use crate::api::{Direction, Field};
use crate::model::Owner;

/// A question. Each part narrows the answer; without any the answer is everything.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Search form of the words that a name must hold; blank words match nothing.
    pub words: Option<String>,
    /// The owners that songs must have; ignored for other kinds of entities.
    pub filters: Vec<(Owner, Filter)>,
    /// Field to sort by. Ties, and everything without it, stand in default order.
    pub order: Option<(Field, Direction)>,
    /// The part of the answer to give.
    pub page: Option<Page>,
}

/// Selects albums, artists or genres.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// The one with this id.
    Id(Uuid),
    /// All whose name in lower case is this.
    LowerName(String),
}

/// `limit` entities after the first `offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// How many at most.
    pub limit: usize,
    /// How many to skip.
    pub offset: usize,
}

impl Page {
    /// The number of entities before its end.
    pub(super) fn end(self) -> usize {
        self.offset.saturating_add(self.limit)
    }

    /// The places of this page among `len`.
    pub(super) fn within(self, len: usize) -> Range<usize> {
        let from = self.offset.min(len);
        from..self.end().min(len)
    }

    /// This part of entities that are in their final order.
    pub(super) fn of(self, entities: impl Iterator<Item = u32>) -> Vec<u32> {
        entities.skip(self.offset).take(self.limit).collect()
    }
}
