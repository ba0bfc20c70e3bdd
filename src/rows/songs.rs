//! Songs: their values are in records of one size, their names are stored beside them.

use std::borrow::Cow;

use uuid::Uuid;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use super::scratch::{Folder, Scratch, ScratchError, Stored};
use super::utf8::{len_of, text};
use crate::model::{Owner, PerOwner};

/// The values of a song.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SongValues<'a> {
    /// Its id.
    pub id: Uuid,
    /// Its name, in UTF-8; `None` for NULL.
    pub name: Option<&'a [u8]>,
    /// Length in whole seconds.
    pub length: Option<i64>,
    /// Number on its record.
    pub track: Option<i64>,
    /// Year of release.
    pub year: Option<i64>,
    /// Indexes of its album, artist and genre.
    pub owners: PerOwner<u32>,
}

impl<'a> SongValues<'a> {
    /// Its name as text.
    pub fn name(&self) -> Option<Cow<'a, str>> {
        self.name.map(text)
    }

    /// The values that decide which of two songs with one id stays.
    fn rest(&self) -> impl Ord + use<'a> {
        let [album, artist, genre] = self.owners.into();
        (self.name, self.length, self.track, self.year, album, artist, genre)
    }
}

/// A song as the storage holds it.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Record {
    id: [u8; 16],
    text: u64,
    length: i64,
    track: i64,
    year: i64,
    owners: [u32; 3],
    text_len: u32,
    /// [`NAME`] and so on for each value that is not NULL.
    present: u64,
}

const NAME: u64 = 1;
const LENGTH: u64 = 2;
const TRACK: u64 = 4;
const YEAR: u64 = 8;

/// Collects songs.
#[derive(Debug)]
pub struct SongsWriter {
    records: Scratch,
    texts: Scratch,
}

impl SongsWriter {
    /// Begins without a song.
    pub fn new(folder: &Folder) -> Self {
        SongsWriter { records: Scratch::new(folder), texts: Scratch::new(folder) }
    }

    /// Adds a song.
    ///
    /// # Errors
    /// As for [`Scratch::push`].
    pub fn push(&mut self, song: &SongValues<'_>) -> Result<(), ScratchError> {
        let name = song.name.unwrap_or_default();
        let text_len = len_of(name);
        let flag = |is_there: bool, flag: u64| if is_there { flag } else { 0 };
        let record = Record {
            id: song.id.into_bytes(),
            text: self.texts.size(),
            length: song.length.unwrap_or_default(),
            track: song.track.unwrap_or_default(),
            year: song.year.unwrap_or_default(),
            owners: song.owners.into(),
            text_len,
            present: flag(song.name.is_some(), NAME)
                | flag(song.length.is_some(), LENGTH)
                | flag(song.track.is_some(), TRACK)
                | flag(song.year.is_some(), YEAR),
        };
        self.texts.push(&name[..text_len as usize])?;
        self.records.push(record.as_bytes())
    }

    /// The songs in the order in which they were added.
    ///
    /// # Errors
    /// As for [`Scratch::finish`].
    pub fn finish(self) -> Result<Songs, ScratchError> {
        Ok(Songs { records: self.records.finish()?, texts: self.texts.finish()? })
    }
}

/// Songs in the order in which they were added.
#[derive(Debug)]
pub struct Songs {
    records: Stored,
    texts: Stored,
}

impl Songs {
    /// The number of songs.
    pub fn len(&self) -> usize {
        self.records.len() / size_of::<Record>()
    }

    /// Whether there are no songs.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The song at `at`, which is below [`Songs::len`].
    #[allow(
        clippy::cast_possible_truncation,
        reason = "the texts are mapped, so their offsets fit into a usize"
    )]
    pub fn get(&self, at: u32) -> SongValues<'_> {
        let record = self.record(at);
        let value = |number: i64, flag: u64| (record.present & flag != 0).then_some(number);
        let start = record.text as usize;
        let name = || &self.texts[start..start + record.text_len as usize];
        SongValues {
            id: Uuid::from_bytes(record.id),
            name: (record.present & NAME != 0).then(name),
            length: value(record.length, LENGTH),
            track: value(record.track, TRACK),
            year: value(record.year, YEAR),
            owners: record.owners.into(),
        }
    }

    /// The id of the song at `at`.
    pub fn id(&self, at: u32) -> Uuid {
        Uuid::from_bytes(self.record(at).id)
    }

    /// The index of the album, artist or genre of the song at `at`.
    pub fn owner(&self, owner: Owner, at: u32) -> u32 {
        self.record(at).owners[owner as usize]
    }

    fn record(&self, at: u32) -> Record {
        let start = at as usize * size_of::<Record>();
        // Memory may be unaligned, while a mapping is aligned.
        let mut record = Record::new_zeroed();
        record.as_mut_bytes().copy_from_slice(&self.records[start..start + size_of::<Record>()]);
        record
    }

    /// The indexes of all songs by ascending id. Of songs with the same id, the one stays whose other values
    /// are first, so the outcome does not depend on the order of the rows.
    pub(super) fn by_id(&self) -> Vec<u32> {
        let count = u32::try_from(self.len()).unwrap_or(u32::MAX);
        let mut keyed: Vec<([u8; 16], u32)> = (0..count).map(|at| (self.record(at).id, at)).collect();
        keyed.sort_unstable_by(|a, b| {
            a.0.cmp(&b.0).then_with(|| self.get(a.1).rest().cmp(&self.get(b.1).rest()))
        });
        keyed.dedup_by_key(|(id, _)| *id);
        keyed.into_iter().map(|(_, at)| at).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn songs_are_read_as_they_were_written() {
        let none = SongValues {
            id: Uuid::from_u128(9),
            name: None,
            length: None,
            track: None,
            year: None,
            owners: [0, 1, u32::MAX].into(),
        };
        let song = SongValues {
            name: Some("Corazón".as_bytes()),
            length: Some(i64::MIN),
            track: Some(0),
            year: Some(i64::MAX),
            ..none
        };
        let empty = SongValues { name: Some(b""), id: Uuid::from_u128(1), ..none };
        let mut writer = SongsWriter::new(&Folder::default());
        for song in [&song, &none, &empty] {
            writer.push(song).unwrap();
        }
        let songs = writer.finish().unwrap();
        assert_eq!([songs.get(0), songs.get(1), songs.get(2)], [song, none, empty]);
        assert_eq!(songs.by_id(), [2, 1], "of two with one id the one without a name stays");
    }
}
