//! The columns of albums, artists and genres.

use std::cmp::Ordering;
use std::io::{Seek, Write};

use super::orders::{OldOrder, Order, Values};
use super::plan::NamesPlan;
use super::stored;
use super::words::Words;
use crate::api::Field;
use crate::model::{Kind, Owner};
use crate::rows::scratch::Folder;
use crate::snapshot::build::BuildError;
use crate::snapshot::build::json;
use crate::snapshot::build::packed::{Levels, Packed, pack};
use crate::snapshot::build::sections::Sections;
use crate::snapshot::format::Column;
use crate::snapshot::open::{Names, Packing};
use crate::text;

/// The tables of owners that songs need.
pub(super) struct Woven<'a> {
    pub(super) words: Words<'a>,
    pub(super) name_rank: Vec<u32>,
    pub(super) id_rank: Vec<u32>,
}

struct ByName<'a>(&'a NamesPlan<'a>);

impl Values for ByName<'_> {
    fn compare(&self, old: u32, new: u32) -> Ordering {
        let name = stored::name(self.0.old.json.get(old)).unwrap_or_default();
        (*name).cmp(self.0.added[new as usize].name.as_bytes())
    }

    fn compare_new(&self, a: u32, b: u32) -> Ordering {
        self.0.added[a as usize].name.cmp(&self.0.added[b as usize].name)
    }
}

struct ById<'a>(&'a NamesPlan<'a>);

impl Values for ById<'_> {
    fn compare(&self, old: u32, new: u32) -> Ordering {
        self.0.old.ids[old as usize].cmp(self.0.added[new as usize].id.as_bytes())
    }

    fn compare_new(&self, a: u32, b: u32) -> Ordering {
        self.0.added[a as usize].id.cmp(&self.0.added[b as usize].id)
    }
}

struct ByLower<'a> {
    old: &'a Names<'a>,
    lower: &'a [String],
}

impl Values for ByLower<'_> {
    fn compare(&self, old: u32, new: u32) -> Ordering {
        self.old.lower.get(old).cmp(self.lower[new as usize].as_bytes())
    }

    fn compare_new(&self, a: u32, b: u32) -> Ordering {
        self.lower[a as usize].cmp(&self.lower[b as usize])
    }
}

/// Writes everything but the songs of each and the compressed list.
pub(super) fn write<'a, W: Write + Seek>(
    owner: Owner,
    old: &Names<'_>,
    plan: &'a NamesPlan<'a>,
    folder: &Folder,
    out: &mut Sections<W>,
) -> Result<Woven<'a>, BuildError> {
    let (kind, weave, entities) = (Kind::Of(owner), &plan.weave, plan.old);
    BuildError::check_count(kind, weave.count() as usize)?;
    let append = |new: u32, text: &mut Vec<u8>| {
        let named = &plan.added[new as usize];
        json::append_named(text, named.id, named.name.as_bytes());
    };
    weave.write_texts(kind, (Column::Json, Column::JsonOffsets), &entities.json, append, out)?;
    weave.write_ids(kind, entities.ids, |new| plan.added[new as usize].id, out)?;
    let words =
        Words::new(entities, weave, plan.added.iter().map(|named| Some((&named.name).into())), folder)?;
    words.write(kind, out)?;
    write_lower(kind, old, plan, out)?;
    let by_id = Order::new(weave, OldOrder::By(entities.by_id), &ById(plan));
    out.numbers(kind, Column::Order(Field::Id), by_id.indexes())?;
    let id_rank: Vec<u32> = by_id.ranks(entities.id_rank).iter().collect();
    out.numbers(kind, Column::Rank(Field::Id), id_rank.iter().copied())?;
    let by_name = Order::new(weave, OldOrder::Default(entities.count), &ByName(plan));
    let name_rank: Vec<u32> = by_name.ranks(entities.name_rank).iter().collect();
    out.numbers(kind, Column::Rank(Field::Name), name_rank.iter().copied())?;
    Ok(Woven { words, name_rank, id_rank })
}

fn write_lower<W: Write + Seek>(
    kind: Kind,
    old: &Names<'_>,
    plan: &NamesPlan<'_>,
    out: &mut Sections<W>,
) -> Result<(), BuildError> {
    let lower: Vec<String> = plan.added.iter().map(|named| text::lower(&named.name)).collect();
    let append = |new: u32, text: &mut Vec<u8>| text.extend_from_slice(lower[new as usize].as_bytes());
    plan.weave.write_texts(kind, (Column::Lower, Column::LowerOffsets), &old.lower, append, out)?;
    let order = Order::new(&plan.weave, OldOrder::By(old.by_lower), &ByLower { old, lower: &lower });
    out.numbers(kind, Column::ByLower, order.indexes())
}

/// The compressed list of all: the old one, if nothing has changed in it.
pub(super) fn packed(
    old: &Names<'_>,
    plan: &NamesPlan<'_>,
    had_songs: bool,
    levels: Levels,
) -> Result<Option<Packed>, BuildError> {
    if plan.weave.is_plain() && had_songs {
        let both = old.packed(Packing::Gzip).zip(old.packed(Packing::Zstd));
        return Ok(both.map(|(gzip, zstd)| Packed { gzip: gzip.to_vec(), zstd: zstd.to_vec() }));
    }
    let append = |next: u32, text: &mut Vec<u8>| {
        let (id, name) = plan.named(next);
        json::append_named(text, id, &name);
    };
    Ok(pack(levels, plan.weave.count(), append)?)
}
