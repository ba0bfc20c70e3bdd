//! Publishing: the snapshot first, then the pointer to it.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::time::{Duration, SystemTime};

use super::error::PublicationError;
use super::fetch::{copy, sound, state};
use super::object::{Object, key, prefix};
use super::open::store;
use super::pointer::{Pointer, pointer_key, seconds};
use super::retention::removable;
use super::store::Store;
use crate::config::SnapshotUrl;
use crate::snapshot::{Identity, Passing};

/// zstd's level: the others take longer and save little (level 3: 185 in place of 189 MB, of 561 MB).
const LEVEL: i32 = 1;
/// Most tries of a publisher to replace the pointer while others do the same.
const TRIES: usize = 100;
/// A publisher writes an object of this age again before it points to it: see `retention.rs`.
const RENEWED_FROM: Duration = Duration::from_secs(24 * 3600);

/// A publication, and whether it was safe beside others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// The outcome.
    pub outcome: Outcome,
    /// Whether the store supports conditions. Without them the last of several publishers at once wins, even
    /// with older rows. True without a test if nothing had to be written.
    pub keeps_conditions: bool,
}

/// The outcome of a publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The pointer names it now.
    Published(Pointer),
    /// The pointer named it already.
    Unchanged(Pointer),
    /// The pointer names rows that are as new or newer, and stays.
    Newer(Pointer),
}

/// Publishes a snapshot that holds `songs` songs, for programs that read its version of the format.
/// `revision` is that of the rows in their database, if it is known: a publication that is not newer than the
/// last one is dropped, unless `accepts_older`.
///
/// # Errors
/// The store fails, `snapshot` is unreadable or no snapshot, or other publishers are faster in every try.
pub fn publish(
    url: &SnapshotUrl,
    snapshot: &File,
    songs: u64,
    revision: Option<u64>,
    accepts_older: bool,
) -> Result<Publication, PublicationError> {
    let store = store(url)?;
    let (compressed, identity) = compress(snapshot).map_err(PublicationError::of_copy)?;
    let compressed_length = compressed.metadata().map_err(PublicationError::Local)?.len();
    let format = identity.version;
    let (pointer, _) = state(store.as_ref(), format)?;
    let superseded_by = |pointer: Option<&Pointer>| superseded(pointer?, &identity, revision, accepts_older);
    if let Some(outcome) = superseded_by(pointer.as_ref()) {
        if let Outcome::Unchanged(pointer) = &outcome {
            repair(store.as_ref(), &pointer.object, &compressed, &identity)?;
        }
        return Ok(Publication { outcome, keeps_conditions: true });
    }
    let keeps_conditions = store.keeps_conditions(format)?;
    let (identity, compressed_length) = upload(store.as_ref(), &compressed, (identity, compressed_length))?;
    let object = Object {
        hash: identity.hash,
        checksum: identity.checksum,
        length: identity.length,
        compressed_length,
        songs,
        created: seconds(SystemTime::now()),
    };
    let outcome = point(store.as_ref(), format, |before| {
        let next = || Next::Pointer(Pointer::after(before, object.clone(), revision));
        Ok(superseded_by(before).map_or_else(next, Next::Stay))
    })?;
    // Another publisher may have just removed it as old.
    if store.open(&key(format, identity.hash), 0)?.is_none() {
        store.put(&key(format, identity.hash), &compressed)?;
    }
    if let Outcome::Published(pointer) = &outcome {
        tidy(store.as_ref(), format, pointer)?;
    }
    Ok(Publication { outcome, keeps_conditions })
}

/// Returns to a former publication in this version of the format: to the last one without a `hash`. Tells as well
/// whether the store keeps conditions.
///
/// # Errors
/// The store fails, there is no such publication, or its snapshot is missing or damaged.
pub fn roll_back(
    url: &SnapshotUrl,
    format: u32,
    hash: Option<u128>,
) -> Result<(Pointer, bool), PublicationError> {
    let store = store(url)?;
    let keeps_conditions = store.keeps_conditions(format)?;
    let outcome = point(store.as_ref(), format, |before| {
        let before = before.ok_or(PublicationError::Nothing(format))?;
        let back = before.back(hash)?;
        copy(store.as_ref(), format, &back.object, io::sink())?;
        Ok(Next::Pointer(back))
    })?;
    match outcome {
        Outcome::Published(pointer) | Outcome::Unchanged(pointer) | Outcome::Newer(pointer) => {
            Ok((pointer, keeps_conditions))
        }
    }
}

/// The reason why a pointer stays as it is, if it does.
fn superseded(
    pointer: &Pointer,
    identity: &Identity,
    revision: Option<u64>,
    accepts_older: bool,
) -> Option<Outcome> {
    if pointer.object.hash == identity.hash {
        return Some(Outcome::Unchanged(pointer.clone()));
    }
    let is_newer = match (revision, pointer.revision) {
        (Some(revision), Some(last)) => revision > last,
        _ => true,
    };
    (!is_newer && !accepts_older).then(|| Outcome::Newer(pointer.clone()))
}

/// The compressed form of a snapshot in a file without a name, and the values of its header. Checks length
/// and checksum.
fn compress(snapshot: &File) -> io::Result<(File, Identity)> {
    let mut from = snapshot;
    from.rewind()?;
    let mut passing = Passing::default();
    let mut write = || {
        let mut encoder = zstd::stream::write::Encoder::new(tempfile::tempfile()?, LEVEL)?;
        io::copy(&mut Both { from, passing: &mut passing }, &mut encoder)?;
        encoder.finish()
    };
    let compressed = write().map_err(|error| {
        let folder = std::env::temp_dir();
        io::Error::new(
            error.kind(),
            format!("{} (TMPDIR, for the compressed snapshot): {error}", folder.display()),
        )
    })?;
    let identity = passing.finish().map_err(io::Error::other)?;
    Ok((compressed, identity))
}

/// Reads, and passes the bytes to `passing` as well.
struct Both<'a> {
    from: &'a File,
    passing: &'a mut Passing,
}

impl Read for Both<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.from.read(buffer)?;
        io::Write::write_all(self.passing, &buffer[..len])?;
        Ok(len)
    }
}

/// Brings an object into the store. If the store has it already, this reads it to its end, and replaces it if
/// it is damaged or so old that a publisher might remove it. Another version of this program may have made
/// it: then it has the same content in other bytes. Returns the object that is in the store at the end, and
/// its compressed length.
fn upload(
    store: &dyn Store,
    compressed: &File,
    ours: (Identity, u64),
) -> Result<(Identity, u64), PublicationError> {
    let key = key(ours.0.version, ours.0.hash);
    if store.create(&key, compressed)? {
        return Ok(ours);
    }
    let there =
        sound(store, &key)?.filter(|(there, _)| (there.version, there.hash) == (ours.0.version, ours.0.hash));
    if let Some(there) = there.filter(|_| is_young(store, ours.0.version, &key).unwrap_or(false)) {
        return Ok(there);
    }
    store.put(&key, compressed)?;
    Ok(ours)
}

fn is_young(store: &dyn Store, format: u32, key: &str) -> Result<bool, PublicationError> {
    let listed = store.list(&prefix(format))?;
    let written = listed.iter().find(|listed| listed.key == key).map(|listed| listed.written);
    let age = written.map(|written| SystemTime::now().duration_since(written).unwrap_or_default());
    Ok(age.is_some_and(|age| age < RENEWED_FROM))
}

/// Writes the object of the pointer again if it is missing or damaged.
fn repair(
    store: &dyn Store,
    object: &Object,
    compressed: &File,
    ours: &Identity,
) -> Result<(), PublicationError> {
    match copy(store, ours.version, object, io::sink()) {
        Err(PublicationError::Missing(_) | PublicationError::Object(..)) => {}
        other => return other.map(|_| ()),
    }
    store.put(&key(ours.version, object.hash), compressed)?;
    let compressed_length = compressed.metadata().map_err(PublicationError::Local)?.len();
    // If another version of this program had written the object, the pointer must describe the one that is
    // there now.
    let object = Object {
        checksum: ours.checksum,
        length: ours.length,
        compressed_length,
        created: seconds(SystemTime::now()),
        ..object.clone()
    };
    point(store, ours.version, |before| match before {
        Some(before) if before.object.hash == object.hash => {
            Ok(Next::Pointer(Pointer::after(Some(before), object.clone(), None)))
        }
        Some(before) => Ok(Next::Stay(Outcome::Newer(before.clone()))),
        None => Ok(Next::Pointer(Pointer::after(None, object.clone(), None))),
    })
    .map(|_| ())
}

/// The change to the pointer.
enum Next {
    Pointer(Pointer),
    Stay(Outcome),
}

/// Replaces the pointer by the one that `next` makes of it. Repeats this if another publisher was faster.
fn point(
    store: &dyn Store,
    format: u32,
    next: impl Fn(Option<&Pointer>) -> Result<Next, PublicationError>,
) -> Result<Outcome, PublicationError> {
    for _ in 0..TRIES {
        let (before, tag) = state(store, format)?;
        match next(before.as_ref())? {
            Next::Stay(outcome) => return Ok(outcome),
            Next::Pointer(pointer) => {
                if store.swap(&pointer_key(format), tag.as_ref(), &pointer.to_bytes())? {
                    return Ok(Outcome::Published(pointer));
                }
            }
        }
    }
    Err(PublicationError::Busy)
}

/// Removes the objects that no server can need any more.
fn tidy(store: &dyn Store, format: u32, pointer: &Pointer) -> Result<(), PublicationError> {
    let listed = store.list(&prefix(format))?;
    let old = removable(&listed, pointer, SystemTime::now());
    for object in old {
        // Another publisher may have pointed to it in the meantime.
        if let (Some(now), _) = state(store, format)?
            && removable(&listed, &now, SystemTime::now()).contains(&object)
        {
            store.remove(object)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(hash: u128, revision: Option<u64>) -> (Pointer, Identity) {
        let object = Object { hash, checksum: 7, length: 100, compressed_length: 50, songs: 3, created: 9 };
        let identity = Identity { version: 2, hash, checksum: 7, length: 100 };
        (Pointer::after(None, object, revision), identity)
    }

    #[test]
    fn rows_that_are_not_newer_are_left_out_unless_they_are_wanted() {
        let (pointer, same) = published(1, Some(5));
        let other = Identity { hash: 2, ..same };
        let kept = |identity: &Identity, revision, accepts_older| {
            superseded(&pointer, identity, revision, accepts_older)
        };
        assert!(matches!(kept(&same, Some(6), true), Some(Outcome::Unchanged(_))));
        for (revision, is_left_out) in [(Some(4), true), (Some(5), true), (Some(6), false), (None, false)] {
            let outcome = kept(&other, revision, false);
            assert_eq!(matches!(outcome, Some(Outcome::Newer(_))), is_left_out, "{revision:?}");
            assert_eq!(kept(&other, revision, true), None);
        }
        // A return keeps the revision, so that the rows that were left behind are not published again.
        let next = Pointer::after(Some(&pointer), published(2, None).0.object, Some(6));
        let back = next.back(None).unwrap();
        assert_eq!(back.object.hash, 1);
        assert!(matches!(superseded(&back, &other, Some(6), false), Some(Outcome::Newer(_))));
        assert_eq!(superseded(&back, &other, Some(7), false), None);
    }

    #[test]
    fn snapshot_is_checked_before_it_is_sent() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1000).unwrap();
        let url = SnapshotUrl::parse("file:///no/such/folder", |_| None).unwrap();
        let refused = publish(&url, &file, 1, None, false).unwrap_err();
        assert!(matches!(refused, PublicationError::Local(_)), "{refused}");
    }
}
