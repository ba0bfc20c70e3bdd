//! The songs that match a question.
//!
//! One part of the question, a filter or the words, lists songs. The other parts are tests on each of these
//! songs, which the tables answer in a step or two.

use std::ops::{ControlFlow, Range};

use zerocopy::little_endian::U32;

use super::counts::{Counts, OTHERS, OwnerCounts, Source, WordCounts, WordLookup};
use super::plan::COSTS;
use super::question::{Filter, Query};
use super::selection::Selection;
use super::words::{WordMatches, WordTest, is_among, retain};
use crate::api::{Direction, Field};
use crate::model::{Kind, Owner, PerOwner};
use crate::snapshot::open::{Bits, Snapshot};

/// Songs in a chunk. The code lists a whole chunk before it tests it, and takes each step of a test for all
/// its songs before the next step, because the processor then waits for all their memory at once.
pub(super) const CHUNK: usize = 512;

/// Songs of the first chunk, as it may end the page; each further chunk has twice as many as the one before.
pub(super) const CHUNK_MIN: usize = 32;

/// The parts of a question, after the look-ups.
pub(super) struct Matching<'q, 'a> {
    snapshot: &'q Snapshot<'a>,
    owners: Filtered,
    /// The words with the fewest matches, if there are any.
    words: Option<WordMatches<'q, 'a>>,
    /// The other words, in ascending order of their matches, which only test songs.
    others: Vec<(WordMatches<'q, 'a>, WordCounts)>,
    counts: Counts,
}

impl<'q, 'a> Matching<'q, 'a> {
    /// `None` if no song can match some part of the question.
    pub(super) fn of(snapshot: &'q Snapshot<'a>, query: &'q Query) -> Option<Self> {
        let mut owners = Filtered::of(snapshot, &query.filters)?;
        // The list of words may be empty: blank words match nothing.
        if query.beginnings.as_ref().is_some_and(Vec::is_empty) {
            return None;
        }
        let words = query.words.iter().chain(query.beginnings.iter().flatten());
        let mut found: Vec<_> = words.map(|words| WordMatches::of(snapshot, words)).collect();
        // If there is a single word, its stored set lists its songs in order.
        let is_single = found.len() == 1;
        found.retain(|words| match words.only_owners(snapshot, is_single) {
            Some((owner, found)) => {
                owners.narrow(owner, found);
                false
            }
            None => true,
        });
        if owners.leave_nothing() {
            return None;
        }
        let left = PerOwner::new(|owner| owners.get(owner));
        let mut others = Vec::new();
        for words in found {
            let words = words.within(&left);
            let counts = words.counts(snapshot);
            if counts.songs == 0 {
                return None;
            }
            others.push((words, counts));
        }
        others.sort_by_key(|(_, counts)| counts.songs);
        let words = (!others.is_empty()).then(|| others.remove(0));
        let mut rarest = others.iter().map(|(_, counts)| *counts);
        let counts = Counts {
            songs: snapshot.count(Kind::Song) as usize,
            words: words.as_ref().map(|(_, counts)| *counts),
            others: [(); OTHERS].map(|()| rarest.next()),
            owners: PerOwner::new(|owner| {
                let songs = |at: &u32| snapshot.names[owner].songs_range(*at).len();
                left[owner]
                    .map(|left| OwnerCounts { owners: left.len(), songs: left.iter().map(songs).sum() })
            }),
        };
        let words = words.map(|(words, _)| words);
        Some(Matching { snapshot, owners, words, others, counts })
    }

    /// The counts for a plan.
    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// `order`, or the default order if all songs that match have the same value of its field, because the
    /// filters leave only one owner of that kind.
    pub(super) fn unsettled(&self, order: Option<(Field, Direction)>) -> Option<(Field, Direction)> {
        order.filter(|(field, _)| {
            let owners = field.owner().and_then(|owner| self.owners.get(owner));
            owners.is_none_or(|owners| owners.len() != 1)
        })
    }

    /// All songs of `part`, in default order. The sieves are no part, but lists for the words.
    pub(super) fn all_of(&self, part: Source) -> Selection<'a> {
        match part {
            Source::Words | Source::Sieves => match &self.words {
                Some(words) => words.set(self.snapshot, self.counts.len(Source::Words)).into_selection(),
                None => Selection::EMPTY,
            },
            Source::Owners(owner) => {
                let names = &self.snapshot.names[owner];
                match (owner, self.owners.get(owner).unwrap_or_default()) {
                    (Owner::Artist, [artist]) => Selection::Range(names.songs_range(*artist)),
                    (_, owners) => Selection::List(names.songs_of(owners)),
                }
            }
        }
    }

    /// Lists the songs of `source` in `window` that pass a test, chunk by chunk, until `take` breaks.
    pub(super) fn each_tested(
        &self,
        source: Source,
        window: &Range<u32>,
        test: &Test<'_, '_>,
        mut take: impl FnMut(&[u32]) -> ControlFlow<()>,
    ) {
        let (mut chunk, mut room) = (Vec::with_capacity(CHUNK), CHUNK_MIN);
        let mut pass = |chunk: &mut Vec<u32>| {
            test.retain(chunk);
            let taken = take(chunk);
            chunk.clear();
            taken
        };
        let listed = self.each(source, window, |song| {
            chunk.push(song);
            if chunk.len() < room {
                return ControlFlow::Continue(());
            }
            room = (room * 2).min(CHUNK);
            pass(&mut chunk)
        });
        if listed.is_continue() {
            let _ = pass(&mut chunk);
        }
    }

    /// Lists the songs of `source` in `window` until `visit` breaks.
    fn each(
        &self,
        source: Source,
        window: &Range<u32>,
        mut visit: impl FnMut(u32) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        match source {
            Source::Words => {
                let sieves = self.other_sieves();
                let listed =
                    |words: &WordMatches<'_, '_>| words.each_song(self.snapshot, &sieves, window, &mut visit);
                self.words.iter().try_for_each(listed)
            }
            Source::Sieves => {
                let sieve = self.words.iter().find_map(WordMatches::sieve);
                sieve.map_or(ControlFlow::Continue(()), |sieve| {
                    sieve.each_common(&self.other_sieves(), window, visit)
                })
            }
            Source::Owners(owner) => {
                let (names, owners) = (&self.snapshot.names[owner], self.owners.get(owner));
                owners.unwrap_or_default().iter().try_for_each(|&at| names.each_song(at, window, &mut visit))
            }
        }
    }

    /// The sieves of all words but the rarest.
    fn other_sieves(&self) -> Vec<Bits<'a>> {
        self.others.iter().filter_map(|(words, _)| words.sieve()).cloned().collect()
    }

    /// Whether a song matches.
    pub(super) fn holds(&self, song: u32) -> bool {
        self.test(None, Some(WordLookup::Names { own_set: false }), 1).holds(song)
    }

    /// The test for all parts of the question except `listed`, in the form that costs least if all songs of
    /// `listed` are tested.
    pub(super) fn test_of_all(&self, listed: Source) -> Test<'_, 'a> {
        let songs = self.counts.len(listed);
        let words = self.counts.words.filter(|_| listed != Source::Words);
        let costs = COSTS.of(&self.counts, Some(listed));
        self.test(Some(listed), words.map(|words| costs.word_lookup(&words, songs as f64).0), songs)
    }

    /// The test for all parts of the question except `listed`, for about that many songs. `lookup` says how
    /// it tests the rarest words; with `None` it leaves them out.
    pub(super) fn test(
        &self,
        listed: Option<Source>,
        lookup: Option<WordLookup>,
        songs: usize,
    ) -> Test<'_, 'a> {
        let words = match (&self.words, lookup) {
            (Some(words), Some(lookup)) => words.test(self.snapshot, lookup, self.counts.len(Source::Words)),
            _ => WordTest::None,
        };
        let owners = PerOwner::new(|owner| {
            let owners = self.owners.get(owner).filter(|_| listed != Some(Source::Owners(owner)))?;
            Some((self.snapshot.songs.owners[owner], owners))
        });
        let costs = COSTS.of(&self.counts, listed);
        let mut tested = self.counts.others_tested(listed, songs as f64);
        let others = self.others.iter().map(|(words, counts)| {
            // Words beyond the counted ones have few songs left to test.
            let (counts, tests) = tested.next().unwrap_or((*counts, 0.0));
            let (lookup, _) = costs.word_lookup(&counts, tests);
            words.test(self.snapshot, lookup, counts.songs)
        });
        Test { owners, words, others: others.collect() }
    }
}

/// A test that says whether a song matches.
pub(super) struct Test<'m, 'a> {
    /// The owner of each song and the wanted owners, for each kind with a filter.
    owners: PerOwner<Option<(&'a [U32], &'m [u32])>>,
    words: WordTest<'m, 'a>,
    others: Vec<WordTest<'m, 'a>>,
}

impl Test<'_, '_> {
    /// The same test without the part of the question that lists songs.
    pub(super) fn without(mut self, listed: Source) -> Self {
        match listed {
            Source::Words => self.words = WordTest::None,
            Source::Sieves => {}
            Source::Owners(owner) => self.owners[owner] = None,
        }
        self
    }

    /// Whether the test looks at names for a word other than the rarest.
    pub(super) fn others_are_by_names(&self) -> bool {
        self.others.iter().any(|words| matches!(words, WordTest::Names(_)))
    }

    /// Keeps the songs that pass.
    pub(super) fn retain(&self, songs: &mut Vec<u32>) {
        for (of, wanted) in self.owners.values().flatten() {
            retain(songs, |song| is_among(of[song as usize].get(), wanted));
        }
        for words in std::iter::once(&self.words).chain(&self.others) {
            match words {
                WordTest::None => {}
                WordTest::Set(set) => retain(songs, |song| set.holds(song)),
                WordTest::Names(names) => names.retain(songs),
            }
        }
    }

    /// Whether a song passes.
    #[inline]
    pub(super) fn holds(&self, song: u32) -> bool {
        let wanted = |(of, wanted): &(&[U32], &[u32])| is_among(of[song as usize].get(), wanted);
        self.owners.values().flatten().all(wanted)
            && self.words.holds(song)
            && self.others.iter().all(|words| words.holds(song))
    }
}

/// The albums, artists and genres that filters leave, ascending; `None` without a filter.
#[derive(Default)]
struct Filtered(PerOwner<Option<Vec<u32>>>);

impl Filtered {
    /// `None` if some filter leaves nothing.
    fn of(snapshot: &Snapshot<'_>, filters: &[(Owner, Filter)]) -> Option<Filtered> {
        let mut filtered = Filtered::default();
        for (owner, filter) in filters {
            let names = &snapshot.names[*owner];
            let found: Vec<u32> = match filter {
                Filter::Id(id) => names.entities.index_of(id.as_bytes()).into_iter().collect(),
                Filter::LowerName(name) => names.with_lower_name(name).collect(),
            };
            let slot = &mut filtered.0[*owner];
            let left = match slot.take() {
                None => found,
                Some(before) => before.into_iter().filter(|at| found.contains(at)).collect(),
            };
            if left.is_empty() {
                return None;
            }
            *slot = Some(left);
        }
        Some(filtered)
    }

    /// Adds a filter by the owners in `found`, ascending.
    fn narrow(&mut self, owner: Owner, mut found: Vec<u32>) {
        if let Some(before) = &self.0[owner] {
            found.retain(|at| is_among(*at, before));
        }
        self.0[owner] = Some(found);
    }

    /// Whether some filter leaves nothing.
    fn leave_nothing(&self) -> bool {
        self.0.values().flatten().any(Vec::is_empty)
    }

    fn get(&self, owner: Owner) -> Option<&[u32]> {
        self.0[owner].as_deref()
    }
}
