//! The cheapest way to a page of the songs that match, by an estimate.
//!
//! There are two ways. A listing takes the songs of one part of the question, tests each for the other parts,
//! and keeps the first ones in the order. A walk follows the order and tests all songs, until enough match.
//! The cost of a listing grows with the number of its songs; a walk costs less the more songs match.
//!
//! The module is pure: counts in, plan out. `tests/plans.rs` says which counts give which plan, and
//! `tests/costs.rs` measures whether the costs are right.

use std::fmt;

use super::counts::{Counts, Source, WordCounts, WordLookup};
use super::question::Page;
use crate::model::Owner;

/// The steps to an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::snapshot) enum Plan {
    /// No song is in the answer.
    Nothing,
    /// All songs match: the answer is a part of a stored order.
    All,
    /// List all songs that match, then sort and cut them.
    Whole(Listing),
    /// List songs, and keep those of the page.
    List(Listing, Page),
    /// Walk through the order until the page ends.
    Walk(Walk, Page),
}

/// A walk through the order of the answer, which tests each song.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::snapshot) struct Walk {
    /// Most songs that the walk tests.
    pub(super) most: usize,
    /// The test for words; `None` if there are none.
    pub(super) words: Option<WordLookup>,
    /// The listing that follows if the page does not end within `most` songs. If it tests words in the same
    /// way as the walk, it reuses the walk's test.
    pub(super) otherwise: Listing,
}

/// A listing of the songs of one part of a question, each tested for the other parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::snapshot) struct Listing {
    /// The part that lists songs.
    pub(super) source: Source,
    /// The test for words; `None` if there are none, or if they list the songs.
    pub(super) words: Option<WordLookup>,
    /// Whether songs come in the order of the answer, so that the listing ends with the page.
    pub(super) in_order: bool,
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "list {}{}", self.source, if self.in_order { " in order" } else { "" })
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Plan::Nothing => f.write_str("nothing"),
            Plan::All => f.write_str("all"),
            Plan::Whole(listing) => write!(f, "whole by {}", listing.source),
            Plan::List(listing, _) => listing.fmt(f),
            Plan::Walk(walk, _) => write!(f, "walk {}, else {}", walk.most, walk.otherwise),
        }
    }
}

/// The costs of steps, and the limits of plans. The unit is the cost of listing a song in order, or of asking
/// a set about one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Costs {
    /// Putting a song or a name into a set.
    pub(super) add: f64,
    /// Asking the sets of a song's album, artist and genre about their names; each of the three kinds that
    /// matches costs a third of it.
    pub(super) names: f64,
    /// Looking for the words in a song's own name.
    pub(super) own: f64,
    /// `names` for one of several words, if it tests many songs together.
    pub(super) names_apart: f64,
    /// `own` for one of several words: each test waits for memory, as the names of the songs are far apart.
    pub(super) own_apart: f64,
    /// A step to a song at any place of the tables: in a walk, in a listing out of order, and to the rank of
    /// a match.
    pub(super) scattered: f64,
    /// A step over a song that matches by its own name and lies behind the window.
    pub(super) skip: f64,
    /// A search among the songs of an album, artist or genre that matches, for those in the window.
    pub(super) skip_owner: f64,
    /// If a larger share of the songs matches, the plan keeps all of them rather than the first ones.
    pub(super) share_max: f64,
}

/// The costs in use.
///
/// Measured on 2026-11-28 by `tests/costs.rs`, which asks 36,000 questions to collections of four shapes and
/// of 1,000 to 1,000,000 songs. A change of a cost changes the plans of some questions; the test times some
/// 400 of those, under both plans:
///
/// | change | plans that change | geometric mean of the times | sum of the times |
/// |---|--:|--:|--:|
/// | `add` 1 | 1,858 | × 1.35 | 33 to 33 ms |
/// | `add` 4 | 3,482 | × 0.77 | 46 to 70 ms |
/// | `names` 12 | 1,398 | × 0.80 | 55 to 82 ms |
/// | `names` 48 | 1,129 | × 1.52 | 47 to 38 ms |
/// | `scattered` 2 | 7,175 | × 0.84 | 21 to 20 ms |
/// | `scattered` 8 | 5,522 | × 1.20 | 23 to 25 ms |
/// | `share_max` 1 in place of 0.5 | 1,242 | × 1.22 | 7 to 8 ms |
///
/// A mean below 1 with a larger sum means that the change helps cheap questions and harms expensive ones. The
/// test also measured limits of walks (a number of steps, a share of the listing's cost) and a lower limit of
/// shares for songs that come several times. They made nothing faster, so the code lacks them.
///
/// These measurements were made before there were windows of the default order. `names_apart`, `own_apart`,
/// `skip` and `skip_owner` come from 14,600 questions of several words at 1,000,000 songs
/// (`docs/benchmark.md`), where a unit is some 1.4 ns: a step over a song's own name took 1.1 ns, one over
/// the songs of an album 13 ns.
pub(super) const COSTS: Costs = Costs {
    add: 2.0,
    names: 24.0,
    own: 24.0,
    names_apart: 12.0,
    own_apart: 100.0,
    scattered: 4.0,
    skip: 0.75,
    skip_owner: 10.0,
    share_max: 0.25,
};

/// The cheapest plan for `page` of the songs that `counts` describe, or for all of them. `is_default` says
/// whether the answer is in default order.
pub(super) fn plan(costs: &Costs, counts: &Counts, is_default: bool, page: Option<Page>) -> Plan {
    Planner { costs, counts, is_default }.plan(page)
}

struct Planner<'c> {
    costs: &'c Costs,
    counts: &'c Counts,
    is_default: bool,
}

impl Planner<'_> {
    fn plan(&self, page: Option<Page>) -> Plan {
        let (costs, counts) = (self.costs, self.counts);
        let Some(page) = page else { return self.whole() };
        if page.limit == 0 {
            return Plan::Nothing;
        }
        let share = page.end() as f64 / counts.expected();
        if share > costs.share_max || self.is_stored() {
            return self.whole();
        }
        let Some((source, cost)) = self.cheapest(|source| self.list_cost(source, page)) else {
            return Plan::All;
        };
        let steps = share * counts.songs as f64;
        let listing = Listing {
            source,
            words: self.word_test(Some(source), self.tests(source, page)).map(|(lookup, _)| lookup),
            in_order: self.ends_early(source),
        };
        let walk_words = self.word_test(None, steps);
        // A walk may cost as much as the listing, whose cost is added if the walk fails.
        let affordable = cost / (steps * costs.scattered + cost_of(walk_words) + self.others(None, steps));
        if affordable < 1.0 {
            return Plan::List(listing, page);
        }
        let words = walk_words.map(|(lookup, _)| lookup);
        // If the walk has made a set, that set is the quickest test.
        let made = listing.words.and(words).filter(|lookup| *lookup == WordLookup::Set);
        let most = (steps * affordable) as usize;
        let otherwise = Listing { words: made.or(listing.words), ..listing };
        Plan::Walk(Walk { most, words, otherwise }, page)
    }

    /// The plan for all songs that match.
    fn whole(&self) -> Plan {
        let Some((source, _)) = self.cheapest(|source| self.whole_cost(source)) else {
            return Plan::All;
        };
        let words = self.word_test(Some(source), self.counts.len(source) as f64);
        Plan::Whole(Listing { source, words: words.map(|(lookup, _)| lookup), in_order: false })
    }

    /// Whether the snapshot stores all songs that match, in the order of the answer.
    fn is_stored(&self) -> bool {
        match self.counts.only_source() {
            None => self.counts.parts().next().is_none(),
            Some(Source::Owners(owner)) => self.is_default && owner == Owner::Artist,
            Some(source @ (Source::Words | Source::Sieves)) => self.ends_early(source),
        }
    }

    /// The part of the question with the lowest cost.
    fn cheapest(&self, cost: impl Fn(Source) -> f64) -> Option<(Source, f64)> {
        let costs = self.counts.sources().map(|source| (source, cost(source)));
        costs.min_by(|(_, a), (_, b)| a.total_cmp(b))
    }

    /// The cost of listing the songs of `source` for `page`.
    fn list_cost(&self, source: Source, page: Page) -> f64 {
        if !self.is_default {
            let matches = self.counts.expected().min(self.counts.len(source) as f64);
            return self.whole_cost(source) + matches * self.costs.scattered;
        }
        let tests = self.tests(source, page);
        let each = if self.counts.is_ascending(source) { 1.0 } else { self.costs.scattered };
        let tested = cost_of(self.word_test(Some(source), tests)) + self.others(Some(source), tests);
        self.skip_cost(source, self.share(source, page)) + tests * each + tested
    }

    /// The cost of passing over the songs of `source` that are not in a window of that share of the collection, or not
    /// in all sieves.
    fn skip_cost(&self, source: Source, share: f64) -> f64 {
        match (source, &self.counts.words) {
            (Source::Words, Some(words)) => {
                words.own as f64 * self.costs.skip + words.owners as f64 * self.costs.skip_owner
            }
            (Source::Sieves, _) => self.counts.sieving() * share,
            _ => 0.0,
        }
    }

    /// The cost of listing all songs of `source`, each tested for the words.
    fn whole_cost(&self, source: Source) -> f64 {
        let each = if self.counts.is_ascending(source) { 1.0 } else { self.costs.scattered };
        let listed = self.counts.len(source) as f64;
        let sieving = if source == Source::Sieves { self.counts.sieving() } else { 0.0 };
        sieving
            + listed * each
            + cost_of(self.word_test(Some(source), listed))
            + self.others(Some(source), listed)
    }

    /// The number of songs of `source` to test for `page`.
    fn tests(&self, source: Source, page: Page) -> f64 {
        self.counts.len(source) as f64 * self.share(source, page)
    }

    /// The share of the collection with the songs of `source` to test for `page`: in default order, the first window, or
    /// the songs up to the end of the page.
    fn share(&self, source: Source, page: Page) -> f64 {
        match self.is_default {
            false => 1.0,
            true if self.ends_early(source) => page.end() as f64 / self.counts.expected(),
            true => self.counts.window_share(page),
        }
    }

    /// Whether a source lists its songs in the order of the answer, so that the page ends the listing.
    fn ends_early(&self, source: Source) -> bool {
        self.is_default && self.counts.is_ascending(source)
    }

    /// The cheapest test of songs for the words, unless the words list the songs, and its cost.
    fn word_test(&self, listed: Option<Source>, tests: f64) -> Option<(WordLookup, f64)> {
        let mut words = self.counts.words.filter(|_| listed != Some(Source::Words))?;
        if listed == Some(Source::Sieves) {
            words.sieve = None;
        }
        Some(self.costs.of(self.counts, listed).word_lookup(&words, tests))
    }

    /// The cost of the tests for the words that list no songs, if that many songs are tested at all.
    fn others(&self, listed: Option<Source>, tests: f64) -> f64 {
        let tested = self.counts.others_tested(listed, tests);
        let costs = self.costs.of(self.counts, listed);
        tested.map(|(words, tests)| costs.word_lookup(&words, tests).1).sum()
    }
}

impl Costs {
    /// The costs for a listing of a part of a question with these counts; `None` stands for a walk, whose
    /// songs are neighbours.
    pub(super) fn of(&self, counts: &Counts, listed: Option<Source>) -> Costs {
        match counts.others().next().and(listed) {
            None if listed != Some(Source::Sieves) => *self,
            _ => Costs { names: self.names_apart, own: self.own_apart, ..*self },
        }
    }

    /// The cheapest way to test that many songs for words, and its cost.
    pub(super) fn word_lookup(&self, words: &WordCounts, tests: f64) -> (WordLookup, f64) {
        if words.is_stored_set {
            return (WordLookup::Set, tests);
        }
        // The songs that are tested by names, once the sieve has been asked.
        let (sieving, left) = words.sieve.map_or((0.0, tests), |share| (tests, tests * share));
        let (by_own_set, by_own_name) = (words.own as f64 * self.add, left * self.own);
        let by_owners = words.owners as f64 * self.add;
        // This makes a table for each kind of owner that matches.
        let by_owner = left * self.names * words.kinds as f64 / 3.0;
        let by_names = sieving + by_owners + by_own_set.min(by_own_name) + by_owner;
        let by_set = words.songs as f64 * self.add + tests;
        if by_set <= by_names {
            return (WordLookup::Set, by_set);
        }
        (WordLookup::Names { own_set: by_own_set <= by_own_name }, by_names)
    }
}

fn cost_of(test: Option<(WordLookup, f64)>) -> f64 {
    test.map_or(0.0, |(_, cost)| cost)
}
