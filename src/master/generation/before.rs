//! The facts that a loader needs of the generation that serves.

use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use crate::database::Since;
use crate::master::generation::watcher_session::Questions;
use crate::publication::Had;

/// The origin of rows, which their contents do not tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    /// Their revision in the database, even if they come from a store; `None` if unknown.
    pub(crate) rows: Option<u64>,
    /// The last counter that a pointer in the store of snapshots had.
    pub(crate) counter: Option<u64>,
    /// Whether the snapshot has each row of the database, unchanged.
    pub(crate) is_whole: bool,
}

/// The served rows of the source of a loader.
#[derive(Debug, Default)]
pub(crate) struct Before {
    /// Whether the database had rows.
    pub(crate) had_rows: bool,
    /// Whether a generation serves, whatever it serves.
    pub(crate) serves: bool,
    /// Where the rows that serve are from.
    pub(crate) origin: Origin,
    /// Whether the store has named nothing new for so long that the loader should ask the database.
    pub(crate) is_patience_over: bool,
    /// The served snapshot of the store, whose hash is known if the next generation can serve the same bytes.
    pub(crate) had: Had,
    /// The served snapshot, if this program has made the same bytes of rows that it has read.
    pub(crate) snapshot: Option<OwnedFd>,
    /// Whether the next generation may serve this snapshot too: the configuration names no other place for one.
    pub(crate) may_stay: bool,
    /// The rows that it holds of the same database, if the changes since then are all that the load is to look for.
    pub(crate) since: Option<Since>,
    /// The watcher, if it can read these changes.
    pub(crate) watcher: Option<Questions>,
}
