//! The snapshots that a worker answers from, one after the other.

use std::sync::{PoisonError, RwLock};

use crate::snapshot::Snapshot;

/// The snapshots that answers are made from: that of the worker's generation, until the master hands over a newer
/// one. It does so before it lets the next generation accept connections, and before it tells the worker to drain:
/// so no client finds old rows after new ones, and one that has waited for a reload finds the new rows on an old
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

    /// The last one.
    pub(in crate::worker) fn newest(&self) -> &'static Snapshot<'static> {
        self.newer.read().unwrap_or_else(PoisonError::into_inner).unwrap_or(self.own)
    }
}
