//! Songs in default order, and their columns.

use std::cmp::Ordering;
use std::io::{Seek, Write};

use super::error::BuildError;
use super::json;
use super::names::SortedNames;
use super::order::{Ranked, by_rank, ranked, sorted, text_key};
use super::parallel::at_once;
use super::search::{Postings, Search};
use super::sections::Sections;
use crate::api::Field;
use crate::model::{Collection, Kind, Owner, PerOwner, Song};
use crate::snapshot::format::Column;

/// The songs of each album, artist or genre.
pub(super) struct OwnedPostings {
    offsets: Vec<u32>,
    /// `None` for artists: their songs are neighbours in default order.
    songs: Option<Vec<u32>>,
}

impl OwnedPostings {
    pub(super) fn as_lists(&self) -> Postings<'_> {
        Postings::Lists(&self.offsets, self.songs.as_deref())
    }
}

/// Songs in default order, with the indexes of their owners.
pub(super) struct SortedSongs<'a> {
    pub(super) songs: Vec<&'a Song>,
    names: &'a PerOwner<SortedNames<'a>>,
    owners: PerOwner<Vec<u32>>,
}

impl<'a> SortedSongs<'a> {
    pub(super) fn new(
        collection: &'a Collection,
        names: &'a PerOwner<SortedNames<'a>>,
    ) -> Result<Self, BuildError> {
        let list = &collection.songs;
        BuildError::check_count(Kind::Song, list.len())?;
        let moved = |owner: Owner, song: &Song| names[owner].moved[owner.index_in(song) as usize];
        let place = |song: &Song| (moved(Owner::Artist, song), moved(Owner::Album, song));
        let order = sorted(list.iter().map(|song| (place(song), song.track)), |a, b| {
            let (a, b) = (&list[a as usize], &list[b as usize]);
            a.name.cmp(&b.name).then(a.id.cmp(&b.id))
        });
        let songs: Vec<&Song> = order.iter().map(|&at| &list[at as usize]).collect();
        let owners = PerOwner::new(|owner| songs.iter().map(|song| moved(owner, song)).collect());
        Ok(SortedSongs { songs, names, owners })
    }

    /// Writes the songs of each owner of one kind.
    pub(super) fn write_postings<W: Write + Seek>(
        &self,
        owner: Owner,
        out: &mut Sections<W>,
    ) -> Result<OwnedPostings, BuildError> {
        let (kind, of) = (Kind::Of(owner), &self.owners[owner]);
        let mut offsets = vec![0_u32; self.names[owner].entities.len() + 1];
        for &entity in of {
            offsets[entity as usize + 1] += 1;
        }
        for at in 1..offsets.len() {
            offsets[at] += offsets[at - 1];
        }
        out.numbers(kind, Column::SongOffsets, offsets.iter().copied())?;
        if owner == Owner::Artist {
            return Ok(OwnedPostings { offsets, songs: None });
        }
        let mut next = offsets.clone();
        let mut list = vec![0_u32; of.len()];
        for (song, &entity) in of.iter().enumerate() {
            let slot = &mut next[entity as usize];
            list[*slot as usize] = song as u32;
            *slot += 1;
        }
        out.numbers(kind, Column::Songs, list.iter().copied())?;
        Ok(OwnedPostings { offsets, songs: Some(list) })
    }

    /// Writes the columns of songs but their sets.
    pub(super) fn write<W: Write + Seek>(&self, out: &mut Sections<W>) -> Result<Search, BuildError> {
        let kind = Kind::Song;
        let count = self.songs.len() as u32;
        let search = || Search::new(count, |at| self.songs[at as usize].name.as_deref());
        let (search, written) = at_once(search, || {
            out.texts(kind, Column::Json, Column::JsonOffsets, count, |at, text| self.append_song(at, text))
        });
        written?;
        let search = search?;
        out.ids(kind, self.songs.iter().map(|song| song.id))?;
        search.write(kind, out)?;
        for (owner, of) in self.owners.iter() {
            out.numbers(kind, Column::of(owner), of.iter().copied())?;
        }
        self.write_orders(out)?;
        Ok(search)
    }

    fn write_orders<W: Write + Seek>(&self, out: &mut Sections<W>) -> Result<(), BuildError> {
        let name = |at: u32| self.songs[at as usize].name.as_deref();
        let name_key = |song: &&Song| song.name.as_deref().map(|name| text_key(name.as_bytes()));
        let same = |_, _| Ordering::Equal;
        let songs = &self.songs;
        write_order(out, Field::Id, &ranked(songs.iter().map(|song| song.id), same))?;
        write_order(out, Field::Name, &ranked(songs.iter().map(name_key), |a, b| name(a).cmp(&name(b))))?;
        write_order(out, Field::Length, &ranked(songs.iter().map(|song| song.length), same))?;
        write_order(out, Field::Track, &ranked(songs.iter().map(|song| song.track), same))?;
        write_order(out, Field::Year, &ranked(songs.iter().map(|song| song.year), same))?;
        for (owner, names) in self.names.iter() {
            for (field, rank) in
                [(Field::name_of(owner), &names.name_rank), (Field::id_of(owner), &names.id_rank)]
            {
                // The order by artist is the default order.
                if field != Field::Artist {
                    let ranks = self.owners[owner].iter().map(|&at| rank[at as usize]);
                    out.numbers(Kind::Song, Column::Order(field), by_rank(rank.len(), ranks).into_iter())?;
                }
            }
        }
        Ok(())
    }

    fn append_song(&self, at: u32, text: &mut Vec<u8>) {
        let named = |owner: Owner| self.names[owner].entities[self.owners[owner][at as usize] as usize];
        json::append_song(text, self.songs[at as usize], &PerOwner::new(named));
    }
}

/// Writes order and ranks by a value of the song itself.
fn write_order<W: Write + Seek>(
    out: &mut Sections<W>,
    field: Field,
    ranked: &Ranked,
) -> Result<(), BuildError> {
    out.numbers(Kind::Song, Column::Order(field), ranked.order.iter().copied())?;
    out.numbers(Kind::Song, Column::Rank(field), ranked.rank.iter().copied())
}
