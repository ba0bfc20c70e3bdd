//! The snapshots that a worker answers from, one after the other.

use std::sync::{PoisonError, RwLock};

use crate::snapshot::Snapshot;

/// The snapshots that answers are made from: that of the worker's generation and, while the worker drains, the
/// last one that the master has handed over. A client that has waited for a reload finds the new rows on an old
/// connection as well.
pub(in crate::worker) struct Snapshots {
    own: &'static Snapshot<'static>,
    newer: RwLock<Option<&'static Snapshot<'static>>>,
}

impl Snapshots {
    pub(in crate::worker) fn of(own: &'static Snapshot<'static>) -> Self {
        Snapshots { own, newer: RwLock::new(None) }
    }

    /// Another generation serves from this one now.
    pub(in crate::worker) fn succeed(&self, newer: &'static Snapshot<'static>) {
        *self.newer.write().unwrap_or_else(PoisonError::into_inner) = Some(newer);
    }

    /// The one of the worker's generation.
    pub(in crate::worker) fn own(&self) -> &'static Snapshot<'static> {
        self.own
    }

    /// The last one.
    pub(in crate::worker) fn newest(&self) -> &'static Snapshot<'static> {
        self.newer.read().unwrap_or_else(PoisonError::into_inner).unwrap_or(self.own)
    }
}
