//! The store of a URL.

use super::error::PublicationError;
use super::folder::Folder;
use super::store::{Source, Store};
use crate::config::{SnapshotUrl, StorePlace};

/// The store, to read from.
pub(super) fn source(url: &SnapshotUrl) -> Result<Box<dyn Source>, PublicationError> {
    Ok(match url.place() {
        StorePlace::Folder(path) => Box::new(Folder::new(path)),
        StorePlace::Web(_) | StorePlace::Bucket(_) => return Err(PublicationError::ReadOnly),
    })
}

/// The store, to write to.
pub(super) fn store(url: &SnapshotUrl) -> Result<Box<dyn Store>, PublicationError> {
    Ok(match url.place() {
        StorePlace::Folder(path) => Box::new(Folder::new(path)),
        StorePlace::Web(_) | StorePlace::Bucket(_) => return Err(PublicationError::ReadOnly),
    })
}
