//! A SQLite file. It is opened for writing if possible, so that SQLite can roll back the journal of an
//! interrupted scan, and otherwise for reading.

mod change_log;
mod explain;
mod poll;
mod revision;
mod rows;
mod scan_lock;
mod session;
mod tables;
mod write;

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior, params};

use super::change_log::Since;
use super::changed::Found;
use super::difference::StoredSong;
use super::revision::Version;
use super::rows::{Loaded, NameRows, SongRows};
use super::{DatabaseError, schema};
use crate::model::{Collection, Owner, PerOwner};
use crate::rows::scratch::{Folder, ScratchError};

use explain::{NO_LOCKS, explain, is_busy, label, locks_fail};
use poll::Identity;
pub(super) use poll::poll;
use rows::{song, value};
pub(super) use session::Session;
use tables::{
    create_missing, create_schema, hex, insert, missing_tables, open, open_existing, run_with_song, select,
};

/// How long a reader waits: a scan keeps readers out only while it commits, for seconds with a large
/// collection.
const READER_PATIENCE: Duration = Duration::from_secs(10);

/// How long a scan waits for readers and for another scan, after it has done its work.
const WRITER_PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn load(path: &Path, folder: &Folder) -> Result<Loaded, DatabaseError> {
    load_from(path, folder, READER_PATIENCE, open, read)
}

pub(super) fn load_again(path: &Path, folder: &Folder) -> Result<Loaded, DatabaseError> {
    load_from(path, folder, READER_PATIENCE, open_existing, read)
}

pub(super) fn load_changes(path: &Path, folder: &Folder, since: &Since) -> Result<Found, DatabaseError> {
    load_from(path, folder, READER_PATIENCE, open_existing, |transaction, identity, folder| {
        let version = identity.mark(revision::read_version(transaction)?);
        Ok(match change_log::read(transaction, since, version)? {
            Ok(changed) => Found::Changes(changed),
            Err(unlogged) => Found::Rows(read(transaction, identity, folder)?, unlogged),
        })
    })
}

/// Opens the file and has `read` read it in one transaction.
fn load_from<T: From<Loaded>>(
    path: &Path,
    folder: &Folder,
    patience: Duration,
    open: fn(&Path, Duration) -> rusqlite::Result<Connection>,
    read: impl FnOnce(&Transaction<'_>, &Identity, &Folder) -> Result<T, Failure>,
) -> Result<T, DatabaseError> {
    let context = |error| explain(path, patience, &error);
    // This comes before the file is opened: if a program replaces it meanwhile, the next poll notices another
    // file.
    let identity = Identity::of(path);
    let mut connection = open(path, Duration::ZERO).map_err(context)?;
    if let Some(error) = without_locks(path, &connection) {
        return Err(error);
    }
    connection.busy_timeout(patience).map_err(context)?;
    let missing = missing_tables(&connection).map_err(context)?;
    if !missing.is_empty() {
        match create_schema(&mut connection) {
            // The file is a read-only copy that no scan has reached yet.
            Err(error) if is_read_only(&error) && missing == schema::TABLES => {
                return Ok(Loaded::empty(folder)?.into());
            }
            outcome => outcome.map_err(|error| explain_creation(path, patience, &error, &missing))?,
        }
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Deferred).map_err(context)?;
    read(&transaction, &identity, folder).map_err(|failure| match failure {
        Failure::Sqlite(error) => context(error),
        Failure::Scratch(error) => error.into(),
    })
}

fn is_read_only(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::ReadOnly)
}

/// The error of a file system without locks, for which SQLite would wait without success.
fn without_locks(path: &Path, connection: &Connection) -> Option<DatabaseError> {
    let read = connection.query_row("SELECT count(*) FROM sqlite_master", [], |_| Ok(()));
    read.is_err_and(|error| is_busy(&error) && locks_fail(path))
        .then(|| DatabaseError::Failed { database: label(path), reason: NO_LOCKS.to_owned() })
}

pub(super) fn replace(path: &Path, collection: &Collection) -> Result<(), DatabaseError> {
    open(path, WRITER_PATIENCE)
        .and_then(|mut connection| write(&mut connection, collection))
        .map_err(|error| explain(path, WRITER_PATIENCE, &error))
}

/// An error while rows were read.
enum Failure {
    Sqlite(rusqlite::Error),
    Scratch(ScratchError),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Failure::Sqlite(error)
    }
}

impl From<ScratchError> for Failure {
    fn from(error: ScratchError) -> Self {
        Failure::Scratch(error)
    }
}

fn read(transaction: &Transaction<'_>, identity: &Identity, folder: &Folder) -> Result<Loaded, Failure> {
    let Version { revision, mark } = identity.mark(revision::read_version(transaction)?);
    let names = PerOwner::try_new(|owner| read_names(transaction, owner, folder))?;
    let mut songs = SongRows::new(names, folder)?;
    let mut statement = transaction.prepare(&select("tracks", &schema::TRACK_COLUMNS))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        songs.push(&song(row)?)?;
    }
    Ok(Loaded { revision, mark, ..songs.finish()? })
}

fn read_names(transaction: &Transaction<'_>, owner: Owner, folder: &Folder) -> Result<NameRows, Failure> {
    let mut names = NameRows::new(folder);
    let mut statement = transaction.prepare(&select(owner.plural(), &schema::NAME_COLUMNS))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        names.push(value(row, 0)?, value(row, 1)?)?;
    }
    Ok(names)
}

fn write(connection: &mut Connection, collection: &Collection) -> rusqlite::Result<()> {
    write::prepare(connection)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    create_missing(&transaction)?;
    write::set_cache(&transaction)?;
    write_collection(&transaction, collection)?;
    transaction.commit()
}

/// Replaces all rows by `collection`.
fn write_collection(connection: &Connection, collection: &Collection) -> rusqlite::Result<()> {
    for table in schema::TABLES.iter().rev() {
        connection.execute_batch(&format!("DELETE FROM {table}"))?;
    }
    for owner in Owner::ALL {
        let mut statement = connection.prepare(&insert(owner.plural(), &schema::NAME_COLUMNS))?;
        for named in owner.of(collection) {
            statement.execute(params![hex(named.id, &mut [0; 32]), named.name])?;
        }
    }
    let mut statement = connection.prepare(&insert("tracks", &schema::TRACK_COLUMNS))?;
    for song in &collection.songs {
        run_with_song(&mut statement, &StoredSong::new(collection, song))?;
    }
    Ok(())
}

fn explain_creation(
    path: &Path,
    patience: Duration,
    error: &rusqlite::Error,
    missing: &[&str],
) -> DatabaseError {
    match explain(path, patience, error) {
        DatabaseError::Failed { database, reason } => DatabaseError::Failed {
            database,
            reason: format!("cannot create the missing tables ({}): {reason}", missing.join(", ")),
        },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locked_file_is_said_to_be_locked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("locked.sqlite");
        replace(&path, &Collection::default()).unwrap();
        let other = Connection::open(&path).unwrap();
        other.execute_batch("BEGIN EXCLUSIVE").unwrap();

        let error = load_from(&path, &Folder::default(), Duration::ZERO, tables::open, read).unwrap_err();
        assert!(
            error.to_string().ends_with("locked.sqlite is locked by another program (waited 0 s)"),
            "{error}"
        );
        assert!(error.is_unreachable());
    }
}
