//! Repeated queries for the version of the rows in a source, each of which costs one short query; and the rows that
//! have changed, over the same connection.

use std::path::PathBuf;

use super::{Changed, DatabaseError, Since, Version, postgres, sqlite};
use crate::config::DatabaseUrl;
use crate::config::database_url::Backend;

/// A source that is polled. A server keeps one connection for it. A file is opened for each poll, so that a
/// program may replace it and no lock remains between two polls.
pub struct Poll(Source);

enum Source {
    Sqlite(PathBuf),
    Postgres(Box<postgres::Poll>),
}

impl Poll {
    /// Begins without a connection.
    pub fn new(url: &DatabaseUrl) -> Self {
        Poll(match url.backend() {
            Backend::Sqlite(path) => Source::Sqlite(path.clone()),
            Backend::Postgres(settings) => Source::Postgres(Box::new(postgres::Poll::new(settings))),
        })
    }

    /// The version of the rows in the source. The next call after an error connects again.
    ///
    /// # Errors
    /// The source cannot be reached or read, or does not answer within [`POLL_TIMEOUT`](super::POLL_TIMEOUT).
    /// A thread that waits for an answer may then remain, so a process that polls should end after some time.
    pub fn ask(&mut self) -> Result<Version, DatabaseError> {
        match &mut self.0 {
            Source::Sqlite(path) => sqlite::poll(path),
            Source::Postgres(poll) => poll.ask(),
        }
    }

    /// The rows that have changed since those of `since`, if a server tells them over the connection of the last call.
    /// A thread that waits for an answer may remain as well.
    pub fn changes(&mut self, since: &Since) -> Option<Changed> {
        match &mut self.0 {
            Source::Sqlite(_) => None,
            Source::Postgres(poll) => poll.changes(since),
        }
    }
}
