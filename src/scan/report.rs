//! The report at the end of a scan.

use std::fmt;

use super::skipped::Skipped;

/// The numbers of songs of the last scan, by fate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fates {
    /// Songs whose file was read again.
    pub changed: usize,
    /// Songs whose file is gone, or is no longer a song.
    pub removed: usize,
    /// Songs whose file has another path now.
    pub moved: usize,
    /// Songs that could not be reached, and stay.
    pub kept: usize,
    /// Songs below roots that are no longer configured.
    pub given_up: usize,
    /// Songs that the patterns now exclude.
    pub excluded: usize,
}

/// The counts of a finished scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Number of files that were read.
    pub read: usize,
    /// Number of unchanged files.
    pub unchanged: usize,
    /// Songs that the last scan did not have.
    pub added: usize,
    /// Sizes of the files that were read, together, in bytes.
    pub bytes: u64,
    /// Rows of the collection.
    pub songs: usize,
    /// Rows of its albums.
    pub albums: usize,
    /// Rows of its artists.
    pub artists: usize,
    /// Rows of its genres.
    pub genres: usize,
    /// Files and folders that gave no song.
    pub skipped: Skipped,
    /// Numbers of songs of the last scan, by fate.
    pub fates: Fates,
    /// Files, folders and roots that could not be reached.
    pub unreachable: usize,
    /// Whether the scan wrote anything, or would have without `--dry-run`.
    pub is_written: bool,
    /// Whether a server would serve other data: more than the recorded state of files differs.
    pub is_new: bool,
    /// The revision of the rows in the database; `None` if unknown.
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
        // All songs of a first scan are new.
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
