//! All entities of a kind in the order of a field.

use std::ops::Range;

use zerocopy::little_endian::U32;

use super::galloping::reach;
use crate::api::{Direction, Field};
use crate::model::{Kind, Owner};
use crate::snapshot::open::Snapshot;

/// All entities in the order of a field, and the range of places that the answer takes.
#[derive(Debug, Clone)]
pub struct Sorted<'a> {
    by: Ranks<'a>,
    /// Indexes in ascending order; `None` where that is the default order.
    order: Option<&'a [U32]>,
    direction: Direction,
    pub(super) places: Range<u32>,
}

/// The rank of each entity's value of some field.
#[derive(Debug, Clone, Copy)]
struct Ranks<'a> {
    ranks: &'a [U32],
    /// For a song's album, artist or genre: the owner of each song. In this case `ranks` holds the ranks of
    /// the owners.
    owner: Option<&'a [U32]>,
}

impl Ranks<'_> {
    /// The rank of the entity at `at`.
    #[inline]
    fn rank(&self, at: u32) -> u32 {
        let at = self.owner.map_or(at, |owner| owner[at as usize].get());
        self.ranks[at as usize].get()
    }

    /// A number that compares in the same way as the entities in an order; its lower half is the index.
    #[inline]
    fn key(&self, at: u32, direction: Direction) -> u64 {
        let rank = match direction {
            Direction::Ascending => self.rank(at),
            Direction::Descending => !self.rank(at),
        };
        u64::from(rank) << 32 | u64::from(at)
    }
}

impl<'a> Sorted<'a> {
    /// All entities of a kind in the order of a field.
    pub(super) fn of(snapshot: &Snapshot<'a>, kind: Kind, field: Field, direction: Direction) -> Self {
        let entities = snapshot.entities(kind);
        let songs = &snapshot.songs;
        let own = |ranks| Ranks { ranks, owner: None };
        let of = |owner: Owner, ranks| Ranks { ranks, owner: Some(songs.owners[owner]) };
        let by_name = |owner: Owner| of(owner, snapshot.names[owner].entities.name_rank);
        let by_id = |owner: Owner| of(owner, snapshot.names[owner].entities.id_rank);
        let by = match field {
            Field::Id => own(entities.id_rank),
            Field::Name => own(entities.name_rank),
            Field::Length => own(songs.length_rank),
            Field::Track => own(songs.track_rank),
            Field::Year => own(songs.year_rank),
            Field::Album => by_name(Owner::Album),
            Field::AlbumId => by_id(Owner::Album),
            Field::Artist => by_name(Owner::Artist),
            Field::ArtistId => by_id(Owner::Artist),
            Field::Genre => by_name(Owner::Genre),
            Field::GenreId => by_id(Owner::Genre),
        };
        let order = match (kind, field) {
            (Kind::Song, field) => songs.order(field),
            (Kind::Of(_), Field::Id) => Some(entities.by_id),
            (Kind::Of(_), _) => None,
        };
        Sorted { by, order, direction, places: 0..entities.count }
    }

    /// The part at `places`.
    pub(super) fn part(self, places: Range<u32>) -> Self {
        Sorted { places, ..self }
    }

    /// Whether it is the default order.
    pub(super) fn is_default(&self) -> bool {
        self.order.is_none() && self.direction == Direction::Ascending
    }

    /// A number that compares in the same way as the entities in this order; its lower half is the index.
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
        // Most groups are small, so the search begins at the neighbours.
        let start = mirrored - reach(mirrored, |by| rank(mirrored - by) == sought);
        let end = mirrored + 1 + reach(count - 1 - mirrored, |by| rank(mirrored + by) == sought);
        Group { ascending: start..end, descending: count - end..count - start }
    }
}

/// Walks through sorted entities, one by one.
#[derive(Debug)]
pub(super) struct SortedWalk<'a> {
    sorted: Sorted<'a>,
    group: Group,
}

/// Entities of equal value: their places in ascending and in descending order. They are in default order in
/// both.
#[derive(Debug, Default)]
struct Group {
    ascending: Range<u32>,
    descending: Range<u32>,
}

impl<'a> SortedWalk<'a> {
    /// Begins at the first place.
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
