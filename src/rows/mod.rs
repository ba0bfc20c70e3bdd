//! All rows of a database on their way to a snapshot. Texts and records are in [`scratch`] storage, which the kernel
//! may evict; memory holds some twenty bytes for each of them.

pub mod delta;
pub mod names;
pub mod scratch;
pub mod songs;
mod utf8;

use std::borrow::Cow;

use crate::model::{Collection, Named, Owner, PerOwner, Song};
use names::{Names, NamesWriter};
use scratch::{Folder, ScratchError};
use songs::{SongValues, Songs, SongsWriter};

/// All rows. The owners of songs are valid indexes into the names.
#[derive(Debug)]
pub struct Rows {
    /// Albums, artists and genres.
    pub names: PerOwner<Names>,
    /// Songs, in the order of their rows; several may have the same id.
    pub songs: Songs,
    /// The indexes of the songs that count, by ascending id. No id occurs twice.
    pub by_id: Vec<u32>,
    /// The folder for more temporary files.
    pub folder: Folder,
}

impl Rows {
    /// Joins these parts. The number counts the songs that are left out because another song has the same id.
    pub fn new(names: PerOwner<Names>, songs: Songs, folder: Folder) -> (Self, u64) {
        let by_id = songs.by_id();
        let duplicates = (songs.len() - by_id.len()) as u64;
        (Rows { names, songs, by_id, folder }, duplicates)
    }

    /// The rows of a collection.
    ///
    /// # Errors
    /// As for [`scratch::Scratch::push`].
    pub fn of(collection: &Collection) -> Result<Self, ScratchError> {
        let folder = Folder::default();
        let names = PerOwner::try_new(|owner| {
            let mut writer = NamesWriter::new(&folder);
            owner.of(collection).iter().try_for_each(|named| writer.push(named.id, &named.name))?;
            Ok::<_, ScratchError>(writer.finish()?.0)
        })?;
        let lookups = PerOwner::new(|owner| names[owner].lookup());
        let mut songs = SongsWriter::new(&folder);
        for song in &collection.songs {
            let index = |owner: Owner| {
                let id = owner.of(collection)[owner.index_in(song) as usize].id;
                // The names hold the ids of the collection.
                lookups[owner].find(&names[owner], id).unwrap_or_default()
            };
            let Song { id, length, track, year, .. } = *song;
            let name = song.name.as_deref().map(str::as_bytes);
            songs.push(&SongValues { id, name, length, track, year, owners: PerOwner::new(index) })?;
        }
        Ok(Rows::new(names, songs.finish()?, folder).0)
    }

    /// The songs that count, by ascending id.
    pub fn songs(&self) -> impl Iterator<Item = SongValues<'_>> {
        self.by_id.iter().map(|&at| self.songs.get(at))
    }

    /// All rows as a collection in memory, by ascending id.
    pub fn collection(&self) -> Collection {
        let named = |owner: Owner| {
            let names = &self.names[owner];
            names.indexes().map(|at| Named { id: names.id(at), name: names.name(at).into_owned() })
        };
        let song = |song: SongValues<'_>| {
            let [album, artist, genre] = song.owners.into();
            let SongValues { id, length, track, year, .. } = song;
            let name = song.name().map(Cow::into_owned);
            Song { id, name, length, track, year, album, artist, genre }
        };
        Collection {
            albums: named(Owner::Album).collect(),
            artists: named(Owner::Artist).collect(),
            genres: named(Owner::Genre).collect(),
            songs: self.songs().map(song).collect(),
        }
    }
}

impl PartialEq for Rows {
    fn eq(&self, other: &Rows) -> bool {
        self.collection() == other.collection()
    }
}
