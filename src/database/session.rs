//! The session of a scan with its database. The scan opens it before the first music file and holds it to the
//! end, so that only one scan runs, and so that a read-only database is an error at once rather than after
//! hours of reading.

use std::sync::Arc;

use super::changes::Changes;
use super::error::DatabaseError;
use super::holder::{Holder, Patience};
use super::notice::{Notice, Tell};
use super::previous::{Previous, Visit};
use super::texts::Texts;
use super::{postgres, sqlite};
use crate::config::DatabaseUrl;
use crate::config::database_url::Backend;

/// A scan's hold on a database. No other scan gets one until this value is dropped, its process ends, or the
/// connection to the server breaks.
#[derive(Debug)]
pub struct Session {
    backend: Open,
}

#[derive(Debug)]
enum Open {
    Sqlite(Box<sqlite::Session>),
    Postgres(Box<postgres::Session>),
}

impl Session {
    /// Connects, takes the lock, and checks whether the four tables and the state are writable. Changes
    /// nothing yet, but creates a missing SQLite file, which is empty.
    ///
    /// The session calls `tell` with each of its messages, now and later.
    ///
    /// # Errors
    /// Another scan runs, the database is unreachable or read-only, or another client locks it for a minute.
    pub fn open(
        url: &DatabaseUrl,
        me: &Holder,
        tell: impl Fn(Notice) + Send + Sync + 'static,
    ) -> Result<Session, DatabaseError> {
        Session::open_patiently(url, me, Patience::default(), tell)
    }

    /// Opens a session with other limits for waiting.
    ///
    /// # Errors
    /// As for [`Session::open`].
    pub fn open_patiently(
        url: &DatabaseUrl,
        me: &Holder,
        patience: Patience,
        tell: impl Fn(Notice) + Send + Sync + 'static,
    ) -> Result<Session, DatabaseError> {
        let tell: Tell = Arc::new(tell);
        let backend = match url.backend() {
            Backend::Sqlite(path) => Open::Sqlite(Box::new(sqlite::Session::open(path, me, patience, tell)?)),
            Backend::Postgres(settings) => {
                Open::Postgres(Box::new(postgres::Session::open(settings, me, patience, tell)?))
            }
        };
        Ok(Session { backend })
    }

    /// The check whether the database can store a text. It can be cloned and sent to other threads.
    pub fn texts(&self) -> Texts {
        match &self.backend {
            Open::Sqlite(_) => Texts::any(),
            Open::Postgres(session) => session.texts(),
        }
    }

    /// Checks that this session still holds the database: a connection may break while the scan reads files.
    /// The check is cheap enough for regular calls.
    ///
    /// # Errors
    /// The hold is lost, and nothing can be stored.
    pub fn check(&mut self) -> Result<(), DatabaseError> {
        match &mut self.backend {
            Open::Sqlite(_) => Ok(()),
            Open::Postgres(session) => session.check(),
        }
    }

    /// Reads everything for the comparison of a scan, as it was at one moment.
    ///
    /// # Errors
    /// The rows cannot be read.
    pub fn previous(&mut self, visit: &mut dyn Visit) -> Result<Previous, DatabaseError> {
        match &mut self.backend {
            Open::Sqlite(session) => session.previous(visit),
            Open::Postgres(session) => session.previous(visit),
        }
    }

    /// The revision of the rows that this session read or wrote last; `None` if the database does not report
    /// it.
    pub fn revision(&self) -> Option<u64> {
        match &self.backend {
            Open::Sqlite(session) => session.revision(),
            Open::Postgres(session) => session.revision(),
        }
    }

    /// Writes `changes` in one transaction, or nothing if there are none: a reader sees the old collection or
    /// the new one, and after an error the old one remains. Returns the number of the scan, or `None` if
    /// nothing was written.
    ///
    /// # Errors
    /// [`DatabaseError::Overtaken`] if another scan has stored its result since [`Session::previous`]. Other
    /// errors: the lock is lost, another client locks the tables for a minute, or the database refuses.
    pub fn store(mut self, changes: Changes<'_>) -> Result<Option<i64>, DatabaseError> {
        self.save(changes)
    }

    /// Like [`Session::store`], but the session continues. The next changes of the scan have the number of
    /// this one as `seen_scan`; the database keeps only the last number of a scan.
    ///
    /// # Errors
    /// As for [`Session::store`].
    pub fn save(&mut self, mut changes: Changes<'_>) -> Result<Option<i64>, DatabaseError> {
        if changes.is_empty() {
            return Ok(None);
        }
        match &mut self.backend {
            Open::Sqlite(session) => session.store(changes).map(Some),
            Open::Postgres(session) => session.store(changes).map(Some),
        }
    }
}
