//! The snapshots from which a worker answers, one after the other.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use hyper::header::HeaderValue;

use crate::snapshot::Snapshot;
use crate::worker::answer::response;

/// A snapshot with its name in answers, which is made once.
#[derive(Debug, Clone)]
pub(in crate::worker) struct Served {
    pub(in crate::worker) snapshot: &'static Snapshot<'static>,
    pub(in crate::worker) name: Option<HeaderValue>,
}

impl Served {
    fn new(snapshot: &'static Snapshot<'static>) -> Self {
        Served { snapshot, name: response::snapshot_name(snapshot.hash()) }
    }
}

/// The snapshots for answers: that of the worker's generation, until the master hands over a newer
/// one. The master does so before it lets the next generation accept connections, and before it
/// tells the worker to drain. So no client sees old rows after new ones, and a client that has
/// waited for a reload sees the new rows on an old connection as well.
pub(in crate::worker) struct Snapshots {
    own: Served,
    newer: RwLock<Option<Served>>,
    /// Whether there is a newer snapshot. Most workers never get one, and their requests take no
    /// lock.
    is_succeeded: AtomicBool,
}

impl Snapshots {
    pub(in crate::worker) fn of(own: &'static Snapshot<'static>) -> Self {
        Snapshots { own: Served::new(own), newer: RwLock::new(None), is_succeeded: AtomicBool::new(false) }
    }

    /// Switches to the snapshot from which another generation now serves.
    pub(in crate::worker) fn succeed(&self, newer: &'static Snapshot<'static>) {
        *self.newer.write().unwrap_or_else(PoisonError::into_inner) = Some(Served::new(newer));
        self.is_succeeded.store(true, Ordering::Release);
    }

    /// Returns the newest snapshot.
    pub(in crate::worker) fn newest(&self) -> Served {
        let newer = || self.newer.read().unwrap_or_else(PoisonError::into_inner).clone();
        let is_succeeded = self.is_succeeded.load(Ordering::Acquire);
        is_succeeded.then(newer).flatten().unwrap_or_else(|| self.own.clone())
    }
}
