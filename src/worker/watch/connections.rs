//! The connections of a worker, and the sweep that ends those whose clients send, read or stay too slowly.
//!
//! A client is not to blame for bytes that wait in its socket, so the sweep checks the socket
//! before it ends a connection.

use std::collections::HashMap;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::sys::socket::{MsgFlags, recv};
use tokio::task::AbortHandle;

use super::activity::{Activity, Verdict};
use super::clock::Clock;
use crate::config::Limits;

/// The connections of a worker.
#[derive(Default)]
pub(in crate::worker) struct Connections {
    clock: Arc<Clock>,
    next: AtomicU64,
    open: Mutex<HashMap<u64, Entry>>,
}

struct Entry {
    activity: Arc<Activity>,
    socket: RawFd,
    task: Option<AbortHandle>,
}

/// Takes a connection off the list when it ends: in the poll that closes its socket, so the sweep never
/// looks at a descriptor that belongs to another connection.
pub(in crate::worker) struct Registration {
    connections: Arc<Connections>,
    id: u64,
    pub(in crate::worker) activity: Arc<Activity>,
}

impl Connections {
    /// Begins to watch a connection.
    pub(in crate::worker) fn register(self: &Arc<Self>, socket: &impl AsRawFd) -> Registration {
        let activity = Arc::new(Activity::new(Arc::clone(&self.clock)));
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let entry = Entry { activity: Arc::clone(&activity), socket: socket.as_raw_fd(), task: None };
        self.list().insert(id, entry);
        Registration { connections: Arc::clone(self), id, activity }
    }

    /// Sets the task that serves a connection.
    pub(in crate::worker) fn attach(&self, id: u64, task: AbortHandle) {
        if let Some(entry) = self.list().get_mut(&id) {
            entry.task = Some(task);
        }
    }

    /// Returns the clock that measures them.
    pub(in crate::worker) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Ends the connections whose time is up.
    pub(in crate::worker) fn sweep(&self, limits: &Limits) {
        for entry in self.list().values() {
            let ends = match entry.activity.verdict(limits) {
                Verdict::Fine => false,
                // A request that has arrived is served; the next sweep checks again.
                Verdict::Idle => !has_bytes(entry.socket),
                Verdict::AsksTooSlowly => !entry.activity.spare() || !has_bytes(entry.socket),
                Verdict::ReadsTooSlowly | Verdict::Silent => true,
            };
            if let (true, Some(task)) = (ends, &entry.task) {
                task.abort();
            }
        }
    }

    /// Ends all remaining connections, and returns how many of them were in the middle of a
    /// request.
    pub(in crate::worker) fn abort(&self) -> usize {
        let list = self.list();
        for task in list.values().filter_map(|entry| entry.task.as_ref()) {
            task.abort();
        }
        list.values().filter(|entry| entry.activity.is_answering()).count()
    }

    /// Returns the number of connections, and how many of them are in the middle of a request.
    pub(in crate::worker) fn counts(&self) -> (usize, usize) {
        let list = self.list();
        (list.len(), list.values().filter(|entry| entry.activity.is_answering()).count())
    }

    /// Returns the number of connections.
    pub(in crate::worker) fn count(&self) -> usize {
        self.list().len()
    }

    fn list(&self) -> MutexGuard<'_, HashMap<u64, Entry>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registration {
    pub(in crate::worker) fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.connections.list().remove(&self.id);
    }
}

/// Reports whether a socket holds bytes that were not read yet.
pub(in crate::worker) fn has_bytes(socket: RawFd) -> bool {
    recv(socket, &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT).is_ok_and(|len| len > 0)
}
