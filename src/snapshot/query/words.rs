//! The songs that some words match, and tests whether they match a song.

use std::borrow::Cow;
use std::ops::{ControlFlow, Range};

use zerocopy::little_endian::U32;

use super::counts::{WordCounts, WordLookup};
use super::lookup::ALL;
use super::sets::{IndexSet, Lookup};
use crate::model::{Kind, Owner, PerOwner};
use crate::snapshot::format::Suffix;
use crate::snapshot::open::{Bits, Snapshot};

/// Suffixes that are looked at before the songs among them are visited.
const CHUNK: usize = 256;

/// The part of the collection that some words match.
pub(super) struct WordMatches<'q, 'a> {
    words: &'q str,
    found: Found<'a>,
    /// A set that holds all songs that match, and others.
    sieve: Option<Bits<'a>>,
}

enum Found<'a> {
    /// The snapshot has a set of the songs.
    Set(Bits<'a>),
    Suffixes {
        songs: &'a [Suffix],
        /// Without the owners that a filter excludes, as it excludes all their songs: most of the songs
        /// that the words match may belong to one genre.
        owners: PerOwner<Cow<'a, [Suffix]>>,
    },
}

impl<'q, 'a> WordMatches<'q, 'a> {
    /// Looks the words up.
    pub(super) fn of(snapshot: &Snapshot<'a>, words: &'q str) -> Self {
        if let Some(set) = snapshot.songs.set_of(words) {
            return WordMatches { words, found: Found::Set(set), sieve: None };
        }
        let owners = PerOwner::new(|owner| Cow::Borrowed(snapshot.names[owner].entities.suffixes_of(words)));
        let songs = snapshot.songs.entities.suffixes_of(words);
        WordMatches { words, found: Found::Suffixes { songs, owners }, sieve: snapshot.songs.sieve_of(words) }
    }

    /// Without the albums, artists and genres that are not `left` by filters.
    pub(super) fn within(mut self, left: &PerOwner<Option<&[u32]>>) -> Self {
        if let Found::Suffixes { owners, .. } = &mut self.found {
            for owner in Owner::ALL {
                if let Some(left) = left[owner] {
                    owners[owner].to_mut().retain(|at| is_among(at.entity.get(), left));
                }
            }
        }
        self
    }

    /// The owners whose names hold the words, ascending, if these are of one kind, and no song's own name does. The
    /// words are then a filter by these owners, which costs less. `keep_set` makes no filter of a stored
    /// set.
    pub(super) fn only_owners(&self, snapshot: &Snapshot<'a>, keep_set: bool) -> Option<(Owner, Vec<u32>)> {
        let is_own = match &self.found {
            Found::Set(_) => keep_set || !snapshot.songs.entities.suffixes_of(self.words).is_empty(),
            Found::Suffixes { songs, .. } => !songs.is_empty(),
        };
        if is_own {
            return None;
        }
        let found = Owner::ALL.map(|owner| match &self.found {
            Found::Set(_) => (owner, snapshot.names[owner].entities.suffixes_of(self.words)),
            Found::Suffixes { owners, .. } => (owner, &*owners[owner]),
        });
        let mut found = found.into_iter().filter(|(_, found)| !found.is_empty());
        let (Some((owner, found)), None) = (found.next(), found.next()) else { return None };
        let mut owners: Vec<u32> = found.iter().map(|suffix| suffix.entity.get()).collect();
        owners.sort_unstable();
        owners.dedup();
        Some((owner, owners))
    }

    /// The counts for a plan.
    pub(super) fn counts(&self, snapshot: &Snapshot<'a>) -> WordCounts {
        let (songs, owners) = match &self.found {
            Found::Set(set) => {
                let sieve = self.share_of_sieve(snapshot);
                return WordCounts { is_stored_set: true, songs: set.len(), sieve, ..WordCounts::default() };
            }
            Found::Suffixes { songs, owners } => (songs, owners),
        };
        let listed = owners.iter().map(|(owner, found)| {
            let names = &snapshot.names[owner];
            found.iter().map(|suffix| names.songs_range(suffix.entity.get()).len() + 1).sum::<usize>()
        });
        WordCounts {
            is_stored_set: false,
            songs: songs.len() + listed.sum::<usize>(),
            own: songs.len(),
            owners: owners.values().map(|found| found.len()).sum(),
            kinds: owners.values().filter(|found| !found.is_empty()).count(),
            sieve: self
                .sieve
                .as_ref()
                .map(|sieve| sieve.len() as f64 / f64::from(snapshot.count(Kind::Song))),
        }
    }

    fn share_of_sieve(&self, snapshot: &Snapshot<'a>) -> Option<f64> {
        self.sieve().map(|sieve| sieve.len() as f64 / f64::from(snapshot.count(Kind::Song)))
    }

    /// A stored set that holds all songs that match.
    pub(super) fn sieve(&self) -> Option<&Bits<'a>> {
        match &self.found {
            Found::Set(set) => Some(set),
            Found::Suffixes { .. } => self.sieve.as_ref(),
        }
    }

    /// Visits the songs in `window` until `visit` breaks. A song that matches by several names comes several times.
    /// Words with a stored set list only songs that are in all `sieves`.
    pub(super) fn each_song(
        &self,
        snapshot: &Snapshot<'a>,
        sieves: &[Bits<'_>],
        window: &Range<u32>,
        mut visit: impl FnMut(u32) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let (songs, owners) = match &self.found {
            Found::Set(set) => return set.each_common(sieves, window, visit),
            Found::Suffixes { songs, owners } => (songs, owners),
        };
        match *window == ALL {
            true => songs.iter().try_for_each(|suffix| visit(suffix.entity.get()))?,
            false => songs.chunks(CHUNK).try_for_each(|chunk| each_within(chunk, window, &mut visit))?,
        }
        for (owner, found) in owners.iter() {
            let names = &snapshot.names[owner];
            found.iter().try_for_each(|suffix| names.each_song(suffix.entity.get(), window, &mut visit))?;
        }
        ControlFlow::Continue(())
    }

    /// The set of the songs; `songs` is how many [`WordMatches::each_song`] visits.
    pub(super) fn set(&self, snapshot: &Snapshot<'a>, songs: usize) -> IndexSet<'a> {
        if let Found::Set(set) = &self.found {
            return IndexSet::Ready(set.clone());
        }
        let mut set = IndexSet::new(snapshot.count(Kind::Song), songs);
        // One loop for each form of the set: a look at the form for each song would triple the time.
        let _ = match &mut set {
            IndexSet::Dense(words) => self.each_song(snapshot, &[], &ALL, |song| {
                words[song as usize / 64] |= 1 << (song % 64);
                ControlFlow::Continue(())
            }),
            sparse => self.each_song(snapshot, &[], &ALL, |song| {
                sparse.add(song);
                ControlFlow::Continue(())
            }),
        };
        set
    }

    /// The test that looks words up in this way; `songs` as for [`WordMatches::set`].
    pub(super) fn test<'m>(
        &'m self,
        snapshot: &'m Snapshot<'a>,
        lookup: WordLookup,
        songs: usize,
    ) -> WordTest<'m, 'a> {
        let (Found::Suffixes { songs: own, owners }, WordLookup::Names { own_set }) = (&self.found, lookup)
        else {
            return WordTest::Set(self.set(snapshot, songs).lookup());
        };
        WordTest::Names(ByNames {
            sieve: self.sieve.as_ref(),
            // Looking at names would find blank words everywhere.
            songs: (own_set || own.is_empty())
                .then(|| IndexSet::of(own, snapshot.count(Kind::Song)).lookup()),
            owners: Owner::ALL
                .into_iter()
                .filter(|owner| !owners[*owner].is_empty())
                .map(|owner| {
                    let set = IndexSet::of(&owners[owner], snapshot.count(owner.into()));
                    (snapshot.songs.owners[owner], set.lookup())
                })
                .collect(),
            words: self.words.as_bytes(),
            snapshot,
        })
    }
}

/// Visits the entities of a chunk that are in `window`. Gathers them without a branch, because they are few and stand
/// anywhere.
fn each_within(
    chunk: &[Suffix],
    window: &Range<u32>,
    visit: impl FnMut(u32) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let (mut list, mut len) = ([0; CHUNK], 0);
    let width = window.end - window.start;
    for suffix in chunk {
        let song = suffix.entity.get();
        list[len] = song;
        len += usize::from(song.wrapping_sub(window.start) < width);
    }
    list.into_iter().take(len).try_for_each(visit)
}

/// The test of the words.
pub(super) enum WordTest<'m, 'a> {
    /// There are none.
    None,
    /// By a set of all songs that match.
    Set(Lookup<'a>),
    /// By the names of each song.
    Names(ByNames<'m, 'a>),
}

impl WordTest<'_, '_> {
    /// Whether the words match `song`.
    #[inline]
    pub(super) fn holds(&self, song: u32) -> bool {
        match self {
            WordTest::None => true,
            WordTest::Set(set) => set.holds(song),
            WordTest::Names(names) => names.holds(song),
        }
    }
}

/// Whether words match a song by one of its names, where that costs less than listing all songs that
/// match: a genre that matches may have more songs than the number of tests.
pub(super) struct ByNames<'m, 'a> {
    /// All songs that match are in it. It is small enough for a cache of the processor, which the tables of names and
    /// owners are not.
    sieve: Option<&'m Bits<'a>>,
    /// The songs that match by their own names; without it the test looks at the name.
    songs: Option<Lookup<'a>>,
    /// The owner of each song, and the owners that match, for each kind of which any do.
    owners: Vec<(&'a [U32], Lookup<'a>)>,
    words: &'m [u8],
    snapshot: &'m Snapshot<'a>,
}

impl ByNames<'_, '_> {
    /// Whether the words match `song`.
    #[inline]
    pub(super) fn holds(&self, song: u32) -> bool {
        if self.sieve.is_some_and(|sieve| !sieve.holds(song)) {
            return false;
        }
        // Asks all, because the tables are large: the processor then waits for them together.
        let owner_holds = |held, (of, set): &(&[U32], Lookup<'_>)| held | set.holds(of[song as usize].get());
        self.owners.iter().fold(false, owner_holds) || self.own_holds(song)
    }

    /// Whether the words match the name of `song` itself.
    #[inline]
    fn own_holds(&self, song: u32) -> bool {
        match &self.songs {
            Some(set) => set.holds(song),
            None => self.snapshot.songs.entities.name_holds(song, self.words),
        }
    }

    /// Keeps the songs that the words match. Asks one table about all songs before the next table, because the
    /// processor then waits for the memory of many songs together.
    pub(super) fn retain(&self, songs: &mut Vec<u32>) {
        if let Some(sieve) = self.sieve {
            retain(songs, |song| sieve.holds(song));
        }
        let mut held = vec![false; songs.len()];
        for (of, set) in &self.owners {
            let ask = |(held, song): (&mut bool, &u32)| *held |= set.holds(of[*song as usize].get());
            held.iter_mut().zip(songs.iter()).for_each(ask);
        }
        let mut held = held.into_iter();
        songs.retain(|song| held.next().unwrap_or_default() || self.own_holds(*song));
    }
}

/// Keeps the songs that pass. Branch-free, because the outcome is unpredictable.
pub(super) fn retain(songs: &mut Vec<u32>, holds: impl Fn(u32) -> bool) {
    let mut kept = 0;
    for at in 0..songs.len() {
        let song = songs[at];
        songs[kept] = song;
        kept += usize::from(holds(song));
    }
    songs.truncate(kept);
}

/// Whether `wanted`, ascending, has `owner`.
#[inline]
pub(super) fn is_among(owner: u32, wanted: &[u32]) -> bool {
    match wanted {
        [only] => *only == owner,
        wanted => wanted.binary_search(&owner).is_ok(),
    }
}
