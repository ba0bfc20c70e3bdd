//! What a loader has to know of the generation that serves.

use crate::publication::Had;

/// What is served of the source of a loader.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Before {
    /// Whether the database had rows.
    pub(crate) had_rows: bool,
    /// Whether a generation serves, whatever it serves.
    pub(crate) serves: bool,
    /// What is served of the store of snapshots, whose hash is known if the next generation can serve the same bytes.
    pub(crate) had: Had,
}
