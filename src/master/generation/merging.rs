//! Makes a snapshot of rows: merges the served one with the rows that differ, or builds a new one.

use std::fmt;
use std::os::fd::OwnedFd;

use crate::database::Changed;
use crate::master::generation::before::Before;
use crate::master::generation::beside::{is_large, write_beside};
use crate::model::{Kind, PerOwner};
use crate::rows::Rows;
use crate::rows::delta::Delta;
use crate::rows::scratch::Folder;
use crate::snapshot::build::BuildError;
use crate::snapshot::merge::{Merge, MergeError, compare, most_changes, settle};
use crate::snapshot::storage::{self, Draft};
use crate::snapshot::{self, Snapshot, Verify};

/// How the loader has made a snapshot.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Merged, with these numbers of entities that are gone and that are new.
    Merged { gone: usize, added: usize },
    /// Not at all: the one that serves has the same rows.
    Unchanged,
    /// Built as a whole, for this reason.
    Built(&'static str),
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Way::Merged { gone, added } => write!(f, "merged, {gone} out and {added} in"),
            Way::Unchanged => f.write_str("unchanged, as no row differs"),
            Way::Built(reason) => write!(f, "built, {reason}"),
        }
    }
}

/// The reason why a snapshot was not merged.
enum Unmerged {
    /// It can be built.
    Build(&'static str),
    /// The draft takes no more bytes.
    Failed(BuildError),
}

impl<E: Into<BuildError>> From<E> for Unmerged {
    fn from(error: E) -> Self {
        Unmerged::Failed(error.into())
    }
}

const NOTHING_SERVES: &str = "as no snapshot of a database serves";
const TOO_MUCH: Unmerged = Unmerged::Build("as too much has changed");
const DAMAGED: Unmerged = Unmerged::Build("as the served snapshot cannot be read");
const UNFIT: Unmerged = Unmerged::Build("as the changes do not fit what serves");
const MISCOUNTED: Unmerged = Unmerged::Build("as the log misses rows");

/// The most changes for which a merge is worth it.
fn most(old: &Snapshot<'_>) -> usize {
    most_changes(Kind::ALL.iter().map(|kind| old.count(*kind) as usize).sum())
}

/// Writes the snapshot of `rows` to `draft`, unless the served one has the same rows and may stay.
///
/// # Errors
/// As for a build.
pub(super) fn write(rows: &Rows, before: &Before, draft: &Draft) -> Result<Way, BuildError> {
    let delta = |old: &Snapshot<'_>| compare(old, rows, most(old)).ok_or(TOO_MUCH);
    let wanted = Wanted { delta, counts: None };
    let reason = match &before.snapshot {
        None => NOTHING_SERVES,
        Some(served) => match merge(wanted, served, before.may_stay, &rows.folder, draft) {
            Ok(way) => return Ok(way),
            Err(Unmerged::Build(reason)) => reason,
            Err(Unmerged::Failed(error)) => return Err(error),
        },
    };
    snapshot::build(rows, draft.writer())?;
    Ok(Way::Built(reason))
}

/// The outcome of a merge with the rows that have changed.
pub(super) enum Outcome {
    /// The draft holds the snapshot, or the served one has the same rows.
    Merged(Way),
    /// The load has to read all rows, for this reason. The draft is empty.
    NeedsAll(&'static str),
}

/// The same of the rows that have changed.
///
/// # Errors
/// As for a build.
pub(super) fn write_changes(
    changed: Changed,
    before: &Before,
    folder: &Folder,
    draft: &Draft,
) -> Result<Outcome, BuildError> {
    let Changed { delta, names, songs, .. } = changed;
    let Some(served) = &before.snapshot else { return Ok(Outcome::NeedsAll(NOTHING_SERVES)) };
    let wanted = Wanted { delta: |old: &Snapshot<'_>| Ok(settle(old, delta)), counts: Some((names, songs)) };
    match merge(wanted, served, before.may_stay, folder, draft) {
        Ok(way) => Ok(Outcome::Merged(way)),
        Err(Unmerged::Build(reason)) => Ok(Outcome::NeedsAll(reason)),
        Err(Unmerged::Failed(error)) => Err(error),
    }
}

/// The next snapshot.
struct Wanted<D> {
    /// How it differs from the served one.
    delta: D,
    /// The numbers of albums, artists and genres, and of songs, if the database has counted its rows.
    counts: Option<(PerOwner<u64>, u64)>,
}

/// Merges the served snapshot with the differences.
fn merge(
    wanted: Wanted<impl FnOnce(&Snapshot<'_>) -> Result<Delta, Unmerged>>,
    served: &OwnedFd,
    may_stay: bool,
    folder: &Folder,
    draft: &Draft,
) -> Result<Way, Unmerged> {
    let map = storage::map(served).map_err(|_| DAMAGED)?;
    // A merge would give damaged bytes a right checksum.
    let old = Snapshot::open(&map, Verify::Hash).map_err(|_| DAMAGED)?;
    let delta = (wanted.delta)(&old)?;
    let merge = Merge::new(&old, delta).map_err(|error| match error {
        MergeError::Torn => UNFIT,
        MergeError::Build(error) => error.into(),
    })?;
    if wanted.counts.is_some_and(|counts| counts != merge.counts()) {
        return Err(MISCOUNTED);
    }
    let (gone, added) = merge.edits();
    // A snapshot in memory, made while the disk was full, moves to the disk as soon as there is room.
    if may_stay && (gone, added) == (0, 0) && draft.is_on_disk_of(served)? {
        return Ok(Way::Unchanged);
    }
    // Songs that show a changed name are among them.
    if gone.max(added) > most(&old) {
        return Err(TOO_MUCH);
    }
    let written = if is_large(map.len()) {
        write_beside(draft.writer(), |out| merge.write(folder, out))
    } else {
        merge.write(folder, draft.writer())
    };
    match written {
        Ok(()) => Ok(Way::Merged { gone, added }),
        Err(MergeError::Build(error)) => Err(error.into()),
        Err(MergeError::Torn) => {
            draft.clear()?;
            Err(UNFIT)
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::model::{Collection, Named, Song};

    fn collection(songs: u32, artist: &str) -> Collection {
        let named = |name: &str| vec![Named { id: Uuid::from_u128(1), name: name.to_owned() }];
        let song = |at: u32| Song {
            id: Uuid::from_u128(at.into()),
            name: Some(format!("Song {at}")),
            length: None,
            track: Some(at.into()),
            year: None,
            album: 0,
            artist: 0,
            genre: 0,
        };
        let (albums, artists, genres) = (named("Album"), named(artist), named("Genre"));
        Collection { albums, artists, genres, songs: (0..songs).map(song).collect() }
    }

    /// The snapshot of a collection, and how it was made.
    fn made(collection: &Collection, served: Option<&OwnedFd>) -> (OwnedFd, Way) {
        made_in(Draft::create(None).unwrap(), collection, served, false)
    }

    fn made_in(
        draft: Draft,
        collection: &Collection,
        served: Option<&OwnedFd>,
        may_stay: bool,
    ) -> (OwnedFd, Way) {
        let snapshot = served.map(|served| served.try_clone().unwrap());
        let before = Before { snapshot, may_stay, ..Before::default() };
        let way = write(&Rows::of(collection).unwrap(), &before, &draft).unwrap();
        draft.seal().unwrap();
        (draft.finish(), way)
    }

    #[test]
    fn small_changes_are_merged_and_others_built() {
        let (served, way) = made(&collection(100, "A"), None);
        assert_eq!(way.to_string(), "built, as no snapshot of a database serves");
        for (songs, artist, expected) in [
            (103, "A", "merged, 0 out and 3 in"),
            (100, "A", "merged, 0 out and 0 in"),
            (95, "A", "merged, 5 out and 0 in"),
            (85, "A", "built, as too much has changed"),
            // All songs show the name.
            (100, "B", "built, as too much has changed"),
        ] {
            let next = collection(songs, artist);
            let (snapshot, way) = made(&next, Some(&served));
            assert_eq!(way.to_string(), expected);
            let bytes = |snapshot| storage::map(snapshot).unwrap().to_vec();
            assert!(bytes(snapshot) == bytes(made(&next, None).0), "{songs} {artist}");
        }
    }

    #[test]
    fn same_rows_are_not_written_again_unless_they_belong_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let rows = collection(100, "A");
        let (memory, on_disk) =
            (|| Draft::create(None).unwrap(), || Draft::create(Some(folder.path())).unwrap());
        let (served, _) = made(&rows, None);
        let (snapshot, way) = made_in(memory(), &rows, Some(&served), true);
        assert_eq!((way, std::fs::File::from(snapshot).metadata().unwrap().len()), (Way::Unchanged, 0));
        let (snapshot, way) = made_in(on_disk(), &rows, Some(&served), true);
        assert_eq!(way.to_string(), "merged, 0 out and 0 in");
        assert_eq!(made_in(on_disk(), &rows, Some(&snapshot), true).1, Way::Unchanged);
        let way = made_in(memory(), &collection(101, "A"), Some(&served), true).1;
        assert_eq!(way.to_string(), "merged, 0 out and 1 in");
    }

    #[test]
    fn damage_is_not_copied() {
        let (served, _) = made(&collection(100, "A"), None);
        let mut bytes = storage::map(&served).unwrap().to_vec();
        let place = bytes.windows(7).position(|bytes| bytes == b"Song 42").unwrap();
        bytes[place] = b'L';
        let damaged = Draft::create(None).unwrap();
        std::io::Write::write_all(&mut damaged.writer(), &bytes).unwrap();
        damaged.seal().unwrap();
        let (_, way) = made(&collection(101, "A"), Some(&damaged.finish()));
        assert_eq!(way, Way::Built("as the served snapshot cannot be read"));
    }
}
