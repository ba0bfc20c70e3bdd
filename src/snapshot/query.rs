//! What can be asked of a snapshot, and the answer: places in its tables, in order.
//!
//! Nothing here formats JSON, reads parameters or compares strings except to find the
//! place of a query or a filter.

use std::ops::Range;

use uuid::Uuid;
use zerocopy::little_endian::U32;

use super::bits::{Bits, Cursor};
use super::matching::Matching;
use super::open::Snapshot;
use super::page::{First, part};
use super::{Field, Kind};

/// A question. Everything in it narrows the answer; an empty one asks for all.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Search form of the words that a name must hold; blank words match nothing.
    pub words: Option<String>,
    /// What songs must belong to (kinds other than song); ignored for other answers.
    pub filters: Vec<(Kind, Filter)>,
    /// Field to sort by; without it, and among equals, the default order counts.
    pub order: Option<(Field, Direction)>,
    /// Part of the answer to give.
    pub page: Option<Page>,
}

/// Which album, artist or genre.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// The one with this id.
    Id(Uuid),
    /// All whose name in lower case is this.
    LowerName(String),
}

/// Direction of an order. Equal values stand in default order either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Small to great.
    Ascending,
    /// Great to small.
    Descending,
}

/// `limit` entities after the first `offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// How many at most.
    pub limit: usize,
    /// How many to pass over.
    pub offset: usize,
}

impl Page {
    /// How many of all stand before its end.
    pub(super) fn end(self) -> usize {
        self.offset.saturating_add(self.limit)
    }

    /// The places of this page among `len`.
    pub(super) fn within(self, len: usize) -> Range<usize> {
        let from = self.offset.min(len);
        from..self.end().min(len)
    }
}

/// An answer: indexes into the table of its kind.
#[derive(Debug, Clone)]
pub enum Selection<'a> {
    /// Neighbours in default order.
    Range(Range<u32>),
    /// These, in this order.
    List(Vec<u32>),
    /// A part of all entities, sorted by a field.
    Sorted(Sorted<'a>),
    /// A part of a set, in default order.
    Members(Members<'a>),
    /// A whole set, sorted by a field.
    Chosen(Chosen<'a>),
}

/// The members of a set from one place to another, counted from 0 in default order.
#[derive(Debug, Clone)]
pub struct Members<'a> {
    pub(super) bits: Bits<'a>,
    pub(super) places: Range<usize>,
}

/// Those of all sorted entities that belong to a set.
#[derive(Debug, Clone)]
pub struct Chosen<'a> {
    pub(super) sorted: Sorted<'a>,
    pub(super) bits: Bits<'a>,
}

impl Selection<'_> {
    /// Nothing.
    pub const EMPTY: Self = Selection::Range(0..0);

    /// How many entities it holds.
    pub fn len(&self) -> usize {
        match self {
            Selection::Range(range) => range.len(),
            Selection::List(list) => list.len(),
            Selection::Sorted(sorted) => sorted.places.len(),
            Selection::Members(members) => members.places.len(),
            Selection::Chosen(chosen) => chosen.bits.len(),
        }
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// All entities in the order of a field, and the places of it that were asked for.
#[derive(Debug, Clone)]
pub struct Sorted<'a> {
    pub(super) by: Ranks<'a>,
    /// Indexes in ascending order; `None` where that is the default order.
    pub(super) order: Option<&'a [U32]>,
    pub(super) direction: Direction,
    pub(super) places: Range<u32>,
}

/// Where the rank of an entity's value of some field is found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ranks<'a> {
    pub(super) ranks: &'a [U32],
    /// For a song's album, artist or genre: which one, so that `ranks` are theirs.
    pub(super) owner: Option<&'a [U32]>,
}

impl Ranks<'_> {
    #[inline]
    pub(super) fn rank(&self, at: u32) -> u32 {
        let at = self.owner.map_or(at, |owner| owner[at as usize].get());
        self.ranks[at as usize].get()
    }

    /// What compares as the entities stand in an order; its lower half is the index.
    #[inline]
    pub(super) fn key(&self, at: u32, direction: Direction) -> u64 {
        let rank = match direction {
            Direction::Ascending => self.rank(at),
            Direction::Descending => !self.rank(at),
        };
        u64::from(rank) << 32 | u64::from(at)
    }
}

/// Walks through a [`Selection`], as runs of neighbours in default order.
#[derive(Debug)]
pub struct Runs<'a> {
    /// Entities that are still to come.
    left: usize,
    /// An entity that did not belong to the run before.
    waiting: Option<u32>,
    walk: Walk<'a>,
}

/// Where the next entity, or the next run, is found.
#[derive(Debug)]
enum Walk<'a> {
    Range(Range<u32>),
    List(std::vec::IntoIter<u32>),
    Sorted(SortedWalk<'a>),
    Members(Bits<'a>, Cursor),
    Chosen(SortedWalk<'a>, Bits<'a>),
}

impl<'a> Runs<'a> {
    /// Begins at the first entity.
    pub fn new(selection: Selection<'a>) -> Self {
        let left = selection.len();
        let walk = match selection {
            Selection::Range(range) => Walk::Range(range),
            Selection::List(list) => Walk::List(list.into_iter()),
            Selection::Sorted(sorted) => Walk::Sorted(SortedWalk::new(sorted)),
            Selection::Members(Members { bits, places }) => {
                let cursor = bits.cursor(places.start);
                Walk::Members(bits, cursor)
            }
            Selection::Chosen(Chosen { sorted, bits }) => Walk::Chosen(SortedWalk::new(sorted), bits),
        };
        Runs { left, waiting: None, walk }
    }

    /// The next entity, where they come one by one.
    fn next_single(&mut self) -> Option<u32> {
        match &mut self.walk {
            Walk::List(list) => list.next(),
            Walk::Sorted(walk) => walk.next(),
            Walk::Chosen(walk, bits) => walk.find(|at| bits.holds(*at)),
            Walk::Range(_) | Walk::Members(..) => None,
        }
    }

    fn next_run(&mut self) -> Option<Range<u32>> {
        match &mut self.walk {
            Walk::Range(range) => Some(range.clone()),
            Walk::Members(bits, cursor) => bits.next_run(cursor, self.left),
            _ => {
                let first = self.waiting.take().or_else(|| self.next_single())?;
                let mut run = first..first + 1;
                while run.len() < self.left {
                    match self.next_single()? {
                        next if next == run.end => run.end += 1,
                        next => {
                            self.waiting = Some(next);
                            break;
                        }
                    }
                }
                Some(run)
            }
        }
    }
}

impl Iterator for Runs<'_> {
    type Item = Range<u32>;

    fn next(&mut self) -> Option<Range<u32>> {
        if self.left == 0 {
            return None;
        }
        let run = self.next_run()?;
        self.left -= run.len();
        Some(run)
    }
}

/// Walks through sorted entities, one by one.
#[derive(Debug)]
pub(super) struct SortedWalk<'a> {
    sorted: Sorted<'a>,
    group: Group,
}

/// Entities of equal value: their place in ascending order, and from which place on they
/// stand in descending order.
#[derive(Debug, Default)]
struct Group {
    ascending: Range<u32>,
    descending: Range<u32>,
}

impl<'a> SortedWalk<'a> {
    pub(super) fn new(sorted: Sorted<'a>) -> Self {
        SortedWalk { sorted, group: Group::default() }
    }
}

impl Iterator for SortedWalk<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let sorted = &mut self.sorted;
        let place = sorted.places.next()?;
        if sorted.direction == Direction::Ascending {
            return Some(sorted.ascending(place));
        }
        if !self.group.descending.contains(&place) {
            self.group = sorted.group_of(place);
        }
        let within = place - self.group.descending.start;
        Some(sorted.ascending(self.group.ascending.start + within))
    }
}

impl Sorted<'_> {
    /// Whether it is the default order.
    pub(super) fn is_default(&self) -> bool {
        self.order.is_none() && self.direction == Direction::Ascending
    }

    /// What compares as the entities stand in it; the lower half is the index.
    #[inline]
    pub(super) fn key(&self, at: u32) -> u64 {
        self.by.key(at, self.direction)
    }

    fn ascending(&self, place: u32) -> u32 {
        self.order.map_or(place, |order| order[place as usize].get())
    }

    fn count(&self) -> u32 {
        self.by.owner.unwrap_or(self.by.ranks).len() as u32
    }

    /// The group that holds `place` of the descending order.
    fn group_of(&self, place: u32) -> Group {
        let count = self.count();
        let rank = |place: u32| self.by.rank(self.ascending(place));
        let mirrored = count - 1 - place;
        let sought = rank(mirrored);
        // Most groups are small, so the neighbours are looked at first.
        let start = mirrored - reach(mirrored, |by| rank(mirrored - by) == sought);
        let end = mirrored + 1 + reach(count - 1 - mirrored, |by| rank(mirrored + by) == sought);
        Group { ascending: start..end, descending: count - end..count - start }
    }
}

/// The first place below `count` where `before` does not hold.
pub(super) fn partition_point(count: u32, before: impl Fn(u32) -> bool) -> u32 {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if before(middle) { low = middle + 1 } else { high = middle }
    }
    low
}

/// How far from 1 on, up to `most`, it holds: in doubled steps, then between the last two of them.
pub(super) fn reach(most: u32, holds: impl Fn(u32) -> bool) -> u32 {
    let mut beyond = 1_u32;
    while beyond <= most && holds(beyond) {
        beyond = beyond.saturating_mul(2);
    }
    let reached = beyond / 2;
    reached + partition_point(beyond.min(most + 1) - reached - 1, |by| holds(reached + 1 + by))
}

impl<'a> Snapshot<'a> {
    /// Answers `query` with entities of `kind`. Takes time and memory by what matches and what is
    /// asked of it, never by the size of the collection.
    pub fn select(&self, kind: Kind, query: &Query) -> Selection<'a> {
        let mut order = query.order;
        let found = match kind {
            Kind::Song => {
                let Some(matching) = Matching::of(self, query) else { return Selection::EMPTY };
                order = order.filter(|(field, _)| !matching.is_settled(*field));
                if let Some(page) = query.page.and_then(|page| matching.page(order, page)) {
                    return Selection::List(page);
                }
                matching.all()
            }
            _ => self.names_matching(kind, query.words.as_deref()),
        };
        match order {
            None => cut(found, query.page),
            Some((field, direction)) => self.sort(kind, found, field, direction, query.page),
        }
    }

    /// Bytes of the JSON texts of an answer, each with the comma behind it.
    pub fn json_len(&self, kind: Kind, selection: &Selection<'a>) -> u64 {
        let len = |run: Range<u32>| self.json_run(kind, run.start, run.end).len() as u64 + 1;
        match selection {
            _ if selection.is_empty() => 0,
            Selection::Range(range) => len(range.clone()),
            Selection::Sorted(sorted) if sorted.places == (0..self.count(kind)) => len(sorted.places.clone()),
            // In any order they are as long, and in default order they are neighbours.
            Selection::Chosen(Chosen { bits, .. }) => {
                let members = Members { bits: bits.clone(), places: 0..bits.len() };
                Runs::new(Selection::Members(members)).map(len).sum()
            }
            _ => Runs::new(selection.clone()).map(len).sum(),
        }
    }

    fn sort(
        &self,
        kind: Kind,
        found: Selection<'a>,
        field: Field,
        direction: Direction,
        page: Option<Page>,
    ) -> Selection<'a> {
        let all = self.sorted(kind, field, direction);
        let count = self.count(kind) as usize;
        match (found, page) {
            (Selection::Range(range), page) if range.len() == count => {
                let places = page.map_or(0..count, |page| page.within(count));
                Selection::Sorted(Sorted { places: places.start as u32..places.end as u32, ..all })
            }
            (Selection::Range(range), page) => Selection::List(sort_indexes(range, all.by, direction, page)),
            (Selection::List(list), page) => {
                Selection::List(sort_indexes(list.into_iter(), all.by, direction, page))
            }
            (Selection::Members(Members { bits, .. }), None) => {
                Selection::Chosen(Chosen { sorted: all, bits })
            }
            (Selection::Members(Members { bits, .. }), Some(page)) => {
                let wanted = page.within(bits.len()).len();
                // Up to here a walk costs no more than looking at all members.
                let walk = SortedWalk::new(all.clone()).take(bits.len());
                let walked = part(walk.filter(|at| bits.holds(*at)), page);
                if walked.len() == wanted {
                    return Selection::List(walked);
                }
                Selection::List(sort_indexes(bits.iter(), all.by, direction, Some(page)))
            }
            (sorted, _) => sorted,
        }
    }

    /// All entities of a kind in the order of a field.
    pub(super) fn sorted(&self, kind: Kind, field: Field, direction: Direction) -> Sorted<'a> {
        let places = 0..self.count(kind);
        Sorted { by: self.ranks(kind, field), order: self.order(kind, field), direction, places }
    }

    fn ranks(&self, kind: Kind, field: Field) -> Ranks<'a> {
        let entities = self.entities(kind);
        let songs = &self.songs;
        let (ranks, owner) = match field {
            Field::Id => (entities.id_rank, None),
            Field::Name => (entities.name_rank, None),
            Field::Length => (songs.length_rank, None),
            Field::Track => (songs.track_rank, None),
            Field::Year => (songs.year_rank, None),
            Field::Album => (self.albums.entities.name_rank, Some(songs.album)),
            Field::AlbumId => (self.albums.entities.id_rank, Some(songs.album)),
            Field::Artist => (self.artists.entities.name_rank, Some(songs.artist)),
            Field::ArtistId => (self.artists.entities.id_rank, Some(songs.artist)),
            Field::Genre => (self.genres.entities.name_rank, Some(songs.genre)),
            Field::GenreId => (self.genres.entities.id_rank, Some(songs.genre)),
        };
        Ranks { ranks, owner }
    }

    fn order(&self, kind: Kind, field: Field) -> Option<&'a [U32]> {
        match (kind, field) {
            (Kind::Song, Field::Artist) => None,
            (Kind::Song, field) => Some(self.songs.orders[field as usize]),
            (_, Field::Id) => Some(self.entities(kind).by_id),
            _ => None,
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
        found => found,
    }
}

/// Sorts by rank, ties by index; only as much as the page needs.
fn sort_indexes(
    indexes: impl Iterator<Item = u32>,
    by: Ranks<'_>,
    direction: Direction,
    page: Option<Page>,
) -> Vec<u32> {
    let page = page.unwrap_or(Page { limit: usize::MAX, offset: 0 });
    let mut first = First::new(page, false);
    first.extend(indexes.map(|at| by.key(at, direction)));
    first.into_page()
}
