//! The messages of a session at work.

use std::fmt;
use std::sync::Arc;

use slog::Level;

use super::texts::REMEDY;

/// A message of a session at work. `Display` is the whole line.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    /// Another client holds a lock, and the scan waits for it.
    Waiting {
        /// For a message: kind, host and name.
        database: String,
        /// Who holds it.
        by: String,
        /// How long it has waited, in seconds.
        seconds: u64,
        /// When it gives up, in seconds from the beginning of the wait.
        limit: u64,
    },
    /// The database cannot hold every text.
    NarrowEncoding {
        /// For a message: kind, host and name.
        database: String,
        /// PostgreSQL's name of the encoding.
        encoding: String,
    },
    /// The revision of the rows cannot be written.
    NoRevision {
        /// The database's answer.
        reason: String,
    },
    /// The changed rows cannot be logged.
    NoLog {
        /// The database's answer.
        reason: String,
    },
    /// A parameter of the URL means nothing to this program.
    PassedOver {
        /// Its name.
        parameter: String,
    },
}

impl Notice {
    /// How much it matters.
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
                    "changed rows are not logged (table avalon_changes), servers read all rows: {reason}"
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

/// Called with each [`Notice`].
pub(super) type Tell = Arc<dyn Fn(Notice) + Send + Sync>;
