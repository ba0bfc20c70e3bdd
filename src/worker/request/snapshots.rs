//! The snapshots that a worker answers from, one after the other.

use std::sync::{PoisonError, RwLock};

use crate::snapshot::Snapshot;

/// What answers are made from: the snapshot of the worker's generation, and while it drains that of the last
/// one it was told of. Whoever waits for a reload finds the new rows also on a connection that was there before.
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
