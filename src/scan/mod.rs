//! The scan: from folders of music to a collection of rows. It only reads; storing the
//! collection is the caller's part.
//!
//! [`collect`] lists the files (`walk`), reads them on all cores (`tags`, `formats`,
//! `id3`, with `genre` and `numbers` for what people write there) and makes rows of them
//! (`rows`). One odd file never ends a scan: it is named in the log, counted and left out.

mod formats;
mod genre;
mod id3;
mod numbers;
pub mod progress;
mod read;
mod rows;
mod tags;
mod walk;

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

pub use progress::Progress;
use slog::{Logger, info, warn};

use crate::model::Collection;
use rows::{Rows, Track};
use tags::{Audio, Unread};
use walk::{Entry, Kind};

/// More threads than this only make a disk seek.
const THREADS_MAX: usize = 16;

/// What a scan found.
#[derive(Debug)]
pub struct Scanned {
    /// The rows.
    pub collection: Collection,
    /// How many files were looked into.
    pub read: usize,
    /// What gave no song.
    pub skipped: Skipped,
}

/// The counts that sum up a scan, in one line.
impl fmt::Display for Scanned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Collection { albums, artists, genres, songs } = &self.collection;
        write!(
            f,
            "Read {} files: {} songs, {} albums, {} artists, {} genres; skipped {}",
            self.read,
            songs.len(),
            albums.len(),
            artists.len(),
            genres.len(),
            self.skipped
        )
    }
}

/// How much was left out, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Files that are no audio.
    pub not_audio: usize,
    /// Audio in formats that are not supported.
    pub unsupported: usize,
    /// Audio that is damaged, and files and folders that could not be opened.
    pub unreadable: usize,
    /// Links that lead nowhere or to themselves.
    pub broken_links: usize,
    /// Links to folders, which are not followed.
    pub linked_folders: usize,
    /// Pipes, sockets and devices.
    pub special: usize,
    /// Apple double files (`._x`).
    pub apple_double: usize,
}

impl Skipped {
    /// The number of all.
    pub fn total(&self) -> usize {
        self.reasons().iter().map(|(count, _)| count).sum()
    }

    fn reasons(&self) -> [(usize, &'static str); 7] {
        [
            (self.not_audio, "no audio"),
            (self.unsupported, "unsupported format"),
            (self.unreadable, "unreadable"),
            (self.broken_links, "broken link"),
            (self.linked_folders, "link to a folder"),
            (self.special, "pipe, socket or device"),
            (self.apple_double, "Apple double"),
        ]
    }
}

/// The total, and in parentheses each reason that occurred.
impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.total())?;
        let reasons: Vec<String> = self
            .reasons()
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, reason)| format!("{count} {reason}"))
            .collect();
        if reasons.is_empty() { Ok(()) } else { write!(f, " ({})", reasons.join(", ")) }
    }
}

/// Why there is nothing to store. Whoever sees one must leave the old collection alone.
#[derive(Debug)]
pub enum ScanError {
    /// A path to scan that does not exist.
    Missing {
        /// The path.
        path: PathBuf,
    },
    /// A path to scan that is no folder.
    NotFolder {
        /// The path.
        path: PathBuf,
    },
    /// A path to scan whose entries cannot be listed.
    Unreadable {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no song below any of the paths, which is more often a folder that is not
    /// mounted than a wish.
    NothingReadable {
        /// What there is instead.
        skipped: Skipped,
    },
}

impl fmt::Display for ScanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ScanError::Missing { path } => write!(f, "folder {} does not exist", path.display()),
            ScanError::NotFolder { path } => {
                write!(f, "{} is not a folder; give the folder that holds the music", path.display())
            }
            ScanError::Unreadable { path, .. } => write!(f, "folder {} cannot be read", path.display()),
            ScanError::NothingReadable { skipped } => write!(
                f,
                "no audio was found, files skipped: {skipped}; is the folder mounted? To store an empty \
                 collection, add --allow-empty"
            ),
        }
    }
}

impl Error for ScanError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            ScanError::Unreadable { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Whether a scan that finds no song is a mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Empty {
    /// It is, and gives [`ScanError::NothingReadable`].
    Refused,
    /// It is what was wanted.
    Allowed,
}

/// Reads all music below these folders. The result depends on the files alone, not on
/// the order of folders, directory entries or threads.
///
/// # Errors
/// When a folder cannot be used, or nothing is found and `empty` refuses that.
pub fn collect(
    folders: &[PathBuf],
    empty: Empty,
    progress: &dyn Progress,
    log: &Logger,
) -> Result<Scanned, ScanError> {
    let mut skipped = Skipped::default();
    let mut files = Vec::new();
    for entry in walk::entries(folders)? {
        files.extend(file(entry, &mut skipped, log));
    }
    let mut rows = Rows::default();
    progress.begin(files.len());
    read_all(&files, |path, result| {
        match result {
            Ok(audio) => rows.add(path, track(path, audio, log)),
            Err(reason) => skip(path, reason, &mut skipped, log),
        }
        progress.advance();
    });
    progress.end();
    let collection = rows.collection();
    if collection.songs.is_empty() && empty == Empty::Refused {
        return Err(ScanError::NothingReadable { skipped });
    }
    Ok(Scanned { collection, read: files.len(), skipped })
}

/// The path of an entry that is a file; anything else is counted.
fn file(Entry { path, kind }: Entry, skipped: &mut Skipped, log: &Logger) -> Option<PathBuf> {
    match kind {
        Kind::File => return Some(path),
        Kind::AppleDouble => skipped.apple_double += 1,
        Kind::LinkedFolder => {
            skipped.linked_folders += 1;
            info!(log, "Link to a folder is not followed: {}", shown(&path));
        }
        Kind::BrokenLink(error) => {
            skipped.broken_links += 1;
            warn!(log, "Skipped broken link {}: {error}", shown(&path));
        }
        Kind::Special => skip(&path, Unread::Special, skipped, log),
        Kind::Unreadable(error) => skip(&path, error.into(), skipped, log),
    }
    None
}

fn skip(path: &Path, reason: Unread, skipped: &mut Skipped, log: &Logger) {
    let path = shown(path);
    match reason {
        Unread::NotAudio => {
            skipped.not_audio += 1;
            info!(log, "Invalid or unsupported audio file {path}");
        }
        Unread::Unsupported(format) => {
            skipped.unsupported += 1;
            warn!(log, "Skipped {path}: unsupported format, {format}");
        }
        Unread::Special => {
            skipped.special += 1;
            warn!(log, "Skipped {path}: it is a pipe, a socket or a device");
        }
        Unread::Broken(why) => {
            skipped.unreadable += 1;
            warn!(log, "Skipped {path}: {why}");
        }
    }
}

/// The song of an audio file. What its tags do not say is empty or 0.
fn track(path: &Path, audio: Audio, log: &Logger) -> Track {
    if let Some(damage) = audio.damage {
        warn!(log, "Some tags of {} could not be read: {damage}", shown(path));
    }
    let number = |field, text: Option<String>, parse: fn(&str) -> Option<i64>| {
        let Some(text) = text else { return 0 };
        parse(&text).unwrap_or_else(|| {
            warn!(log, "Could not read {field} of {} from {text:?}, stored 0", shown(path));
            0
        })
    };
    let seconds = audio.duration.as_secs();
    let length = i32::try_from(seconds).unwrap_or_else(|_| {
        warn!(log, "Could not believe length of {}, {seconds} seconds, stored 0", shown(path));
        0
    });
    let tags = audio.tags;
    Track {
        number: number("track", tags.track, numbers::track),
        year: number("year", tags.date, numbers::year),
        title: tags.title.unwrap_or_default(),
        album: tags.album.unwrap_or_default(),
        artist: tags.artist.unwrap_or_default(),
        genre: tags.genre.unwrap_or_default(),
        length: length.into(),
    }
}

/// A path as a log line may hold it: a name with a line break must not look like two lines.
fn shown(path: &Path) -> String {
    let text = path.to_string_lossy();
    text.chars()
        .map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() })
        .collect()
}

/// Reads the files on several threads and hands over the results in the order of the list.
fn read_all(files: &[PathBuf], mut take: impl FnMut(&Path, Result<Audio, Unread>)) {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    let next = AtomicUsize::new(0);
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..threads.min(files.len()) {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                while let Some((index, path)) = claim(files, next) {
                    // The receiver lives until all results are in.
                    let _ = sender.send((index, tags::read(path)));
                }
            });
        }
        drop(sender);
        let mut early = BTreeMap::new();
        let mut due = 0;
        for (index, result) in receiver {
            early.insert(index, result);
            while let Some(result) = early.remove(&due) {
                take(&files[due], result);
                due += 1;
            }
        }
    });
}

/// The next file that no thread has taken.
fn claim<'a>(files: &'a [PathBuf], next: &AtomicUsize) -> Option<(usize, &'a PathBuf)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    files.get(index).map(|file| (index, file))
}

#[cfg(test)]
mod tests;
