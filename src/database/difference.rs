//! What has to be written so that a database holds a collection, without holding two
//! collections in memory: of an old row 16 bytes of id and a hash of the rest are enough.

use std::collections::HashSet;
use std::ffi::OsString;

use uuid::Uuid;
use xxhash_rust::xxh3::Xxh3Default;

use super::changes::{Stream, is_at_end};
use crate::model::library::File;
use crate::model::{Collection, Named, Song};

/// The tables of names, in the order in which arrays of three hold them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The albums table.
    Album = 0,
    /// The artists table.
    Artist = 1,
    /// The genres table.
    Genre = 2,
}

impl Kind {
    /// All kinds, in order.
    pub const ALL: [Kind; 3] = [Kind::Album, Kind::Artist, Kind::Genre];

    /// The name of the table.
    pub fn table(self) -> &'static str {
        ["albums", "artists", "genres"][self as usize]
    }

    /// The names of this kind.
    pub fn of(self, collection: &Collection) -> &[Named] {
        match self {
            Kind::Album => &collection.albums,
            Kind::Artist => &collection.artists,
            Kind::Genre => &collection.genres,
        }
    }
}

/// A row of the tracks table, with the ids that stand there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StoredSong<'a> {
    /// Its id.
    pub id: Uuid,
    /// Its title.
    pub name: Option<&'a str>,
    /// Length in whole seconds.
    pub length: Option<i64>,
    /// Number on its record.
    pub track: Option<i64>,
    /// Year of release.
    pub year: Option<i64>,
    /// Ids of album, artist and genre.
    pub names: [Uuid; 3],
}

/// A row of the tracks table that owns its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SongRecord {
    /// Its title.
    pub name: Option<String>,
    /// The rest; the name in it is `None`.
    pub rest: StoredSong<'static>,
}

impl SongRecord {
    /// The row.
    pub fn row(&self) -> StoredSong<'_> {
        StoredSong { name: self.name.as_deref(), ..self.rest }
    }
}

impl From<StoredSong<'_>> for SongRecord {
    fn from(song: StoredSong<'_>) -> SongRecord {
        let StoredSong { id, name, length, track, year, names } = song;
        SongRecord {
            name: name.map(str::to_owned),
            rest: StoredSong { id, name: None, length, track, year, names },
        }
    }
}

impl<'a> StoredSong<'a> {
    /// The row of a song of `collection`.
    pub fn new(collection: &Collection, song: &'a Song) -> StoredSong<'a> {
        StoredSong {
            id: song.id,
            name: song.name.as_deref(),
            length: song.length,
            track: song.track,
            year: song.year,
            names: [
                collection.albums[song.album as usize].id,
                collection.artists[song.artist as usize].id,
                collection.genres[song.genre as usize].id,
            ],
        }
    }
}

/// The rows that a database holds: what is needed of them to find differences. 24 bytes
/// for each row.
#[derive(Debug, Clone, Default)]
pub struct Known {
    names: [Vec<(Uuid, u64)>; 3],
    songs: Vec<(Uuid, u64)>,
}

impl Known {
    /// Takes note of a name.
    pub fn name(&mut self, kind: Kind, id: Uuid, name: &str) {
        self.names[kind as usize].push((id, hash_of_name(name)));
    }

    /// Takes note of a song.
    pub fn song(&mut self, song: &StoredSong<'_>) {
        self.songs.push((song.id, hash_of_song(song)));
    }

    /// How many songs were taken note of.
    pub fn songs(&self) -> usize {
        self.songs.len()
    }

    /// What makes `collection` of the known rows. An id must not be known twice.
    pub fn compare<'a>(self, collection: &'a Collection) -> RowChanges<'a> {
        let mut changes = RowChanges::default();
        for (kind, old) in Kind::ALL.into_iter().zip(self.names) {
            let new = kind.of(collection).iter().map(|named| (named.id, hash_of_name(&named.name)));
            let (changed, removed) = compare(old, new);
            let named = |index: u32| kind.of(collection)[index as usize].clone();
            changes.names[kind as usize] = changed.into_iter().map(named).collect();
            changes.removed_names[kind as usize] = removed;
        }
        let hash =
            |song| (StoredSong::new(collection, song).id, hash_of_song(&StoredSong::new(collection, song)));
        let (changed, removed) = compare(self.songs, collection.songs.iter().map(hash));
        let song = |index: u32| StoredSong::new(collection, &collection.songs[index as usize]).into();
        changes.songs = Some(Box::new(changed.into_iter().map(move |index| Ok(song(index)))));
        changes.removed_songs = removed;
        changes
    }
}

/// Indexes of what is new or changed, and the ids that are only in `old`.
fn compare(mut old: Vec<(Uuid, u64)>, new: impl Iterator<Item = (Uuid, u64)>) -> (Vec<u32>, Vec<Uuid>) {
    old.sort_unstable();
    let mut is_kept = vec![false; old.len()];
    let mut changed = Vec::new();
    for (index, (id, hash)) in (0..).zip(new) {
        match old.binary_search_by_key(&id, |(id, _)| *id) {
            Ok(place) => {
                is_kept[place] = true;
                if old[place].1 != hash {
                    changed.push(index);
                }
            }
            Err(_) => changed.push(index),
        }
    }
    let removed = old.iter().zip(is_kept).filter(|(_, is_kept)| !is_kept).map(|((id, _), _)| *id);
    (changed, removed.collect())
}

/// PostgreSQL cannot hold NUL, and U+FFFD is stored in its place. Both are one here, or the
/// row would differ at each scan.
fn hash_text(hasher: &mut Xxh3Default, text: &str) {
    for (number, part) in text.split('\0').enumerate() {
        if number > 0 {
            hasher.update("\u{fffd}".as_bytes());
        }
        hasher.update(part.as_bytes());
    }
}

fn hash_of_name(name: &str) -> u64 {
    let mut hasher = Xxh3Default::new();
    hash_text(&mut hasher, name);
    hasher.digest()
}

/// A hash of all but the id.
pub fn hash_of_song(song: &StoredSong<'_>) -> u64 {
    let mut hasher = Xxh3Default::new();
    for number in [song.length, song.track, song.year] {
        hasher.update(&[u8::from(number.is_some())]);
        hasher.update(&number.unwrap_or_default().to_le_bytes());
    }
    for id in song.names {
        hasher.update(id.as_bytes());
    }
    // Last: it is the one part of no fixed length.
    if let Some(name) = song.name {
        hasher.update(b"=");
        hash_text(&mut hasher, name);
    }
    hasher.digest()
}

/// Differences between the rows of a database and those that it is to hold.
#[derive(Default)]
pub struct RowChanges<'a> {
    /// Whether everything goes first: for rows that something else wrote and that are not clean.
    pub replace: bool,
    /// New and changed names of each [`Kind`].
    pub names: [Vec<Named>; 3],
    /// Ids of the names of each [`Kind`] that go.
    pub removed_names: [Vec<Uuid>; 3],
    /// New and changed songs.
    pub songs: Option<Stream<'a, SongRecord>>,
    /// Ids of the songs that go.
    pub removed_songs: Vec<Uuid>,
}

impl<'a> RowChanges<'a> {
    /// `collection` in place of everything.
    pub fn replace(collection: &'a Collection) -> RowChanges<'a> {
        RowChanges { replace: true, ..Known::default().compare(collection) }
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&mut self) -> bool {
        !self.replace
            && is_at_end(&mut self.songs)
            && self.removed_songs.is_empty()
            && self.names.iter().all(Vec::is_empty)
            && self.removed_names.iter().all(Vec::is_empty)
    }
}

/// Differences between two states of the files: those to write, and the keys of those that go.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FileChanges<'a> {
    /// New and changed files.
    pub upserted: Vec<&'a File>,
    /// Folder and name of the files that go.
    pub removed: Vec<(i64, OsString)>,
}

/// Compares two states of the files, each in any order and without a key twice.
pub fn files<'a>(
    old: impl IntoIterator<Item = &'a File>,
    new: impl IntoIterator<Item = &'a File>,
) -> FileChanges<'a> {
    let mut old: Vec<&File> = old.into_iter().collect();
    old.sort_unstable_by_key(|file| (file.folder, &file.name));
    let mut kept = HashSet::new();
    let mut changes = FileChanges::default();
    for file in new {
        match old.binary_search_by_key(&(file.folder, &file.name), |file| (file.folder, &file.name)) {
            Ok(place) => {
                kept.insert(place);
                if old[place] != file {
                    changes.upserted.push(file);
                }
            }
            Err(_) => changes.upserted.push(file),
        }
    }
    let gone = old.iter().enumerate().filter(|(place, _)| !kept.contains(place));
    changes.removed = gone.map(|(_, file)| (file.folder, file.name.clone())).collect();
    changes
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::model::library::{Outcome, Stamps};

    type SongRow = (Option<String>, [Option<i64>; 3], [Uuid; 3]);

    /// The four tables by id.
    #[derive(Debug, Clone, PartialEq, Default)]
    struct Tables {
        names: [BTreeMap<Uuid, String>; 3],
        songs: BTreeMap<Uuid, SongRow>,
    }

    fn row(song: &StoredSong<'_>) -> SongRow {
        (song.name.map(str::to_owned), [song.length, song.track, song.year], song.names)
    }

    fn tables(collection: &Collection) -> Tables {
        Tables {
            names: Kind::ALL.map(|kind| kind.of(collection).iter().map(|n| (n.id, n.name.clone())).collect()),
            songs: collection
                .songs
                .iter()
                .map(|song| (song.id, row(&StoredSong::new(collection, song))))
                .collect(),
        }
    }

    fn known(collection: &Collection) -> Known {
        let mut known = Known::default();
        for kind in Kind::ALL {
            kind.of(collection).iter().for_each(|named| known.name(kind, named.id, &named.name));
        }
        collection.songs.iter().for_each(|song| known.song(&StoredSong::new(collection, song)));
        known
    }

    fn apply(mut tables: Tables, changes: RowChanges<'_>) -> Tables {
        for kind in Kind::ALL {
            let names = &mut tables.names[kind as usize];
            for named in &changes.names[kind as usize] {
                names.insert(named.id, named.name.clone());
            }
            changes.removed_names[kind as usize].iter().for_each(|id| drop(names.remove(id)));
        }
        changes.removed_songs.iter().for_each(|id| drop(tables.songs.remove(id)));
        for song in changes.songs.into_iter().flatten() {
            let song = song.unwrap();
            tables.songs.insert(song.row().id, row(&song.row()));
        }
        tables
    }

    fn some_names() -> impl Strategy<Value = Vec<Named>> {
        prop::collection::btree_map(0..6_u128, "[ab]?", 1..5).prop_map(|names| {
            names.into_iter().map(|(id, name)| Named { id: Uuid::from_u128(id), name }).collect()
        })
    }

    fn collections() -> impl Strategy<Value = Collection> {
        let number = || prop::option::of(0..3_i64);
        let song = (prop::option::of("[ab]?"), [number(), number(), number()], any::<[u32; 3]>());
        let songs = prop::collection::btree_map(0..8_u128, song, 0..8);
        (some_names(), some_names(), some_names(), songs).prop_map(|(albums, artists, genres, songs)| {
            let songs = songs.into_iter().map(|(id, (name, [length, track, year], [a, b, c]))| Song {
                id: Uuid::from_u128(id),
                name,
                length,
                track,
                year,
                album: a % albums.len() as u32,
                artist: b % artists.len() as u32,
                genre: c % genres.len() as u32,
            });
            Collection { songs: songs.collect(), albums, artists, genres }
        })
    }

    fn some_files() -> impl Strategy<Value = Vec<File>> {
        let rest = (0..2_i64, prop::option::of("[ab]?"));
        prop::collection::btree_map((1..4_i64, "[xy]{1,2}"), rest, 0..8).prop_map(|files| {
            let file = |((folder, name), (size, title)): ((i64, String), (i64, Option<String>))| File {
                folder,
                name: name.into(),
                stamps: Stamps { size, ..Stamps::default() },
                settled: true,
                reader: 1,
                outcome: Outcome::Song,
                note: String::new(),
                added: 0,
                title,
                album: None,
                artist: None,
                genre: None,
                track: None,
                date: None,
                length_ms: None,
                facts: String::new(),
            };
            files.into_iter().map(file).collect()
        })
    }

    proptest! {
        #[test]
        fn differences_make_the_new_rows_of_the_old(old in collections(), new in collections()) {
            let mut changes = known(&old).compare(&new);
            prop_assert_eq!(changes.is_empty(), tables(&old) == tables(&new));
            prop_assert_eq!(apply(tables(&old), changes), tables(&new));
            prop_assert!(known(&new).compare(&new).is_empty());
        }

        #[test]
        fn differences_make_the_new_files_of_the_old(old in some_files(), new in some_files()) {
            let by_key = |files: &[File]| -> BTreeMap<_, _> {
                files.iter().map(|file| ((file.folder, file.name.clone()), file.clone())).collect()
            };
            let changes = files(&old, &new);
            let mut made = by_key(&old);
            changes.removed.iter().for_each(|key| drop(made.remove(key).unwrap()));
            for file in &changes.upserted {
                made.insert((file.folder, file.name.clone()), (*file).clone());
            }
            prop_assert_eq!(made, by_key(&new));
            prop_assert_eq!(files(&new, &new), FileChanges::default());
        }
    }

    #[test]
    fn only_what_differs_is_named() {
        let named = |id, name: &str| Named { id: Uuid::from_u128(id), name: name.to_owned() };
        let mut new = Collection { albums: vec![named(1, "a"), named(2, "b")], ..Collection::default() };
        let mut known = Known::default();
        known.name(Kind::Album, Uuid::from_u128(1), "a");
        known.name(Kind::Album, Uuid::from_u128(2), "B");
        known.name(Kind::Album, Uuid::from_u128(3), "c");
        let changes = known.clone().compare(&new);
        assert_eq!(changes.names, [vec![named(2, "b")], vec![], vec![]]);
        assert_eq!(changes.removed_names, [vec![Uuid::from_u128(3)], vec![], vec![]]);
        // As PostgreSQL gives it back.
        drop(changes);
        new.albums = vec![named(1, "a\0")];
        let mut known = Known::default();
        known.name(Kind::Album, Uuid::from_u128(1), "a\u{fffd}");
        assert!(known.compare(&new).is_empty());
    }
}
