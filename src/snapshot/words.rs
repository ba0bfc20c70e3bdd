//! Which songs some words match, and how that is best found out of a song.

use std::borrow::Cow;
use std::ops::ControlFlow;

use zerocopy::little_endian::U32;

use super::Kind;
use super::bits::Bits;
use super::format::Suffix;
use super::open::Snapshot;
use super::sets::{IndexSet, Lookup};

/// What steps cost, counted in songs that are listed: to ask a set, to put a song or a name into one, to look
/// for the words in a song's name, and to ask the sets of all its names.
const ASK_COST: f64 = 1.0;
const ADD_COST: f64 = 2.0;
const NAME_COST: f64 = 40.0;
const ASK_NAMES_COST: f64 = 24.0;

/// What songs belong to.
pub(super) const OWNER_KINDS: [Kind; 3] = [Kind::Album, Kind::Artist, Kind::Genre];

/// What of the collection some words match.
pub(super) struct WordMatches<'q, 'a> {
    words: &'q str,
    found: Found<'a>,
    /// How many songs it takes to list them, the same song counted as often as it matches.
    pub(super) cost: usize,
}

enum Found<'a> {
    /// The set was made with the snapshot.
    Set(Bits<'a>),
    Suffixes {
        songs: &'a [Suffix],
        /// Without those that a filter leaves out, as all their songs are: a genre's may be most
        /// of what the words match.
        owners: [Cow<'a, [Suffix]>; 3],
    },
}

impl<'q, 'a> WordMatches<'q, 'a> {
    /// `left` are the albums, artists and genres that filters leave, by kind.
    pub(super) fn of(snapshot: &Snapshot<'a>, words: &'q str, left: [Option<&[u32]>; 3]) -> Self {
        if let Some(set) = snapshot.songs.set_of(words) {
            return WordMatches { words, cost: set.len(), found: Found::Set(set) };
        }
        let owners = OWNER_KINDS.map(|kind| {
            let found = snapshot.entities(kind).suffixes_of(words);
            match left[kind as usize] {
                None => Cow::Borrowed(found),
                Some(left) => found.iter().filter(|at| is_among(at.entity.get(), left)).copied().collect(),
            }
        });
        let songs = snapshot.songs.entities.suffixes_of(words);
        let listed = OWNER_KINDS.iter().zip(&owners).map(|(&kind, found)| {
            let names = snapshot.names(kind);
            found.iter().map(|suffix| names.songs_range(suffix.entity.get()).len() + 1).sum::<usize>()
        });
        let cost = songs.len() + listed.sum::<usize>();
        WordMatches { words, found: Found::Suffixes { songs, owners }, cost }
    }

    pub(super) fn is_set(&self) -> bool {
        matches!(self.found, Found::Set(_))
    }

    /// Visits the songs, one that matches by several names several times, until it is told to stop.
    pub(super) fn each_song(
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

    pub(super) fn set(&self, snapshot: &Snapshot<'a>) -> IndexSet<'a> {
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

    /// How so many tests are best made, and what they cost.
    pub(super) fn lookup(&self, tests: f64) -> (WordLookup, f64) {
        let Found::Suffixes { songs, owners } = &self.found else {
            return (WordLookup::Set, tests * ASK_COST);
        };
        let owners = owners.iter().map(|found| found.len()).sum::<usize>() as f64 * ADD_COST;
        let (by_own_set, by_own_name) = (songs.len() as f64 * ADD_COST, tests * NAME_COST);
        let by_names = owners + by_own_set.min(by_own_name) + tests * ASK_NAMES_COST;
        let by_set = self.cost as f64 * ADD_COST + tests * ASK_COST;
        if by_set <= by_names {
            return (WordLookup::Set, by_set);
        }
        (WordLookup::Names { own_set: by_own_set <= by_own_name }, by_names)
    }

    pub(super) fn test<'m>(&'m self, snapshot: &'m Snapshot<'a>, tests: f64) -> WordTest<'m, 'a> {
        let (Found::Suffixes { songs, owners }, WordLookup::Names { own_set }) =
            (&self.found, self.lookup(tests).0)
        else {
            return WordTest::Set(self.set(snapshot).lookup());
        };
        let set = |kind: Kind, found: &[Suffix]| {
            let mut set = IndexSet::new(snapshot.count(kind), found.len());
            found.iter().for_each(|suffix| set.add(suffix.entity.get()));
            set.lookup()
        };
        WordTest::Names(Box::new(ByNames {
            songs: own_set.then(|| set(Kind::Song, songs)),
            owners: [0, 1, 2].map(|at| (snapshot.owners(OWNER_KINDS[at]), set(OWNER_KINDS[at], &owners[at]))),
            matches: self,
            snapshot,
        }))
    }
}

/// How words are looked up for a song.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WordLookup {
    /// In a set of all songs that match.
    Set,
    /// In sets of albums, artists and genres, and in its own name or a set of songs that match by theirs.
    Names { own_set: bool },
}

/// The test of the words.
pub(super) enum WordTest<'m, 'a> {
    /// There are none.
    None,
    Set(Lookup<'a>),
    Names(Box<ByNames<'m, 'a>>),
}

/// Whether words match a song by one of its names, where that costs less than to list all such songs:
/// a genre that matches may have more songs than are tested.
pub(super) struct ByNames<'m, 'a> {
    /// The songs that match by their own names; those are looked at if there is none.
    songs: Option<Lookup<'a>>,
    /// The owner of each song, and those that match.
    owners: [(&'a [U32], Lookup<'a>); 3],
    matches: &'m WordMatches<'m, 'a>,
    snapshot: &'m Snapshot<'a>,
}

impl ByNames<'_, '_> {
    pub(super) fn lookup(&self) -> WordLookup {
        WordLookup::Names { own_set: self.songs.is_some() }
    }

    #[inline]
    pub(super) fn holds(&self, song: u32) -> bool {
        // All are asked, as the tables are large: the processor waits for them together.
        let owner_holds = |held, (of, set): &(&[U32], Lookup<'_>)| held | set.holds(of[song as usize].get());
        self.owners.iter().fold(false, owner_holds)
            || match &self.songs {
                Some(set) => set.holds(song),
                None => self.snapshot.songs.entities.name_holds(song, self.matches.words.as_bytes()),
            }
    }
}

#[inline]
pub(super) fn is_among(owner: u32, wanted: &[u32]) -> bool {
    match wanted {
        [only] => *only == owner,
        wanted => wanted.binary_search(&owner).is_ok(),
    }
}
