//! Which songs match.
//!
//! One part of a question, a filter or the words, is listed; the other parts are tests on each of
//! these songs, which the tables answer in a step or two.

use std::ops::ControlFlow;

use zerocopy::little_endian::U32;

use super::Kind;
use super::bits::Bits;
use super::format::Suffix;
use super::open::Snapshot;
use super::query::{Filter, Query, Runs, Selection};
use super::sets::{IndexSet, Lookup};

/// What steps cost, counted in songs that are listed: to ask a set, to put a song or a name into one, to look
/// for the words in a song's name, and to ask the sets of all its names.
const ASK_COST: f64 = 1.0;
const ADD_COST: f64 = 2.0;
const NAME_COST: f64 = 40.0;
const ASK_NAMES_COST: f64 = 24.0;

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
        let words = query.words.as_deref().map(|words| WordMatches::of(snapshot, words));
        Some(Matching { snapshot, owners, words })
    }

    /// All songs that match, in default order.
    pub(super) fn all(&self) -> Selection<'a> {
        let snapshot = self.snapshot;
        let Some(source) = self.sources().min_by_key(|source| self.len(*source)) else {
            return Selection::Range(0..snapshot.count(Kind::Song));
        };
        let alone = self.sources().count() == 1;
        let test = self.test(Some(source), self.len(source) as f64);
        let kind = match (source, &self.words) {
            (Source::Owners(kind), _) => kind,
            (Source::Words, None) => return Selection::EMPTY,
            (Source::Words, Some(words)) => {
                let songs = words.set(snapshot).into_selection();
                if alone {
                    return songs;
                }
                return Selection::List(
                    Runs::new(songs).flatten().filter(|&song| test.holds(song)).collect(),
                );
            }
        };
        let listed = self.owners.get(kind).unwrap_or_default();
        if let (true, [artist], Kind::Artist) = (alone, listed, kind) {
            return Selection::Range(snapshot.artists.songs_range(*artist));
        }
        let mut songs = snapshot.names(kind).songs_of(listed);
        if !alone {
            test.retain(&mut songs);
        }
        Selection::List(songs)
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
            Some(words) if listed != Some(Source::Words) => words.test_cost(tests).1,
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
}

/// A test whether a song matches.
pub(super) struct Test<'m, 'a> {
    /// The owner of each song, and those that are wanted, where not all are.
    owners: [Option<(&'a [U32], &'m [u32])>; 3],
    words: WordTest<'m, 'a>,
}

enum WordTest<'m, 'a> {
    None,
    Set(Lookup<'a>),
    Names(Box<ByNames<'m, 'a>>),
}

/// Whether words match a song by one of its names, where that costs less than to list all such songs:
/// a genre that matches may have more songs than are tested.
struct ByNames<'m, 'a> {
    /// The songs that match by their own names; those are looked at if there is none.
    songs: Option<Lookup<'a>>,
    /// The owner of each song, and those that match.
    owners: [(&'a [U32], Lookup<'a>); 3],
    matches: &'m WordMatches<'m, 'a>,
    snapshot: &'m Snapshot<'a>,
}

impl ByNames<'_, '_> {
    fn holds(&self, song: u32) -> bool {
        // All are asked, as the tables are large: the processor waits for them together.
        let owner_holds = |held, (of, set): &(&[U32], Lookup<'_>)| held | set.holds(of[song as usize].get());
        self.owners.iter().fold(false, owner_holds)
            || match &self.songs {
                Some(set) => set.holds(song),
                None => self.snapshot.songs.entities.name_holds(song, self.matches.words.as_bytes()),
            }
    }
}

impl Test<'_, '_> {
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

#[inline]
fn is_among(owner: u32, wanted: &[u32]) -> bool {
    match wanted {
        [only] => *only == owner,
        wanted => wanted.binary_search(&owner).is_ok(),
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

const OWNER_KINDS: [Kind; 3] = [Kind::Album, Kind::Artist, Kind::Genre];

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

/// What of the collection some words match.
struct WordMatches<'q, 'a> {
    words: &'q str,
    found: Found<'a>,
    /// How many songs it takes to list them, the same song counted as often as it matches.
    cost: usize,
}

enum Found<'a> {
    /// The set was made with the snapshot.
    Set(Bits<'a>),
    Suffixes {
        songs: &'a [Suffix],
        owners: [&'a [Suffix]; 3],
    },
}

impl<'q, 'a> WordMatches<'q, 'a> {
    fn of(snapshot: &Snapshot<'a>, words: &'q str) -> Self {
        if let Some(set) = snapshot.songs.set_of(words) {
            return WordMatches { words, cost: set.len(), found: Found::Set(set) };
        }
        let owners = OWNER_KINDS.map(|kind| snapshot.entities(kind).suffixes_of(words));
        let songs = snapshot.songs.entities.suffixes_of(words);
        let listed = OWNER_KINDS.iter().zip(owners).map(|(&kind, found)| {
            let names = snapshot.names(kind);
            found.iter().map(|suffix| names.songs_range(suffix.entity.get()).len() + 1).sum::<usize>()
        });
        let cost = songs.len() + listed.sum::<usize>();
        WordMatches { words, found: Found::Suffixes { songs, owners }, cost }
    }

    fn is_set(&self) -> bool {
        matches!(self.found, Found::Set(_))
    }

    /// Visits the songs, one that matches by several names several times, until it is told to stop.
    fn each_song(
        &self,
        snapshot: &Snapshot<'a>,
        mut visit: impl FnMut(u32) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let (songs, owners) = match &self.found {
            Found::Set(set) => return set.iter().try_for_each(visit),
            Found::Suffixes { songs, owners } => (songs, owners),
        };
        songs.iter().try_for_each(|suffix| visit(suffix.entity.get()))?;
        for (kind, found) in OWNER_KINDS.into_iter().zip(owners) {
            let names = snapshot.names(kind);
            found.iter().try_for_each(|suffix| names.each_song(suffix.entity.get(), &mut visit))?;
        }
        ControlFlow::Continue(())
    }

    fn set(&self, snapshot: &Snapshot<'a>) -> IndexSet<'a> {
        if let Found::Set(set) = &self.found {
            return IndexSet::Ready(set.clone());
        }
        let mut set = IndexSet::new(snapshot.count(Kind::Song), self.cost);
        let _ = self.each_song(snapshot, |song| {
            set.add(song);
            ControlFlow::Continue(())
        });
        set
    }

    /// Whether so many tests are better made by names than by a set of all songs that match, and what they cost.
    fn test_cost(&self, tests: f64) -> (bool, f64) {
        let Found::Suffixes { songs, owners } = &self.found else {
            return (false, tests * ASK_COST);
        };
        let owners = owners.iter().map(|found| found.len()).sum::<usize>() as f64 * ADD_COST;
        let own = (songs.len() as f64 * ADD_COST).min(tests * NAME_COST);
        let (by_names, by_set) =
            (owners + own + tests * ASK_NAMES_COST, self.cost as f64 * ADD_COST + tests * ASK_COST);
        if by_names < by_set { (true, by_names) } else { (false, by_set) }
    }

    fn test<'m>(&'m self, snapshot: &'m Snapshot<'a>, tests: f64) -> WordTest<'m, 'a> {
        let Found::Suffixes { songs, owners } = &self.found else {
            return WordTest::Set(self.set(snapshot).lookup());
        };
        if !self.test_cost(tests).0 {
            return WordTest::Set(self.set(snapshot).lookup());
        }
        let set = |kind: Kind, found: &[Suffix]| {
            let mut set = IndexSet::new(snapshot.count(kind), found.len());
            found.iter().for_each(|suffix| set.add(suffix.entity.get()));
            set.lookup()
        };
        let few = songs.len() as f64 * ADD_COST <= tests * NAME_COST;
        WordTest::Names(Box::new(ByNames {
            songs: few.then(|| set(Kind::Song, songs)),
            owners: [0, 1, 2].map(|at| (snapshot.owners(OWNER_KINDS[at]), set(OWNER_KINDS[at], owners[at]))),
            matches: self,
            snapshot,
        }))
    }
}
