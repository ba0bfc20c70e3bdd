//! The messages of a working session.

use std::fmt;
use std::sync::Arc;

use slog::Level;

use super::texts::REMEDY;

/// A message of a working session. `Display` is the whole line.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    /// Another client holds a lock, and the scan waits for it.
    Waiting {
        /// For a message: kind, host and name.
        database: String,
        /// The client that holds the lock.
        by: String,
        /// The time that the scan has waited, in seconds.
        seconds: u64,
        /// The time at which it gives up, in seconds from the beginning of the wait.
        limit: u64,
    },
    /// The database cannot store all texts.
    NarrowEncoding {
        /// For a message: kind, host and name.
        database: String,
        /// PostgreSQL's name of the encoding.
        encoding: String,
    },
    /// The database refuses the revision of the rows.
    NoRevision {
        /// The database's answer.
        reason: String,
    },
    /// The changed rows cannot be logged.
    NoLog {
        /// The database's answer.
        reason: String,
    },
    /// A parameter of the URL has no effect in this program.
    PassedOver {
        /// Its name.
        parameter: String,
    },
}

impl Notice {
    /// The level of the message in the log.
    pub fn level(&self) -> Level {
        match self {
            Notice::Waiting { .. } | Notice::NarrowEncoding { .. } => Level::Warning,
            Notice::NoRevision { .. } | Notice::NoLog { .. } => Level::Info,
            Notice::PassedOver { .. } => Level::Debug,
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::Waiting { database, by, seconds, limit } => write!(
                f,
                "{database} is locked by {by}; the scan has waited {seconds} s and gives up after {limit} s"
            ),
            Notice::NarrowEncoding { database, encoding } => write!(
                f,
                "{database} has the encoding {encoding}, which cannot hold the names of all songs; {}",
                REMEDY
            ),
            Notice::NoRevision { reason } => {
                write!(f, "the revision of the rows is not kept (table avalon_revision): {reason}")
            }
            Notice::NoLog { reason } => {
                write!(
                    f,
                    "the scan cannot log the changed rows (table avalon_changes), so servers read all rows: {reason}"
                )
            }
            Notice::PassedOver { parameter } => {
                write!(
                    f,
                    "parameter `{parameter}` of the database URL is passed over: it changes nothing here"
                )
            }
        }
    }
}

/// A function that the session calls with each [`Notice`].
pub(super) type Tell = Arc<dyn Fn(Notice) + Send + Sync>;
