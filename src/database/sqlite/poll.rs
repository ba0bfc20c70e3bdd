//! The version of the rows in a file, and the identity of the file.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rusqlite::ErrorCode;

use super::explain::explain;
use super::revision;
use super::tables::{open_existing, open_reading};
use crate::database::{DatabaseError, POLL_TIMEOUT, Version};

/// The file and its state, as far as the file system shows them; empty if there is no file.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Identity {
    file: String,
    state: String,
}

impl Identity {
    /// The identity of the file at this path.
    pub(super) fn of(path: &Path) -> Self {
        let Ok(file) = std::fs::metadata(path) else { return Identity::default() };
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        // In WAL mode a change may be only in the log.
        let log = std::fs::metadata(Path::new(&log)).map(|log| state(&log)).unwrap_or_default();
        let state = format!("{} {log}", state(&file));
        Identity { file: format!("{:x}:{:x}", file.dev(), file.ino()), state }
    }

    /// The version with the mark of this file. If the revision is unknown, the state of the file takes its
    /// place.
    pub(super) fn mark(&self, Version { revision, mark }: Version) -> Version {
        let rest = if revision.is_some() { &mark } else { &self.state };
        Version { mark: format!("{} {rest}", self.file), revision }
    }
}

fn state(file: &Metadata) -> String {
    format!("{} {}.{:09}", file.size(), file.mtime(), file.mtime_nsec())
}

/// The version of the rows in the file at this path.
///
/// # Errors
/// The file cannot be opened or read.
pub(in crate::database) fn poll(path: &Path) -> Result<Version, DatabaseError> {
    let identity = Identity::of(path);
    let version = open_reading(path, POLL_TIMEOUT).and_then(|connection| revision::read_version(&connection));
    let version = match version {
        // SQLite must roll back the rows of an interrupted scan, or a program did not close a file in WAL
        // mode.
        Err(error) if needs_writing(&error) => {
            open_existing(path, POLL_TIMEOUT).and_then(|connection| revision::read_version(&connection))
        }
        version => version,
    };
    version.map(|version| identity.mark(version)).map_err(|error| explain(path, POLL_TIMEOUT, &error))
}

fn needs_writing(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen))
}
