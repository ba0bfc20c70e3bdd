//! The question which rows a source holds now, asked again and again. It costs one short query.

use std::path::PathBuf;

use super::{DatabaseError, Version, postgres, sqlite};
use crate::config::DatabaseUrl;
use crate::config::database_url::Backend;

/// A source that is asked. A server keeps one connection for it; a file is opened each time, so that it may be replaced
/// and no lock is held between two questions.
pub struct Poll(Source);

enum Source {
    Sqlite(PathBuf),
    Postgres(Box<postgres::Poll>),
}

impl Poll {
    /// Nothing is asked yet.
    pub fn new(url: &DatabaseUrl) -> Self {
        Poll(match url.backend() {
            Backend::Sqlite(path) => Source::Sqlite(path.clone()),
            Backend::Postgres(settings) => Source::Postgres(Box::new(postgres::Poll::new(settings))),
        })
    }

    /// The version of the rows that the source holds. The next call connects again after an error.
    ///
    /// # Errors
    /// The source cannot be reached or read, or gives no answer within [`POLL_TIMEOUT`](super::POLL_TIMEOUT). A
    /// thread that waits for an answer may then be left behind, so a process that asks again and again should end.
    pub fn ask(&mut self) -> Result<Version, DatabaseError> {
        match &mut self.0 {
            Source::Sqlite(path) => sqlite::poll(path),
            Source::Postgres(poll) => poll.ask(),
        }
    }
}
