//! The early walk: threads list the folders while the scan still reads the state of the last scan
//! from the database. The survey looks at their entries once that state is known.

use std::path::PathBuf;
use std::time::Duration;

use slog::Logger;

use super::task::{self, Done, Task, tell_slow};
use crate::scan::error::ScanError;
use crate::scan::pool::{Event, Limits, Pool};
use crate::scan::walk::{Folder, Kind};

/// Names that are listed ahead at most; they take memory until they are looked at.
const NAMES_MAX: usize = 50_000;
/// Time between two checks for the end of the reading while every folder hangs.
const GLANCE: Duration = Duration::from_millis(2);

/// Folders that were listed, and those that are still being listed.
pub(in crate::scan) struct Ahead {
    pub(super) pool: Pool<Task>,
    /// The events of the pool, in order.
    pub(super) events: Vec<Event<Task>>,
}

impl Ahead {
    /// Starts the threads and lists nothing yet.
    ///
    /// # Errors
    /// If no thread can be started.
    pub(super) fn none(limits: Limits) -> Result<Ahead, ScanError> {
        let pool = Pool::start(limits).map_err(ScanError::Threads)?;
        Ok(Ahead { pool, events: Vec::new() })
    }

    /// Lists `folders` and all folders below them until `is_done`.
    ///
    /// # Errors
    /// If no thread can be started.
    pub(in crate::scan) fn walk(
        folders: &[Folder],
        roots: &[PathBuf],
        limits: Limits,
        log: &Logger,
        is_done: impl Fn() -> bool,
    ) -> Result<Ahead, ScanError> {
        let Ahead { mut pool, mut events } = Ahead::none(limits)?;
        pool.push(folders.iter().cloned().map(Task::List));
        let mut names = 0;
        while pool.open() > 0 && names < NAMES_MAX && !is_done() {
            match pool.next(GLANCE) {
                Event::Done(Task::List(folder), Done::Listed(listing)) => {
                    names += listing.entries.len();
                    let is_folder = |kind: &Kind| matches!(kind, Kind::Folder);
                    pool.push(listing.entries.iter().filter(|entry| is_folder(&entry.kind)).map(|entry| {
                        let path = folder.path.join(&entry.name);
                        task::below(&folder, &listing, path, roots, folder.wants_stamps)
                    }));
                    events.push(Event::Done(Task::List(folder), Done::Listed(listing)));
                }
                Event::Slow(path, elapsed) => tell_slow(&path, elapsed, limits.patience, log),
                Event::Quiet => {}
                other => events.push(other),
            }
        }
        Ok(Ahead { pool, events })
    }
}
