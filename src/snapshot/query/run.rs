//! Takes the steps of a plan.

use std::ops::ControlFlow;

use super::counts::Source;
use super::first::First;
use super::lookup::ALL;
use super::matching::{CHUNK, CHUNK_MIN, Matching, Test};
use super::plan::{COSTS, Listing, Plan, Walk, plan};
use super::question::Page;
use super::selection::Selection;
use super::sorted::{Sorted, SortedWalk};

/// The second window of songs is larger than the first one by this factor. The third one has all remaining
/// songs.
const WINDOW_GROWTH: usize = 8;

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
        if self.counts().only_source() == Some(source) {
            return self.all_of(source);
        }
        let mut songs = Vec::new();
        let test = self.test(Some(source), listing.words, self.counts().len(source));
        self.each_tested(source, &ALL, &test, |chunk| {
            songs.extend_from_slice(chunk);
            ControlFlow::Continue(())
        });
        if !self.counts().is_ascending(source) {
            songs.sort_unstable();
            songs.dedup();
        }
        Selection::List(songs)
    }

    /// A page of a listing, in an order.
    pub(super) fn list(&self, listing: Listing, order: &Sorted<'_>, page: Page) -> Vec<u32> {
        self.list_tested(listing, order, page, &self.list_test(listing, order.is_default(), page))
    }

    /// A page in an order, from a walk through it or, if the walk fails, from a listing.
    pub(super) fn walk(&self, walk: Walk, order: &Sorted<'a>, page: Page) -> Vec<u32> {
        let Walk { most, words, otherwise } = walk;
        let test = self.test(None, words, most);
        if let Some(page) = self.walk_within(most, order, page, &test) {
            return page;
        }
        let test = match otherwise.words {
            Some(_) if otherwise.words != words => self.list_test(otherwise, order.is_default(), page),
            // The walk had fewer songs to test than the listing has.
            _ if test.others_are_by_names() => self.list_test(otherwise, order.is_default(), page),
            _ => test.without(otherwise.source),
        };
        self.list_tested(otherwise, order, page, &test)
    }

    /// The test for a listing, which tests as many songs as it lists until the page ends.
    fn list_test(&self, listing: Listing, is_default: bool, page: Page) -> Test<'_, 'a> {
        let listed = self.counts().len(listing.source);
        let share = if is_default { self.counts().window_share(page) } else { 1.0 };
        // A float beyond the largest number becomes that number.
        let tests = (listed as f64 * share) as usize;
        self.test(Some(listing.source), listing.words, tests)
    }

    fn list_tested(&self, listing: Listing, order: &Sorted<'_>, page: Page, test: &Test<'_, '_>) -> Vec<u32> {
        if order.is_default() {
            return self.list_windows(listing, page, test, self.counts().window(page));
        }
        let mut first = First::new(page, !self.counts().is_ascending(listing.source));
        self.each_tested(listing.source, &ALL, test, |songs| {
            first.extend(songs.iter().map(|song| order.key(*song)));
            ControlFlow::Continue(())
        });
        first.into_page()
    }

    /// A page in default order. It lists the first `window` songs of the collection and, if the page does not
    /// end among them, those behind. Where parts of the question exclude each other, it tests many more songs
    /// than planned; the later windows then use the test that costs least for all of them. In the last window the
    /// words take the place of their sieves: their list costs little for each song, and sieves have many songs to test.
    pub(super) fn list_windows(
        &self,
        listing: Listing,
        page: Page,
        test: &Test<'_, '_>,
        window: usize,
    ) -> Vec<u32> {
        let mut source = listing.source;
        let is_ascending = |source| self.counts().is_ascending(source);
        // Words may list a song several times.
        let mut first = First::new(page, !is_ascending(source) || source == Source::Sieves);
        let (mut for_rest, mut begin) = (None, 0);
        for end in [window, window.saturating_mul(WINDOW_GROWTH), self.counts().songs] {
            // A song's index is below their number, which fits.
            let window = begin..end.min(self.counts().songs) as u32;
            let is_rest = window.end as usize == self.counts().songs;
            if source == Source::Sieves && begin > 0 && is_rest {
                source = Source::Words;
            }
            let test = if begin == 0 || source == Source::Sieves {
                test
            } else {
                for_rest.get_or_insert_with(|| self.test_of_all(source))
            };
            let ends_early = listing.in_order && is_ascending(source);
            self.each_tested(source, &window, test, |songs| {
                first.extend(songs.iter().map(|song| u64::from(*song)));
                let is_last = ends_early && first.is_full();
                if is_last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            if is_rest || first.is_full() {
                break;
            }
            begin = window.end;
        }
        first.into_page()
    }

    /// Walks through all songs in the order; `None` if the page does not end within `most`.
    pub(super) fn walk_within(
        &self,
        most: usize,
        order: &Sorted<'a>,
        page: Page,
        test: &Test<'_, '_>,
    ) -> Option<Vec<u32>> {
        let mut songs = SortedWalk::new(order.clone()).take(most);
        let (mut list, mut chunk, mut room) = (Vec::new(), Vec::new(), CHUNK_MIN);
        let mut skipped = 0;
        while list.len() < page.limit {
            chunk.extend(songs.by_ref().take(room));
            if chunk.is_empty() {
                break;
            }
            test.retain(&mut chunk);
            let skip = chunk.len().min(page.offset - skipped);
            skipped += skip;
            list.extend(chunk.drain(..).skip(skip));
            room = (room * 2).min(CHUNK);
        }
        list.truncate(page.limit);
        let ended = list.len() == page.limit || most >= self.counts().songs;
        ended.then_some(list)
    }
}
