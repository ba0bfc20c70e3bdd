//! What a loader has to know of the generation that serves.

/// What is served of the source of a loader.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Before {
    /// Whether the database had rows.
    pub(crate) had_rows: bool,
    /// Whether a generation serves, whatever it serves.
    pub(crate) serves: bool,
    /// The counter of the pointer in the store of snapshots.
    pub(crate) counter: Option<u64>,
}
