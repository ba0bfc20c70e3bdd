//! A page of the songs that match, by the way that is expected to cost the least.
//!
//! Either the songs of one part of the question are listed, the others tested on each, and the
//! first ones in the order kept; or all songs are looked at in the order, until there are enough that match.
//! The first costs what the part has, the second the less the more songs match.

use std::ops::ControlFlow;

use super::matching::{CHUNK, Matching, Source, Test};
use super::query::{Direction, Page, Sorted, SortedWalk};
use super::{Field, Kind};

/// Looking at a song on a walk through an order costs as much as listing this many: they lie strewn
/// over the tables. So does the place of one that matches in the order.
const WALK_COST: f64 = 4.0;
const KEY_COST: f64 = 4.0;
/// A walk goes on for so many times what was expected, as songs that match stand together.
const WALK_PATIENCE: f64 = 8.0;
/// A walk may cost this share of the other way, which is gone if it finds too little.
const WALK_SHARE: f64 = 0.5;
/// The largest share of all that match for which the first ones are kept, and not all.
const SHARE_MAX: f64 = 0.5;
/// The same where songs come more than once, and those that are kept are sorted to find that out.
const SHARE_MAX_REPEATED: f64 = 1.0 / 32.0;
impl<'a> Matching<'_, 'a> {
    /// A page in an order; `None` where making all that match is no detour.
    pub(super) fn page(&self, order: Option<(Field, Direction)>, page: Page) -> Option<Vec<u32>> {
        if page.limit == 0 {
            return Some(Vec::new());
        }
        let (field, direction) = order.unwrap_or((Field::Artist, Direction::Ascending));
        let order = self.snapshot.sorted(Kind::Song, field, direction);
        let share = page.end() as f64 / self.expected();
        if share > SHARE_MAX || self.is_at_hand(&order) {
            return None;
        }
        let listing = self.sources().map(|source| (source, self.list_cost(source, &order, share)));
        let (source, cost) = listing.min_by(|(_, a), (_, b)| a.total_cmp(b))?;
        if !self.is_ascending(source) && share > SHARE_MAX_REPEATED {
            return None;
        }
        let steps = share * f64::from(self.snapshot.count(Kind::Song));
        let walk_cost = steps * WALK_COST + self.words_cost(None, steps);
        let affordable = cost * WALK_SHARE / walk_cost;
        let tests = self.tests_of(source, &order, share);
        if affordable < 1.0 {
            return Some(self.list(source, &order, page, &self.test(Some(source), tests)));
        }
        let test = self.test(None, steps);
        let most = (steps * affordable.min(WALK_PATIENCE)) as usize;
        self.walk(&order, page, &test, most)
            .or_else(|| Some(self.list(source, &order, page, &self.test_after(test, source, tests))))
    }

    /// Whether all that match, in this order, are in the snapshot already.
    fn is_at_hand(&self, order: &Sorted<'_>) -> bool {
        let mut sources = self.sources();
        match (sources.next(), sources.next()) {
            (None, _) => true,
            (Some(Source::Owners(Kind::Artist)), None) => order.is_default(),
            (Some(source), None) => {
                order.is_default() && source == Source::Words && self.is_ascending(source)
            }
            _ => false,
        }
    }

    /// How many songs may match, if one part of the question has nothing to do with the others.
    fn expected(&self) -> f64 {
        let songs = f64::from(self.snapshot.count(Kind::Song));
        let shares = self.sources().map(|source| (self.len(source) as f64 / songs).min(1.0));
        shares.product::<f64>() * songs
    }

    /// What it costs to list the songs of `source`, of which a `share` is needed if they come in order.
    fn list_cost(&self, source: Source, order: &Sorted<'_>, share: f64) -> f64 {
        let tests = self.tests_of(source, order, share);
        if self.ends_early(source, order) {
            return tests + self.words_cost(Some(source), tests);
        }
        let keys =
            if order.is_default() { 0.0 } else { self.expected().min(self.len(source) as f64) * KEY_COST };
        self.whole_cost(source) + keys
    }

    /// Whether a source has its songs in the order, so that listing them ends with the page.
    fn ends_early(&self, source: Source, order: &Sorted<'_>) -> bool {
        order.is_default() && self.is_ascending(source)
    }

    /// How many songs of `source` are tested, if a `share` is needed where they come in order.
    pub(super) fn tests_of(&self, source: Source, order: &Sorted<'_>, share: f64) -> f64 {
        let listed = self.len(source) as f64;
        if self.ends_early(source, order) { listed * share } else { listed }
    }

    /// Lists the songs of `source` that pass the test of everything else.
    pub(super) fn list(
        &self,
        source: Source,
        order: &Sorted<'_>,
        page: Page,
        test: &Test<'_, '_>,
    ) -> Vec<u32> {
        if self.ends_early(source, order) {
            return self.list_in_order(source, page, test);
        }
        let mut first = First::new(page, !self.is_ascending(source));
        self.each_tested(source, test, |songs| match order.is_default() {
            true => first.extend(songs.iter().map(|song| u64::from(*song))),
            false => first.extend(songs.iter().map(|song| order.key(*song))),
        });
        first.into_page()
    }

    /// Lists the songs of a source that has them in default order, until the page ends.
    fn list_in_order(&self, source: Source, page: Page, test: &Test<'_, '_>) -> Vec<u32> {
        let (mut list, mut passed) = (Vec::new(), 0);
        self.each(source, |song| {
            if test.holds(song) {
                if passed >= page.offset {
                    list.push(song);
                }
                passed += 1;
            }
            if passed < page.end() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        list
    }

    /// Walks through all songs in the order; `None` if the page does not end within `most`.
    pub(super) fn walk(
        &self,
        order: &Sorted<'a>,
        page: Page,
        test: &Test<'_, '_>,
        most: usize,
    ) -> Option<Vec<u32>> {
        let songs = SortedWalk::new(order.clone()).take(most);
        let list: Vec<u32> = match test.set_alone() {
            Some(set) => part(songs.filter(|song| set.holds(*song)), page),
            None => part(songs.filter(|song| test.holds(*song)), page),
        };
        let ended = list.len() == page.limit || most >= self.snapshot.count(Kind::Song) as usize;
        ended.then_some(list)
    }
}

/// The part of songs in their final order that a page asks for.
pub(super) fn part(songs: impl Iterator<Item = u32>, page: Page) -> Vec<u32> {
    songs.skip(page.offset).take(page.limit).collect()
}

/// The first of many keys, whose lower halves are indexes.
pub(super) struct First {
    keys: Vec<u64>,
    page: Page,
    /// Whether keys come more than once, but count once.
    repeated: bool,
    /// Keys from here on are of no use.
    beyond: u64,
    /// Keys that are gathered before those beyond are thrown away.
    room: usize,
}

impl First {
    /// Keeps what `page` asks for and what stands before it.
    pub(super) fn new(page: Page, repeated: bool) -> Self {
        let room = page.end().saturating_mul(2).max(CHUNK);
        First { keys: Vec::new(), page, repeated, beyond: u64::MAX, room }
    }

    /// Adds keys. There is no branch that depends on them: half of those would be foreseen wrongly,
    /// and the processor would wait for each key instead of for many at once.
    pub(super) fn extend(&mut self, keys: impl Iterator<Item = u64>) {
        // The length of a local list stays in a register.
        let (mut list, beyond) = (std::mem::take(&mut self.keys), self.beyond);
        let before = list.len();
        list.extend(keys);
        if beyond != u64::MAX {
            let mut kept = before;
            for at in before..list.len() {
                let key = list[at];
                list[kept] = key;
                kept += usize::from(key < beyond);
            }
            list.truncate(kept);
        }
        self.keys = list;
        if self.keys.len() >= self.room {
            self.shorten();
        }
    }

    fn shorten(&mut self) {
        if self.repeated {
            self.keys.sort_unstable();
            self.keys.dedup();
        }
        let end = self.page.end();
        if end == 0 {
            self.keys.clear();
        } else if self.keys.len() > end {
            let (_, last, _) = self.keys.select_nth_unstable(end - 1);
            // Also a repetition of the last one is of no use.
            self.beyond = *last;
            self.keys.truncate(end);
        }
    }

    /// The indexes in the page, in order.
    pub(super) fn into_page(mut self) -> Vec<u32> {
        self.shorten();
        let places = self.page.within(self.keys.len());
        if places.is_empty() {
            return Vec::new();
        }
        if places.start > 0 {
            self.keys.select_nth_unstable(places.start);
        }
        let page = &mut self.keys[places.start..];
        page.sort_unstable();
        page.iter().map(|key| *key as u32).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn first_keys_are_those_of_a_sort(
            keys in prop::collection::vec(0..3000_u64, 0..2000),
            limit in 0..60_usize, offset in prop_oneof![0..3_usize, 0..900_usize],
            chunk in 1..700_usize,
        ) {
            let page = Page { limit, offset };
            let mut repeated = First::new(page, true);
            keys.chunks(chunk).for_each(|keys| repeated.extend(keys.iter().copied()));
            let mut sorted = keys;
            sorted.sort_unstable();
            sorted.dedup();
            let expected: Vec<u32> = sorted.iter().skip(offset).take(limit).map(|key| *key as u32).collect();
            prop_assert_eq!(repeated.into_page(), expected.clone());
            let mut single = First::new(page, false);
            sorted.reverse();
            sorted.chunks(chunk).for_each(|keys| single.extend(keys.iter().copied()));
            prop_assert_eq!(single.into_page(), expected);
        }
    }
}
