//! Rows in and rows out: one [`Collection`] in a SQLite file or on a PostgreSQL server, in
//! the tables of avalonms. Each verb opens the database, does its work in one transaction
//! and closes it again. A scan holds a [`Session`] instead, which keeps other scans out, and
//! writes only differences. All of it may start threads and run Tokio: never call it in the
//! master.

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

/// Reads everything, as it was at one moment; texts and records beyond a little memory go to temporary files in
/// `folder`. Creates the tables that are missing; where none is, read access is enough. No value in the rows makes
/// this fail.
///
/// # Errors
/// If the database cannot be opened or read, a missing table cannot be created, or the rows cannot be kept in `folder`.
pub fn load(url: &DatabaseUrl, folder: &Folder) -> Result<Loaded, DatabaseError> {
    match url.backend() {
        Backend::Sqlite(path) => sqlite::load(path, folder),
        Backend::Postgres(settings) => postgres::load(settings, folder),
    }
}

/// The same for a database whose rows are served, so that the load can be repeated. A SQLite file that is missing is an
/// error then, as an empty collection would take the place of those rows, and a server is not waited for that has said
/// nothing for half a minute.
///
/// # Errors
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

/// Puts `collection` in place of everything there is, in one transaction: a reader sees the
/// old rows or the new ones, and after an error the old ones are still there. Tables that
/// are missing are created.
///
/// # Errors
/// If the database cannot be opened or written, or if it refuses a value (a number out of
/// the range of PostgreSQL's 32-bit INTEGER).
pub fn replace(url: &DatabaseUrl, collection: &Collection) -> Result<(), DatabaseError> {
    match url.backend() {
        Backend::Sqlite(path) => sqlite::replace(path, collection),
        Backend::Postgres(settings) => postgres::replace(settings, collection),
    }
}
