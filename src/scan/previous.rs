//! What the last scan left in the database: the folders and files it saw, and rows that no
//! file explains (because avalonms or version 1.0.0 wrote them). Of a file it keeps what a
//! comparison needs, about eighty bytes; the texts stay in the database.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::ops::Range;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::names::Names;
use super::read::READER;
use super::track::Track;
use crate::database::difference::{StoredSong, hash_of_song};
use crate::database::{self, DatabaseError, Session, Visit};
use crate::ids;
use crate::model::library::{File, Folder, Outcome, Stamps};
use crate::model::{Owner, PerOwner};

/// A song row that no file explains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) id: Uuid,
    /// Id and name of album, artist and genre.
    pub(super) names: PerOwner<(Uuid, String)>,
}

/// What this scan has seen of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// Nothing yet.
    Unseen,
    /// It is as it was.
    Unchanged,
    /// It was read, and gave this.
    Read(Outcome),
}

/// A file of the last scan.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    name_at: u32,
    name_len: u16,
    pub(super) outcome: Outcome,
    /// Whether equal stamps mean an equal file: they were settled, and the readers that read
    /// it are those of this program.
    pub(super) is_settled: bool,
    pub(super) mark: Mark,
    pub(super) stamps: Stamps,
    /// Hash of what the file says.
    pub(super) content: u64,
    pub(super) added: i64,
}

/// Hash of what a file says, whatever its stamps are.
pub(super) fn content(file: &File) -> u64 {
    let File { outcome, note, title, album, artist, genre, track, date, length_ms, facts, .. } = file;
    let content = (outcome, note, (title, album, artist, genre, track, date), length_ms, facts);
    // Serialising into a vector does not fail; no content is like that of none.
    postcard::to_stdvec(&content).map_or(0, |bytes| xxhash_rust::xxh3::xxh3_64(&bytes))
}

/// Number of a file in [`Previous`].
pub(super) type Index = usize;

/// What a scan compares the disk with.
#[derive(Debug, Default)]
pub(super) struct Previous {
    /// By number.
    folders: Vec<Folder>,
    by_path: HashMap<PathBuf, usize>,
    /// The files of each of `folders`.
    ranges: Vec<Range<usize>>,
    /// By folder and name.
    files: Vec<Known>,
    names: Vec<u8>,
    /// Rows that no file explains.
    pub(super) unexplained: Vec<Row>,
    /// Songs that were found and have no row yet: an interrupted scan kept their state.
    rowless: HashSet<Uuid>,
}

impl Previous {
    /// Whether a scan that remembers has written here.
    pub(super) fn is_recorded(&self) -> bool {
        !self.folders.is_empty()
    }

    /// How many files there are.
    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// The folder at `path`.
    pub(super) fn folder(&self, path: &Path) -> Option<&Folder> {
        self.folders.get(*self.by_path.get(path)?)
    }

    /// All folders.
    pub(super) fn folders(&self) -> impl Iterator<Item = &Folder> {
        self.folders.iter()
    }

    /// The file called `name` in the folder at `path`.
    pub(super) fn find(&self, path: &Path, name: &OsStr) -> Option<Index> {
        let range = self.ranges.get(*self.by_path.get(path)?)?.clone();
        let place = self.files[range.clone()].binary_search_by(|file| self.name(file).cmp(name.as_bytes()));
        Some(range.start + place.ok()?)
    }

    /// Whether the last scan found a song in this file, and stored it.
    pub(super) fn knows_song(&self, folder: &Path, name: &OsStr) -> bool {
        self.find(folder, name).is_some_and(|index| self.file(index).outcome == Outcome::Song)
            && !self.is_rowless(&folder.join(name))
    }

    /// Whether the song at `path` has no row yet.
    pub(super) fn is_rowless(&self, path: &Path) -> bool {
        !self.rowless.is_empty() && self.rowless.contains(&ids::song(path))
    }

    /// The file with this number.
    pub(super) fn file(&self, index: Index) -> &Known {
        &self.files[index]
    }

    /// Notes what was seen of a file.
    pub(super) fn mark(&mut self, index: Index, mark: Mark) {
        self.files[index].mark = mark;
    }

    /// All files: the folder, the number and the file, by folder.
    pub(super) fn files(&self) -> impl Iterator<Item = (&Folder, Index, &Known)> {
        self.folders.iter().zip(&self.ranges).flat_map(move |(folder, range)| {
            range.clone().map(move |index| (folder, index, &self.files[index]))
        })
    }

    /// The path of a file of `folder`.
    pub(super) fn path(&self, folder: &Folder, file: &Known) -> PathBuf {
        folder.path.join(OsStr::from_bytes(self.name(file)))
    }

    /// The key of a file of `folder` in the database.
    pub(super) fn key(&self, folder: &Folder, file: &Known) -> (i64, OsString) {
        (folder.id, OsString::from_vec(self.name(file).to_vec()))
    }

    fn name(&self, file: &Known) -> &[u8] {
        let start = file.name_at as usize;
        &self.names[start..start + usize::from(file.name_len)]
    }

    /// The folders that were named to the last scan.
    pub(super) fn roots(&self) -> impl Iterator<Item = &Path> {
        self.folders.iter().filter(|folder| folder.root == folder.id).map(|folder| folder.path.as_path())
    }

    /// How many songs were found at `place` or below.
    pub(super) fn songs_below(&self, place: &Path) -> usize {
        let folders =
            self.folders.iter().zip(&self.ranges).filter(|(folder, _)| folder.path.starts_with(place));
        folders
            .flat_map(|(_, range)| &self.files[range.clone()])
            .filter(|file| file.outcome == Outcome::Song)
            .count()
    }

    /// How many files were found at `place` or below.
    pub(super) fn files_below(&self, place: &Path) -> usize {
        let folders =
            self.folders.iter().zip(&self.ranges).filter(|(folder, _)| folder.path.starts_with(place));
        folders.map(|(_, range)| range.len()).sum()
    }

    /// The greatest number of a folder.
    pub(super) fn last_folder(&self) -> i64 {
        self.folders.last().map_or(0, |folder| folder.id)
    }
}

/// What is known of the rows of the database.
#[derive(Debug)]
pub(super) struct Rows {
    /// Songs: id and hash of the rest, by id.
    pub(super) songs: Vec<(Uuid, u64)>,
    /// Albums, artists and genres: id and name.
    pub(super) names: PerOwner<HashMap<Uuid, String>>,
    /// Whether these are the rows that follow from the files of the last scan.
    pub(super) follow: bool,
    pub(super) about: database::Previous,
}

impl Rows {
    /// Whether the tables of folders and files hold rows that cannot be.
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
    let Reader { mut previous, expected, mut usual, mut songs, names, .. } = reader;
    songs.sort_unstable();
    let lacks_row = |id: &Uuid| songs.binary_search_by_key(id, |(id, _)| *id).is_err();
    previous.rowless = expected.iter().map(|(id, _)| *id).filter(lacks_row).collect();
    for row in &previous.unexplained {
        usual.add_row(row);
    }
    let follow = previous.unexplained.is_empty() && expected == songs && usual.are(&names);
    Ok((previous, Rows { songs, names, follow, about }))
}

/// Takes the rows as they come: folders, files, names, songs.
#[derive(Default)]
struct Reader {
    previous: Previous,
    /// The song rows that follow from the files.
    expected: Vec<(Uuid, u64)>,
    /// The names that follow from them.
    usual: Names,
    are_files_read: bool,
    names: PerOwner<HashMap<Uuid, String>>,
    songs: Vec<(Uuid, u64)>,
    /// The folder of the last file, as an index.
    at: Option<usize>,
}

impl Reader {
    /// Called when the last file has come.
    fn end_of_files(&mut self) {
        self.end_of_folders();
        if !self.are_files_read {
            self.are_files_read = true;
            self.expected.sort_unstable();
        }
    }

    /// Called when the last folder has come: puts them in the order of their numbers.
    fn end_of_folders(&mut self) {
        let previous = &mut self.previous;
        if previous.ranges.len() == previous.folders.len() {
            return;
        }
        previous.folders.sort_by_key(|folder| folder.id);
        previous.ranges = vec![0..0; previous.folders.len()];
        let paths = previous.folders.iter().map(|folder| folder.path.clone());
        previous.by_path = paths.zip(0..).collect();
    }

    /// The index of the folder with this number. Files of one folder come in a row.
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

    fn file(&mut self, file: File) {
        let Some(at) = self.folder_index(file.folder) else { return };
        let name = file.name.as_bytes();
        // A name has 255 bytes at most, and a collection less than 4 GiB of them.
        let (Ok(name_at), Ok(name_len)) =
            (u32::try_from(self.previous.names.len()), u16::try_from(name.len()))
        else {
            return;
        };
        if file.outcome == Outcome::Song {
            let path = self.previous.folders[at].path.join(&file.name);
            let track = Track::of(&file);
            self.expected.push((ids::song(&path), hash_of_song(&track.row(ids::song(&path)))));
            self.usual.add(&track);
        }
        let previous = &mut self.previous;
        let index = previous.files.len();
        let range = &mut previous.ranges[at];
        let start = if range.start == range.end { index } else { range.start };
        *range = start..index + 1;
        previous.names.extend_from_slice(name);
        previous.files.push(Known {
            name_at,
            name_len,
            outcome: file.outcome,
            is_settled: file.settled && file.reader == READER,
            mark: Mark::Unseen,
            stamps: file.stamps,
            content: content(&file),
            added: file.added,
        });
    }

    fn name(&mut self, owner: Owner, id: Uuid, name: &str) {
        self.names[owner].insert(id, name.to_owned());
    }

    fn song(&mut self, song: &StoredSong<'_>) {
        self.end_of_files();
        self.songs.push((song.id, hash_of_song(song)));
        if self.expected.binary_search_by_key(&song.id, |(id, _)| *id).is_ok() {
            return;
        }
        let name = |owner: Owner| {
            let id = song.names[owner];
            // A song whose album, artist or genre has no row is not served either.
            self.names[owner].get(&id).map(|name| (id, name.clone()))
        };
        if let Ok(names) = PerOwner::try_new(|owner| name(owner).ok_or(())) {
            self.previous.unexplained.push(Row { id: song.id, names });
        }
    }
}
