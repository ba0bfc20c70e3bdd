//! Rows against a snapshot: the differences.

use std::cmp::Ordering;

use uuid::Uuid;

use crate::model::{Kind, Named, Owner, PerOwner};
use crate::rows::Rows;
use crate::rows::delta::{Delta, Edits, SongRow};
use crate::rows::names::Names;
use crate::rows::songs::SongValues;
use crate::snapshot::build::json;
use crate::snapshot::open::{Entities, Snapshot};

/// Stands for no row, and for no entity.
const NONE: u32 = u32::MAX;

/// What of `rows` differs from `old`, if that is no more than `most` entities.
pub fn compare(old: &Snapshot<'_>, rows: &Rows, most: usize) -> Option<Delta> {
    let mut delta = Delta::default();
    // From the index of a row's owner to that of the same one in the snapshot.
    let mut same = PerOwner::default();
    for owner in Owner::ALL {
        (delta.names[owner], same[owner]) =
            compare_names(old.entities(Kind::Of(owner)), &rows.names[owner], most)?;
    }
    delta.songs = compare_songs(old, rows, &same, most)?;
    (delta.count() <= most).then_some(delta)
}

/// What of the changes does differ from `old`.
pub fn settle(old: &Snapshot<'_>, mut delta: Delta) -> Delta {
    let mut text = Vec::new();
    for owner in Owner::ALL {
        let (edits, entities) = (&mut delta.names[owner], old.entities(Kind::Of(owner)));
        edits.gone.retain(|id| entities.index_of(id.as_bytes()).is_some());
        edits.present.retain(|named| {
            text.clear();
            json::append_named(&mut text, named.id, named.name.as_bytes());
            let at = entities.index_of(named.id.as_bytes());
            at.is_none_or(|at| entities.json.get(at) != text)
        });
    }
    let entities = &old.songs.entities;
    delta.songs.gone.retain(|id| entities.index_of(id.as_bytes()).is_some());
    delta.songs.present.retain(|row| {
        let at = entities.index_of(row.id.as_bytes());
        at.is_none_or(|at| !is_song(old, at, row, &mut text))
    });
    delta
}

/// Whether the row is that of the song of the snapshot.
fn is_song(old: &Snapshot<'_>, at: u32, row: &SongRow, text: &mut Vec<u8>) -> bool {
    let SongRow { id, length, track, year, owners, .. } = *row;
    let name = row.name.as_deref().map(str::as_bytes);
    text.clear();
    json::append_own(text, &SongValues { id, name, length, track, year, owners: PerOwner::default() });
    let has_owner = |owner: Owner| {
        let of = old.songs.owners[owner][at as usize].get();
        id_of(old.entities(Kind::Of(owner)), of) == owners[owner]
    };
    old.songs.entities.json.get(at).starts_with(text) && Owner::ALL.into_iter().all(has_owner)
}

/// Whether a row is of an entity of the snapshot.
enum Pair {
    Row(u32),
    Old(u32),
    Both { row: u32, old: u32 },
}

/// Meets the rows, by ascending id, with the entities.
fn pairs<'a>(
    old: &'a Entities<'_>,
    count: u32,
    id: impl Fn(u32) -> Uuid + 'a,
) -> impl Iterator<Item = Pair> + 'a {
    let mut row = 0;
    let mut by_id = old.by_id.iter().map(|at| at.get()).peekable();
    std::iter::from_fn(move || {
        let order = match by_id.peek() {
            None if row == count => return None,
            None => Ordering::Less,
            Some(_) if row == count => Ordering::Greater,
            Some(&at) => id(row).as_bytes().cmp(&old.ids[at as usize]),
        };
        Some(match order {
            Ordering::Less => {
                row += 1;
                Pair::Row(row - 1)
            }
            Ordering::Greater => Pair::Old(by_id.next()?),
            Ordering::Equal => {
                row += 1;
                Pair::Both { row: row - 1, old: by_id.next()? }
            }
        })
    })
}

fn id_of(old: &Entities<'_>, at: u32) -> Uuid {
    Uuid::from_bytes(old.ids[at as usize])
}

/// Changed names, and from each row the index of the entity with its id.
fn compare_names(old: &Entities<'_>, names: &Names, most: usize) -> Option<(Edits<Named>, Vec<u32>)> {
    let mut edits = Edits::default();
    let mut same = vec![NONE; names.len()];
    let mut text = Vec::new();
    let named = |row: u32| Named { id: names.id(row), name: names.name(row).into_owned() };
    for pair in pairs(old, names.indexes().end, |row| names.id(row)) {
        match pair {
            Pair::Row(row) => edits.present.push(named(row)),
            Pair::Old(at) => edits.gone.push(id_of(old, at)),
            Pair::Both { row, old: at } => {
                same[row as usize] = at;
                text.clear();
                json::append_named(&mut text, names.id(row), names.bytes(row));
                if text != old.json.get(at) {
                    edits.present.push(named(row));
                }
            }
        }
        if edits.len() > most {
            return None;
        }
    }
    Some((edits, same))
}

fn compare_songs(
    old: &Snapshot<'_>,
    rows: &Rows,
    same: &PerOwner<Vec<u32>>,
    most: usize,
) -> Option<Edits<SongRow>> {
    let entities = &old.songs.entities;
    let mut edits = Edits::default();
    // The loop then reads the texts from the first to the last, and not by id.
    let mut row_of = vec![NONE; entities.count as usize];
    let count = u32::try_from(rows.by_id.len()).unwrap_or(u32::MAX);
    for pair in pairs(entities, count, |row| rows.songs.id(rows.by_id[row as usize])) {
        match pair {
            Pair::Row(row) => edits.present.push(song_row(rows, rows.by_id[row as usize])),
            Pair::Old(at) => edits.gone.push(id_of(entities, at)),
            Pair::Both { row, old } => row_of[old as usize] = rows.by_id[row as usize],
        }
        if edits.len() > most {
            return None;
        }
    }
    let mut text = Vec::new();
    for (at, row) in (0..).zip(row_of).filter(|(_, row)| *row != NONE) {
        let song = rows.songs.get(row);
        let has_owner = |owner: Owner| {
            same[owner][song.owners[owner] as usize] == old.songs.owners[owner][at as usize].get()
        };
        text.clear();
        json::append_own(&mut text, &song);
        if !Owner::ALL.into_iter().all(has_owner) || !entities.json.get(at).starts_with(&text) {
            edits.present.push(song_row(rows, row));
            if edits.len() > most {
                return None;
            }
        }
    }
    Some(edits)
}

fn song_row(rows: &Rows, at: u32) -> SongRow {
    let song = rows.songs.get(at);
    let name = song.name().map(|name| name.into_owned());
    let SongValues { id, length, track, year, owners, .. } = song;
    let owners = PerOwner::new(|owner| rows.names[owner].id(owners[owner]));
    SongRow { id, name, length, track, year, owners }
}
