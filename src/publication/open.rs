//! The store of a URL.

use super::bucket::Bucket;
use super::error::PublicationError;
use super::folder::Folder;
use super::store::{Source, Store};
use super::web::Web;
use crate::config::{SnapshotUrl, StorePlace};

/// The store, to read from.
pub(super) fn source(url: &SnapshotUrl) -> Result<Box<dyn Source>, PublicationError> {
    Ok(match url.place() {
        StorePlace::Folder(path) => Box::new(Folder::new(path)),
        StorePlace::Web(place) => Box::new(Web::new(place)),
        StorePlace::Bucket(place) => Box::new(Bucket::new(place)?),
    })
}

/// The store, to write to.
pub(super) fn store(url: &SnapshotUrl) -> Result<Box<dyn Store>, PublicationError> {
    Ok(match url.place() {
        StorePlace::Folder(path) => Box::new(Folder::new(path)),
        StorePlace::Bucket(place) => Box::new(Bucket::new(place)?),
        StorePlace::Web(_) => return Err(PublicationError::ReadOnly),
    })
}
