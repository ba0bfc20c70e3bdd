//! The numbers on which a plan depends: how many songs each part of a question matches, but not the songs
//! themselves.

use std::fmt;

use super::question::Page;
use crate::model::{Owner, PerOwner};

/// A part of a question that can list songs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// The songs that the words match.
    Words,
    /// The songs in all stored sets of the words and of their beginnings, in default order. All songs that match are
    /// among them.
    Sieves,
    /// The songs of the albums, artists or genres that filters leave.
    Owners(Owner),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::Words => "words",
            Source::Sieves => "sieves",
            Source::Owners(owner) => owner.singular(),
        })
    }
}

/// A way to test whether words match a song.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WordLookup {
    /// With a set of all songs that match.
    Set,
    /// With sets of the albums, artists and genres that match, and with the song's own name or a set of the
    /// songs whose own names match.
    Names {
        /// Whether the query makes that set.
        own_set: bool,
    },
}

/// Most words, besides the rarest ones, that a plan takes into account; more of them would change few plans.
pub(super) const OTHERS: usize = 4;

/// The largest share of the collection for which a window is worthwhile.
const WINDOW_MAX: f64 = 0.25;

/// The counts of a question about songs.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Counts {
    /// All songs of the collection.
    pub(super) songs: usize,
    /// The words, if there are any; if several words must all match, the rarest.
    pub(super) words: Option<WordCounts>,
    /// The next rarest words, which only test songs.
    pub(super) others: [Option<WordCounts>; OTHERS],
    /// The filters by owner, if there are any.
    pub(super) owners: PerOwner<Option<OwnerCounts>>,
}

/// The counts of the words of a question.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct WordCounts {
    /// Whether the snapshot has a set of the songs that match.
    pub(super) is_stored_set: bool,
    /// Steps to list the songs; a song that matches by several names counts once for each.
    pub(super) songs: usize,
    /// Songs that match by their own names.
    pub(super) own: usize,
    /// Albums, artists and genres that match and that filters leave.
    pub(super) owners: usize,
    /// The number of these three kinds that match.
    pub(super) kinds: usize,
    /// The share of the collection that is in the stored set of the words, or of their beginning, outside of which no
    /// song matches.
    pub(super) sieve: Option<f64>,
}

/// The counts of the filters by one kind of owner.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct OwnerCounts {
    /// Owners that the filters leave.
    pub(super) owners: usize,
    /// Their songs.
    pub(super) songs: usize,
}

impl Counts {
    /// The lists of songs among which all that match are.
    pub(super) fn sources(&self) -> impl Iterator<Item = Source> {
        let has_sieve = |words: &&WordCounts| !words.is_stored_set && words.sieve.is_some();
        self.parts().chain(self.words.iter().filter(has_sieve).map(|_| Source::Sieves))
    }

    /// The parts of the question.
    pub(super) fn parts(&self) -> impl Iterator<Item = Source> {
        let owners = Owner::ALL.into_iter().filter(|owner| self.owners[*owner].is_some());
        self.words.iter().map(|_| Source::Words).chain(owners.map(Source::Owners))
    }

    /// The words that only test songs.
    pub(super) fn others(&self) -> impl Iterator<Item = &WordCounts> {
        self.others.iter().flatten()
    }

    /// The words that only test songs, each with the number of songs to test: of `tests` songs, those that
    /// have passed the tests before. A stored set and the sieves list only songs that are in all sieves.
    pub(super) fn others_tested(
        &self,
        listed: Option<Source>,
        tests: f64,
    ) -> impl Iterator<Item = (WordCounts, f64)> {
        let share = |words: &WordCounts| (words.songs as f64 / self.songs as f64).min(1.0);
        let words = self.words.as_ref().filter(|_| listed != Some(Source::Words));
        let by_set = listed == Some(Source::Words) && self.is_ascending(Source::Words);
        let is_sieved = by_set || listed == Some(Source::Sieves);
        let sieves = self.others().filter(|_| by_set).filter_map(|words| words.sieve);
        let sieve = words.and_then(|words| words.sieve).filter(|_| is_sieved);
        let of_words = words.map_or(1.0, share) / sieve.unwrap_or(1.0);
        let passed = tests * of_words.min(1.0) * sieves.product::<f64>();
        self.others().scan(passed, move |passed, words| {
            let tested = *passed;
            let sieve = words.sieve.filter(|_| !is_sieved);
            *passed *= match words.sieve {
                Some(sieve) if is_sieved => (share(words) / sieve).min(1.0),
                _ => share(words),
            };
            Some((WordCounts { sieve, ..*words }, tested))
        })
    }

    /// The only part of the question, if it has just one.
    pub(super) fn only_source(&self) -> Option<Source> {
        let mut parts = self.parts();
        parts.next().filter(|_| parts.next().is_none() && self.others().next().is_none())
    }

    /// The sieves of the words, each as a share of the collection.
    fn sieves(&self) -> impl Iterator<Item = f64> {
        self.words.iter().chain(self.others()).filter_map(|words| words.sieve)
    }

    /// The cost of putting the sieves together, in words of their bits.
    pub(super) fn sieving(&self) -> f64 {
        self.songs as f64 / 64.0 * self.sieves().count() as f64
    }

    /// The number of songs that `source` lists; a song that matches by several names counts once for each. That of
    /// the sieves is an estimate.
    pub(super) fn len(&self, source: Source) -> usize {
        match source {
            Source::Words => self.words.map_or(0, |words| words.songs),
            Source::Sieves => (self.sieves().product::<f64>() * self.songs as f64) as usize,
            Source::Owners(owner) => self.owners[owner].map_or(0, |counts| counts.songs),
        }
    }

    /// Whether `source` lists songs in default order and each once.
    pub(super) fn is_ascending(&self, source: Source) -> bool {
        match source {
            Source::Words => self.words.is_some_and(|words| words.is_stored_set),
            // Artists are listed in default order, and so are the songs of each.
            Source::Sieves | Source::Owners(Owner::Artist) => true,
            Source::Owners(owner) => self.owners[owner].is_none_or(|counts| counts.owners == 1),
        }
    }

    /// The number of first songs of the collection among which twice as many match as `page` needs; all songs
    /// if that is not far fewer.
    pub(super) fn window(&self, page: Page) -> usize {
        (self.window_share(page) * self.songs as f64).round() as usize
    }

    /// The window as a share of the collection.
    pub(super) fn window_share(&self, page: Page) -> f64 {
        let share = 2.0 * page.end() as f64 / self.expected();
        if share < WINDOW_MAX { share } else { 1.0 }
    }

    /// The number of songs that match, if the parts of the question are independent.
    pub(super) fn expected(&self) -> f64 {
        let songs = self.songs as f64;
        let counts =
            self.parts().map(|source| self.len(source)).chain(self.others().map(|words| words.songs));
        counts.map(|count| (count as f64 / songs).min(1.0)).product::<f64>() * songs
    }
}
