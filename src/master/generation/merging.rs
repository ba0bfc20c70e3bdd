//! Makes a snapshot of rows: merges the served one with the rows that differ, or builds a new one.

use std::fmt;
use std::os::fd::OwnedFd;

use crate::rows::Rows;
use crate::rows::delta::Delta;
use crate::rows::scratch::Folder;
use crate::snapshot::build::BuildError;
use crate::snapshot::merge::{Merge, MergeError, compare, most_changes};
use crate::snapshot::storage::{self, Draft};
use crate::snapshot::{self, Snapshot, Verify};

/// The way in which a snapshot was made.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Merged, with these numbers of entities that are gone and that are new.
    Merged { gone: usize, added: usize },
    /// Built as a whole, for this reason.
    Built(&'static str),
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Way::Merged { gone, added } => write!(f, "merged, {gone} out and {added} in"),
            Way::Built(reason) => write!(f, "built, {reason}"),
        }
    }
}

/// The reason why a snapshot was not merged.
enum Unmerged {
    /// It can be built.
    Build(&'static str),
    /// It cannot be written.
    Failed(BuildError),
}

impl<E: Into<BuildError>> From<E> for Unmerged {
    fn from(error: E) -> Self {
        Unmerged::Failed(error.into())
    }
}

const TOO_MUCH: Unmerged = Unmerged::Build("as too much has changed");
const DAMAGED: Unmerged = Unmerged::Build("as the served snapshot cannot be read");
const UNFIT: Unmerged = Unmerged::Build("as the changes do not fit what serves");

/// Writes the snapshot of `rows`; `served` is the one that serves, if this program has made it of a database.
///
/// # Errors
/// As for a build.
pub(super) fn write(rows: &Rows, served: Option<&OwnedFd>, draft: &Draft) -> Result<Way, BuildError> {
    let reason = match served {
        None => "as no snapshot of a database serves",
        Some(served) => match merge(rows, served, draft) {
            Ok(way) => return Ok(way),
            Err(Unmerged::Build(reason)) => reason,
            Err(Unmerged::Failed(error)) => return Err(error),
        },
    };
    snapshot::build(rows, draft.writer())?;
    Ok(Way::Built(reason))
}

/// Merges the served snapshot with the differences of `rows`.
fn merge(rows: &Rows, served: &OwnedFd, draft: &Draft) -> Result<Way, Unmerged> {
    let map = storage::map(served).map_err(|_| DAMAGED)?;
    // Damage that is copied would have a right checksum.
    let old = Snapshot::open(&map, Verify::Hash).map_err(|_| DAMAGED)?;
    let delta = compare(&old, rows, most_changes(&old)).ok_or(TOO_MUCH)?;
    weave(&old, delta, &rows.folder, draft)
}

/// Writes the snapshot that `old` and `delta` make. If they do not fit, the draft is empty.
fn weave(old: &Snapshot<'_>, delta: Delta, folder: &Folder, draft: &Draft) -> Result<Way, Unmerged> {
    let merge = Merge::new(old, delta).map_err(|error| match error {
        MergeError::Torn => UNFIT,
        MergeError::Build(error) => error.into(),
    })?;
    let (gone, added) = merge.edits();
    // Songs that show a changed name are among them.
    if gone.max(added) > most_changes(old) {
        return Err(TOO_MUCH);
    }
    match merge.write(folder, draft.writer()) {
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
        let draft = Draft::create(None).unwrap();
        let way = write(&Rows::of(collection).unwrap(), served, &draft).unwrap();
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
