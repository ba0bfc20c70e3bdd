//! Albums, artists or genres in default order, and their columns.

use std::io::{self, Seek, Write};

use super::error::BuildError;
use super::json;
use super::order::{inverse, sorted, text_key};
use super::packed::{Levels, Packed, pack};
use super::search::Search;
use super::sections::Sections;
use crate::api::Field;
use crate::model::{Collection, Kind, Named, Owner};
use crate::snapshot::format::Column;
use crate::text;

/// Albums, artists or genres in default order.
pub(super) struct SortedNames<'a> {
    pub(super) owner: Owner,
    pub(super) entities: Vec<&'a Named>,
    /// From the index in the collection to the index in default order.
    pub(super) moved: Vec<u32>,
    pub(super) name_rank: Vec<u32>,
    by_id: Vec<u32>,
    pub(super) id_rank: Vec<u32>,
}

impl<'a> SortedNames<'a> {
    pub(super) fn new(owner: Owner, collection: &'a Collection) -> Result<Self, BuildError> {
        let list = owner.of(collection);
        BuildError::check_count(Kind::Of(owner), list.len())?;
        let order = sorted(list.iter().map(|named| text_key(named.name.as_bytes())), |a, b| {
            let (a, b) = (&list[a as usize], &list[b as usize]);
            a.name.cmp(&b.name).then(a.id.cmp(&b.id))
        });
        let entities: Vec<&Named> = order.iter().map(|&at| &list[at as usize]).collect();
        let by_id = sorted(entities.iter().map(|named| named.id), |a, b| a.cmp(&b));
        Ok(SortedNames {
            owner,
            moved: inverse(&order),
            name_rank: name_ranks(&entities),
            id_rank: inverse(&by_id),
            by_id,
            entities,
        })
    }

    /// Writes everything but the songs of each and the compressed list.
    pub(super) fn write<W: Write + Seek>(&self, out: &mut Sections<W>) -> Result<Search, BuildError> {
        let kind = Kind::Of(self.owner);
        let json = |at: u32, text: &mut Vec<u8>| json::append_named(text, self.entities[at as usize]);
        out.texts(kind, Column::Json, Column::JsonOffsets, self.count(), json)?;
        out.ids(kind, self.entities.iter().map(|entity| entity.id))?;
        let search = Search::new(self.count(), |at| Some(&self.entities[at as usize].name))?;
        search.write(kind, out)?;
        self.write_lower(kind, out)?;
        out.numbers(kind, Column::Order(Field::Id), self.by_id.iter().copied())?;
        out.numbers(kind, Column::Rank(Field::Id), self.id_rank.iter().copied())?;
        out.numbers(kind, Column::Rank(Field::Name), self.name_rank.iter().copied())?;
        Ok(search)
    }

    /// The compressed list of all, if it is long enough for the snapshot.
    pub(super) fn pack(&self, levels: Levels) -> io::Result<Option<Packed>> {
        pack(levels, self.count(), |at, text| json::append_named(text, self.entities[at as usize]))
    }

    fn write_lower<W: Write + Seek>(&self, kind: Kind, out: &mut Sections<W>) -> Result<(), BuildError> {
        let lower: Vec<String> = self.entities.iter().map(|entity| text::lower(&entity.name)).collect();
        let keys = lower.iter().map(|lower| text_key(lower.as_bytes()));
        let by_lower = sorted(keys, |a, b| lower[a as usize].cmp(&lower[b as usize]));
        let append = |at: u32, text: &mut Vec<u8>| text.extend_from_slice(lower[at as usize].as_bytes());
        out.texts(kind, Column::Lower, Column::LowerOffsets, self.count(), append)?;
        out.numbers(kind, Column::ByLower, by_lower.iter().copied())
    }

    fn count(&self) -> u32 {
        self.entities.len() as u32
    }
}

/// Ranks of the names of entities that are sorted by name.
fn name_ranks(entities: &[&Named]) -> Vec<u32> {
    let mut rank = 0;
    let mut ranks = vec![0; entities.len()];
    for (pair, place) in entities.windows(2).zip(1..) {
        rank += u32::from(pair[0].name != pair[1].name);
        ranks[place] = rank;
    }
    ranks
}
