//! What the last scan left in the database: the folders and files it saw, and rows that no
//! file explains (because avalonms or version 1.0.0 wrote them).

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::database::difference::{Kind, Known, StoredSong};
use crate::database::{self, DatabaseError, Session, Visit};
use crate::ids;
use crate::model::library::{File, Folder, Outcome};

/// A song row with the names that it refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) id: Uuid,
    pub(super) name: Option<String>,
    pub(super) length: Option<i64>,
    pub(super) track: Option<i64>,
    pub(super) year: Option<i64>,
    pub(super) album: (Uuid, String),
    pub(super) artist: (Uuid, String),
    pub(super) genre: (Uuid, String),
}

/// What a scan compares the disk with.
#[derive(Debug, Default)]
pub(super) struct Previous {
    folders: HashMap<i64, Folder>,
    by_path: HashMap<PathBuf, i64>,
    files: HashMap<i64, HashMap<OsString, File>>,
    /// Rows that no file explains.
    pub(super) unexplained: Vec<Row>,
}

impl Previous {
    /// Adds a folder.
    pub(super) fn add_folder(&mut self, folder: Folder) {
        self.by_path.insert(folder.path.clone(), folder.id);
        self.folders.insert(folder.id, folder);
    }

    /// Adds a file.
    pub(super) fn add_file(&mut self, file: File) {
        self.files.entry(file.folder).or_default().insert(file.name.clone(), file);
    }

    /// Keeps those of `rows` that no file explains.
    pub(super) fn add_rows(&mut self, rows: impl IntoIterator<Item = Row>) {
        let explained: HashSet<Uuid> = self.songs().map(|(path, _)| ids::song(&path)).collect();
        self.unexplained.extend(rows.into_iter().filter(|row| !explained.contains(&row.id)));
    }

    /// Whether a scan that remembers has written here.
    pub(super) fn is_recorded(&self) -> bool {
        !self.folders.is_empty()
    }

    /// The folder at `path`.
    pub(super) fn folder(&self, path: &Path) -> Option<&Folder> {
        self.folders.get(self.by_path.get(path)?)
    }

    /// All folders.
    pub(super) fn folders(&self) -> impl Iterator<Item = &Folder> {
        self.folders.values()
    }

    /// The file called `name` in the folder at `path`.
    pub(super) fn file(&self, path: &Path, name: &OsStr) -> Option<&File> {
        self.files.get(self.by_path.get(path)?)?.get(name)
    }

    /// All files, with their paths.
    pub(super) fn files(&self) -> impl Iterator<Item = (PathBuf, &File)> {
        self.files
            .iter()
            .filter_map(|(id, files)| Some((self.folders.get(id)?, files)))
            .flat_map(|(folder, files)| files.values().map(|file| (folder.path.join(&file.name), file)))
    }

    /// The files that gave songs, with their paths.
    pub(super) fn songs(&self) -> impl Iterator<Item = (PathBuf, &File)> {
        self.files().filter(|(_, file)| file.outcome == Outcome::Song)
    }

    /// The folders that were named to the last scan.
    pub(super) fn roots(&self) -> impl Iterator<Item = &Path> {
        self.folders.values().filter(|folder| folder.root == folder.id).map(|folder| folder.path.as_path())
    }

    /// How many songs were found at `place` or below.
    pub(super) fn songs_below(&self, place: &Path) -> usize {
        self.songs().filter(|(path, _)| path.starts_with(place)).count()
    }

    /// The greatest number of a folder.
    pub(super) fn last_folder(&self) -> i64 {
        self.folders.keys().copied().max().unwrap_or(0)
    }
}

/// What is known of the rows of the database, to find the differences.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) known: Known,
    pub(super) about: database::Previous,
}

/// Reads everything that a scan compares with.
///
/// # Errors
/// If the database cannot be read.
pub(super) fn read(session: &mut Session) -> Result<(Previous, Found), DatabaseError> {
    let mut reader = Reader::default();
    let about = session.previous(&mut reader)?;
    let Reader { mut previous, known, names, songs } = reader;
    let name = |kind: Kind, id| names[kind as usize].get(&id).cloned().map(|name| (id, name));
    previous.add_rows(songs.into_iter().filter_map(|(mut row, [album, artist, genre])| {
        // A song whose album, artist or genre has no row is not served either.
        row.album = name(Kind::Album, album)?;
        row.artist = name(Kind::Artist, artist)?;
        row.genre = name(Kind::Genre, genre)?;
        Some(row)
    }));
    Ok((previous, Found { known, about }))
}

/// Takes the rows as they come.
#[derive(Default)]
struct Reader {
    previous: Previous,
    known: Known,
    names: [HashMap<Uuid, String>; 3],
    songs: Vec<(Row, [Uuid; 3])>,
}

impl Visit for Reader {
    fn folder(&mut self, folder: Folder) {
        self.previous.add_folder(folder);
    }

    fn file(&mut self, file: File) {
        self.previous.add_file(file);
    }

    fn name(&mut self, kind: Kind, id: Uuid, name: &str) {
        self.known.name(kind, id, name);
        self.names[kind as usize].insert(id, name.to_owned());
    }

    fn song(&mut self, song: &StoredSong<'_>) {
        self.known.song(song);
        let nameless = || (Uuid::nil(), String::new());
        let row = Row {
            id: song.id,
            name: song.name.map(str::to_owned),
            length: song.length,
            track: song.track,
            year: song.year,
            album: nameless(),
            artist: nameless(),
            genre: nameless(),
        };
        self.songs.push((row, song.names));
    }
}
