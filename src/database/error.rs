//! What can go wrong between us and a database.

use std::fmt;

/// Why rows could not be read or written. `Display` is the whole message: it names the
/// database (never the password) and what the database said; there is no `source()`.
#[derive(Debug, Clone, PartialEq)]
pub enum DatabaseError {
    /// There was no answer, the connection broke, or the server is starting or stopping.
    Unreachable {
        /// For a message: kind, host and name.
        database: String,
        /// What happened.
        reason: String,
    },
    /// Another program holds the database.
    Locked {
        /// For a message: kind and name.
        database: String,
        /// How long was waited for it.
        seconds: u64,
    },
    /// The database answered, and it was a no.
    Failed {
        /// For a message: kind, host and name.
        database: String,
        /// What it said, and what to do when that is known.
        reason: String,
    },
}

impl DatabaseError {
    /// Whether trying again later may help, with nothing changed on this side.
    pub fn is_unreachable(&self) -> bool {
        !matches!(self, Self::Failed { .. })
    }
}

impl fmt::Display for DatabaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { database, reason } => write!(f, "cannot reach {database}: {reason}"),
            Self::Locked { database, seconds } => {
                write!(f, "{database} is locked by another program (waited {seconds} s)")
            }
            Self::Failed { database, reason } => write!(f, "cannot use {database}: {reason}"),
        }
    }
}

impl std::error::Error for DatabaseError {}
