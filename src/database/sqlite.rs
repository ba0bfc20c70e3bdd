//! A SQLite file: opened for writing where that is possible, so that the journal of an
//! interrupted scan can be rolled back, and for reading where it is not.

mod explain;
mod scan_lock;
mod session;
mod write;

use std::borrow::Cow;
use std::path::Path;
use std::time::Duration;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, Row, Statement, Transaction, TransactionBehavior, params};
use uuid::Uuid;

use super::difference::StoredSong;
use super::rows::{Loaded, NameRows, SongRow, SongRows, Value};
use super::{DatabaseError, schema};
use crate::model::{Collection, Owner};

use explain::{
    DISK_FULL, IS_FOLDER, NO_LOCKS, explain, folder_of, is_busy, label, locks_fail, no_permission_in,
};
pub(super) use session::Session;

const ID_TYPE: &str = "CHAR(32)";

/// A scan keeps readers out only while it commits: that is seconds for a large collection.
const READER_PATIENCE: Duration = Duration::from_secs(10);

/// A scan waits for readers, and another scan, to finish; it has done its work by then.
const WRITER_PATIENCE: Duration = Duration::from_secs(60);

/// Memory (KiB) for the pages of a transaction. What fits is written at its end; what does
/// not is written before, and readers are locked out from then on. 1 GiB holds the pages of
/// about two million songs; only what is needed is taken.
const WRITER_CACHE_KIB: i64 = 1024 * 1024;

pub(super) fn load(path: &Path) -> Result<Loaded, DatabaseError> {
    load_patiently(path, READER_PATIENCE)
}

fn load_patiently(path: &Path, patience: Duration) -> Result<Loaded, DatabaseError> {
    let context = |error| explain(path, patience, &error);
    let mut connection = open(path, Duration::ZERO).map_err(context)?;
    if let Some(error) = without_locks(path, &connection) {
        return Err(error);
    }
    connection.busy_timeout(patience).map_err(context)?;
    let missing = missing_tables(&connection).map_err(context)?;
    if !missing.is_empty() {
        create_schema(&mut connection).map_err(|error| explain_creation(path, patience, &error, &missing))?;
    }
    read(&mut connection).map_err(context)
}

/// The error of a file system without locks, which SQLite would wait for in vain.
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

fn open(path: &Path, patience: Duration) -> rusqlite::Result<Connection> {
    // Without write permission SQLite falls back to reading by itself. It would take a path
    // that begins with `file:` for a URI.
    let path = match path.to_str() {
        Some(text) if text.starts_with("file:") => Cow::Owned(Path::new(".").join(path)),
        _ => Cow::Borrowed(path),
    };
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if !path.exists() {
        flags |= OpenFlags::SQLITE_OPEN_CREATE;
    }
    let connection = Connection::open_with_flags(&path, flags)?;
    connection.busy_timeout(patience)?;
    Ok(connection)
}

/// Views count as tables: whoever made one knows why.
fn missing_tables(connection: &Connection) -> rusqlite::Result<Vec<&'static str>> {
    let mut statement =
        connection.prepare("SELECT lower(name) FROM sqlite_master WHERE type IN ('table', 'view')")?;
    let present =
        statement.query_map([], |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(schema::TABLES.into_iter().filter(|table| !present.iter().any(|name| name == table)).collect())
}

fn create_schema(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    create_missing(&transaction)?;
    transaction.commit()
}

/// Looks again, now that nobody else can write: another process may have come first.
fn create_missing(connection: &Connection) -> rusqlite::Result<()> {
    for table in missing_tables(connection)? {
        for statement in schema::statements(table, ID_TYPE) {
            connection.execute_batch(&statement)?;
        }
    }
    Ok(())
}

fn read(connection: &mut Connection) -> rusqlite::Result<Loaded> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
    let names = [
        read_names(&transaction, "albums")?,
        read_names(&transaction, "artists")?,
        read_names(&transaction, "genres")?,
    ];
    let mut songs = SongRows::new(names);
    let mut statement = transaction.prepare(&select("tracks", &schema::TRACK_COLUMNS))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        songs.push(&SongRow {
            id: value(row, 0)?,
            name: value(row, 1)?,
            length: value(row, 2)?,
            track: value(row, 3)?,
            year: value(row, 4)?,
            album: value(row, 5)?,
            artist: value(row, 6)?,
            genre: value(row, 7)?,
        });
    }
    Ok(songs.finish())
}

fn read_names(transaction: &Transaction<'_>, table: &str) -> rusqlite::Result<NameRows> {
    let mut names = NameRows::default();
    let mut statement = transaction.prepare(&select(table, &schema::NAME_COLUMNS))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        names.push(value(row, 0)?, value(row, 1)?);
    }
    Ok(names)
}

fn select(table: &str, columns: &[&str]) -> String {
    format!("SELECT {} FROM {table}", columns.join(", "))
}

fn value<'a>(row: &'a Row<'_>, index: usize) -> rusqlite::Result<Value<'a>> {
    Ok(match row.get_ref(index)? {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Integer(number),
        ValueRef::Real(number) => Value::Real(number),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Value::Text(bytes),
    })
}

fn write(connection: &mut Connection, collection: &Collection) -> rusqlite::Result<()> {
    write::prepare(connection)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    create_missing(&transaction)?;
    write_collection(&transaction, collection)?;
    transaction.commit()
}

/// In place of everything there is.
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

/// Runs a statement whose parameters are the columns of a song; answers how many rows it changed.
fn run_with_song(statement: &mut Statement<'_>, song: &StoredSong<'_>) -> rusqlite::Result<usize> {
    let [album, artist, genre] = song.names.into();
    statement.execute(params![
        hex(song.id, &mut [0; 32]),
        song.name,
        song.length,
        song.track,
        song.year,
        hex(album, &mut [0; 32]),
        hex(artist, &mut [0; 32]),
        hex(genre, &mut [0; 32]),
    ])
}

fn insert(table: &str, columns: &[&str]) -> String {
    let marks = vec!["?"; columns.len()].join(", ");
    format!("INSERT INTO {table} ({}) VALUES ({marks})", columns.join(", "))
}

/// 32 lower-case digits without hyphens, as avalonms stores ids.
fn hex(id: Uuid, buffer: &mut [u8; 32]) -> &str {
    id.simple().encode_lower(buffer)
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

        let error = load_patiently(&path, Duration::ZERO).unwrap_err();
        assert!(
            error.to_string().ends_with("locked.sqlite is locked by another program (waited 0 s)"),
            "{error}"
        );
        assert!(error.is_unreachable());
    }
}
