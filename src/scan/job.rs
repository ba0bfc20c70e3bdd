//! The order for a scan.

use std::path::PathBuf;
use std::time::Duration;

use super::guard::Expected;
use crate::config::DatabaseUrl;

/// Whether a scan that finds no song is an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Empty {
    /// It is an error: [`ScanError::NothingReadable`](super::ScanError::NothingReadable).
    Refused,
    /// The user wants an empty collection.
    Allowed,
}

/// The order for a scan.
#[derive(Debug, Clone)]
pub struct Job {
    /// The database that holds the collection.
    pub database: DatabaseUrl,
    /// The folders to read.
    pub folders: Vec<PathBuf>,
    /// The folders of COLLECTION. None of `folders` may lie inside one of them.
    pub collection: Vec<PathBuf>,
    /// Whether a scan that finds no song is an error.
    pub empty: Empty,
    /// The losses that the user expects.
    pub expected: Expected,
    /// Patterns of files and folders to pass over, beside the default ones.
    pub exclude: Vec<String>,
    /// The only paths to look at, below the folders; `None` for everything.
    pub only: Option<Vec<PathBuf>>,
    /// Whether the scan only reports the changes and stores nothing.
    pub dry_run: bool,
    /// Whether unchanged files are read again.
    pub full: bool,
    /// Number of threads that list and read; `None` lets the scan choose.
    pub jobs: Option<usize>,
    /// Whether the scan reports each song that differs and each file that is left out.
    pub verbose: bool,
    /// Whether the state of files is stored while the scan runs, so that the next scan need not
    /// read them again if this one is interrupted.
    pub keep_state: bool,
    /// Longest time that a file may take to answer.
    pub file_timeout: Duration,
}
