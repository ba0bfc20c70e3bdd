//! The errors between this program and a database.

use std::fmt;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::rows::scratch::ScratchError;

/// The holder in [`DatabaseError::Locked`] if it is unknown.
pub(super) const ANOTHER_PROGRAM: &str = "another program";

/// The reason why rows could not be read or written. `Display` is the whole message: it names the database
/// (never the password) and the database's error; `source()` returns nothing.
#[derive(Debug, Clone, PartialEq)]
pub enum DatabaseError {
    /// There was no answer, the connection broke, or the server is starting or stopping.
    Unreachable {
        /// For a message: kind, host and name.
        database: String,
        /// The event.
        reason: String,
    },
    /// Another program holds the database.
    Locked {
        /// For a message: kind and name.
        database: String,
        /// The name of that program, if it is known.
        by: String,
        /// The time for which this program waited.
        seconds: u64,
    },
    /// Another scan holds the database.
    ScanRunning {
        /// For a message: kind and name.
        database: String,
        /// The machine of that scan.
        host: String,
        /// Its process id there.
        pid: u32,
        /// The time of its start, in seconds since 1970.
        started: i64,
    },
    /// Another scan has stored its result after this one had read the rows for its comparison.
    Overtaken {
        /// For a message: kind and name.
        database: String,
    },
    /// The server has interrupted the work, which may succeed next time: the server stops, a standby replays
    /// changes that conflict with the query, an administrator has ended the session, or the server lacks
    /// memory.
    Interrupted {
        /// For a message: kind, host and name.
        database: String,
        /// The server's error.
        reason: String,
    },
    /// The file is missing or incomplete, for example because another program replaces it.
    Incomplete {
        /// For a message: kind and name.
        database: String,
        /// The fault, and the remedy if it is known.
        reason: String,
    },
    /// This program cannot store the rows for the build: the folder of temporary files is missing, full or
    /// read-only.
    Unkept {
        /// The folder, the kernel's error, and the remedy.
        reason: String,
    },
    /// The database refuses.
    Failed {
        /// For a message: kind, host and name.
        database: String,
        /// Its error, and the remedy if it is known.
        reason: String,
    },
}

impl DatabaseError {
    /// Whether a later attempt may succeed without a change on this side.
    pub fn is_unreachable(&self) -> bool {
        !matches!(self, Self::Failed { .. } | Self::Incomplete { .. })
    }
}

impl fmt::Display for DatabaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { database, reason } => write!(f, "cannot reach {database}: {reason}"),
            Self::Locked { database, by, seconds } => {
                write!(f, "{database} is locked by {by} (waited {seconds} s)")
            }
            Self::ScanRunning { database, host, pid, started } => write!(
                f,
                "another scan holds {database}: process {pid} on {host}, which began {}; wait until it has \
                 ended, or end it",
                local_time(*started)
            ),
            Self::Overtaken { database } => write!(
                f,
                "another scan has stored a newer result in {database}; this one is dropped, scan again"
            ),
            Self::Unkept { reason } => f.write_str(reason),
            Self::Interrupted { database, reason }
            | Self::Incomplete { database, reason }
            | Self::Failed { database, reason } => write!(f, "cannot use {database}: {reason}"),
        }
    }
}

impl std::error::Error for DatabaseError {}

impl From<ScratchError> for DatabaseError {
    fn from(error: ScratchError) -> Self {
        DatabaseError::Unkept { reason: format!("{error}: {}", error.source) }
    }
}

/// A local time for people; a time beyond every calendar stays a number.
fn local_time(seconds: i64) -> String {
    match Timestamp::from_second(seconds) {
        Ok(time) => time.to_zoned_datetime(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => format!("at {seconds}"),
    }
}
