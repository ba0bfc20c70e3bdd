//! The request to a running server to serve the stored collection.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::control::{self, Command, ControlError, Reload};

/// The result of a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reloaded {
    /// The server serves the new collection.
    Serves,
    /// No server runs. The next one reads the database when it starts.
    NoServer,
}

/// The reason why the server does not serve the new collection. The rows are stored regardless.
#[derive(Debug)]
pub struct ReloadError {
    socket: PathBuf,
    source: ControlError,
}

impl fmt::Display for ReloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the collection is stored, but the server at {} has not loaded it; see `avalonctl status`",
            self.socket.display()
        )
    }
}

impl std::error::Error for ReloadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Asks the master whose socket is at `path` to read the collection, and waits until the new
/// one serves: rows of this revision or a later one, if it is known.
///
/// # Errors
/// If the master cannot be asked, goes away meanwhile, or cannot load the collection.
pub fn reload(path: &Path, revision: Option<u64>) -> Result<Reloaded, ReloadError> {
    let command = Command::Reload(Reload { revision, ..Reload::waiting() });
    match control::call(path, command, None) {
        Ok(_) => Ok(Reloaded::Serves),
        Err(error) if error.is_absent() => Ok(Reloaded::NoServer),
        Err(source) => Err(ReloadError { socket: path.to_owned(), source }),
    }
}
