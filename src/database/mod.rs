//! Reads and writes rows: one [`Collection`] in a SQLite file or on a PostgreSQL server, in the tables of
//! avalonms. Each function opens the database, does its work in one transaction and closes it again. A scan
//! holds a [`Session`] instead, which keeps other scans out, and writes only differences. These functions may
//! start threads and run Tokio: never call them in the master.

mod attempt;
mod change_log;
mod changed;
mod changes;
mod connect;
pub mod difference;
mod error;
mod holder;
mod last_words;
mod left_out;
mod notice;
mod orphans;
mod password;
mod place;
mod poll;
mod postgres;
mod previous;
mod require_auth;
mod revision;
mod rows;
mod schema;
mod session;
mod sqlite;
mod state;
mod stream;
mod texts;
mod tls;
mod tls_error;

pub use change_log::{Since, Unlogged};
pub use changed::{Changed, Found};
pub use changes::{Changes, Moved, ScanRecord, StateChanges};
pub use error::DatabaseError;
pub use holder::{Holder, Patience};
pub use left_out::{LeftOut, NamesLeftOut};
pub use notice::Notice;
pub use poll::Poll;
pub use previous::{Previous, State, Visit};
pub use revision::{POLL_TIMEOUT, Version};
pub use rows::Loaded;
pub use session::Session;
pub use stream::Stream;
pub use texts::{Texts, Unstorable};

use crate::config::DatabaseUrl;
use crate::config::database_url::Backend;
use crate::model::Collection;
use crate::rows::scratch::Folder;

/// Reads all rows, as they were at one moment; texts and records beyond a little memory go to temporary files
/// in `folder`. Creates missing tables; if all tables exist, read access is enough. No value in the rows
/// makes this fail.
///
/// # Errors
/// The database cannot be opened or read, a missing table cannot be created, or `folder` cannot hold the
/// rows.
pub fn load(url: &DatabaseUrl, folder: &Folder) -> Result<Loaded, DatabaseError> {
    match url.backend() {
        Backend::Sqlite(path) => sqlite::load(path, folder),
        Backend::Postgres(settings) => postgres::load(settings, folder),
    }
}

/// Reads all rows of a database whose rows are served, so that a failed load can be repeated. Here a missing
/// SQLite file is an error, as an empty collection would replace the served rows, and the load gives up a
/// server that has been silent for half a minute.
///
/// # Errors
/// As for [`load`].
/// As for [`load`].
pub fn load_again(url: &DatabaseUrl, folder: &Folder) -> Result<Loaded, DatabaseError> {
    match url.backend() {
        Backend::Sqlite(path) => sqlite::load_again(path, folder),
        Backend::Postgres(settings) => postgres::load_again(settings, folder),
    }
}

/// The same, and reads only the rows that have changed since those of `since`, if the log of changes tells which.
///
/// # Errors
/// As for [`load`].
pub fn load_changes(url: &DatabaseUrl, folder: &Folder, since: &Since) -> Result<Found, DatabaseError> {
    match url.backend() {
        Backend::Sqlite(path) => sqlite::load_changes(path, folder, since),
        Backend::Postgres(settings) => postgres::load_changes(settings, folder, since),
    }
}

/// Replaces all rows by `collection`, in one transaction: a reader sees the old rows or the new ones, and
/// after an error the old ones remain. Creates missing tables.
///
/// # Errors
/// The database cannot be opened or written, or it refuses a value (a number out of the range of PostgreSQL's
/// 32-bit INTEGER).
pub fn replace(url: &DatabaseUrl, collection: &Collection) -> Result<(), DatabaseError> {
    match url.backend() {
        Backend::Sqlite(path) => sqlite::replace(path, collection),
        Backend::Postgres(settings) => postgres::replace(settings, collection),
    }
}
