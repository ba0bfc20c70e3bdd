//! From what was seen to what is stored: the folders and files to remember, and the rows
//! that follow from them.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use slog::{Logger, warn};

use super::fate::{Fate, Judged};
use super::guard::Expected;
use super::previous::{Previous, Row};
use super::read::READER;
use super::read::tags::Field;
use super::report::shown;
use super::rows::{Rows, Track};
use super::survey::{Seen, Survey};
use super::{facts, numbers};
use crate::model::Collection;
use crate::model::library::{File, Folder, Outcome};

/// What a scan leaves behind.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) folders: Vec<Folder>,
    pub(super) files: Vec<File>,
    pub(super) collection: Collection,
}

/// What goes into a [`State`].
pub(super) struct Parts<'a> {
    pub(super) previous: &'a Previous,
    pub(super) survey: Survey,
    pub(super) roots: &'a [PathBuf],
    pub(super) judged: &'a [Judged<'a>],
    /// Rows that no file explains and that stay.
    pub(super) kept_rows: Vec<Row>,
    pub(super) expected: &'a Expected,
    /// Now, in seconds since 1970.
    pub(super) now: i64,
}

/// Whether the scan keeps what it remembers of a file.
pub(super) fn is_kept(judged: &Judged<'_>, expected: &Expected) -> bool {
    matches!(judged.fate, Fate::Unreachable(_)) && !expected.covers(&judged.path)
}

impl State {
    /// Puts the parts together.
    pub(super) fn new(parts: Parts<'_>, log: &Logger) -> State {
        let Parts { previous, survey, roots, judged, kept_rows, expected, now } = parts;
        let mut folders = Folders::new(previous, &survey, roots);
        let mut rows = Rows::default();
        let mut state = State::default();
        let came_from: HashMap<&Path, &File> = judged
            .iter()
            .filter_map(|judged| match &judged.fate {
                Fate::Moved(to) => Some((to.as_path(), judged.file)),
                _ => None,
            })
            .collect();
        let mut all: BTreeMap<PathBuf, File> = BTreeMap::new();
        for seen in survey.files {
            let (Some(folder), Some(name)) = (seen.path.parent(), seen.path.file_name()) else { continue };
            let old = previous.file(folder, name).or_else(|| came_from.get(seen.path.as_path()).copied());
            let added = old.map_or(now, |old| old.added);
            let id = folders.id(folder);
            let name = name.to_owned();
            let path = seen.path.clone();
            all.insert(path, remembered(seen, id, name, added));
        }
        for judged in judged.iter().filter(|judged| is_kept(judged, expected)) {
            let Some(folder) = judged.path.parent() else { continue };
            folders.keep(folder);
            let file = File { folder: folders.id(folder), ..judged.file.clone() };
            all.insert(judged.path.clone(), file);
        }
        for (path, file) in all {
            if file.outcome == Outcome::Song {
                rows.add(&path, track(&path, &file, log));
            }
            state.files.push(file);
        }
        kept_rows.into_iter().for_each(|row| rows.add_row(row));
        state.collection = rows.collection();
        state.folders = folders.all();
        state
    }
}

/// Numbers folders: those that the last scan knew keep their number.
struct Folders<'a> {
    previous: &'a Previous,
    found: BTreeMap<PathBuf, Folder>,
    roots: &'a [PathBuf],
    next: i64,
}

impl<'a> Folders<'a> {
    /// The folders that are needed in any case: roots and mounts.
    fn new(previous: &'a Previous, survey: &Survey, roots: &'a [PathBuf]) -> Folders<'a> {
        let next = previous.last_folder() + 1;
        let mut folders = Folders { previous, found: BTreeMap::new(), roots, next };
        for root in roots {
            folders.id(root);
        }
        for (path, visited) in &survey.folders {
            if visited.is_mount || roots.contains(path) {
                folders.id(path);
                if let Some(folder) = folders.found.get_mut(path) {
                    folder.is_mount = visited.is_mount;
                    folder.fs_type = visited.fs_type;
                }
            }
        }
        folders
    }

    /// The number of the folder at `path`.
    fn id(&mut self, path: &Path) -> i64 {
        if let Some(folder) = self.found.get(path) {
            return folder.id;
        }
        let id = self.previous.folder(path).map_or_else(
            || {
                self.next += 1;
                self.next - 1
            },
            |folder| folder.id,
        );
        // A root names itself; the innermost root holds all others.
        let root =
            self.roots.iter().filter(|root| path.starts_with(root)).max_by_key(|root| root.as_os_str().len());
        let root = match root {
            Some(root) if root != path => self.id(&root.clone()),
            _ => id,
        };
        let folder = Folder { id, path: path.to_owned(), root, is_mount: false, fs_type: 0 };
        self.found.insert(path.to_owned(), folder);
        id
    }

    /// Remembers the mounts above a folder whose songs stay though they cannot be reached:
    /// the next scan must know that something should be mounted there.
    fn keep(&mut self, path: &Path) {
        for place in path.ancestors() {
            if let Some(old) = self.previous.folder(place)
                && old.is_mount
            {
                let (fs_type, place) = (old.fs_type, place.to_owned());
                self.id(&place);
                if let Some(folder) = self.found.get_mut(&place) {
                    folder.is_mount = true;
                    folder.fs_type = fs_type;
                }
            }
        }
    }

    fn all(self) -> Vec<Folder> {
        let mut folders: Vec<Folder> = self.found.into_values().collect();
        folders.sort_by_key(|folder| folder.id);
        folders
    }
}

/// What is remembered of a file that was read.
fn remembered(seen: Seen, folder: i64, name: std::ffi::OsString, added: i64) -> File {
    let text = |field| seen.reading.tags.first(field).map(str::to_owned);
    File {
        folder,
        name,
        stamps: seen.stamps,
        settled: seen.settled,
        reader: READER,
        outcome: seen.outcome,
        added,
        title: text(Field::Title),
        album: text(Field::Album),
        artist: text(Field::Artist),
        genre: text(Field::Genre),
        track: text(Field::Track),
        date: text(Field::Date),
        length_ms: seen
            .reading
            .sound
            .length
            .map(|length| i64::try_from(length.as_millis()).unwrap_or(i64::MAX)),
        facts: facts::object(&seen.reading),
        note: seen.note,
    }
}

/// The song of a file. What its tags do not say is empty or 0.
fn track(path: &Path, file: &File, log: &Logger) -> Track {
    let number = |field, text: &Option<String>, parse: fn(&str) -> Option<i64>| {
        let Some(text) = text else { return 0 };
        parse(text).unwrap_or_else(|| {
            warn!(log, "Could not read {field} of {} from {text:?}, stored 0", shown(path));
            0
        })
    };
    let seconds = file.length_ms.unwrap_or(0) / 1000;
    let length = i32::try_from(seconds).unwrap_or_else(|_| {
        warn!(log, "Could not believe length of {}, {seconds} seconds, stored 0", shown(path));
        0
    });
    Track {
        number: number("track", &file.track, numbers::track),
        year: number("year", &file.date, numbers::year),
        title: file.title.clone().unwrap_or_default(),
        album: file.album.clone().unwrap_or_default(),
        artist: file.artist.clone().unwrap_or_default(),
        genre: file.genre.clone().unwrap_or_default(),
        length: length.into(),
    }
}
