//! The differences between the present and the new contents of a database, computed in the plainest
//! way: a scan computes them from hashes and streams.

use std::collections::HashMap;
use std::ffi::OsString;

use avalon::database::difference::{RowChanges, SongRecord, StoredSong, hash_of_song};
use avalon::model::library::File;
use avalon::model::{Collection, Named, Owner, PerOwner};
use uuid::Uuid;

/// The rows that a database holds, by id.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    names: PerOwner<HashMap<Uuid, String>>,
    songs: HashMap<Uuid, SongRecord>,
}

impl Known {
    pub(super) fn name(&mut self, owner: Owner, id: Uuid, name: &str) {
        self.names[owner].insert(id, name.to_owned());
    }

    pub(super) fn song(&mut self, song: &StoredSong<'_>) {
        self.songs.insert(song.id, SongRecord::from(*song));
    }

    /// How many songs there are.
    pub(super) fn songs(&self) -> usize {
        self.songs.len()
    }

    /// Returns the changes that turn these rows into `collection`.
    pub(super) fn compare(mut self, collection: &Collection) -> RowChanges<'static> {
        let mut changes = RowChanges::default();
        for owner in Owner::ALL {
            let old = &mut self.names[owner];
            // PostgreSQL gives U+FFFD for a NUL.
            let is_new = |named: &&Named| {
                old.remove(&named.id).is_none_or(|name| name != named.name.replace('\0', "\u{fffd}"))
            };
            changes.names[owner] = owner.of(collection).iter().filter(is_new).cloned().collect();
            changes.removed_names[owner] = old.keys().copied().collect();
        }
        let songs: Vec<SongRecord> =
            collection.songs.iter().map(|song| StoredSong::new(collection, song).into()).collect();
        let is_new = |song: &SongRecord| {
            self.songs
                .remove(&song.rest.id)
                .is_none_or(|old| hash_of_song(&old.row()) != hash_of_song(&song.row()))
        };
        let changed: Vec<SongRecord> = songs.into_iter().filter(is_new).collect();
        changes.removed_songs = self.songs.keys().copied().collect();
        changes.songs = Some(Box::new(changed.into_iter().map(Ok)));
        changes
    }
}

/// `collection` in place of everything.
pub(super) fn replace(collection: &Collection) -> RowChanges<'static> {
    RowChanges { replace: true, ..Known::default().compare(collection) }
}

/// The files that are new or changed, and the keys of those that go.
pub(super) fn files(old: &[File], new: &[File]) -> (Vec<File>, Vec<(i64, OsString)>) {
    let key = |file: &File| (file.folder, file.name.clone());
    let mut old: HashMap<_, &File> = old.iter().map(|file| (key(file), file)).collect();
    let changed = new.iter().filter(|file| old.remove(&key(file)) != Some(*file)).cloned().collect();
    (changed, old.into_keys().collect())
}
