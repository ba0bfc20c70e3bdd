//! Snapshots that cannot change any more, and their contents.

use std::os::fd::OwnedFd;
use std::thread;

use memmap2::Mmap;

use crate::control::Contents;
use crate::master::error::MasterError;
use crate::master::generation::beside::is_large;
use crate::master::generation::failed::failed;
use crate::model::Owner;
use crate::snapshot::build::on_two_threads;
use crate::snapshot::storage::{self, Draft};
use crate::snapshot::{Kind, Snapshot, Verify};

/// Seals the draft, and verifies all of it.
pub(super) fn sealed(draft: &Draft) -> Result<Contents, MasterError> {
    draft.seal().map_err(|source| MasterError::System { what: "the snapshot cannot be sealed", source })?;
    let map = map(draft.reader())?;
    if is_large(map.len()) {
        let (hashed, indexed) =
            on_two_threads(|| contents(&map, Verify::Hash), || contents(&map, Verify::Indexes));
        return hashed.and(indexed);
    }
    contents(&map, Verify::Full)
}

/// Verifies a snapshot of a former master, while nothing serves: a second thread maps the pages ahead of
/// the hash, as page faults take a third of the time.
pub(crate) fn verify_kept(sealed: &OwnedFd) -> Result<Contents, MasterError> {
    let map = map(sealed)?;
    thread::scope(|scope| {
        // Without the thread, the first access maps each page.
        let _ = thread::Builder::new().spawn_scoped(scope, || storage::populate(&map));
        contents(&map, Verify::Hash)
    })
}

pub(super) fn map(sealed: &OwnedFd) -> Result<Mmap, MasterError> {
    storage::map(sealed)
        .map_err(|source| MasterError::System { what: "the snapshot cannot be mapped", source })
}

/// Checks a snapshot that cannot change any more, and lists its contents.
pub(super) fn contents(bytes: &[u8], verify: Verify) -> Result<Contents, MasterError> {
    let snapshot = Snapshot::open(bytes, verify).map_err(|error| failed(&error))?;
    Ok(Contents {
        albums: snapshot.count(Kind::Of(Owner::Album)).into(),
        artists: snapshot.count(Kind::Of(Owner::Artist)).into(),
        bytes: snapshot.size() as u64,
        genres: snapshot.count(Kind::Of(Owner::Genre)).into(),
        hash: format!("{:032x}", snapshot.hash()),
        songs: snapshot.count(Kind::Song).into(),
        // A snapshot does not tell it.
        revision: None,
        mark: String::new(),
    })
}
