//! Writes the changes of a scan into a transaction that has locked the tables.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;

use ::postgres::Transaction;
use uuid::Uuid;

use super::copy::{Line, copy};
use super::tables::Failure;
use crate::database::change_log::Touched;
use crate::database::difference::{RowChanges, SongRecord, StoredSong};
use crate::database::holder::Holder;
use crate::database::state::{self, SCANS_KEPT};
use crate::database::{Changes, Moved, ScanRecord, StateChanges, schema};
use crate::model::library::{File, Folder};
use crate::model::{Collection, Named, Owner};

/// Rows whose keys one statement takes.
const BATCH: usize = 5_000;

/// Writes all changes as the scan with number `id`, in place of the scan `own`. The `created` tables are
/// empty.
///
/// Removed rows are deleted by their keys, and new rows are copied; a changed row goes both ways. Only the
/// rows of names are updated, because songs refer to them. Returns which rows have changed.
pub(super) fn all(
    transaction: &mut Transaction<'_>,
    created: &[&str],
    changes: Changes<'_>,
    id: i64,
    own: Option<i64>,
    me: &Holder,
) -> Result<Touched, Failure> {
    let mut touched = Touched::of(&changes.rows);
    if schema::TABLES.iter().any(|table| created.contains(table)) {
        touched.everything();
    }
    differences(transaction, created, changes.rows, &mut touched)?;
    state(transaction, created, changes.state)?;
    moved(transaction, changes.moved)?;
    scan(transaction, id, own, &changes.scan, me)?;
    Ok(touched)
}

/// Replaces all rows by `collection`.
pub(super) fn collection(transaction: &mut Transaction<'_>, collection: &Collection) -> Result<(), Failure> {
    empty(transaction)?;
    for owner in Owner::ALL {
        copy_names(transaction, owner, owner.of(collection))?;
    }
    copy_songs(transaction, collection.songs.iter().map(|song| StoredSong::new(collection, song)))
}

/// Empties the tables with DELETE: readers with an older snapshot would notice TRUNCATE. Tracks come first,
/// because of their foreign keys.
fn empty(transaction: &mut Transaction<'_>) -> Result<(), Failure> {
    for table in schema::TABLES.iter().rev() {
        transaction.batch_execute(&format!("DELETE FROM {table}"))?;
    }
    Ok(())
}

fn differences(
    transaction: &mut Transaction<'_>,
    created: &[&str],
    changes: RowChanges<'_>,
    touched: &mut Touched,
) -> Result<(), Failure> {
    if changes.replace {
        empty(transaction)?;
    }
    let is_empty = |table| changes.replace || created.contains(&table);
    for owner in Owner::ALL {
        let names = &changes.names[owner];
        if is_empty(owner.plural()) {
            copy_names(transaction, owner, names)?;
            continue;
        }
        for batch in names.chunks(BATCH) {
            upsert_names(transaction, owner, batch)?;
        }
    }
    delete(transaction, "tracks", &changes.removed_songs)?;
    each_batch(changes.songs.into_iter().flatten(), |batch| {
        batch.iter().for_each(|song| touched.song(song.row().id));
        // An id column of another type than avalonms' can be emptied, but not compared.
        if !is_empty("tracks") {
            let ids: Vec<Uuid> = batch.iter().map(|song| song.row().id).collect();
            delete(transaction, "tracks", &ids)?;
        }
        copy_songs(transaction, batch.iter().map(SongRecord::row))
    })?;
    for owner in Owner::ALL {
        delete(transaction, owner.plural(), &changes.removed_names[owner])?;
    }
    Ok(())
}

fn delete(transaction: &mut Transaction<'_>, table: &str, ids: &[Uuid]) -> Result<(), Failure> {
    for batch in ids.chunks(BATCH) {
        transaction.execute(&format!("DELETE FROM {table} WHERE id = ANY($1)"), &[&batch])?;
    }
    Ok(())
}

fn upsert_names(transaction: &mut Transaction<'_>, owner: Owner, names: &[Named]) -> Result<(), Failure> {
    let ids: Vec<Uuid> = names.iter().map(|named| named.id).collect();
    let texts: Vec<String> = names.iter().map(|named| named.name.replace('\0', "\u{fffd}")).collect();
    let update = format!(
        "UPDATE {} AS old SET name = new.name FROM unnest($1::uuid[], $2::text[]) AS new (id, name)
          WHERE old.id = new.id RETURNING old.id",
        owner.plural()
    );
    let mut updated = HashSet::new();
    for row in transaction.query(&update, &[&ids, &texts])? {
        updated.insert(row.try_get::<_, Uuid>(0)?);
    }
    copy_names(transaction, owner, names.iter().filter(|named| !updated.contains(&named.id)))
}

fn copy_names<'a>(
    transaction: &mut Transaction<'_>,
    owner: Owner,
    names: impl IntoIterator<Item = &'a Named>,
) -> Result<(), Failure> {
    copy(transaction, owner.plural(), &schema::NAME_COLUMNS, names, |named, line| {
        line.plain(named.id);
        line.text(&named.name);
    })
}

fn copy_songs<'a>(
    transaction: &mut Transaction<'_>,
    songs: impl IntoIterator<Item = StoredSong<'a>>,
) -> Result<(), Failure> {
    copy(transaction, "tracks", &schema::TRACK_COLUMNS, songs, |song, line| {
        line.plain(song.id);
        line.optional(song.name);
        [song.length, song.track, song.year].into_iter().for_each(|number| line.number(number));
        song.names.values().for_each(|id| line.plain(id));
    })
}

fn state(
    transaction: &mut Transaction<'_>,
    created: &[&str],
    changes: StateChanges<'_>,
) -> Result<(), Failure> {
    let is_empty = |table| changes.replace || created.contains(&table);
    if changes.replace {
        transaction.batch_execute("DELETE FROM avalon_files; DELETE FROM avalon_folders")?;
    }
    for batch in changes.removed_files.chunks(BATCH) {
        delete_files(transaction, batch.iter().map(|(folder, name)| (*folder, name)))?;
    }
    for batch in changes.removed_folders.chunks(BATCH) {
        delete_folders(transaction, batch)?;
    }
    each_batch(changes.folders.into_iter().flatten(), |batch| {
        let ids: Vec<i64> = batch.iter().map(|folder| folder.id).collect();
        if !is_empty("avalon_folders") {
            delete_folders(transaction, &ids)?;
        }
        copy(transaction, "avalon_folders", &state::FOLDER_COLUMNS, batch, folder_line)
    })?;
    each_batch(changes.files.into_iter().flatten(), |batch| {
        if !is_empty("avalon_files") {
            delete_files(transaction, batch.iter().map(|file| (file.folder, &file.name)))?;
        }
        copy(transaction, "avalon_files", &state::FILE_COLUMNS, batch, file_line)
    })
}

/// Passes on the rows of a stream in batches.
fn each_batch<T>(
    mut rows: impl Iterator<Item = io::Result<T>>,
    mut work: impl FnMut(&[T]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    loop {
        let batch: Vec<T> = rows.by_ref().take(BATCH).collect::<io::Result<_>>()?;
        if batch.is_empty() {
            return Ok(());
        }
        work(&batch)?;
    }
}

fn delete_folders(transaction: &mut Transaction<'_>, ids: &[i64]) -> Result<(), Failure> {
    transaction.execute("DELETE FROM avalon_folders WHERE id = ANY($1)", &[&ids])?;
    Ok(())
}

fn delete_files<'a>(
    transaction: &mut Transaction<'_>,
    keys: impl Iterator<Item = (i64, &'a OsString)>,
) -> Result<(), Failure> {
    let (folders, names): (Vec<i64>, Vec<&[u8]>) =
        keys.map(|(folder, name)| (folder, name.as_bytes())).unzip();
    transaction.execute(
        "DELETE FROM avalon_files AS old USING unnest($1::bigint[], $2::bytea[]) AS gone (folder, name)
          WHERE old.folder = gone.folder AND old.name = gone.name",
        &[&folders, &names],
    )?;
    Ok(())
}

fn folder_line(folder: &Folder, line: &mut Line) {
    line.plain(folder.id);
    line.bytes(folder.path.as_os_str().as_bytes());
    line.plain(folder.root);
    line.plain(folder.is_mount);
    line.plain(folder.fs_type);
}

fn file_line(file: &File, line: &mut Line) {
    line.plain(file.folder);
    line.bytes(file.name.as_bytes());
    let stamps = &file.stamps;
    [stamps.size, stamps.mtime_ns, stamps.ctime_ns, stamps.ino].into_iter().for_each(|n| line.plain(n));
    line.plain(file.settled);
    line.plain(file.reader);
    line.plain(file.outcome as i64);
    line.text(&file.note);
    line.plain(file.added);
    for text in [&file.title, &file.album, &file.artist, &file.genre, &file.track, &file.date] {
        line.optional(text.as_deref());
    }
    line.number(file.length_ms);
    line.text(&file.facts);
}

fn moved(transaction: &mut Transaction<'_>, moved: &[Moved]) -> Result<(), Failure> {
    for batch in moved.chunks(BATCH) {
        let ids: Vec<Uuid> = batch.iter().map(|moved| moved.old_id).collect();
        transaction.execute("DELETE FROM avalon_moved WHERE old_id = ANY($1)", &[&ids])?;
        copy(transaction, "avalon_moved", &["old_id", "new_id", "at"], batch, |moved, line| {
            line.plain(moved.old_id);
            line.plain(moved.new_id);
            line.plain(moved.at);
        })?;
    }
    Ok(())
}

fn scan(
    transaction: &mut Transaction<'_>,
    id: i64,
    own: Option<i64>,
    scan: &ScanRecord<'_>,
    me: &Holder,
) -> Result<(), Failure> {
    let columns = ["id", "started", "ended", "host", "pid", "counts"];
    copy(transaction, "avalon_scans", &columns, [scan], |scan, line| {
        line.plain(id);
        line.plain(scan.started);
        line.plain(scan.ended);
        line.text(&me.host);
        line.plain(me.pid);
        line.text(scan.counts);
    })?;
    transaction.execute("DELETE FROM avalon_scans WHERE id <= $1", &[&(id - SCANS_KEPT)])?;
    // This is the record that the same scan wrote before its end.
    transaction.execute("DELETE FROM avalon_scans WHERE id = $1", &[&own])?;
    Ok(())
}
