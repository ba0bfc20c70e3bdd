//! The session of a scan with its database: opened before the first music file is, held to
//! the end, so that there is one scan at a time and no database that cannot be written is
//! found out after hours of reading.

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

/// A scan's hold on a database. No other scan gets one until it is dropped, its process ends,
/// or the connection to the server breaks.
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
    /// Connects, takes the lock and tries whether the four tables and the state can be
    /// written. Nothing is changed yet, but a SQLite file that is missing is created, empty.
    ///
    /// `tell` is called now and later, whenever the session has something to tell.
    ///
    /// # Errors
    /// If another scan runs, if there is no way to the database or no permission to write,
    /// or if another client locks it for a minute.
    pub fn open(
        url: &DatabaseUrl,
        me: &Holder,
        tell: impl Fn(Notice) + Send + Sync + 'static,
    ) -> Result<Session, DatabaseError> {
        Session::open_patiently(url, me, Patience::default(), tell)
    }

    /// The same with other limits for waiting.
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

    /// The check whether a text can be stored. It may be cloned and sent to other threads.
    pub fn texts(&self) -> Texts {
        match &self.backend {
            Open::Sqlite(_) => Texts::any(),
            Open::Postgres(session) => session.texts(),
        }
    }

    /// Whether the hold on the database is still there: a connection may break while files
    /// are read. Cheap enough for once in a while.
    ///
    /// # Errors
    /// If it is lost. Nothing can be stored then.
    pub fn check(&mut self) -> Result<(), DatabaseError> {
        match &mut self.backend {
            Open::Sqlite(_) => Ok(()),
            Open::Postgres(session) => session.check(),
        }
    }

    /// Reads everything that a scan compares with, as it was at one moment.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn previous(&mut self, visit: &mut dyn Visit) -> Result<Previous, DatabaseError> {
        match &mut self.backend {
            Open::Sqlite(session) => session.previous(visit),
            Open::Postgres(session) => session.previous(visit),
        }
    }

    /// The revision of the rows that this session has read or written last; `None` if the database does not
    /// tell it.
    pub fn revision(&self) -> Option<u64> {
        match &self.backend {
            Open::Sqlite(session) => session.revision(),
            Open::Postgres(session) => session.revision(),
        }
    }

    /// Writes `changes` in one transaction, and nothing at all if there are none: a reader
    /// sees the old collection or the new one, and after an error the old one is still there.
    /// Answers the number of the scan, or `None` if nothing was written.
    ///
    /// # Errors
    /// [`DatabaseError::Overtaken`] if another scan has stored something since
    /// [`Session::previous`]; if the lock was lost, another client locks the tables for a
    /// minute, or the database refuses.
    pub fn store(mut self, changes: Changes<'_>) -> Result<Option<i64>, DatabaseError> {
        self.save(changes)
    }

    /// Like [`Session::store`], and the session goes on. The next changes of the scan have the number
    /// of this as `seen_scan`; only the last number of a scan is kept.
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
