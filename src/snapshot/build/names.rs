//! Albums, artists or genres in default order, and their columns.

use std::io::{self, Seek, Write};

use uuid::Uuid;

use super::error::BuildError;
use super::json;
use super::order::{inverse, sorted, text_key};
use super::packed::{Levels, Packed, pack};
use super::search::Search;
use super::sections::Sections;
use super::texts::TextsWriter;
use crate::api::Field;
use crate::model::{Kind, Owner};
use crate::rows::names::Names;
use crate::rows::scratch::Folder;
use crate::snapshot::format::Column;
use crate::text;

/// Albums, artists or genres in default order.
pub(super) struct SortedNames<'a> {
    owner: Owner,
    names: &'a Names,
    /// From the rank by id, with which rows refer to names, to the index in default order. So it also lists
    /// the indexes in order of id.
    pub(super) by_id: Vec<u32>,
    /// From the index in default order to the rank by id.
    pub(super) id_rank: Vec<u32>,
    pub(super) name_rank: Vec<u32>,
}

impl<'a> SortedNames<'a> {
    pub(super) fn new(owner: Owner, names: &'a Names) -> Result<Self, BuildError> {
        BuildError::check_count(Kind::Of(owner), names.len())?;
        let keys = names.indexes().map(|at| text_key(names.bytes(at)));
        // The index, which is the rank by id, breaks ties.
        let order = sorted(keys, |a, b| names.bytes(a).cmp(names.bytes(b)));
        let name_rank = name_ranks(names, &order);
        Ok(SortedNames { owner, names, by_id: inverse(&order), id_rank: order, name_rank })
    }

    /// The number of names.
    pub(super) fn count(&self) -> u32 {
        // `new` has checked that it fits.
        self.id_rank.len() as u32
    }

    /// Id and name at `at` in default order.
    pub(super) fn named(&self, at: u32) -> (Uuid, &'a [u8]) {
        let at = self.id_rank[at as usize];
        (self.names.id(at), self.names.bytes(at))
    }

    /// Writes everything except the songs of each name and the compressed list.
    pub(super) fn write<W: Write + Seek>(
        &self,
        run_len: usize,
        folder: &Folder,
        out: &mut Sections<W>,
    ) -> Result<Search, BuildError> {
        let kind = Kind::Of(self.owner);
        out.texts(kind, Column::Json, Column::JsonOffsets, self.count(), |at, text| {
            self.append_json(at, text)
        })?;
        out.ids(kind, (0..self.count()).map(|at| self.named(at).0))?;
        let name = |at| Some(self.names.name(self.id_rank[at as usize]));
        let search = Search::new(self.count(), run_len, folder, name)?;
        search.write(kind, out)?;
        self.write_lower(kind, folder, out)?;
        out.numbers(kind, Column::Order(Field::Id), self.by_id.iter().copied())?;
        out.numbers(kind, Column::Rank(Field::Id), self.id_rank.iter().copied())?;
        out.numbers(kind, Column::Rank(Field::Name), self.name_rank.iter().copied())?;
        Ok(search)
    }

    /// The compressed list of all, if it is long enough for the snapshot.
    pub(super) fn pack(&self, levels: Levels) -> io::Result<Option<Packed>> {
        pack(levels, self.count(), |at, text| self.append_json(at, text))
    }

    fn append_json(&self, at: u32, text: &mut Vec<u8>) {
        let (id, name) = self.named(at);
        json::append_named(text, id, name);
    }

    fn write_lower<W: Write + Seek>(
        &self,
        kind: Kind,
        folder: &Folder,
        out: &mut Sections<W>,
    ) -> Result<(), BuildError> {
        let mut lower = TextsWriter::new(self.count(), folder);
        for &at in &self.id_rank {
            lower.push(text::lower(&self.names.name(at)).as_bytes())?;
        }
        let lower = lower.finish()?;
        let keys = (0..self.count()).map(|at| text_key(lower.get(at)));
        let by_lower = sorted(keys, |a, b| lower.get(a).cmp(lower.get(b)));
        let append = |at: u32, text: &mut Vec<u8>| text.extend_from_slice(lower.get(at));
        out.texts(kind, Column::Lower, Column::LowerOffsets, self.count(), append)?;
        out.numbers(kind, Column::ByLower, by_lower.iter().copied())
    }
}

/// Ranks of the names, indexed by their place in default order.
fn name_ranks(names: &Names, order: &[u32]) -> Vec<u32> {
    let mut rank = 0;
    let mut ranks = vec![0; order.len()];
    for (pair, place) in order.windows(2).zip(1..) {
        rank += u32::from(names.bytes(pair[0]) != names.bytes(pair[1]));
        ranks[place] = rank;
    }
    ranks
}
