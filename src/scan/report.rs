//! What a scan tells at its end.

use std::fmt;

use super::skipped::Skipped;

/// What became of the songs of the last scan.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fates {
    /// Songs whose file was read again.
    pub changed: usize,
    /// Songs whose file is gone, or is no song any more.
    pub removed: usize,
    /// Songs whose file has another path now.
    pub moved: usize,
    /// Songs that could not be reached, and stay.
    pub kept: usize,
    /// Songs below roots that are no longer named.
    pub given_up: usize,
    /// Songs that the patterns now pass over.
    pub excluded: usize,
}

/// What a scan found and stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How many files were looked into.
    pub read: usize,
    /// How many were as the last scan had left them.
    pub unchanged: usize,
    /// Songs that were not there at the last scan.
    pub added: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Rows of the collection.
    pub songs: usize,
    /// Rows of its albums.
    pub albums: usize,
    /// Rows of its artists.
    pub artists: usize,
    /// Rows of its genres.
    pub genres: usize,
    /// What gave no song.
    pub skipped: Skipped,
    /// What became of the songs of the last scan.
    pub fates: Fates,
    /// Files, folders and roots that could not be reached.
    pub unreachable: usize,
    /// Whether anything was written, or would be.
    pub is_written: bool,
    /// Whether a server would serve anything else: not only what is remembered of files differs.
    pub is_new: bool,
    /// The revision of the rows in the database; `None` if it does not tell it.
    pub revision: Option<u64>,
}

/// The counts that sum up a scan, in one line.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Read {} files: {} songs, {} albums, {} artists, {} genres; skipped {}",
            self.read, self.songs, self.albums, self.artists, self.genres, self.skipped
        )?;
        if self.unchanged > 0 {
            write!(f, "; {} files unchanged", self.unchanged)?;
        }
        // What a first scan finds is all new.
        let (added, changed) = match self.unchanged > 0 {
            true => (self.added, self.fates.changed),
            false => (0, 0),
        };
        for (count, what) in [
            (added, "added"),
            (changed, "read again"),
            (self.fates.removed, "removed"),
            (self.fates.moved, "moved"),
            (self.fates.kept, "kept because they could not be reached"),
        ] {
            if count > 0 {
                write!(f, "; {count} songs {what}")?;
            }
        }
        Ok(())
    }
}
