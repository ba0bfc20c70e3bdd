//! Writes the changes of a scan into a transaction that has begun.

use std::os::unix::ffi::OsStrExt;

use rusqlite::{Connection, params};
use uuid::Uuid;

use super::tables::{
    FIRST_WRITER_CACHE_KIB, ID_TYPE, WRITER_CACHE_KIB, has_table, hex, insert, missing_tables, run_with_song,
};
use super::{change_log, revision};
use crate::database::change_log::Touched;
use crate::database::difference::{RowChanges, SongRecord};
use crate::database::holder::Holder;
use crate::database::revision::scan_id;
use crate::database::state::{self, Dialect, SCANS_KEPT};
use crate::database::{Changes, Moved, ScanRecord, StateChanges, Stream, schema};
use crate::model::Owner;
use crate::model::library::{File, Folder};

/// Songs that are sorted by their ids before they are written, so that their places in the index follow one
/// another.
const SORTED: usize = 20_000;

const DIALECT: Dialect = Dialect { integer: "INTEGER", bytes: "BLOB", id: ID_TYPE, by_key: " WITHOUT ROWID" };

/// Makes the settings that must precede the transaction.
pub(super) fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    // The references of a collection are correct; without the checks SQLite can also empty a table without
    // visiting its rows.
    connection.pragma_update(None, "foreign_keys", false)
}

/// Sets how much of a transaction that has begun stays in memory. All tables must exist.
pub(super) fn set_cache(connection: &Connection) -> rusqlite::Result<()> {
    let cache = if has_songs(connection)? { WRITER_CACHE_KIB } else { FIRST_WRITER_CACHE_KIB };
    connection.pragma_update(None, "cache_size", -cache)
}

fn has_songs(connection: &Connection) -> rusqlite::Result<bool> {
    connection.prepare("SELECT 1 FROM tracks LIMIT 1")?.exists([])
}

/// Writes all changes as the scan with number `id`, in place of the scan `own`. Returns the revision of the
/// rows if it was written.
pub(super) fn all(
    connection: &Connection,
    mut changes: Changes<'_>,
    id: i64,
    own: Option<i64>,
    me: &Holder,
) -> rusqlite::Result<Option<u64>> {
    let missing = missing_tables(connection)?;
    for table in &missing {
        connection.execute_batch(&schema::statement(table, ID_TYPE))?;
    }
    create_state(connection)?;
    set_cache(connection)?;
    let scan = scan_id(me, id);
    let counts = !changes.rows.is_empty() && revision::count(connection, scan)?;
    let first = if counts { revision::read(connection)? } else { None };
    let mut touched = Touched::of(&changes.rows);
    if !missing.is_empty() {
        touched.everything();
    }
    write_differences(connection, changes.rows, &mut touched)?;
    // Building an index of all rows at once costs half of one that grows row by row.
    for index in missing.into_iter().flat_map(schema::indexes) {
        connection.execute_batch(&index)?;
    }
    write_state(connection, changes.state)?;
    write_moved(connection, changes.moved)?;
    write_scan(connection, id, own, &changes.scan, me)?;
    let last = if counts { revision::sign(connection, scan)? } else { None };
    if let Some(counted) = first.zip(last) {
        change_log::write(connection, counted, scan, touched)?;
    }
    Ok(last)
}

fn create_state(connection: &Connection) -> rusqlite::Result<()> {
    for table in state::TABLES {
        if !has_table(connection, table)? {
            connection.execute_batch(&state::statement(table, DIALECT))?;
        }
    }
    Ok(())
}

/// Updates a row, or else inserts it: tables that another program made may have no primary key, without which
/// SQLite finds no conflict. This order never breaks a foreign key.
fn write_differences(
    connection: &Connection,
    changes: RowChanges<'_>,
    touched: &mut Touched,
) -> rusqlite::Result<()> {
    if changes.replace {
        for table in schema::TABLES.iter().rev() {
            connection.execute_batch(&format!("DELETE FROM {table}"))?;
        }
    }
    for owner in Owner::ALL {
        let mut update =
            connection.prepare(&format!("UPDATE {} SET name = ?2 WHERE id = ?1", owner.plural()))?;
        let mut add = connection.prepare(&insert(owner.plural(), &schema::NAME_COLUMNS))?;
        for named in &changes.names[owner] {
            let buffer = &mut [0; 32];
            let row = params![hex(named.id, buffer), named.name];
            if update.execute(row)? == 0 {
                add.execute(row)?;
            }
        }
    }
    delete(connection, "tracks", &changes.removed_songs)?;
    write_songs(connection, changes.songs, touched)?;
    for owner in Owner::ALL {
        delete(connection, owner.plural(), &changes.removed_names[owner])?;
    }
    Ok(())
}

/// Writes songs. SQLite takes a column that an UPDATE names out of its index and puts it in again, which
/// writes the pages of the index. So the statement leaves out the ids of names that stay the same.
fn write_songs(
    connection: &Connection,
    songs: Option<Stream<'_, SongRecord>>,
    touched: &mut Touched,
) -> rusqlite::Result<()> {
    let equations = |separator: &str, columns: std::ops::Range<usize>| -> String {
        let each = columns.map(|index| format!("{} = ?{}", schema::TRACK_COLUMNS[index], index + 1));
        each.collect::<Vec<_>>().join(separator)
    };
    let all = schema::TRACK_COLUMNS.len();
    let update =
        |set, same| format!("UPDATE tracks SET {} WHERE {}", equations(", ", set), equations(" AND ", same));
    let same_names = format!("{} AND {}", update(1..5, 5..all), equations("", 0..1));
    let mut statements = [
        connection.prepare(&same_names)?,
        connection.prepare(&update(1..all, 0..1))?,
        connection.prepare(&insert("tracks", &schema::TRACK_COLUMNS))?,
    ];
    // A table without songs needs no update.
    let first = if has_songs(connection)? { 0 } else { statements.len() - 1 };
    let mut songs = songs.into_iter().flatten();
    loop {
        let mut batch = songs.by_ref().take(SORTED).collect::<Result<Vec<_>, _>>().map_err(lost)?;
        if batch.is_empty() {
            return Ok(());
        }
        batch.sort_unstable_by_key(|song| song.row().id);
        for song in batch {
            touched.song(song.row().id);
            for statement in &mut statements[first..] {
                if run_with_song(statement, &song.row())? > 0 {
                    break;
                }
            }
        }
    }
}

fn delete(connection: &Connection, table: &str, ids: &[Uuid]) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(&format!("DELETE FROM {table} WHERE id = ?"))?;
    ids.iter().try_for_each(|id| statement.execute([hex(*id, &mut [0; 32])]).map(drop))
}

fn write_state(connection: &Connection, changes: StateChanges<'_>) -> rusqlite::Result<()> {
    if changes.replace {
        connection.execute_batch("DELETE FROM avalon_files; DELETE FROM avalon_folders")?;
    }
    let mut statement = connection.prepare("DELETE FROM avalon_files WHERE folder = ? AND name = ?")?;
    for (folder, name) in changes.removed_files {
        statement.execute(params![folder, name.as_bytes()])?;
    }
    let mut statement = connection.prepare("DELETE FROM avalon_folders WHERE id = ?")?;
    for id in changes.removed_folders {
        statement.execute([id])?;
    }
    let mut statement = connection.prepare(&replace("avalon_folders", &state::FOLDER_COLUMNS))?;
    for folder in changes.folders.into_iter().flatten() {
        let Folder { id, path, root, is_mount, fs_type } = folder.map_err(lost)?;
        statement.execute(params![id, path.as_os_str().as_bytes(), root, is_mount, fs_type])?;
    }
    let mut statement = connection.prepare(&replace("avalon_files", &state::FILE_COLUMNS))?;
    for file in changes.files.into_iter().flatten() {
        write_file(&mut statement, &file.map_err(lost)?)?;
    }
    Ok(())
}

fn write_file(statement: &mut rusqlite::Statement<'_>, file: &File) -> rusqlite::Result<()> {
    let stamps = &file.stamps;
    statement.execute(params![
        file.folder,
        file.name.as_bytes(),
        stamps.size,
        stamps.mtime_ns,
        stamps.ctime_ns,
        stamps.ino,
        file.settled,
        file.reader,
        file.outcome as i64,
        file.note,
        file.added,
        file.title,
        file.album,
        file.artist,
        file.genre,
        file.track,
        file.date,
        file.length_ms,
        file.facts,
    ])?;
    Ok(())
}

/// The error for a row that cannot be read from its temporary storage.
fn lost(error: std::io::Error) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(Box::new(error))
}

/// A statement for this program's own tables, which have a primary key.
fn replace(table: &str, columns: &[&str]) -> String {
    insert(table, columns).replacen("INSERT", "INSERT OR REPLACE", 1)
}

fn write_moved(connection: &Connection, moved: &[Moved]) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(&replace("avalon_moved", &["old_id", "new_id", "at"]))?;
    for Moved { old_id, new_id, at } in moved {
        statement.execute(params![hex(*old_id, &mut [0; 32]), hex(*new_id, &mut [0; 32]), at])?;
    }
    Ok(())
}

fn write_scan(
    connection: &Connection,
    id: i64,
    own: Option<i64>,
    scan: &ScanRecord<'_>,
    me: &Holder,
) -> rusqlite::Result<()> {
    let columns = ["id", "started", "ended", "host", "pid", "counts"];
    connection.execute(
        &insert("avalon_scans", &columns),
        params![id, scan.started, scan.ended, me.host, me.pid, scan.counts],
    )?;
    connection.execute("DELETE FROM avalon_scans WHERE id <= ?", [id - SCANS_KEPT])?;
    // This is the record that the same scan wrote before its end.
    connection.execute("DELETE FROM avalon_scans WHERE id = ?", [own])?;
    Ok(())
}
