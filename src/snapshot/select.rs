//! Which entities match: sets of indexes in default order, made as cheaply as the
//! question allows.
//!
//! One part of a question (the one with the fewest songs) is listed; the other parts are
//! tests on each of these songs, which the tables answer in a step or two.

use std::cmp::Ordering;
use std::ops::Range;

use super::Kind;
use super::bits::Bits;
use super::format::{PREFIX_CHARS, Suffix, is_dense};
use super::open::{Entities, Names, Snapshot, Songs};
use super::query::{Filter, Members, Query, Runs, Selection, partition_point};
use crate::text;

/// Looking at one song's names costs about as much as listing this many matches.
const TEST_COST: usize = 16;

impl<'a> Snapshot<'a> {
    /// Albums, artists or genres whose name matches, all without `words`.
    pub(super) fn names_matching(&self, kind: Kind, words: Option<&str>) -> Selection<'a> {
        let entities = self.entities(kind);
        let Some(words) = words else {
            return Selection::Range(0..entities.count);
        };
        let found = entities.suffixes_of(words);
        let mut set = IndexSet::new(entities.count, found.len());
        found.iter().for_each(|suffix| set.add(suffix.entity.get()));
        set.into_selection(usize::MAX)
    }

    /// Songs that match words and filters, in default order.
    pub(super) fn songs_matching(&self, query: &Query) -> Selection<'a> {
        let Some(owners) = Owners::of(self, &query.filters) else {
            return Selection::EMPTY;
        };
        let words = query.words.as_deref().map(|words| WordMatches::of(self, words));
        let words_cost = words.as_ref().map_or(usize::MAX, |words| words.cost);
        let Some((kind, filter_cost)) = owners.smallest(self) else {
            return match words {
                None => Selection::Range(0..self.songs.entities.count),
                Some(words) => words.songs(self).into_selection(query.enough()),
            };
        };
        if words_cost <= filter_cost {
            let Some(words) = words else { return Selection::EMPTY };
            let songs = words.songs(self).into_selection(usize::MAX);
            let held = Runs::new(songs).flatten().filter(|&song| owners.hold(self, song, None));
            return Selection::List(held.collect());
        }
        self.songs_of_owners(kind, &owners, words.as_ref(), filter_cost)
    }

    /// The songs of the owners of `kind` that the other owners and the words allow.
    fn songs_of_owners(
        &self,
        kind: Kind,
        owners: &Owners,
        words: Option<&WordMatches<'_, 'a>>,
        cost: usize,
    ) -> Selection<'a> {
        let listed = owners.get(kind).unwrap_or_default();
        let alone = words.is_none() && owners.only(kind);
        if let (true, [artist], Kind::Artist) = (alone, listed, kind) {
            return Selection::Range(self.artists.songs_range(*artist));
        }
        let mut songs = self.names(kind).songs_of(listed);
        if alone {
            return Selection::List(songs);
        }
        match words {
            None => songs.retain(|&song| owners.hold(self, song, Some(kind))),
            Some(words) if words.cost <= cost.saturating_mul(TEST_COST) => {
                let matching = words.songs(self);
                let matching = matching.lookup();
                songs.retain(|&song| matching.holds(song) && owners.hold(self, song, Some(kind)));
            }
            Some(words) => {
                songs.retain(|&song| owners.hold(self, song, Some(kind)) && words.hold(self, song));
            }
        }
        Selection::List(songs)
    }

    fn names(&self, kind: Kind) -> &Names<'a> {
        match kind {
            Kind::Album => &self.albums,
            Kind::Artist => &self.artists,
            Kind::Genre | Kind::Song => &self.genres,
        }
    }

    /// The album, artist or genre of a song.
    fn owner(&self, kind: Kind, song: u32) -> u32 {
        let owners = match kind {
            Kind::Album => self.songs.album,
            Kind::Artist => self.songs.artist,
            Kind::Genre | Kind::Song => self.songs.genre,
        };
        owners[song as usize].get()
    }
}

impl<'a> Entities<'a> {
    /// The suffixes that begin with `words`, none for blank words.
    fn suffixes_of(&self, words: &str) -> &'a [Suffix] {
        if words.is_empty() {
            return &[];
        }
        let words = words.as_bytes();
        let text = |suffix: &Suffix| &self.forms.get(suffix.entity.get())[suffix.start.get() as usize..];
        // The beginning of a suffix that is as long as the words, so that all that match are equal.
        let compare = |suffix: &Suffix| {
            let text = text(suffix);
            text[..text.len().min(words.len())].cmp(words)
        };
        let start = self.suffixes.partition_point(|suffix| compare(suffix) == Ordering::Less);
        let matching = self.suffixes[start..].partition_point(|suffix| compare(suffix) == Ordering::Equal);
        &self.suffixes[start..start + matching]
    }

    fn index_of(&self, id: &[u8; 16]) -> Option<u32> {
        let place = self.by_id.binary_search_by(|at| self.ids[at.get() as usize].cmp(id)).ok()?;
        Some(self.by_id[place].get())
    }

    /// Whether the words stand at the beginning of a word of the entity's name.
    fn name_holds(&self, at: u32, words: &[u8]) -> bool {
        let form = self.forms.get(at);
        text::word_starts(form).any(|start| form[start..].starts_with(words))
    }
}

impl Names<'_> {
    fn songs_range(&self, at: u32) -> Range<u32> {
        self.song_offsets[at as usize].get()..self.song_offsets[at as usize + 1].get()
    }

    /// The songs of these entities (ascending), ascending.
    fn songs_of(&self, entities: &[u32]) -> Vec<u32> {
        let mut list = Vec::with_capacity(entities.iter().map(|&at| self.songs_range(at).len()).sum());
        for &at in entities {
            self.each_song(at, |song| list.push(song));
        }
        if entities.len() > 1 && self.songs.is_some() {
            list.sort_unstable();
        }
        list
    }

    fn each_song(&self, at: u32, visit: impl FnMut(u32)) {
        let range = self.songs_range(at);
        match self.songs {
            None => range.for_each(visit),
            Some(songs) => {
                songs[range.start as usize..range.end as usize].iter().map(|song| song.get()).for_each(visit);
            }
        }
    }

    fn with_lower_name(&self, name: &str) -> impl Iterator<Item = u32> {
        let text = |at: u32| self.lower.get(at);
        let start = self.by_lower.partition_point(|at| text(at.get()) < name.as_bytes());
        let equal = self.by_lower[start..].partition_point(|at| text(at.get()) == name.as_bytes());
        self.by_lower[start..start + equal].iter().map(|at| at.get())
    }
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

    fn only(&self, kind: Kind) -> bool {
        OWNER_KINDS.into_iter().all(|other| other == kind || self.get(other).is_none())
    }

    /// The kind whose owners have the fewest songs, and how many.
    fn smallest(&self, snapshot: &Snapshot<'_>) -> Option<(Kind, usize)> {
        let songs = |kind: Kind, owners: &[u32]| {
            let names = snapshot.names(kind);
            owners.iter().map(|&at| names.songs_range(at).len()).sum()
        };
        let costs = OWNER_KINDS.into_iter().filter_map(|kind| Some((kind, songs(kind, self.get(kind)?))));
        costs.min_by_key(|(_, cost)| *cost)
    }

    /// Whether they hold the song, `except` for the kind that is known to.
    fn hold(&self, snapshot: &Snapshot<'_>, song: u32, except: Option<Kind>) -> bool {
        OWNER_KINDS.into_iter().filter(|kind| Some(*kind) != except).all(|kind| {
            self.get(kind).is_none_or(|owners| owners.binary_search(&snapshot.owner(kind, song)).is_ok())
        })
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

    fn songs(&self, snapshot: &Snapshot<'a>) -> IndexSet<'a> {
        let (songs, owners) = match &self.found {
            Found::Set(set) => return IndexSet::Ready(set.clone()),
            Found::Suffixes { songs, owners } => (songs, owners),
        };
        let mut set = IndexSet::new(snapshot.songs.entities.count, self.cost);
        songs.iter().for_each(|suffix| set.add(suffix.entity.get()));
        for (kind, found) in OWNER_KINDS.into_iter().zip(owners) {
            let names = snapshot.names(kind);
            for suffix in *found {
                names.each_song(suffix.entity.get(), |song| set.add(song));
            }
        }
        set
    }

    /// The same for one song, by its names.
    fn hold(&self, snapshot: &Snapshot<'_>, song: u32) -> bool {
        if let Found::Set(set) = &self.found {
            return set.holds(song);
        }
        let words = self.words.as_bytes();
        let owner_holds = |kind: Kind| snapshot.entities(kind).name_holds(snapshot.owner(kind, song), words);
        snapshot.songs.entities.name_holds(song, words) || OWNER_KINDS.into_iter().any(owner_holds)
    }
}

impl<'a> Songs<'a> {
    /// The songs that match words as short as this, if those are kept as a set.
    fn set_of(&self, words: &str) -> Option<Bits<'a>> {
        if words.chars().nth(PREFIX_CHARS).is_some() {
            return None;
        }
        let sets = &self.sets;
        let count = sets.counts.len() as u32;
        let at = partition_point(count, |at| sets.prefixes.get(at) < words.as_bytes());
        (at < count && sets.prefixes.get(at) == words.as_bytes()).then(|| sets.get(at))
    }
}

/// A set of indexes in the making.
enum IndexSet<'a> {
    Sparse(Vec<u32>),
    Dense(Vec<u64>),
    Ready(Bits<'a>),
}

impl<'a> IndexSet<'a> {
    /// For indexes below `count`, of which at most `expected` are added.
    fn new(count: u32, expected: usize) -> Self {
        if is_dense(expected, count) {
            return IndexSet::Dense(vec![0; (count as usize).div_ceil(64)]);
        }
        IndexSet::Sparse(Vec::with_capacity(expected))
    }

    /// Adds to a set that is not ready yet.
    fn add(&mut self, at: u32) {
        match self {
            IndexSet::Sparse(list) => list.push(at),
            IndexSet::Dense(words) => words[at as usize / 64] |= 1 << (at % 64),
            IndexSet::Ready(_) => {}
        }
    }

    /// The members in ascending order, the first `enough` of them at least.
    fn into_selection(self, enough: usize) -> Selection<'a> {
        let bits = match self {
            IndexSet::Sparse(list) => return Selection::List(smallest(list, enough)),
            IndexSet::Dense(words) => Bits::made(words),
            IndexSet::Ready(bits) => bits,
        };
        Selection::Members(Members { places: 0..bits.len(), bits })
    }

    /// The set, ready to be asked.
    fn lookup(self) -> Lookup<'a> {
        match self {
            IndexSet::Sparse(list) => Lookup::Sparse(smallest(list, usize::MAX)),
            IndexSet::Dense(words) => Lookup::Dense(Bits::made(words)),
            IndexSet::Ready(bits) => Lookup::Dense(bits),
        }
    }
}

/// The members of `list` in ascending order, each once, the smallest `enough` of them at least.
fn smallest(mut list: Vec<u32>, enough: usize) -> Vec<u32> {
    // Most songs match by few of their names, so that few are listed more than a few times.
    let first = enough.saturating_mul(4);
    if first < list.len() / 4 {
        let (before, _, _) = list.select_nth_unstable(first);
        before.sort_unstable();
        let mut before = before.to_vec();
        before.dedup();
        if before.len() >= enough {
            return before;
        }
    }
    list.sort_unstable();
    list.dedup();
    list
}

/// A finished set of indexes.
enum Lookup<'a> {
    Sparse(Vec<u32>),
    Dense(Bits<'a>),
}

impl Lookup<'_> {
    fn holds(&self, at: u32) -> bool {
        match self {
            Lookup::Sparse(list) => list.binary_search(&at).is_ok(),
            Lookup::Dense(bits) => bits.holds(at),
        }
    }
}
