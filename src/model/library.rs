//! The record that a scan keeps of the files that it saw. With it the next scan can tell a removed
//! file from an unreachable one, and a changed file from an unchanged one.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A folder below one of the scanned roots, or a root itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// Number of the folder in the database; unique there and never 0.
    pub id: i64,
    /// Absolute path, any bytes. It is shared rather than copied: the paths of a large collection take many
    /// megabytes.
    pub path: Arc<Path>,
    /// The number of the root that the folder lies below; a root has its own number.
    pub root: i64,
    /// Whether another file system began here when the folder was listed.
    pub is_mount: bool,
    /// Kind of the file system (`f_type` of statfs); 0 if unknown.
    pub fs_type: i64,
}

/// The state of a file when it was read. Two files with equal stamps hold the same bytes, if the
/// stamps are settled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamps {
    /// Size in bytes.
    pub size: i64,
    /// Time of the last change of the content, in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Time of the last change of content or attributes, in nanoseconds since 1970.
    pub ctime_ns: i64,
    /// Inode, its bits kept as they are.
    pub ino: i64,
}

/// The result of reading a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// A song.
    Song = 0,
    /// The file is not audio, by content and by name.
    NotAudio = 1,
    /// The file is audio in a format that is not supported.
    Unsupported = 2,
    /// The file should be audio and cannot be read.
    Broken = 3,
}

impl Outcome {
    /// Returns the outcome with this number.
    pub fn from_number(number: i64) -> Option<Outcome> {
        [Outcome::Song, Outcome::NotAudio, Outcome::Unsupported, Outcome::Broken]
            .into_iter()
            .find(|outcome| *outcome as i64 == number)
    }
}

/// The record of a file from the last scan that could see it. The texts are unchanged from the
/// file, before the rules for years, tracks and genres; `None` means that no tag holds the field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File<Text = String, Name = OsString> {
    /// Number of the folder that holds the file.
    pub folder: i64,
    /// Name in that folder, any bytes.
    pub name: Name,
    /// The stamps of the file when it was read.
    pub stamps: Stamps,
    /// Whether the stamps were old enough to be reliable when the file was read.
    pub settled: bool,
    /// Version of the tag reader that read the file.
    pub reader: i64,
    /// The result of reading.
    pub outcome: Outcome,
    /// The reason for no song, or the losses; empty without any.
    pub note: Text,
    /// Time at which the file was first seen, in seconds since 1970.
    pub added: i64,
    /// Title.
    pub title: Option<Text>,
    /// Album.
    pub album: Option<Text>,
    /// Artist.
    pub artist: Option<Text>,
    /// Genre.
    pub genre: Option<Text>,
    /// Track number, perhaps with a total.
    pub track: Option<Text>,
    /// Date or year of release.
    pub date: Option<Text>,
    /// Length in milliseconds; `None` if unknown.
    pub length_ms: Option<i64>,
    /// Further fields of the file, as a JSON object; empty without any.
    pub facts: Text,
}

/// A [`File`] whose texts are borrowed from a database row, so that a million of them are read
/// without a copy.
pub type FileRow<'a> = File<Cow<'a, str>, &'a OsStr>;

impl FileRow<'_> {
    /// Copies the borrowed texts.
    pub fn into_owned(self) -> File {
        let own = |text: Option<Cow<'_, str>>| text.map(Cow::into_owned);
        File {
            folder: self.folder,
            name: self.name.to_owned(),
            stamps: self.stamps,
            settled: self.settled,
            reader: self.reader,
            outcome: self.outcome,
            note: self.note.into_owned(),
            added: self.added,
            title: own(self.title),
            album: own(self.album),
            artist: own(self.artist),
            genre: own(self.genre),
            track: own(self.track),
            date: own(self.date),
            length_ms: self.length_ms,
            facts: self.facts.into_owned(),
        }
    }
}
