//! Which songs match.
//!
//! One part of a question, a filter or the words, is listed; the other parts are tests on each of
//! these songs, which the tables answer in a step or two.

use std::ops::ControlFlow;

use zerocopy::little_endian::U32;

use super::open::Snapshot;
use super::query::{Filter, Query, Selection};
use super::sets::Lookup;
use super::words::{OWNER_KINDS, WordMatches, WordTest, is_among};
use super::{Field, Kind};

/// Songs that are listed by words that are no set come strewn over the tables, and more than once.
const REPEATED_COST: f64 = 4.0;
/// Songs that are listed before they are tested, and tested before anything else is done with them: each step
/// by itself, as the processor then waits for many at once.
pub(super) const CHUNK: usize = 512;

/// What songs must match, looked up.
pub(super) struct Matching<'q, 'a> {
    pub(super) snapshot: &'q Snapshot<'a>,
    owners: Owners,
    words: Option<WordMatches<'q, 'a>>,
}

/// A part of a question by which songs are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// The songs of the albums, artists or genres that filters leave.
    Owners(Kind),
    /// The songs that the words match.
    Words,
}

impl<'q, 'a> Matching<'q, 'a> {
    /// `None` if some filter leaves nothing.
    pub(super) fn of(snapshot: &'q Snapshot<'a>, query: &'q Query) -> Option<Self> {
        let owners = Owners::of(snapshot, &query.filters)?;
        let left = OWNER_KINDS.map(|kind| owners.get(kind));
        let words = query.words.as_deref().map(|words| WordMatches::of(snapshot, words, left));
        Some(Matching { snapshot, owners, words })
    }

    /// Whether all songs that match have the same value of a field, as a filter leaves only one album, artist
    /// or genre: in its order they stand in default order.
    pub(super) fn is_settled(&self, field: Field) -> bool {
        let kind = match field {
            Field::Album | Field::AlbumId => Kind::Album,
            Field::Artist | Field::ArtistId => Kind::Artist,
            Field::Genre | Field::GenreId => Kind::Genre,
            Field::Id | Field::Name | Field::Length | Field::Track | Field::Year => return false,
        };
        self.owners.get(kind).is_some_and(|owners| owners.len() == 1)
    }

    /// All songs that match, in default order.
    pub(super) fn all(&self) -> Selection<'a> {
        let snapshot = self.snapshot;
        let costs = self.sources().map(|source| (source, self.whole_cost(source)));
        let Some((source, _)) = costs.min_by(|(_, a), (_, b)| a.total_cmp(b)) else {
            return Selection::Range(0..snapshot.count(Kind::Song));
        };
        if self.sources().count() == 1 {
            return self.all_of(source);
        }
        let mut songs = Vec::new();
        let test = self.test(Some(source), self.len(source) as f64);
        self.each_tested(source, &test, |chunk| songs.extend_from_slice(chunk));
        if !self.is_ascending(source) {
            songs.sort_unstable();
            songs.dedup();
        }
        Selection::List(songs)
    }

    /// All songs of the only source, in default order.
    fn all_of(&self, source: Source) -> Selection<'a> {
        let snapshot = self.snapshot;
        let kind = match (source, &self.words) {
            (Source::Words, None) => return Selection::EMPTY,
            (Source::Words, Some(words)) => return words.set(snapshot).into_selection(),
            (Source::Owners(kind), _) => kind,
        };
        match (kind, self.owners.get(kind).unwrap_or_default()) {
            (Kind::Artist, [artist]) => Selection::Range(snapshot.artists.songs_range(*artist)),
            (_, owners) => Selection::List(snapshot.names(kind).songs_of(owners)),
        }
    }

    /// What it costs to list all songs of `source` and to look words up for each.
    pub(super) fn whole_cost(&self, source: Source) -> f64 {
        let strewn = if self.is_ascending(source) { 1.0 } else { REPEATED_COST };
        let listed = self.len(source) as f64;
        listed * strewn + self.words_cost(Some(source), listed)
    }

    /// Lists the songs of `source` that pass the test of everything else, chunk by chunk.
    pub(super) fn each_tested(&self, source: Source, test: &Test<'_, '_>, mut take: impl FnMut(&[u32])) {
        let mut chunk = Vec::with_capacity(CHUNK);
        let mut pass = |chunk: &mut Vec<u32>| {
            test.retain(chunk);
            take(chunk);
            chunk.clear();
        };
        self.each(source, |song| {
            chunk.push(song);
            if chunk.len() == CHUNK {
                pass(&mut chunk);
            }
            ControlFlow::Continue(())
        });
        pass(&mut chunk);
    }

    /// By what songs can be listed.
    pub(super) fn sources(&self) -> impl Iterator<Item = Source> {
        self.words.iter().map(|_| Source::Words).chain(self.owners.kinds().map(Source::Owners))
    }

    /// How many songs are listed, those that match by several names counted as often.
    pub(super) fn len(&self, source: Source) -> usize {
        match source {
            Source::Words => self.words.as_ref().map_or(0, |words| words.cost),
            Source::Owners(kind) => {
                let owners = self.owners.get(kind).unwrap_or_default();
                owners.iter().map(|&at| self.snapshot.names(kind).songs_range(at).len()).sum()
            }
        }
    }

    /// Whether songs are listed in default order and each once.
    pub(super) fn is_ascending(&self, source: Source) -> bool {
        match source {
            Source::Words => self.words.as_ref().is_some_and(WordMatches::is_set),
            Source::Owners(Kind::Artist) => true,
            Source::Owners(kind) => self.owners.get(kind).is_none_or(|owners| owners.len() == 1),
        }
    }

    /// Lists songs until it is told to stop.
    pub(super) fn each(&self, source: Source, mut visit: impl FnMut(u32) -> ControlFlow<()>) {
        let _ = match source {
            Source::Words => {
                self.words.iter().try_for_each(|words| words.each_song(self.snapshot, &mut visit))
            }
            Source::Owners(kind) => {
                let (names, owners) = (self.snapshot.names(kind), self.owners.get(kind).unwrap_or_default());
                owners.iter().try_for_each(|&at| names.each_song(at, &mut visit))
            }
        };
    }

    /// What so many tests of the words cost, counted in songs that are listed.
    pub(super) fn words_cost(&self, listed: Option<Source>, tests: f64) -> f64 {
        match &self.words {
            Some(words) if listed != Some(Source::Words) => words.lookup(tests).1,
            _ => 0.0,
        }
    }

    /// The test of everything but what is listed, for about so many songs.
    pub(super) fn test(&self, listed: Option<Source>, tests: f64) -> Test<'_, 'a> {
        let words = match &self.words {
            Some(words) if listed != Some(Source::Words) => words.test(self.snapshot, tests),
            _ => WordTest::None,
        };
        let owners = OWNER_KINDS.map(|kind| {
            let owners = self.owners.get(kind).filter(|_| listed != Some(Source::Owners(kind)))?;
            Some((self.snapshot.owners(kind), owners))
        });
        Test { owners, words }
    }

    /// The same as [`Matching::test`] after a walk that was given up: its own test, less what is listed, if
    /// another one would not look words up in another way.
    pub(super) fn test_after<'m>(&'m self, walked: Test<'m, 'a>, listed: Source, tests: f64) -> Test<'m, 'a> {
        let lookup = match &self.words {
            Some(words) if listed != Source::Words => words.lookup(tests).0,
            _ => return walked.without(listed),
        };
        match &walked.words {
            WordTest::Names(names) if lookup != names.lookup() => self.test(Some(listed), tests),
            _ => walked.without(listed),
        }
    }
}

/// A test whether a song matches.
pub(super) struct Test<'m, 'a> {
    /// The owner of each song, and those that are wanted, where not all are.
    owners: [Option<(&'a [U32], &'m [u32])>; 3],
    words: WordTest<'m, 'a>,
}

impl Test<'_, '_> {
    /// Without what songs are listed by.
    fn without(mut self, listed: Source) -> Self {
        match listed {
            Source::Words => self.words = WordTest::None,
            Source::Owners(kind) => self.owners[kind as usize] = None,
        }
        self
    }

    /// The set, if belonging to it is all that counts.
    pub(super) fn set_alone(&self) -> Option<&Lookup<'_>> {
        match &self.words {
            WordTest::Set(set) if self.owners.iter().all(Option::is_none) => Some(set),
            _ => None,
        }
    }

    /// Leaves the songs that match.
    pub(super) fn retain(&self, songs: &mut Vec<u32>) {
        for (of, wanted) in self.owners.iter().flatten() {
            retain(songs, |song| is_among(of[song as usize].get(), wanted));
        }
        match &self.words {
            WordTest::None => {}
            WordTest::Set(set) => retain(songs, |song| set.holds(song)),
            WordTest::Names(names) => retain(songs, |song| names.holds(song)),
        }
    }

    #[inline]
    pub(super) fn holds(&self, song: u32) -> bool {
        let wanted = |(of, wanted): &(&[U32], &[u32])| is_among(of[song as usize].get(), wanted);
        self.owners.iter().flatten().all(wanted)
            && match &self.words {
                WordTest::None => true,
                WordTest::Set(set) => set.holds(song),
                WordTest::Names(names) => names.holds(song),
            }
    }
}

/// Leaves the songs that a test holds for. Which those are is not foreseen by any branch.
fn retain(songs: &mut Vec<u32>, holds: impl Fn(u32) -> bool) {
    let mut kept = 0;
    for at in 0..songs.len() {
        let song = songs[at];
        songs[kept] = song;
        kept += usize::from(holds(song));
    }
    songs.truncate(kept);
}

/// The albums, artists and genres that filters leave, by kind; `None` where there is no
/// filter of that kind. Ascending.
#[derive(Default)]
struct Owners([Option<Vec<u32>>; 3]);

impl Owners {
    /// `None` if some filter leaves nothing.
    fn of(snapshot: &Snapshot<'_>, filters: &[(Kind, Filter)]) -> Option<Owners> {
        let mut owners = Owners::default();
        for (kind, filter) in filters.iter().filter(|(kind, _)| *kind != Kind::Song) {
            let names = snapshot.names(*kind);
            let found: Vec<u32> = match filter {
                Filter::Id(id) => names.entities.index_of(id.as_bytes()).into_iter().collect(),
                Filter::LowerName(name) => names.with_lower_name(name).collect(),
            };
            let slot = &mut owners.0[*kind as usize];
            let left = match slot.take() {
                None => found,
                Some(before) => before.into_iter().filter(|at| found.contains(at)).collect(),
            };
            if left.is_empty() {
                return None;
            }
            *slot = Some(left);
        }
        Some(owners)
    }

    fn get(&self, kind: Kind) -> Option<&[u32]> {
        self.0[kind as usize].as_deref()
    }

    /// The kinds that there is a filter of.
    fn kinds(&self) -> impl Iterator<Item = Kind> {
        OWNER_KINDS.into_iter().filter(|kind| self.get(*kind).is_some())
    }
}
