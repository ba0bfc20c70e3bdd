//! A scan's hold on a SQLite file.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::{AccessFlags, faccessat};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, MAIN_DB, Row, ffi};
use uuid::Uuid;

use super::explain::{NO_LOCKS, explain, folder_of, is_busy, label, locks_fail};
use super::scan_lock::ScanLock;
use super::tables::{self, has_table, insert, missing_tables, select};
use super::{revision, write};
use crate::database::difference::StoredSong;
use crate::database::error::ANOTHER_PROGRAM;
use crate::database::holder::{Holder, Patience};
use crate::database::notice::{Notice, Tell};
use crate::database::orphans::WithoutOrphans;
use crate::database::previous::{Previous, State, Visit};
use crate::database::{Changes, DatabaseError, schema, state};
use crate::model::Owner;

pub(in crate::database) struct Session {
    path: PathBuf,
    connection: Connection,
    me: Holder,
    patience: Patience,
    tell: Tell,
    /// The number under which this session has stored its result.
    own: Option<i64>,
    /// The revision of the rows that this session read or wrote last.
    revision: Option<u64>,
    _lock: ScanLock,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Session {
    pub(in crate::database) fn open(
        path: &Path,
        me: &Holder,
        patience: Patience,
        tell: Tell,
    ) -> Result<Session, DatabaseError> {
        let lock = ScanLock::take(path, me)?;
        let connection = tables::open(path, patience.announce)
            .map_err(|error| explain(path, patience.announce, &error))?;
        let (path, me) = (path.to_owned(), me.clone());
        let session =
            Session { path, connection, me, patience, tell, own: None, revision: None, _lock: lock };
        session.begin_writing()?;
        let tried = try_writing(&session.connection, &session.path);
        session.connection.execute_batch("ROLLBACK").and(tried).map_err(|error| session.explain(&error))?;
        Ok(session)
    }

    pub(in crate::database) fn revision(&self) -> Option<u64> {
        self.revision
    }

    fn explain(&self, error: &rusqlite::Error) -> DatabaseError {
        explain(&self.path, self.patience.give_up, error)
    }

    /// Runs a statement that waits for locks of other programs, and reports a long wait.
    fn run(&self, statement: &str) -> Result<(), DatabaseError> {
        let began = Instant::now();
        let mut is_told = false;
        loop {
            match self.connection.execute_batch(statement) {
                Err(error) if is_busy(&error) && began.elapsed() < self.patience.give_up => {}
                outcome => return outcome.map_err(|error| self.explain(&error)),
            }
            if !is_told && locks_fail(&self.path) {
                return Err(DatabaseError::Failed {
                    database: label(&self.path),
                    reason: NO_LOCKS.to_owned(),
                });
            }
            if !is_told && began.elapsed() >= self.patience.announce {
                is_told = true;
                (self.tell)(Notice::Waiting {
                    database: label(&self.path),
                    by: ANOTHER_PROGRAM.to_owned(),
                    seconds: began.elapsed().as_secs(),
                    limit: self.patience.give_up.as_secs(),
                });
            }
        }
    }

    /// Begins a transaction for writing. Later statements need not wait for a lock, unless the transaction is
    /// larger than the memory for its pages.
    fn begin_writing(&self) -> Result<(), DatabaseError> {
        self.run("BEGIN IMMEDIATE")
    }

    pub(in crate::database) fn previous(&mut self, visit: &mut dyn Visit) -> Result<Previous, DatabaseError> {
        // SQLite takes the lock for reading with the first row, and keeps it.
        self.run("BEGIN")?;
        self.run("SELECT 1 FROM sqlite_master LIMIT 1").inspect_err(|_| self.roll_back())?;
        let outcome = read(&self.connection, visit)
            .and_then(|previous| Ok((previous, revision::read(&self.connection)?)))
            .map_err(|error| self.explain(&error));
        self.roll_back();
        let (previous, revision) = outcome?;
        self.revision = revision;
        Ok(previous)
    }

    /// Rolls the transaction back. A failure does no harm, as closing a connection rolls back as well.
    fn roll_back(&self) {
        if !self.connection.is_autocommit() {
            let _ = self.connection.execute_batch("ROLLBACK");
        }
    }

    pub(in crate::database) fn store(&mut self, changes: Changes<'_>) -> Result<i64, DatabaseError> {
        write::prepare(&self.connection).map_err(|error| self.explain(&error))?;
        self.begin_writing()?;
        let (id, revision) = self.write(changes).inspect_err(|_| self.roll_back())?;
        // If other programs delay the commit, it may be tried again.
        self.run("COMMIT").inspect_err(|_| self.roll_back())?;
        (self.own, self.revision) = (Some(id), revision);
        Ok(id)
    }

    /// Returns the number of the scan, and the revision of the rows.
    fn write(&self, changes: Changes<'_>) -> Result<(i64, Option<u64>), DatabaseError> {
        let wait = |time: Duration| self.connection.busy_timeout(time).map_err(|error| self.explain(&error));
        let last = last_scan(&self.connection).map_err(|error| self.explain(&error))?;
        if last != changes.seen_scan {
            return Err(DatabaseError::Overtaken { database: label(&self.path) });
        }
        wait(self.patience.give_up)?;
        let written = write::all(&self.connection, changes, last + 1, self.own, &self.me);
        let revision = written.map_err(|error| self.explain(&error))?.or(self.revision);
        wait(self.patience.announce)?;
        Ok((last + 1, revision))
    }
}

/// Tries to write, in a transaction that holds the lock for writing. A lock is not yet a permission: the folder
/// may take no journal. Besides, a table may have other columns, or be a view.
fn try_writing(connection: &Connection, path: &Path) -> rusqlite::Result<()> {
    let missing = missing_tables(connection)?;
    for table in schema::TABLES.into_iter().filter(|table| !missing.contains(table)) {
        connection.prepare(&select(table, schema::columns(table)))?;
        connection.prepare(&insert(table, schema::columns(table)))?;
    }
    let mode: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
    if mode == "delete" {
        // SQLite lets a transaction of a file that it may only read begin as one for reading.
        if connection.is_readonly(MAIN_DB)? {
            return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_READONLY), None));
        }
        // A change would show whether the folder takes a journal, and write a whole page into it.
        return may_create_beside(path).map_err(|error| refused(&error));
    }
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    connection.pragma_update(None, "user_version", version)
}

/// Asks whether this process may create files in the folder of the database, where SQLite creates its journal. It
/// creates none itself, because a watch of the folder would notice.
fn may_create_beside(path: &Path) -> io::Result<()> {
    let wanted = AccessFlags::W_OK | AccessFlags::X_OK;
    Ok(faccessat(AT_FDCWD, &folder_of(path), wanted, AtFlags::AT_EACCESS)?)
}

/// Returns SQLite's error for a folder that takes no file.
fn refused(error: &io::Error) -> rusqlite::Error {
    let code = match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ffi::SQLITE_READONLY_DIRECTORY,
        _ => ffi::SQLITE_CANTOPEN,
    };
    rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some(error.to_string()))
}

fn last_scan(connection: &Connection) -> rusqlite::Result<i64> {
    if !has_table(connection, "avalon_scans")? {
        return Ok(0);
    }
    connection.query_row("SELECT coalesce(max(id), 0) FROM avalon_scans", [], |row| row.get(0))
}

fn read(connection: &Connection, visit: &mut dyn Visit) -> rusqlite::Result<Previous> {
    let last_scan = last_scan(connection)?;
    let mut state = State::Absent;
    if has_table(connection, "avalon_folders")? && has_table(connection, "avalon_files")? {
        let mut visit = WithoutOrphans::to(visit);
        let is_whole = read_folders(connection, &mut visit)? & read_files(connection, &mut visit)?;
        state = if is_whole && !visit.were_there { State::Whole } else { State::Damaged };
    }
    let missing = missing_tables(connection)?;
    let mut is_clean = true;
    for owner in Owner::ALL.into_iter().filter(|owner| !missing.contains(&owner.plural())) {
        is_clean &= read_names(connection, owner, visit)?;
    }
    if !missing.contains(&"tracks") {
        is_clean &= read_songs(connection, visit)?;
    }
    Ok(Previous { state, is_clean, last_scan })
}

/// Visits the rows of a query. Returns whether all of them were valid.
fn read_rows(
    connection: &Connection,
    query: &str,
    mut visit: impl FnMut(&Row<'_>) -> Option<()>,
) -> rusqlite::Result<bool> {
    let mut statement = connection.prepare(query)?;
    let mut rows = statement.query([])?;
    let mut all = true;
    while let Some(row) = rows.next()? {
        all &= visit(row).is_some();
    }
    Ok(all)
}

fn read_folders(connection: &Connection, visit: &mut dyn Visit) -> rusqlite::Result<bool> {
    read_rows(connection, &select("avalon_folders", &state::FOLDER_COLUMNS), |row| {
        let folder = state::folder(
            row.get(0).ok()?,
            bytes(row, 1)?,
            row.get(2).ok()?,
            row.get(3).ok()?,
            row.get(4).ok()?,
        );
        folder.map(|folder| visit.folder(folder))
    })
}

fn read_files(connection: &Connection, visit: &mut dyn Visit) -> rusqlite::Result<bool> {
    let query = select("avalon_files", &state::FILE_COLUMNS) + " ORDER BY folder, name";
    read_rows(connection, &query, |row| state::file(row).ok()?.map(|file| visit.file(file)))
}

impl state::FileColumns for Row<'_> {
    type Error = rusqlite::Error;

    fn number(&self, index: usize) -> rusqlite::Result<Option<i64>> {
        self.get(index)
    }

    fn text(&self, index: usize) -> rusqlite::Result<Option<Cow<'_, str>>> {
        Ok(self.get_ref(index)?.as_str_or_null()?.map(Cow::Borrowed))
    }

    fn bytes(&self, index: usize) -> rusqlite::Result<&[u8]> {
        Ok(self.get_ref(index)?.as_blob()?)
    }

    fn flag(&self, index: usize) -> rusqlite::Result<bool> {
        self.get(index)
    }
}

fn bytes<'a>(row: &'a Row<'_>, index: usize) -> Option<&'a [u8]> {
    row.get_ref(index).ok()?.as_blob().ok()
}

fn read_names(connection: &Connection, owner: Owner, visit: &mut dyn Visit) -> rusqlite::Result<bool> {
    let is_whole = read_rows(connection, &select(owner.plural(), &schema::NAME_COLUMNS), |row| {
        let name = text(row.get_ref(1).ok()?)??;
        visit.name(owner, id(row, 0)?, name);
        Some(())
    })?;
    Ok(is_whole && !has_duplicates(connection, owner.plural())?)
}

fn read_songs(connection: &Connection, visit: &mut dyn Visit) -> rusqlite::Result<bool> {
    let is_whole = read_rows(connection, &select("tracks", &schema::TRACK_COLUMNS), |row| {
        let song = StoredSong {
            id: id(row, 0)?,
            name: text(row.get_ref(1).ok()?)?,
            length: number(row, 2)?,
            track: number(row, 3)?,
            year: number(row, 4)?,
            names: [id(row, 5)?, id(row, 6)?, id(row, 7)?].into(),
        };
        visit.song(&song);
        Some(())
    })?;
    Ok(is_whole && !has_duplicates(connection, "tracks")?)
}

/// Whether two rows have the same id. If avalonms made the table, its primary key prevents that.
fn has_duplicates(connection: &Connection, table: &str) -> rusqlite::Result<bool> {
    let is_unique =
        "SELECT 1 FROM pragma_index_list(?1) AS index_ WHERE index_.\"unique\" AND NOT index_.partial
         AND (SELECT group_concat(name) FROM pragma_index_info(index_.name)) = 'id'";
    if connection.prepare(is_unique)?.exists([table])? {
        return Ok(false);
    }
    connection.prepare(&format!("SELECT 1 FROM {table} GROUP BY id HAVING count(*) > 1"))?.exists([])
}

/// An id in the spelling of avalonms only: a look-up by the id would miss a row with another spelling.
fn id(row: &Row<'_>, index: usize) -> Option<Uuid> {
    let ValueRef::Text(digits) = row.get_ref(index).ok()? else {
        return None;
    };
    let is_canonical = digits.len() == 32 && !digits.iter().any(u8::is_ascii_uppercase);
    Uuid::try_parse_ascii(digits).ok().filter(|_| is_canonical)
}

fn text(value: ValueRef<'_>) -> Option<Option<&str>> {
    match value {
        ValueRef::Null => Some(None),
        ValueRef::Text(text) => std::str::from_utf8(text).ok().map(Some),
        _ => None,
    }
}

fn number(row: &Row<'_>, index: usize) -> Option<Option<i64>> {
    match row.get_ref(index).ok()? {
        ValueRef::Null => Some(None),
        ValueRef::Integer(number) => Some(Some(number)),
        _ => None,
    }
}
