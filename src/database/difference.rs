//! The rows of the four tables in the form in which a scan compares them: for a stored row, 16 bytes of id
//! and a hash of the rest are enough. And the changes to write where they differ.

use uuid::Uuid;
use xxhash_rust::xxh3::{Xxh3Default, xxh3_64};

use super::stream::{Stream, is_at_end};
use crate::model::{Collection, Named, PerOwner, Song};

/// A row of the tracks table, with the ids in it.
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
    pub names: PerOwner<Uuid>,
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
            names: PerOwner::new(|owner| owner.of(collection)[owner.index_in(song) as usize].id),
        }
    }
}

/// Most bytes of a row that are hashed in one call. Only long titles take the slower way, part by part.
const HASHED_AT_ONCE: usize = 512;

/// Hashes a text. PostgreSQL cannot store NUL and stores U+FFFD in its place. Both have the same hash, or the
/// row would differ at each scan.
fn hash_text(hasher: &mut Xxh3Default, text: &str) {
    for (number, part) in text.split('\0').enumerate() {
        if number > 0 {
            hasher.update("\u{fffd}".as_bytes());
        }
        hasher.update(part.as_bytes());
    }
}

/// A hash of everything except the id.
pub fn hash_of_song(song: &StoredSong<'_>) -> u64 {
    let mut bytes = [0; HASHED_AT_ONCE];
    let mut len = 0;
    let mut add = |part: &[u8]| {
        bytes[len..len + part.len()].copy_from_slice(part);
        len += part.len();
    };
    for number in [song.length, song.track, song.year] {
        add(&[u8::from(number.is_some())]);
        add(&number.unwrap_or_default().to_le_bytes());
    }
    for id in song.names.values() {
        add(id.as_bytes());
    }
    // The name comes last, as it is the only part without a fixed length.
    let name = match song.name {
        Some(name) => {
            add(b"=");
            name
        }
        None => "",
    };
    if name.len() <= HASHED_AT_ONCE - len && !name.contains('\0') {
        bytes[len..len + name.len()].copy_from_slice(name.as_bytes());
        return xxh3_64(&bytes[..len + name.len()]);
    }
    let mut hasher = Xxh3Default::new();
    hasher.update(&bytes[..len]);
    hash_text(&mut hasher, name);
    hasher.digest()
}

/// Differences between the rows in a database and the rows that it should hold.
#[derive(Default)]
pub struct RowChanges<'a> {
    /// Whether all rows are deleted first: for rows of another program that are not clean.
    pub replace: bool,
    /// New and changed names of each [`Owner`](crate::model::Owner).
    pub names: PerOwner<Vec<Named>>,
    /// Ids of the names of each owner that are deleted.
    pub removed_names: PerOwner<Vec<Uuid>>,
    /// New and changed songs.
    pub songs: Option<Stream<'a, SongRecord>>,
    /// Ids of the songs that are deleted.
    pub removed_songs: Vec<Uuid>,
}

impl RowChanges<'_> {
    /// Whether there is nothing to write.
    pub fn is_empty(&mut self) -> bool {
        !self.replace
            && is_at_end(&mut self.songs)
            && self.removed_songs.is_empty()
            && self.names.values().all(Vec::is_empty)
            && self.removed_names.values().all(Vec::is_empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_tells_every_column_from_another() {
        let id = |number| Uuid::from_u128(number);
        let song = StoredSong {
            id: id(1),
            name: Some("a"),
            length: Some(1),
            track: Some(2),
            year: None,
            names: [id(2), id(3), id(4)].into(),
        };
        let others = [
            StoredSong { name: None, ..song },
            StoredSong { name: Some(""), ..song },
            StoredSong { length: Some(2), track: Some(1), ..song },
            StoredSong { year: Some(0), ..song },
            StoredSong { length: None, ..song },
            StoredSong { names: [id(3), id(2), id(4)].into(), ..song },
        ];
        for other in others {
            assert_ne!(hash_of_song(&song), hash_of_song(&other), "{other:?}");
        }
        assert_eq!(hash_of_song(&song), hash_of_song(&StoredSong { id: id(9), ..song }));
        // The two ways give one hash.
        let long = "x".repeat(HASHED_AT_ONCE);
        for len in HASHED_AT_ONCE - 100..HASHED_AT_ONCE {
            let hash = |name| hash_of_song(&StoredSong { name: Some(name), ..song });
            assert_ne!(hash(&long[..len]), hash(&long[..len + 1]), "{len}");
        }
        // As PostgreSQL gives it back.
        let [nul, replaced] = ["a\0", "a\u{fffd}"].map(|name| StoredSong { name: Some(name), ..song });
        assert_eq!(hash_of_song(&nul), hash_of_song(&replaced));
    }
}
