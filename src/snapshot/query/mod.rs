//! Answers questions with places in the tables, in order.
//!
//! Each layer imports only those before it: `question`; look-ups in the tables (`galloping`, `lookup`); orders and
//! answers (`sorted`, `selection`, `first`, `sets`); pages from stored sets alone (`sieved`); the songs that match
//! (`counts`, `words`, `matching`); the cheapest way to them (`plan`, `run`); albums, artists and genres that
//! match, with their numbers of songs (`names`); and this file on top. No layer formats JSON or reads parameters,
//! and only look-ups compare strings.

mod counts;
mod first;
pub(super) mod galloping;
mod lookup;
mod matching;
mod names;
mod plan;
mod question;
mod run;
mod selection;
mod sets;
mod sieved;
mod sorted;
mod words;

use std::ops::Range;

use uuid::Uuid;

use first::First;
use matching::Matching;
pub use names::SongCounts;
use plan::{COSTS, Costs, plan};
pub use question::{Filter, Page, Query, beginnings};
use selection::{Chosen, Members};
pub use selection::{Runs, Selection};
use sorted::{Sorted, SortedWalk};

pub(super) use plan::Plan;

use super::open::Snapshot;
use crate::api::{Direction, Field};
use crate::model::Kind;

impl<'a> Snapshot<'a> {
    /// Answers `query` with entities of `kind`. Time and memory depend on the number of matches and on the
    /// page, never on the size of the collection.
    pub fn select(&self, kind: Kind, query: &Query) -> Selection<'a> {
        match kind {
            Kind::Song => match self.sieved(query) {
                Some(page) => Selection::List(page),
                None => self.select_songs(&COSTS, query),
            },
            Kind::Of(owner) => self.arrange(kind, self.names_matching(owner, query), query.order, query.page),
        }
    }

    /// Answers `query`, and counts the entities that match on all pages together.
    pub fn select_counted(&self, kind: Kind, query: &Query) -> (Selection<'a>, usize) {
        match kind {
            Kind::Song => {
                let Some(matching) = Matching::of(self, query) else { return (Selection::EMPTY, 0) };
                let selection = self.select_matching(&COSTS, &matching, query);
                let total = match (query.page, query.id) {
                    (None, _) => selection.len(),
                    (Some(_), Some(id)) => self.song_matching(&matching, id).len(),
                    (Some(_), None) => matching.total(),
                };
                (selection, total)
            }
            Kind::Of(owner) => {
                let found = self.names_matching(owner, query);
                let total = found.len();
                (self.arrange(kind, found, query.order, query.page), total)
            }
        }
    }

    /// The place of the entity with this id.
    pub fn find(&self, kind: Kind, id: Uuid) -> Option<u32> {
        self.entities(kind).index_of(id.as_bytes())
    }

    /// The page of songs, if it is in default order and stored sets alone lead to it.
    fn sieved(&self, query: &Query) -> Option<Vec<u32>> {
        self.songs_sorted(query.order).is_default().then(|| sieved::page(self, query))?
    }

    fn select_songs(&self, costs: &Costs, query: &Query) -> Selection<'a> {
        let Some(matching) = Matching::of(self, query) else { return Selection::EMPTY };
        self.select_matching(costs, &matching, query)
    }

    /// The song with this id, if it matches.
    fn song_matching(&self, matching: &Matching<'_, 'a>, id: Uuid) -> Selection<'a> {
        let found = self.find(Kind::Song, id).filter(|song| matching.holds(*song));
        found.map_or(Selection::EMPTY, |song| Selection::Range(song..song + 1))
    }

    fn select_matching(&self, costs: &Costs, matching: &Matching<'_, 'a>, query: &Query) -> Selection<'a> {
        if let Some(id) = query.id {
            return cut(self.song_matching(matching, id), query.page);
        }
        let order = matching.unsettled(query.order);
        let sorted = self.songs_sorted(order);
        let found = match plan(costs, matching.counts(), sorted.is_default(), query.page) {
            Plan::Nothing => return Selection::EMPTY,
            Plan::List(listing, page) => return Selection::List(matching.list(listing, &sorted, page)),
            Plan::Walk(walk, page) => return Selection::List(matching.walk(walk, &sorted, page)),
            Plan::All => Selection::Range(0..self.count(Kind::Song)),
            Plan::Whole(listing) => matching.whole(listing),
        };
        self.arrange(Kind::Song, found, order, query.page)
    }

    /// The way to the songs of a question, in words.
    pub(super) fn way(&self, query: &Query) -> String {
        match self.sieved(query) {
            Some(_) => "stored sets and names".to_owned(),
            None => self.plan(query).to_string(),
        }
    }

    /// The plan for a question about songs, if stored sets alone do not lead to the page.
    pub(super) fn plan(&self, query: &Query) -> Plan {
        self.plan_songs(&COSTS, query)
    }

    fn plan_songs(&self, costs: &Costs, query: &Query) -> Plan {
        let Some(matching) = Matching::of(self, query) else { return Plan::Nothing };
        let sorted = self.songs_sorted(matching.unsettled(query.order));
        plan(costs, matching.counts(), sorted.is_default(), query.page)
    }

    fn songs_sorted(&self, order: Option<(Field, Direction)>) -> Sorted<'a> {
        let (field, direction) = order.unwrap_or((Field::Artist, Direction::Ascending));
        Sorted::of(self, Kind::Song, field, direction)
    }

    /// The page of `found`, which is in default order, sorted into an order.
    fn arrange(
        &self,
        kind: Kind,
        found: Selection<'a>,
        order: Option<(Field, Direction)>,
        page: Option<Page>,
    ) -> Selection<'a> {
        match order {
            None => cut(found, page),
            Some((field, direction)) => {
                self.sort(kind, found, Sorted::of(self, kind, field, direction), page)
            }
        }
    }

    fn sort(&self, kind: Kind, found: Selection<'a>, all: Sorted<'a>, page: Option<Page>) -> Selection<'a> {
        let count = self.count(kind) as usize;
        match (found, page) {
            (Selection::Range(range), page) if range.len() == count => {
                let places = page.map_or(0..count, |page| page.within(count));
                Selection::Sorted(all.part(places.start as u32..places.end as u32))
            }
            (Selection::Range(range), page) => Selection::List(sort_indexes(range, &all, page)),
            (Selection::List(list), page) => Selection::List(sort_indexes(list.into_iter(), &all, page)),
            (Selection::Members(Members { bits, .. }), None) => {
                Selection::Chosen(Chosen { sorted: all, bits })
            }
            (Selection::Members(Members { bits, .. }), Some(page)) => {
                let wanted = page.within(bits.len()).len();
                // A walk with as many steps as the set has members costs no more than reading all members.
                let walk = SortedWalk::new(all.clone()).take(bits.len());
                let walked = page.of(walk.filter(|at| bits.holds(*at)));
                if walked.len() == wanted {
                    return Selection::List(walked);
                }
                Selection::List(sort_indexes(bits.iter(), &all, Some(page)))
            }
            (sorted @ (Selection::Sorted(_) | Selection::Chosen(_)), _) => sorted,
        }
    }

    /// Bytes of the JSON texts of an answer, each with its comma.
    pub fn json_len(&self, kind: Kind, selection: &Selection<'a>) -> u64 {
        let len = |run: Range<u32>| self.json_run(kind, run.start, run.end).len() as u64 + 1;
        match selection {
            _ if selection.is_empty() => 0,
            Selection::Range(range) => len(range.clone()),
            Selection::Sorted(sorted) if sorted.places == (0..self.count(kind)) => len(sorted.places.clone()),
            // The length is the same in every order, and runs are longest in default order.
            Selection::Chosen(Chosen { bits, .. }) => {
                Runs::new(Selection::Members(Members::all(bits.clone()))).map(len).sum()
            }
            Selection::Sorted(_) | Selection::List(_) | Selection::Members(_) => {
                Runs::new(selection.clone()).map(len).sum()
            }
        }
    }
}

/// The part of `found`, which is in its final order, that `page` asks for.
fn cut(found: Selection<'_>, page: Option<Page>) -> Selection<'_> {
    let Some(page) = page else { return found };
    let places = page.within(found.len());
    match found {
        Selection::Range(range) => {
            Selection::Range(range.start + places.start as u32..range.start + places.end as u32)
        }
        Selection::List(mut list) => {
            list.truncate(places.end);
            list.drain(..places.start);
            Selection::List(list)
        }
        Selection::Members(Members { bits, .. }) => Selection::Members(Members { bits, places }),
        found @ (Selection::Sorted(_) | Selection::Chosen(_)) => found,
    }
}

/// Sorts by rank, ties by index, but only as far as the page needs.
fn sort_indexes(indexes: impl Iterator<Item = u32>, order: &Sorted<'_>, page: Option<Page>) -> Vec<u32> {
    let page = page.unwrap_or(Page { limit: usize::MAX, offset: 0 });
    let mut first = First::new(page, false);
    first.extend(indexes.map(|at| order.key(at)));
    first.into_page()
}

#[cfg(test)]
mod tests;
