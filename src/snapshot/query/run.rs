//! Takes the steps of a plan.

use std::ops::ControlFlow;

use super::counts::Source;
use super::first::First;
use super::matching::{Matching, Test};
use super::plan::{COSTS, Listing, Plan, Walk, plan};
use super::question::Page;
use super::selection::Selection;
use super::sorted::{Sorted, SortedWalk};

impl<'a> Matching<'_, 'a> {
    /// The number of songs that match.
    pub(super) fn total(&self) -> usize {
        match self.counts().only_source() {
            // Each song has one owner of a kind.
            Some(source @ Source::Owners(_)) => self.counts().len(source),
            _ => match plan(&COSTS, self.counts(), true, None) {
                Plan::Whole(listing) => self.whole(listing).len(),
                _ => self.counts().songs,
            },
        }
    }

    /// All songs that match, in default order.
    pub(super) fn whole(&self, listing: Listing) -> Selection<'a> {
        let source = listing.source;
        if self.counts().only_source().is_some() {
            return self.all_of(source);
        }
        let mut songs = Vec::new();
        let test = self.test(Some(source), listing.words, self.counts().len(source));
        self.each_tested(source, &test, |chunk| songs.extend_from_slice(chunk));
        if !self.counts().is_ascending(source) {
            songs.sort_unstable();
            songs.dedup();
        }
        Selection::List(songs)
    }

    /// A page in an order, from a listing.
    pub(super) fn list(&self, listing: Listing, order: &Sorted<'_>, page: Page) -> Vec<u32> {
        self.list_tested(listing, order, page, &self.list_test(listing, page))
    }

    /// A page in an order: from a walk through it, or else from a listing.
    pub(super) fn walk(&self, walk: Walk, order: &Sorted<'a>, page: Page) -> Vec<u32> {
        let Walk { most, words, otherwise } = walk;
        let test = self.test(None, words, most);
        if let Some(page) = self.walk_within(most, order, page, &test) {
            return page;
        }
        let test = match otherwise.words {
            Some(_) if otherwise.words != words => self.list_test(otherwise, page),
            // The walk had fewer songs to test than the listing has.
            _ if test.others_are_by_names() => self.list_test(otherwise, page),
            _ => test.without(otherwise.source),
        };
        self.list_tested(otherwise, order, page, &test)
    }

    /// The test for a listing, whose tests are as many as it lists songs until the page ends.
    fn list_test(&self, listing: Listing, page: Page) -> Test<'_, 'a> {
        let listed = self.counts().len(listing.source);
        let share = if listing.in_order { page.end() as f64 / self.counts().expected() } else { 1.0 };
        // A float beyond the largest number becomes that number.
        let tests = (listed as f64 * share.min(1.0)) as usize;
        self.test(Some(listing.source), listing.words, tests)
    }

    fn list_tested(&self, listing: Listing, order: &Sorted<'_>, page: Page, test: &Test<'_, '_>) -> Vec<u32> {
        if listing.in_order {
            return self.list_in_order(listing.source, page, test);
        }
        let mut first = First::new(page, !self.counts().is_ascending(listing.source));
        self.each_tested(listing.source, test, |songs| match order.is_default() {
            true => first.extend(songs.iter().map(|song| u64::from(*song))),
            false => first.extend(songs.iter().map(|song| order.key(*song))),
        });
        first.into_page()
    }

    /// Lists the songs of a source that has them in default order, until the page ends. Where parts of the question
    /// exclude each other, many more songs are tested than was planned; the rest is then tested by sets.
    fn list_in_order(&self, source: Source, page: Page, test: &Test<'_, '_>) -> Vec<u32> {
        let (mut list, mut passed) = (Vec::new(), 0);
        let mut left = if test.is_by_names() { COSTS.patience(self.counts(), source) } else { usize::MAX };
        let mut for_rest = None;
        self.each(source, |song| {
            if left == 0 && for_rest.is_none() {
                for_rest = Some(self.test_of_all(source));
            }
            left = left.saturating_sub(1);
            if for_rest.as_ref().unwrap_or(test).holds(song) {
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
    pub(super) fn walk_within(
        &self,
        most: usize,
        order: &Sorted<'a>,
        page: Page,
        test: &Test<'_, '_>,
    ) -> Option<Vec<u32>> {
        let songs = SortedWalk::new(order.clone()).take(most);
        let list = match test.set_alone() {
            Some(set) => page.of(songs.filter(|song| set.holds(*song))),
            None => page.of(songs.filter(|song| test.holds(*song))),
        };
        let ended = list.len() == page.limit || most >= self.counts().songs;
        ended.then_some(list)
    }
}
