//! The columns of songs.

use std::cmp::Ordering;
use std::io::{Seek, Write};

use super::error::MergeError;
use super::names::Woven;
use super::orders::{OldOrder, Order, Values};
use super::plan::{NamesPlan, NewSong, SongsPlan};
use super::stored::{self, Own};
use super::weave::Piece;
use super::words::Words;
use crate::api::Field;
use crate::model::{Kind, Owner, PerOwner};
use crate::rows::delta::SongRow;
use crate::rows::scratch::Folder;
use crate::rows::songs::SongValues;
use crate::snapshot::build::BuildError;
use crate::snapshot::build::json;
use crate::snapshot::build::sections::Sections;
use crate::snapshot::format::Column;
use crate::snapshot::open::Songs;

/// The next owners of all songs, of one kind.
pub(super) fn owners(
    owner: Owner,
    old: &Songs<'_>,
    plan: &SongsPlan,
    names: &NamesPlan<'_>,
) -> Result<Vec<u32>, MergeError> {
    let mut owners = Vec::with_capacity(plan.weave.count() as usize);
    for piece in plan.weave.pieces() {
        match piece {
            Piece::Kept(run) => {
                for of in &old.owners[owner][run.start as usize..run.end as usize] {
                    owners.push(names.weave.next(of.get()).ok_or(MergeError::Torn)?);
                }
            }
            Piece::New(new) => owners.push(plan.added[*new as usize].owners[owner]),
        }
    }
    Ok(owners)
}

/// Writes the columns of songs but their sets.
pub(super) fn write<'a, W: Write + Seek>(
    old: &'a Songs<'a>,
    plan: &'a SongsPlan,
    names: &PerOwner<NamesPlan<'_>>,
    owners: &PerOwner<Vec<u32>>,
    woven: &PerOwner<Woven<'_>>,
    folder: &Folder,
    out: &mut Sections<W>,
) -> Result<Words<'a>, BuildError> {
    let (kind, weave, entities) = (Kind::Song, &plan.weave, &old.entities);
    BuildError::check_count(kind, weave.count() as usize)?;
    let append = |new: u32, text: &mut Vec<u8>| append_json(&plan.added[new as usize], names, text);
    weave.write_texts(kind, (Column::Json, Column::JsonOffsets), &entities.json, append, out)?;
    weave.write_ids(kind, entities.ids, |new| plan.added[new as usize].row.id, out)?;
    let new_names = plan.added.iter().map(|song| song.row.name.as_deref().map(Into::into));
    let words = Words::new(entities, weave, new_names, folder)?;
    words.write(kind, out)?;
    for (owner, of) in owners.iter() {
        out.numbers(kind, Column::of(owner), of.iter().copied())?;
    }
    write_orders(old, plan, out)?;
    write_owner_orders(old, plan, names, woven, out)?;
    Ok(words)
}

fn write_orders<W: Write + Seek>(
    old: &Songs<'_>,
    plan: &SongsPlan,
    out: &mut Sections<W>,
) -> Result<(), BuildError> {
    let entities = &old.entities;
    let ranks = [
        (Field::Id, entities.id_rank),
        (Field::Name, entities.name_rank),
        (Field::Length, old.length_rank),
        (Field::Track, old.track_rank),
        (Field::Year, old.year_rank),
    ];
    for (field, rank) in ranks {
        let by = By { field, old, added: &plan.added };
        let old = OldOrder::By(old.order(field).unwrap_or_default());
        let order = Order::new(&plan.weave, old, &by);
        out.numbers(Kind::Song, Column::Order(field), order.indexes())?;
        out.numbers(Kind::Song, Column::Rank(field), order.ranks(rank).iter())?;
    }
    Ok(())
}

/// Writes the orders by names and ids of owners.
fn write_owner_orders<W: Write + Seek>(
    old: &Songs<'_>,
    plan: &SongsPlan,
    names: &PerOwner<NamesPlan<'_>>,
    woven: &PerOwner<Woven<'_>>,
    out: &mut Sections<W>,
) -> Result<(), BuildError> {
    for owner in Owner::ALL {
        let Woven { name_rank, id_rank, .. } = &woven[owner];
        for (field, ranks) in [(Field::name_of(owner), name_rank), (Field::id_of(owner), id_rank)] {
            // The order by artist is the default order, and not stored.
            if let Some(order) = old.order(field) {
                let (is_id, added, names) = (field == Field::id_of(owner), &plan.added, &names[owner]);
                let by = ByOwner { owner, is_id, ranks, old, added, names };
                let order = Order::new(&plan.weave, OldOrder::By(order), &by);
                out.numbers(Kind::Song, Column::Order(field), order.indexes())?;
            }
        }
    }
    Ok(())
}

/// The names or ids of the songs' albums, artists or genres.
struct ByOwner<'a> {
    owner: Owner,
    is_id: bool,
    /// The next ranks of these names or ids, by the next index of the owner.
    ranks: &'a [u32],
    old: &'a Songs<'a>,
    added: &'a [NewSong],
    names: &'a NamesPlan<'a>,
}

impl ByOwner<'_> {
    /// The owner of a new song, by its next index.
    fn of_new(&self, new: u32) -> u32 {
        self.added[new as usize].owners[self.owner]
    }

    fn rank(&self, next: u32) -> u32 {
        self.ranks[next as usize]
    }
}

impl Values for ByOwner<'_> {
    fn compare(&self, old: u32, new: u32) -> Ordering {
        let (old, new) = (self.old.owners[self.owner][old as usize].get(), self.of_new(new));
        match self.names.weave.next(old) {
            Some(next) => self.rank(next).cmp(&self.rank(new)),
            None if self.is_id => self.names.old.ids[old as usize].cmp(self.names.named(new).0.as_bytes()),
            None => {
                let name = stored::name(self.names.old.json.get(old)).unwrap_or_default();
                name.cmp(&self.names.named(new).1)
            }
        }
    }

    fn compare_new(&self, a: u32, b: u32) -> Ordering {
        self.rank(self.of_new(a)).cmp(&self.rank(self.of_new(b)))
    }
}

/// The values of songs themselves.
struct By<'a> {
    field: Field,
    old: &'a Songs<'a>,
    added: &'a [NewSong],
}

impl Values for By<'_> {
    fn compare(&self, old: u32, new: u32) -> Ordering {
        let (json, row) = (self.old.entities.json.get(old), &self.added[new as usize].row);
        match self.field {
            Field::Id => self.old.entities.ids[old as usize].cmp(row.id.as_bytes()),
            Field::Name => stored::name(json).as_deref().cmp(&row.name.as_deref().map(str::as_bytes)),
            field => {
                let Own { length, track, year, .. } = stored::own(json);
                number(field, length, track, year).cmp(&number(field, row.length, row.track, row.year))
            }
        }
    }

    fn compare_new(&self, a: u32, b: u32) -> Ordering {
        let [a, b] = [a, b].map(|new| &self.added[new as usize].row);
        let number = |row: &SongRow| number(self.field, row.length, row.track, row.year);
        match self.field {
            Field::Id => a.id.cmp(&b.id),
            Field::Name => a.name.cmp(&b.name),
            _ => number(a).cmp(&number(b)),
        }
    }
}

/// The one of these numbers that `field` means.
fn number(field: Field, length: Option<i64>, track: Option<i64>, year: Option<i64>) -> Option<i64> {
    match field {
        Field::Length => length,
        Field::Track => track,
        _ => year,
    }
}

fn append_json(song: &NewSong, names: &PerOwner<NamesPlan<'_>>, text: &mut Vec<u8>) {
    let SongRow { id, length, track, year, .. } = song.row;
    let name = song.row.name.as_deref().map(str::as_bytes);
    let values = SongValues { id, name, length, track, year, owners: song.owners };
    let [album, artist, genre] = PerOwner::new(|owner| names[owner].named(song.owners[owner])).into();
    let owners = [(album.0, &*album.1), (artist.0, &*artist.1), (genre.0, &*genre.1)];
    json::append_song(text, &values, owners.into());
}
