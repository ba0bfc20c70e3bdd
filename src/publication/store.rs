//! The operations that this program asks of a store.

use std::fs::File;
use std::io::Read;
use std::time::SystemTime;

use super::error::StoreError;

/// The state of an object, which can only be compared with another state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tag(pub(super) String);

/// An object while it is read.
pub(super) struct Reading {
    /// Its state; `None` if the store does not report one.
    pub(super) tag: Option<Tag>,
    /// The bytes of the whole object.
    pub(super) len: u64,
    /// Its bytes, from the requested one on.
    pub(super) body: Box<dyn Read>,
}

/// A small object and its state.
pub(super) type Small = (Vec<u8>, Option<Tag>);

/// An object in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) key: String,
    /// The time of its last write.
    pub(super) written: SystemTime,
}

/// A store from which the program reads.
pub(super) trait Source {
    /// An object from byte `from` on; `None` if there is none.
    fn open(&self, key: &str, from: u64) -> Result<Option<Reading>, StoreError>;

    /// A small object, of which at most `len_max` bytes are read, with its state for [`Store::swap`].
    fn pointer(&self, key: &str, len_max: u64) -> Result<Option<Small>, StoreError>;
}

/// A store to which the program writes.
pub(super) trait Store: Source {
    /// Writes an object unless one has this name; returns whether it has written.
    fn create(&self, key: &str, content: &File) -> Result<bool, StoreError>;

    /// Writes an object, or replaces it.
    fn put(&self, key: &str, content: &File) -> Result<(), StoreError>;

    /// Replaces a small object if it is still in the state `former` (`None`: it is missing); returns whether
    /// it has. A store without conditions always replaces it.
    fn swap(&self, key: &str, former: Option<&Tag>, content: &[u8]) -> Result<bool, StoreError>;

    /// Whether the store enforces the conditions of [`Store::create`] and [`Store::swap`]. This tests it with
    /// an object beside those of this version of the format.
    fn keeps_conditions(&self, format: u32) -> Result<bool, StoreError>;

    /// The objects whose names begin with `prefix`.
    fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError>;

    /// Removes an object, unless it was written after the listing.
    fn remove(&self, listed: &Listed) -> Result<(), StoreError>;
}
