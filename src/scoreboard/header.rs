//! What the master says of itself and of all, for workers to pass on.

use std::sync::atomic::{AtomicU64, Ordering};

use super::text::Text;

/// A number that one process writes and others read.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Number(AtomicU64);

impl Number {
    /// Writes it.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Adds to it.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// Reads it.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Why a worker was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RestartCause {
    /// It died, by a signal or with an exit code, and no process had told it to.
    Died,
    /// Another process than the master had told it to end, and it did so in good order.
    Terminated,
    /// It was silent for `TIMEOUT`.
    Timeout,
    /// It did not come up within `BOOT_TIMEOUT`.
    BootTimeout,
    /// It did not end in time.
    EndTimeout,
    /// It had answered `MAX_REQUESTS`.
    MaxRequests,
    /// It had more memory than `MAX_RSS`.
    MaxRss,
    /// The path of a Unix socket was removed, and another socket has it.
    Rebound,
}

impl RestartCause {
    /// All of them, each at its own number.
    pub const ALL: [RestartCause; 8] = [
        RestartCause::Died,
        RestartCause::Terminated,
        RestartCause::Timeout,
        RestartCause::BootTimeout,
        RestartCause::EndTimeout,
        RestartCause::MaxRequests,
        RestartCause::MaxRss,
        RestartCause::Rebound,
    ];

    /// Its name in metrics and in the status.
    pub fn name(self) -> &'static str {
        match self {
            RestartCause::Died => "died",
            RestartCause::Terminated => "terminated",
            RestartCause::Timeout => "timeout",
            RestartCause::BootTimeout => "boot_timeout",
            RestartCause::EndTimeout => "end_timeout",
            RestartCause::MaxRequests => "max_requests",
            RestartCause::MaxRss => "max_rss",
            RestartCause::Rebound => "rebound",
        }
    }
}

/// Scans that the master has done. Times are milliseconds since 1970, or 0.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Scans {
    /// When the one at work was started.
    pub running_ms: Number,
    /// When the next one is due.
    pub next_ms: Number,
    /// When the last one was started.
    pub started_ms: Number,
    /// When it ended.
    pub ended_ms: Number,
    /// Its exit code, as that of `avalon-scan`.
    pub exit_code: Number,
    /// Scans that have reached everything.
    pub complete: Number,
    /// Scans that could not reach some of it.
    pub partial: Number,
    /// Scans that have stored nothing, as something was wrong.
    pub failed: Number,
    /// Songs of the collection; like all below of the last scan that has not failed.
    pub songs: Number,
    /// Songs that were new.
    pub added: Number,
    /// Songs whose file had changed.
    pub changed: Number,
    /// Songs that left the collection.
    pub removed: Number,
    /// Songs whose file had another path.
    pub moved: Number,
    /// Songs that could not be reached, and stay.
    pub kept: Number,
    /// Files, folders and roots that could not be reached.
    pub unreachable: Number,
}

/// What loads have shown of the source of the rows, the database.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Source {
    /// Whether clients may get other rows than the source holds: 1 or 0.
    pub stale: Number,
    /// Whether the last load or poll that has asked the source could read it: 2 for yes, 1 for no, 0 before the first.
    pub up: Number,
    /// Where the rows that serve are from: 1 for the database, 2 for the store of snapshots, 3 for a snapshot of a former
    /// master that no load has confirmed; 0 before the first generation.
    pub serves: Number,
    /// The revision that the watcher has seen last; 0 if it is not known.
    pub revision: Number,
    /// When the rows that serve were last read from the source, or seen there, in milliseconds since 1970; 0 for never.
    pub checked_ms: Number,
    /// When the source is asked again, in milliseconds since 1970; 0 if no retry is due.
    pub next_try_ms: Number,
    /// Why clients may get other rows.
    pub reason: Text,
}

/// Written by the master. Times are milliseconds since 1970, or how many of them.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub struct Header {
    /// When the master was started.
    pub started_ms: Number,
    /// The generation that serves; 0 before the first.
    pub generation: Number,
    /// Workers of it that accept connections.
    pub workers: Number,
    /// How many there should be.
    pub workers_wanted: Number,
    /// Workers that were replaced, by cause.
    pub restarts: [Number; RestartCause::ALL.len()],
    /// Reloads after which a new generation served.
    pub reloads_made: Number,
    /// Reloads that changed nothing, as something was wrong.
    pub reloads_failed: Number,
    /// When the last generation was made, or was found to be wrong; the first one included.
    pub last_made_ms: Number,
    /// Whether it serves: 1 or 0.
    pub last_made_serves: Number,
    /// How long the last snapshot took, from the start of its loader to its end; 0 if it was kept
    /// from a former master.
    pub build_ms: Number,
    /// What loads have shown of the source.
    pub source: Source,
    /// Bytes of the snapshot that serves.
    pub snapshot_bytes: Number,
    /// Songs in it.
    pub songs: Number,
    /// Albums in it.
    pub albums: Number,
    /// Artists in it.
    pub artists: Number,
    /// Genres in it.
    pub genres: Number,
    /// The revision of its rows in the database; 0 if it is not known.
    pub revision: Number,
    /// The hash of its rows, in hexadecimal digits; empty before the first generation.
    pub hash: Text,
    /// What there is to say of scans.
    pub scans: Scans,
    /// Memory of the master that is resident, in bytes.
    pub memory_resident: Number,
    /// The part of it that no process shares with the master.
    pub memory_private: Number,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_stand_at_their_numbers() {
        for (number, cause) in RestartCause::ALL.into_iter().enumerate() {
            assert_eq!(cause as usize, number);
        }
    }
}
