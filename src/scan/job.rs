//! What a scan is told.

use std::path::PathBuf;
use std::time::Duration;

use super::guard::Expected;
use crate::config::DatabaseUrl;

/// Whether a scan that finds no song is a mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Empty {
    /// It is, and gives [`ScanError::NothingReadable`](super::ScanError::NothingReadable).
    Refused,
    /// It is what was wanted.
    Allowed,
}

/// What a scan is told.
#[derive(Debug, Clone)]
pub struct Job {
    /// Where the collection is kept.
    pub database: DatabaseUrl,
    /// The folders to read.
    pub folders: Vec<PathBuf>,
    /// The folders of COLLECTION, none of which one of `folders` may lie inside.
    pub collection: Vec<PathBuf>,
    /// Whether a scan that finds no song is a mistake.
    pub empty: Empty,
    /// Losses that are meant.
    pub expected: Expected,
    /// Patterns of what is passed over, beside the default ones.
    pub exclude: Vec<String>,
    /// The paths below the folders that are looked at alone; `None` for everything.
    pub only: Option<Vec<PathBuf>>,
    /// Whether it is only told what would be stored.
    pub dry_run: bool,
    /// Whether files are read that are as the last scan left them.
    pub full: bool,
    /// Threads that list and read; `None` for as many as make it fast.
    pub jobs: Option<usize>,
    /// Whether each song that differs and each file that is left out is told.
    pub verbose: bool,
    /// Whether the state of files that were read is stored before the end, so that the next scan
    /// need not read them again if this one is interrupted.
    pub keep_state: bool,
    /// How long a file may give no answer.
    pub file_timeout: Duration,
}
