//! Songs in default order, and their columns.

use std::cmp::Ordering;
use std::io::{Seek, Write};

use super::error::BuildError;
use super::json;
use super::names::SortedNames;
use super::order::{Ranked, by_rank, inverse, ranked, sorted, text_key};
use super::parallel::at_once;
use super::search::{Postings, Search};
use super::sections::Sections;
use crate::api::Field;
use crate::model::{Kind, Owner, PerOwner};
use crate::rows::scratch::Folder;
use crate::rows::songs::{SongValues, Songs, SongsWriter};
use crate::snapshot::format::Column;

/// The songs of each album, artist or genre.
pub(in crate::snapshot) struct OwnedPostings {
    offsets: Vec<u32>,
    /// `None` for artists: their songs are neighbours in default order.
    songs: Option<Vec<u32>>,
}

impl OwnedPostings {
    /// Finds and writes the songs of each of `count` owners of one kind; song *i* is of the owner `of[i]`.
    pub(in crate::snapshot) fn write<W: Write + Seek>(
        owner: Owner,
        count: u32,
        of: &[u32],
        out: &mut Sections<W>,
    ) -> Result<OwnedPostings, BuildError> {
        let kind = Kind::Of(owner);
        let mut offsets = vec![0_u32; count as usize + 1];
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

    pub(in crate::snapshot) fn as_lists(&self) -> Postings<'_> {
        Postings::Lists(&self.offsets, self.songs.as_deref())
    }
}

/// Songs in default order, with the default-order indexes of their owners.
pub(super) struct SortedSongs<'a> {
    songs: Songs,
    names: &'a PerOwner<SortedNames<'a>>,
    owners: PerOwner<Vec<u32>>,
    id_rank: Vec<u32>,
}

impl<'a> SortedSongs<'a> {
    /// The songs of `songs` whose indexes are in `ids`, which is sorted by id.
    pub(super) fn new(
        songs: &Songs,
        ids: &[u32],
        names: &'a PerOwner<SortedNames<'a>>,
        folder: &Folder,
    ) -> Result<Self, BuildError> {
        BuildError::check_count(Kind::Song, songs.len())?;
        let moved = |owner: Owner, at: u32| names[owner].by_id[songs.owner(owner, at) as usize];
        let place = |at: u32| (moved(Owner::Artist, at), moved(Owner::Album, at));
        let name = |rank: u32| songs.get(ids[rank as usize]).name;
        let keys = ids.iter().map(|&at| (place(at), songs.get(at).track));
        // The index, which is the rank by id, breaks ties.
        let id_rank = sorted(keys, |a, b| name(a).cmp(&name(b)));
        let mut owners = PerOwner::new(|_| Vec::with_capacity(ids.len()));
        let mut gathered = SongsWriter::new(folder);
        for &rank in &id_rank {
            let at = ids[rank as usize];
            let of = PerOwner::new(|owner| moved(owner, at));
            Owner::ALL.into_iter().for_each(|owner| owners[owner].push(of[owner]));
            gathered.push(&SongValues { owners: of, ..songs.get(at) })?;
        }
        Ok(SortedSongs { songs: gathered.finish()?, names, owners, id_rank })
    }

    /// The number of songs.
    pub(super) fn count(&self) -> u32 {
        // `new` has checked that it fits.
        self.id_rank.len() as u32
    }

    /// Writes the songs of each owner of one kind.
    pub(super) fn write_postings<W: Write + Seek>(
        &self,
        owner: Owner,
        out: &mut Sections<W>,
    ) -> Result<OwnedPostings, BuildError> {
        OwnedPostings::write(owner, self.names[owner].count(), &self.owners[owner], out)
    }

    /// Writes the columns of songs, except their sets.
    pub(super) fn write<W: Write + Seek>(
        &self,
        run_len: usize,
        folder: &Folder,
        out: &mut Sections<W>,
    ) -> Result<Search, BuildError> {
        let kind = Kind::Song;
        let search = || Search::new(self.count(), run_len, folder, |at| self.songs.get(at).name());
        let (search, written) = at_once(search, || {
            out.texts(kind, Column::Json, Column::JsonOffsets, self.count(), |at, text| {
                self.append_json(at, text)
            })
        });
        written?;
        let search = search?;
        out.ids(kind, (0..self.count()).map(|at| self.songs.id(at)))?;
        search.write(kind, out)?;
        for (owner, of) in self.owners.iter() {
            out.numbers(kind, Column::of(owner), of.iter().copied())?;
        }
        self.write_orders(out)?;
        Ok(search)
    }

    fn write_orders<W: Write + Seek>(&self, out: &mut Sections<W>) -> Result<(), BuildError> {
        out.numbers(Kind::Song, Column::Order(Field::Id), inverse(&self.id_rank).into_iter())?;
        out.numbers(Kind::Song, Column::Rank(Field::Id), self.id_rank.iter().copied())?;
        let values = || (0..self.count()).map(|at| self.songs.get(at));
        let name = |at: u32| self.songs.get(at).name;
        let name_keys = values().map(|song| text_key(song.name.unwrap_or_default()));
        write_order(out, Field::Name, &ranked(name_keys, |a, b| name(a).cmp(&name(b))))?;
        let same = |_, _| Ordering::Equal;
        write_order(out, Field::Length, &ranked(values().map(|song| song.length), same))?;
        write_order(out, Field::Track, &ranked(values().map(|song| song.track), same))?;
        write_order(out, Field::Year, &ranked(values().map(|song| song.year), same))?;
        let ranks = PerOwner::new(|owner| {
            let names = &self.names[owner];
            (names.name_rank.as_slice(), names.id_rank.as_slice())
        });
        write_owner_orders(&self.owners, &ranks, out)
    }

    fn append_json(&self, at: u32, text: &mut Vec<u8>) {
        let song = self.songs.get(at);
        let owners = PerOwner::new(|owner| self.names[owner].named(song.owners[owner]));
        json::append_song(text, &song, owners);
    }
}

/// Writes the orders of songs by their owners' names and ids; `ranks` holds the ranks of the owners, by name
/// and by id.
fn write_owner_orders<W: Write + Seek>(
    owners: &PerOwner<Vec<u32>>,
    ranks: &PerOwner<(&[u32], &[u32])>,
    out: &mut Sections<W>,
) -> Result<(), BuildError> {
    for (owner, (name_rank, id_rank)) in ranks.iter() {
        for (field, rank) in [(Field::name_of(owner), name_rank), (Field::id_of(owner), id_rank)] {
            // The order by artist is the default order.
            if field != Field::Artist {
                let ranks = owners[owner].iter().map(|&at| rank[at as usize]);
                out.numbers(Kind::Song, Column::Order(field), by_rank(rank.len(), ranks).into_iter())?;
            }
        }
    }
    Ok(())
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
