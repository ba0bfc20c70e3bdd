//! The tasks for the threads of a survey: to list a folder or to read a file.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use slog::{Logger, warn};

use crate::scan::pool::{Patience, Work};
use crate::scan::read::{self, Look};
use crate::scan::shown::shown;
use crate::scan::walk::{Folder, Listing};

/// A folder to list, or a file to read.
#[derive(Debug, Clone)]
pub(in crate::scan) enum Task {
    List(Folder),
    Read(PathBuf),
}

/// The result of a task.
pub(in crate::scan) enum Done {
    Listed(Listing),
    Read(Look),
}

impl Work for Task {
    type Done = Done;

    fn path(&self) -> &Path {
        match self {
            Task::List(folder) => &folder.path,
            Task::Read(path) => path,
        }
    }

    fn run(&self) -> Done {
        match self {
            Task::List(folder) => Done::Listed(folder.list()),
            Task::Read(path) => Done::Read(read::look(path)),
        }
    }

    fn is_leaf(&self) -> bool {
        matches!(self, Task::Read(_))
    }
}

/// Returns the task that lists the folder `path`, an entry in `listing` of the folder `above`.
pub(super) fn below(
    above: &Folder,
    listing: &Listing,
    path: PathBuf,
    roots: &[PathBuf],
    wants_stamps: bool,
) -> Task {
    // A root inside another one is the root of its own entries.
    let root = roots.iter().find(|root| **root == path).map(|root| Arc::from(root.as_path()));
    Task::List(Folder {
        root: root.unwrap_or_else(|| above.root.clone()),
        parent_device: listing.device,
        patterns: listing.patterns.clone(),
        wants_stamps,
        only: None,
        path,
    })
}

/// Logs that a file or folder does not answer.
pub(super) fn tell_slow(path: &Path, elapsed: Duration, patience: Patience, log: &Logger) {
    let (waited, limit) = (elapsed.as_secs(), patience.limit.as_secs());
    warn!(
        log,
        "Still waiting for {} after {waited} s; it counts as unreachable after {limit} s",
        shown(path)
    );
}
