//! A SQLite file: opened for writing where that is possible, so that the journal of an
//! interrupted scan can be rolled back, and for reading where it is not.

use std::path::Path;
use std::time::Duration;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags, Row, Transaction, TransactionBehavior, ffi, params};
use uuid::Uuid;

use super::rows::{Loaded, NameRows, SongRow, SongRows, Value};
use super::{DatabaseError, schema};
use crate::model::{Collection, Named};

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
    let mut connection = open(path, patience).map_err(context)?;
    let missing = missing_tables(&connection).map_err(context)?;
    if !missing.is_empty() {
        create_schema(&mut connection).map_err(|error| explain_creation(path, patience, &error, &missing))?;
    }
    read(&mut connection).map_err(context)
}

pub(super) fn replace(path: &Path, collection: &Collection) -> Result<(), DatabaseError> {
    open(path, WRITER_PATIENCE)
        .and_then(|mut connection| write(&mut connection, collection))
        .map_err(|error| explain(path, WRITER_PATIENCE, &error))
}

fn open(path: &Path, patience: Duration) -> rusqlite::Result<Connection> {
    // Without write permission SQLite falls back to reading by itself. No URI flag: a path
    // that begins with `file:` is a path.
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if !path.exists() {
        flags |= OpenFlags::SQLITE_OPEN_CREATE;
    }
    let connection = Connection::open_with_flags(path, flags)?;
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
fn create_missing(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    for table in missing_tables(transaction)? {
        for statement in schema::statements(table, ID_TYPE) {
            transaction.execute_batch(&statement)?;
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
    // The references of a collection are right as it is; without the checks SQLite can
    // also empty a table without visiting its rows.
    connection.pragma_update(None, "foreign_keys", false)?;
    connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    create_missing(&transaction)?;
    for table in schema::TABLES.iter().rev() {
        transaction.execute_batch(&format!("DELETE FROM {table}"))?;
    }
    write_names(&transaction, "albums", &collection.albums)?;
    write_names(&transaction, "artists", &collection.artists)?;
    write_names(&transaction, "genres", &collection.genres)?;
    write_songs(&transaction, collection)?;
    transaction.commit()
}

fn write_names(transaction: &Transaction<'_>, table: &str, names: &[Named]) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare(&insert(table, &schema::NAME_COLUMNS))?;
    for named in names {
        statement.execute(params![hex(named.id, &mut [0; 32]), named.name])?;
    }
    Ok(())
}

fn write_songs(transaction: &Transaction<'_>, collection: &Collection) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare(&insert("tracks", &schema::TRACK_COLUMNS))?;
    for song in &collection.songs {
        statement.execute(params![
            hex(song.id, &mut [0; 32]),
            song.name,
            song.length,
            song.track,
            song.year,
            hex(collection.albums[song.album as usize].id, &mut [0; 32]),
            hex(collection.artists[song.artist as usize].id, &mut [0; 32]),
            hex(collection.genres[song.genre as usize].id, &mut [0; 32]),
        ])?;
    }
    Ok(())
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

/// SQLite's codes in words, with what to do.
fn explain(path: &Path, patience: Duration, error: &rusqlite::Error) -> DatabaseError {
    let database = format!("SQLite database {}", path.display());
    let rusqlite::Error::SqliteFailure(failure, message) = error else {
        return DatabaseError::Failed { database, reason: error.to_string() };
    };
    let reason = match (failure.code, failure.extended_code) {
        (ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked, _) => {
            return DatabaseError::Locked { database, seconds: patience.as_secs() };
        }
        (ErrorCode::NotADatabase, _) => "the file is no SQLite database".to_owned(),
        (ErrorCode::DatabaseCorrupt, _) => "the file is damaged; scan into a new one".to_owned(),
        (ErrorCode::DiskFull, _) => "no space left on the disk".to_owned(),
        (_, ffi::SQLITE_READONLY_ROLLBACK) => {
            "an interrupted scan must be rolled back, and there is no write permission for that; \
             open it once as its owner"
                .to_owned()
        }
        (
            _,
            ffi::SQLITE_READONLY_CANTINIT | ffi::SQLITE_READONLY_RECOVERY | ffi::SQLITE_READONLY_DIRECTORY,
        ) => "there is no write permission in its folder; in WAL mode that is needed also to read, so as \
              its owner run `PRAGMA journal_mode=DELETE`"
            .to_owned(),
        (ErrorCode::ReadOnly, _) => "there is no write permission".to_owned(),
        (ErrorCode::CannotOpen, _) => why_not_opened(path),
        _ => message.clone().unwrap_or_else(|| failure.to_string()),
    };
    DatabaseError::Failed { database, reason }
}

/// SQLite only says that it cannot open a file; the file system knows more.
fn why_not_opened(path: &Path) -> String {
    if path.is_dir() {
        return "it is a folder, not a file".to_owned();
    }
    let folder = match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
        None => Path::new("/"),
    };
    if !folder.is_dir() {
        return format!("its folder {} does not exist", folder.display());
    }
    match std::fs::File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            "there is no such file, and no permission to create it".to_owned()
        }
        Err(error) => format!("the file cannot be opened ({error})"),
        Ok(_) => "no file can be created beside it; give write permission for its folder".to_owned(),
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
