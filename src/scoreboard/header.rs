//! The master's report about itself and the whole server, for workers to show.

use std::sync::atomic::{AtomicU64, Ordering};

use super::text::Text;

/// A number that one process writes and others read.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Number(AtomicU64);

impl Number {
    /// Sets the number.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Adds to the number.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// Returns the number.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The reason why a worker was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RestartCause {
    /// It died, by a signal or with an exit code, without an order to end.
    Died,
    /// Another process than the master told it to end, and it ended in good order.
    Terminated,
    /// It was silent for `TIMEOUT`.
    Timeout,
    /// It did not become ready within `BOOT_TIMEOUT`.
    BootTimeout,
    /// It did not end in time.
    EndTimeout,
    /// It had answered `MAX_REQUESTS` requests.
    MaxRequests,
    /// It had more private memory than `MAX_RSS`.
    MaxRss,
    /// The path of a Unix socket was removed, and another socket has it.
    Rebound,
}

impl RestartCause {
    /// All causes, in the order of their numbers.
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

    /// Returns its name in metrics and in the status.
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

/// The scans by the master. Times are milliseconds since 1970, or 0.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Scans {
    /// Start of the current scan.
    pub running_ms: Number,
    /// Time of the next scan.
    pub next_ms: Number,
    /// Start of the last scan.
    pub started_ms: Number,
    /// End of the last scan.
    pub ended_ms: Number,
    /// Its exit code, as that of `avalon-scan`.
    pub exit_code: Number,
    /// Scans that have reached all files.
    pub complete: Number,
    /// Scans that could not reach some files.
    pub partial: Number,
    /// Scans that have failed and stored nothing.
    pub failed: Number,
    /// Songs of the collection; like all numbers below from the last scan that has not failed.
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

/// The state of the source of the rows, the database, as loads have shown it.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Source {
    /// Whether clients may get other rows than the source holds: 1 or 0.
    pub stale: Number,
    /// Whether the last load or poll of the source could read it: 2 for yes, 1 for no, 0 before the
    /// first.
    pub up: Number,
    /// Where the rows that serve are from: 1 for the database, 2 for the store of snapshots, 3 for a snapshot of a former
    /// master that no load has confirmed; 0 before the first generation.
    pub serves: Number,
    /// The revision that the watcher has seen last; 0 if it is not known.
    pub revision: Number,
    /// Time at which the served rows were last read from the source, or seen there, in milliseconds
    /// since 1970; 0 for never.
    pub checked_ms: Number,
    /// Time of the next try to read the source, in milliseconds since 1970; 0 if no retry is due.
    pub next_try_ms: Number,
    /// The reason why clients may get other rows.
    pub reason: Text,
}

/// The master's part. Times are milliseconds since 1970, durations are milliseconds.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub struct Header {
    /// Start of the master.
    pub started_ms: Number,
    /// The serving generation; 0 before the first.
    pub generation: Number,
    /// Its workers that accept connections.
    pub workers: Number,
    /// The number of workers that it should have.
    pub workers_wanted: Number,
    /// Workers that were replaced, by cause.
    pub restarts: [Number; RestartCause::ALL.len()],
    /// Reloads after which a new generation served.
    pub reloads_made: Number,
    /// Reloads that failed and changed nothing.
    pub reloads_failed: Number,
    /// Time at which the last generation was made, or found to be wrong; the first one included.
    pub last_made_ms: Number,
    /// Whether it serves: 1 or 0.
    pub last_made_serves: Number,
    /// Time for the last snapshot, from the start of its loader to its end; 0 if a former master
    /// made it.
    pub build_ms: Number,
    /// The state of the source, as loads have shown it.
    pub source: Source,
    /// Bytes of the served snapshot.
    pub snapshot_bytes: Number,
    /// Songs in it.
    pub songs: Number,
    /// Albums in it.
    pub albums: Number,
    /// Artists in it.
    pub artists: Number,
    /// Genres in it.
    pub genres: Number,
    /// The revision of its rows in the database; 0 if unknown.
    pub revision: Number,
    /// The hash of its rows, in hexadecimal digits; empty before the first generation.
    pub hash: Text,
    /// The scans by the master.
    pub scans: Scans,
    /// Resident memory of the master, in bytes.
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
