//! The tables that are ours alone, beside those of avalonms: the memory of a scan. avalonms
//! may open the file with an old SQLite, so they use nothing newer than 3.8.2.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::model::library::{FileRow, Folder, Outcome, Stamps};

/// How a database writes types and ends a CREATE TABLE.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dialect {
    /// 64 bits.
    pub(super) integer: &'static str,
    pub(super) bytes: &'static str,
    /// As in the tables of avalonms.
    pub(super) id: &'static str,
    /// After the closing bracket of a table whose primary key orders its rows.
    pub(super) by_key: &'static str,
}

/// Names of the tables.
pub(super) const TABLES: [&str; 4] = ["avalon_folders", "avalon_files", "avalon_scans", "avalon_moved"];

pub(super) const FOLDER_COLUMNS: [&str; 5] = ["id", "path", "root", "is_mount", "fs_type"];

pub(super) const FILE_COLUMNS: [&str; 19] = [
    "folder",
    "name",
    "size",
    "mtime_ns",
    "ctime_ns",
    "ino",
    "settled",
    "reader",
    "outcome",
    "note",
    "added",
    "title",
    "album",
    "artist",
    "genre",
    "track",
    "date",
    "length_ms",
    "facts",
];

/// How many scans are kept.
pub(super) const SCANS_KEPT: i64 = 100;

/// The statement that creates one of [`TABLES`].
pub(super) fn statement(table: &str, dialect: Dialect) -> String {
    let Dialect { integer, bytes, id, by_key } = dialect;
    let (columns, end) = match table {
        "avalon_folders" => (
            format!(
                "id {integer} NOT NULL PRIMARY KEY, path {bytes} NOT NULL, root {integer} NOT NULL, \
                 is_mount BOOLEAN NOT NULL, fs_type {integer} NOT NULL"
            ),
            "",
        ),
        "avalon_files" => (
            format!(
                "folder {integer} NOT NULL, name {bytes} NOT NULL, size {integer} NOT NULL, \
                 mtime_ns {integer} NOT NULL, ctime_ns {integer} NOT NULL, ino {integer} NOT NULL, \
                 settled BOOLEAN NOT NULL, reader {integer} NOT NULL, outcome {integer} NOT NULL, \
                 note TEXT NOT NULL, added {integer} NOT NULL, title TEXT, album TEXT, artist TEXT, \
                 genre TEXT, track TEXT, date TEXT, length_ms {integer}, facts TEXT NOT NULL, \
                 PRIMARY KEY (folder, name)"
            ),
            by_key,
        ),
        "avalon_scans" => (
            format!(
                "id {integer} NOT NULL PRIMARY KEY, started {integer} NOT NULL, ended {integer} NOT NULL, \
                 host TEXT NOT NULL, pid {integer} NOT NULL, counts TEXT NOT NULL"
            ),
            "",
        ),
        _ => (
            format!(
                "old_id {id} NOT NULL, new_id {id} NOT NULL, at {integer} NOT NULL, PRIMARY KEY (old_id)"
            ),
            by_key,
        ),
    };
    format!("CREATE TABLE {table} ({columns}){end}")
}

/// The columns of a folder as they were read; `None` if they make no folder.
pub(super) fn folder(id: i64, path: &[u8], root: i64, is_mount: bool, fs_type: i64) -> Option<Folder> {
    let path = Path::new(OsStr::from_bytes(path)).into();
    (id != 0).then_some(Folder { id, path, root, is_mount, fs_type })
}

/// Where the columns of a file come from, by their place in [`FILE_COLUMNS`].
pub(super) trait FileColumns {
    type Error;
    fn number(&self, index: usize) -> Result<Option<i64>, Self::Error>;
    fn text(&self, index: usize) -> Result<Option<Cow<'_, str>>, Self::Error>;
    fn bytes(&self, index: usize) -> Result<&[u8], Self::Error>;
    fn flag(&self, index: usize) -> Result<bool, Self::Error>;
}

/// The file in a row; `Ok(None)` if the row makes no file.
pub(super) fn file<R: FileColumns>(row: &R) -> Result<Option<FileRow<'_>>, R::Error> {
    let number = |index| Ok::<_, R::Error>(row.number(index)?.unwrap_or_default());
    let text = |index| Ok::<_, R::Error>(row.text(index)?.unwrap_or_default());
    let Some(outcome) = Outcome::from_number(number(8)?) else {
        return Ok(None);
    };
    Ok(Some(FileRow {
        folder: number(0)?,
        name: OsStr::from_bytes(row.bytes(1)?),
        stamps: Stamps { size: number(2)?, mtime_ns: number(3)?, ctime_ns: number(4)?, ino: number(5)? },
        settled: row.flag(6)?,
        reader: number(7)?,
        outcome,
        note: text(9)?,
        added: number(10)?,
        title: row.text(11)?,
        album: row.text(12)?,
        artist: row.text(13)?,
        genre: row.text(14)?,
        track: row.text(15)?,
        date: row.text(16)?,
        length_ms: row.number(17)?,
        facts: text(18)?,
    }))
}
