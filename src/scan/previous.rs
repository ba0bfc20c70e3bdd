//! The state that the last scan left in the database: its folders and files, and rows that no file
//! explains (because avalonms or version 1.0.0 wrote them). This keeps the fields of a file that a
//! comparison needs, about ninety bytes; the texts stay in the database.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::ops::{Deref, Range};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use uuid::Uuid;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::names::{self, Names};
use super::read::READER;
use super::row::Row;
use super::track::Track;
use crate::database::difference::{StoredSong, hash_of_song};
use crate::database::{self, DatabaseError, Session, Visit};
use crate::ids;
use crate::model::library::{File, FileRow, Folder, Outcome, Stamps};
use crate::model::{Owner, PerOwner};

/// The observation of a file in this scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// The scan has not seen the file yet.
    Unseen,
    /// The file is unchanged.
    Unchanged,
    /// The file was read, with this outcome.
    Read(Outcome),
}

/// A file of the last scan.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    /// Index of its folder.
    folder: u32,
    name_at: u32,
    name_len: u16,
    pub(super) outcome: Outcome,
    /// Whether equal stamps mean an equal file: the stamps were settled, and this program's present
    /// readers read it.
    pub(super) is_settled: bool,
    pub(super) mark: Mark,
    pub(super) stamps: Stamps,
    /// Hash of the contents.
    pub(super) content: u64,
    pub(super) added: i64,
    /// The names of the song in [`Rows::spellings`].
    pub(super) names: names::Numbers,
}

/// Returns the hash of a file's contents, without its stamps. `scratch` is a buffer.
pub(super) fn content<Text: Deref<Target = str>, Name>(
    file: &File<Text, Name>,
    scratch: &mut Vec<u8>,
) -> u64 {
    let File { outcome, note, title, album, artist, genre, track, date, length_ms, facts, .. } = file;
    scratch.clear();
    scratch.push(*outcome as u8);
    scratch.extend_from_slice(&length_ms.unwrap_or(-1).to_le_bytes());
    let tags = [title, album, artist, genre, track, date].map(Option::as_deref);
    for text in tags.into_iter().chain([Some(&**note), Some(&**facts)]) {
        // No text has this length, so it marks a missing one.
        scratch.extend_from_slice(&text.map_or(usize::MAX, str::len).to_le_bytes());
        scratch.extend_from_slice(text.unwrap_or_default().as_bytes());
    }
    xxh3_64(scratch)
}

/// Number of a file in [`Previous`].
pub(super) type Index = usize;
/// Number of a folder in [`Previous`].
pub(super) type Place = usize;

/// The state that a scan compares the disk with.
#[derive(Debug, Default)]
pub(super) struct Previous {
    /// By number.
    folders: Vec<Folder>,
    /// The places of the folders, in the order of the bytes of their paths.
    by_path: Vec<u32>,
    /// The files of each of `folders`.
    ranges: Vec<Range<usize>>,
    /// By folder and name.
    files: Vec<Known>,
    names: Vec<u8>,
    /// Rows that no file explains.
    pub(super) unexplained: Vec<Row>,
    /// Songs without a row: an interrupted scan kept the state of their files.
    rowless: HashSet<Uuid>,
}

impl Previous {
    /// Reports whether a scan that records its files has written here.
    pub(super) fn is_recorded(&self) -> bool {
        !self.folders.is_empty()
    }

    /// Returns the folder at `path`.
    pub(super) fn folder(&self, path: &Path) -> Option<&Folder> {
        self.folders.get(self.place(path)?)
    }

    /// Returns all folders.
    pub(super) fn folders(&self) -> impl Iterator<Item = &Folder> {
        self.folders.iter()
    }

    /// Returns the place of the folder at `path`, for [`Previous::find_in`].
    pub(super) fn place(&self, path: &Path) -> Option<Place> {
        let order = |place: &u32| self.folders[*place as usize].path.as_os_str().cmp(path.as_os_str());
        let index = self.by_path.binary_search_by(order).ok()?;
        Some(self.by_path[index] as usize)
    }

    /// Returns the file called `name` in the folder at `path`.
    pub(super) fn find(&self, path: &Path, name: &OsStr) -> Option<Index> {
        self.find_in(self.place(path)?, name)
    }

    /// Returns the file called `name` in a folder.
    pub(super) fn find_in(&self, folder: Place, name: &OsStr) -> Option<Index> {
        let range = self.ranges.get(folder)?.clone();
        let place = self.files[range.clone()].binary_search_by(|file| self.name(file).cmp(name.as_bytes()));
        Some(range.start + place.ok()?)
    }

    /// Reports whether the last scan found a song in this file, and stored it.
    pub(super) fn knows_song(&self, folder: &Path, name: &OsStr) -> bool {
        self.find(folder, name).is_some_and(|index| self.file(index).outcome == Outcome::Song)
            && !self.is_rowless(&folder.join(name))
    }

    /// Reports whether any song has no row yet.
    pub(super) fn has_rowless(&self) -> bool {
        !self.rowless.is_empty()
    }

    /// Reports whether the song at `path` has no row yet.
    pub(super) fn is_rowless(&self, path: &Path) -> bool {
        !self.rowless.is_empty() && self.rowless.contains(&ids::song(path))
    }

    /// Returns the file with this number.
    pub(super) fn file(&self, index: Index) -> &Known {
        &self.files[index]
    }

    /// Records the observation of a file.
    pub(super) fn mark(&mut self, index: Index, mark: Mark) {
        self.files[index].mark = mark;
    }

    /// Returns all files: the folder, the number and the file, by folder.
    pub(super) fn files(&self) -> impl Iterator<Item = (&Folder, Index, &Known)> {
        self.files_by_folder()
            .flat_map(move |(folder, range)| range.map(move |index| (folder, index, &self.files[index])))
    }

    /// Returns the folders, with the numbers of their files.
    pub(super) fn files_by_folder(&self) -> impl Iterator<Item = (&Folder, Range<Index>)> {
        self.folders.iter().zip(self.ranges.iter().cloned())
    }

    /// Returns the path of a file of `folder`.
    pub(super) fn path(&self, folder: &Folder, file: &Known) -> PathBuf {
        folder.path.join(OsStr::from_bytes(self.name(file)))
    }

    /// Returns the key of a file of `folder` in the database.
    pub(super) fn key(&self, folder: &Folder, file: &Known) -> (i64, OsString) {
        (folder.id, OsString::from_vec(self.name(file).to_vec()))
    }

    fn name(&self, file: &Known) -> &[u8] {
        let start = file.name_at as usize;
        &self.names[start..start + usize::from(file.name_len)]
    }

    /// Returns the roots of the last scan.
    pub(super) fn roots(&self) -> impl Iterator<Item = &Path> {
        self.folders.iter().filter(|folder| folder.root == folder.id).map(|folder| &*folder.path)
    }

    /// Returns the number of songs at `place` or below.
    pub(super) fn songs_below(&self, place: &Path) -> usize {
        let folders =
            self.folders.iter().zip(&self.ranges).filter(|(folder, _)| folder.path.starts_with(place));
        folders
            .flat_map(|(_, range)| &self.files[range.clone()])
            .filter(|file| file.outcome == Outcome::Song)
            .count()
    }

    /// Returns the number of files at `place` or below.
    pub(super) fn files_below(&self, place: &Path) -> usize {
        let folders =
            self.folders.iter().zip(&self.ranges).filter(|(folder, _)| folder.path.starts_with(place));
        folders.map(|(_, range)| range.len()).sum()
    }

    /// Returns the greatest number of a folder.
    pub(super) fn last_folder(&self) -> i64 {
        self.folders.last().map_or(0, |folder| folder.id)
    }
}

/// The rows of the database, as far as a scan needs them.
#[derive(Debug)]
pub(super) struct Rows {
    /// Songs: id and hash of the rest, by id.
    pub(super) songs: Vec<(Uuid, u64)>,
    /// Albums, artists and genres: id and name.
    pub(super) names: PerOwner<HashMap<Uuid, String>>,
    /// The names that the songs of the last scan use.
    pub(super) spellings: Names,
    /// Whether the rows are exactly those that follow from the files of the last scan.
    pub(super) follow: bool,
    pub(super) about: database::Previous,
}

impl Rows {
    /// Reports whether the tables of folders and files hold impossible rows.
    pub(super) fn is_damaged(&self) -> bool {
        self.about.state == database::State::Damaged
    }
}

/// Reads everything that a scan compares with.
///
/// # Errors
/// If the database cannot be read.
pub(super) fn read(session: &mut Session) -> Result<(Previous, Rows), DatabaseError> {
    let mut reader = Reader::default();
    let about = session.previous(&mut reader)?;
    reader.end_of_files();
    let Reader { mut previous, expected, stored, spellings, mut songs, names, .. } = reader;
    songs.sort_unstable();
    if expected != stored {
        explain(session, &mut previous, &songs, &names)?;
    }
    let follow = expected == stored && spellings.are(&names);
    Ok((previous, Rows { songs, names, spellings, follow, about }))
}

/// Finds the songs without a row, and the rows that no file explains. This reads the database a
/// second time, for their names.
fn explain(
    session: &mut Session,
    previous: &mut Previous,
    songs: &[(Uuid, u64)],
    names: &PerOwner<HashMap<Uuid, String>>,
) -> Result<(), DatabaseError> {
    let files = previous.files().filter(|(_, _, known)| known.outcome == Outcome::Song);
    let mut expected: Vec<Uuid> =
        files.map(|(folder, _, known)| ids::song(&previous.path(folder, known))).collect();
    expected.sort_unstable();
    let lacks_row = |id: &Uuid| songs.binary_search_by_key(id, |(id, _)| *id).is_err();
    previous.rowless = expected.iter().copied().filter(lacks_row).collect();
    let mut unexplained = Unexplained { expected, names, rows: Vec::new() };
    if songs.iter().any(|(id, _)| !unexplained.explains(id)) {
        session.previous(&mut unexplained)?;
    }
    previous.unexplained = unexplained.rows;
    Ok(())
}

/// A digest of song rows, their number and a sum of their hashes: equal for equal rows in any
/// order. It takes sixteen bytes; two lists would take twenty-four for each song.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Digest {
    count: usize,
    sum: u128,
}

impl Digest {
    fn add(&mut self, id: Uuid, hash: u64) {
        let mut bytes = [0; 24];
        bytes[..16].copy_from_slice(id.as_bytes());
        bytes[16..].copy_from_slice(&hash.to_le_bytes());
        self.count += 1;
        self.sum = self.sum.wrapping_add(xxh3_128(&bytes));
    }
}

/// Collects the song rows that no file explains.
struct Unexplained<'a> {
    /// The songs that follow from the files, by id.
    expected: Vec<Uuid>,
    names: &'a PerOwner<HashMap<Uuid, String>>,
    rows: Vec<Row>,
}

impl Unexplained<'_> {
    fn explains(&self, id: &Uuid) -> bool {
        self.expected.binary_search(id).is_ok()
    }
}

impl Visit for Unexplained<'_> {
    fn folder(&mut self, _: Folder) {}

    fn file(&mut self, _: FileRow<'_>) {}

    fn name(&mut self, _: Owner, _: Uuid, _: &str) {}

    fn song(&mut self, song: &StoredSong<'_>) {
        if self.explains(&song.id) {
            return;
        }
        // The server does not serve a song whose album, artist or genre has no row.
        let name = |owner: Owner| {
            let id = song.names[owner];
            self.names[owner].get(&id).map(|name| (id, name.clone())).ok_or(())
        };
        if let Ok(names) = PerOwner::try_new(name) {
            self.rows.push(Row { id: song.id, names });
        }
    }
}

/// Collects the rows in the order of the database: folders, files, names, songs.
#[derive(Default)]
struct Reader {
    previous: Previous,
    /// The song rows that follow from the files.
    expected: Digest,
    /// The song rows of the database.
    stored: Digest,
    /// The names that follow from the files.
    spellings: Names,
    scratch: Vec<u8>,
    names: PerOwner<HashMap<Uuid, String>>,
    songs: Vec<(Uuid, u64)>,
    /// The folder of the last file, as an index.
    at: Option<usize>,
}

impl Reader {
    /// Handles the end of the files: sorts them by folder and name.
    fn end_of_files(&mut self) {
        self.end_of_folders();
        let Previous { files, names, ranges, .. } = &mut self.previous;
        let key = |file: &Known| {
            let start = file.name_at as usize;
            (file.folder, &names[start..start + usize::from(file.name_len)])
        };
        if !files.is_sorted_by_key(key) {
            files.sort_unstable_by(|a, b| key(a).cmp(&key(b)));
        }
        let mut start = 0;
        for files in files.chunk_by(|a, b| a.folder == b.folder) {
            ranges[files[0].folder as usize] = start..start + files.len();
            start += files.len();
        }
    }

    /// Handles the end of the folders: sorts them by number.
    fn end_of_folders(&mut self) {
        let previous = &mut self.previous;
        if previous.ranges.len() == previous.folders.len() {
            return;
        }
        previous.folders.sort_by_key(|folder| folder.id);
        previous.ranges = vec![0..0; previous.folders.len()];
        // Memory runs out before the numbers exceed 32 bits.
        previous.by_path = (0..u32::try_from(previous.folders.len()).unwrap_or(u32::MAX)).collect();
        let folders = &previous.folders;
        previous.by_path.sort_unstable_by_key(|place| folders[*place as usize].path.as_os_str());
    }

    /// Returns the index of the folder with this number. Most files of a folder are adjacent.
    fn folder_index(&mut self, id: i64) -> Option<usize> {
        self.end_of_folders();
        if self.at.is_none_or(|at| self.previous.folders[at].id != id) {
            self.at = self.previous.folders.binary_search_by_key(&id, |folder| folder.id).ok();
        }
        self.at
    }
}

impl Visit for Reader {
    fn folder(&mut self, folder: Folder) {
        self.previous.folders.push(folder);
    }

    fn file(&mut self, file: FileRow<'_>) {
        let Some(at) = self.folder_index(file.folder) else { return };
        let name = file.name.as_bytes();
        // A name has 255 bytes at most, and a collection less than 4 GiB of them.
        let (Ok(folder), Ok(name_at), Ok(name_len)) =
            (u32::try_from(at), u32::try_from(self.previous.names.len()), u16::try_from(name.len()))
        else {
            return;
        };
        let mut numbers = names::Numbers::default();
        if file.outcome == Outcome::Song {
            let id = ids::song(&self.previous.folders[at].path.join(file.name));
            let track = Track::of(&file);
            numbers = self.spellings.add(track.names);
            self.expected.add(id, hash_of_song(&track.row(id, self.spellings.ids(numbers))));
        }
        let previous = &mut self.previous;
        previous.names.extend_from_slice(name);
        previous.files.push(Known {
            folder,
            name_at,
            name_len,
            outcome: file.outcome,
            is_settled: file.settled && file.reader == READER,
            mark: Mark::Unseen,
            stamps: file.stamps,
            content: content(&file, &mut self.scratch),
            added: file.added,
            names: numbers,
        });
    }

    fn name(&mut self, owner: Owner, id: Uuid, name: &str) {
        self.names[owner].insert(id, name.to_owned());
    }

    fn song(&mut self, song: &StoredSong<'_>) {
        let hash = hash_of_song(song);
        self.stored.add(song.id, hash);
        self.songs.push((song.id, hash));
    }
}
