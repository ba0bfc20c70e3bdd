//! What a scan tells at its end.

use std::fmt;
use std::path::Path;

use super::account::Reason;

/// How much was left out, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Files that are no audio.
    pub not_audio: usize,
    /// Audio in formats that are not supported.
    pub unsupported: usize,
    /// Audio that is damaged, and files and folders that could not be reached.
    pub unreadable: usize,
    /// Links that lead nowhere or to themselves.
    pub broken_links: usize,
    /// Links to folders, which are not followed.
    pub linked_folders: usize,
    /// Pipes, sockets and devices.
    pub special: usize,
    /// Apple double files (`._x`).
    pub apple_double: usize,
    /// Files and folders that the patterns pass over.
    pub excluded: usize,
}

impl Skipped {
    /// The number of all.
    pub fn total(&self) -> usize {
        Reason::ALL.into_iter().map(|reason| self.of(reason)).sum()
    }

    /// How many were left out for this reason.
    pub fn of(&self, reason: Reason) -> usize {
        match reason {
            Reason::NotAudio => self.not_audio,
            Reason::Unsupported => self.unsupported,
            Reason::Unreadable => self.unreadable,
            Reason::BrokenLink => self.broken_links,
            Reason::LinkedFolder => self.linked_folders,
            Reason::Special => self.special,
            Reason::AppleDouble => self.apple_double,
            Reason::Excluded => self.excluded,
        }
    }

    pub(super) fn of_mut(&mut self, reason: Reason) -> &mut usize {
        match reason {
            Reason::NotAudio => &mut self.not_audio,
            Reason::Unsupported => &mut self.unsupported,
            Reason::Unreadable => &mut self.unreadable,
            Reason::BrokenLink => &mut self.broken_links,
            Reason::LinkedFolder => &mut self.linked_folders,
            Reason::Special => &mut self.special,
            Reason::AppleDouble => &mut self.apple_double,
            Reason::Excluded => &mut self.excluded,
        }
    }
}

/// The total, and in parentheses each reason that occurred.
impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.total())?;
        let reasons: Vec<String> = Reason::ALL
            .into_iter()
            .filter(|reason| self.of(*reason) > 0)
            .map(|reason| format!("{} {}", self.of(reason), reason.text()))
            .collect();
        if reasons.is_empty() { Ok(()) } else { write!(f, " ({})", reasons.join(", ")) }
    }
}

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
    /// Whether anything was written.
    pub is_written: bool,
    /// Whether a server would serve anything else: not only what is remembered of files differs.
    pub is_new: bool,
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

/// A path as a log line may hold it: a name with a line break must not look like two lines.
pub(super) fn shown(path: &Path) -> String {
    let text = path.to_string_lossy();
    text.chars()
        .map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() })
        .collect()
}
