//! The tables in a file: the missing ones, their creation, and statements on them.

use std::borrow::Cow;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Statement, TransactionBehavior, params};
use uuid::Uuid;

use crate::database::difference::StoredSong;
use crate::database::schema;

pub(super) const ID_TYPE: &str = "CHAR(32)";

/// Memory (KiB) for the pages of a transaction. Pages that fit are written at its end; those that do not are
/// written earlier, and readers are locked out from then on. 1 GiB holds the pages of about two million
/// songs; SQLite takes only the part that it needs.
pub(super) const WRITER_CACHE_KIB: i64 = 1024 * 1024;

/// The same for a first scan. Pages are then written early and lock readers out, but there are no songs to
/// read yet. The pages of a million songs would take more memory than the rest of the scan.
pub(super) const FIRST_WRITER_CACHE_KIB: i64 = 32 * 1024;

pub(super) fn open(path: &Path, patience: Duration) -> rusqlite::Result<Connection> {
    let create = if path.exists() { OpenFlags::empty() } else { OpenFlags::SQLITE_OPEN_CREATE };
    open_with(path, patience, OpenFlags::SQLITE_OPEN_READ_WRITE | create)
}

/// Opens a file that must exist.
pub(super) fn open_existing(path: &Path, patience: Duration) -> rusqlite::Result<Connection> {
    open_with(path, patience, OpenFlags::SQLITE_OPEN_READ_WRITE)
}

/// Opens a file for reading only.
pub(super) fn open_reading(path: &Path, patience: Duration) -> rusqlite::Result<Connection> {
    open_with(path, patience, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

fn open_with(path: &Path, patience: Duration, flags: OpenFlags) -> rusqlite::Result<Connection> {
    // Without write permission SQLite falls back to reading by itself. It would take a path that begins with
    // `file:` for a URI.
    let path = match path.to_str() {
        Some(text) if text.starts_with("file:") => Cow::Owned(Path::new(".").join(path)),
        _ => Cow::Borrowed(path),
    };
    let connection = Connection::open_with_flags(&path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(patience)?;
    Ok(connection)
}

/// The missing tables. Views count as tables: an operator may have replaced a table by one.
pub(super) fn missing_tables(connection: &Connection) -> rusqlite::Result<Vec<&'static str>> {
    let mut statement =
        connection.prepare("SELECT lower(name) FROM sqlite_master WHERE type IN ('table', 'view')")?;
    let present =
        statement.query_map([], |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(schema::TABLES.into_iter().filter(|table| !present.iter().any(|name| name == table)).collect())
}

pub(super) fn create_schema(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    create_missing(&transaction)?;
    transaction.commit()
}

/// Creates the missing tables. Now that no other process can write, it checks again: another one may have
/// created them.
pub(super) fn create_missing(connection: &Connection) -> rusqlite::Result<()> {
    for table in missing_tables(connection)? {
        for statement in schema::statements(table, ID_TYPE) {
            connection.execute_batch(&statement)?;
        }
    }
    Ok(())
}

/// Whether there is a table or a view of this name.
pub(super) fn has_table(connection: &Connection, table: &str) -> rusqlite::Result<bool> {
    connection
        .prepare("SELECT 1 FROM sqlite_master WHERE lower(name) = ? AND type IN ('table', 'view')")?
        .exists([table])
}

pub(super) fn select(table: &str, columns: &[&str]) -> String {
    format!("SELECT {} FROM {table}", columns.join(", "))
}

/// Runs a statement whose parameters are the columns of a song; returns how many rows it changed.
pub(super) fn run_with_song(statement: &mut Statement<'_>, song: &StoredSong<'_>) -> rusqlite::Result<usize> {
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

pub(super) fn insert(table: &str, columns: &[&str]) -> String {
    let marks = vec!["?"; columns.len()].join(", ");
    format!("INSERT INTO {table} ({}) VALUES ({marks})", columns.join(", "))
}

/// Formats an id as 32 lower-case digits without hyphens, as avalonms stores it.
pub(super) fn hex(id: Uuid, buffer: &mut [u8; 32]) -> &str {
    id.simple().encode_lower(buffer)
}
