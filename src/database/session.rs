//! The session of a scan with its database: opened before the first music file is, held to
//! the end, so that there is one scan at a time and no database that cannot be written is
//! found out after hours of reading.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use slog::Level;
use uuid::Uuid;

use super::changes::Changes;
use super::difference::StoredSong;
use super::texts::Texts;
use super::{DatabaseError, postgres, sqlite};
use crate::config::DatabaseUrl;
use crate::config::database_url::Backend;
use crate::model::Owner;
use crate::model::library::{File, Folder};

/// Who scans. Stored with the lock, so that others can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Name of the machine.
    pub host: String,
    /// Process id there.
    pub pid: u32,
    /// When the scan began, in seconds since 1970.
    pub started: i64,
}

impl Holder {
    /// This process, as of now.
    pub fn this_process() -> Holder {
        let host = nix::sys::utsname::uname()
            .map_or_else(|_| "unknown".to_owned(), |name| name.nodename().to_string_lossy().into_owned());
        Holder { host, pid: std::process::id(), started: jiff::Timestamp::now().as_second() }
    }
}

/// How long to wait for a lock that another client holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// After this time, the wait is told.
    pub announce: Duration,
    /// After this time, it is an error.
    pub give_up: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { announce: Duration::from_secs(3), give_up: Duration::from_secs(60) }
    }
}

/// What a session has to tell while it works. `Display` is the whole line.
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
                super::texts::REMEDY
            ),
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

/// What takes the rows of [`Session::previous`], one by one: the folders, the files by
/// folder and name, then the names and the songs in any order.
pub trait Visit {
    /// A folder of the last scan.
    fn folder(&mut self, folder: Folder);
    /// A file of the last scan.
    fn file(&mut self, file: File);
    /// An album, an artist or a genre.
    fn name(&mut self, owner: Owner, id: Uuid, name: &str);
    /// A song.
    fn song(&mut self, song: &StoredSong<'_>);
}

/// What the last scan left, apart from the rows that were visited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Previous {
    /// The folders and files.
    pub state: State,
    /// Whether each row of the four tables was visited and no id twice. If not, something
    /// else has written there, and `replace` in [`RowChanges`](super::difference::RowChanges) is the remedy.
    pub is_clean: bool,
    /// Number of the last scan that has stored something; 0 for none.
    pub last_scan: i64,
}

/// What there is of folders and files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing: no scan of this program has ever stored here.
    Absent,
    /// Everything was visited.
    Whole,
    /// Rows that cannot be were passed over; `replace` in
    /// [`StateChanges`](super::StateChanges) is the remedy.
    Damaged,
}

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

    /// What tells whether a text can be stored. It may be cloned and sent to other threads.
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

    /// Like [`Session::store`], and the session goes on. What a scan writes next has the number
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
