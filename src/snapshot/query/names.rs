//! Albums, artists and genres that match, and their songs.

use super::lookup::ALL;
use super::matching::Matching;
use super::plan::COSTS;
use super::question::Query;
use super::selection::{Runs, Selection};
use super::sets::IndexSet;
use crate::model::{Kind, Owner};
use crate::snapshot::format::Suffix;
use crate::snapshot::open::{Entities, Snapshot};

/// The number of names that go into a set at the cost of a search for a word in one name.
const NAME: usize = 8;

/// The numbers of songs and albums of an album, artist or genre.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SongCounts {
    /// Songs.
    pub songs: u32,
    /// Albums that have such a song.
    pub albums: u32,
}

impl<'a> Snapshot<'a> {
    /// Albums, artists or genres that match, in default order.
    pub(super) fn names_matching(&self, owner: Owner, query: &Query) -> Selection<'a> {
        let entities = &self.names[owner].entities;
        let by_name = match (&query.words, &query.beginnings) {
            (None, None) => Selection::Range(0..entities.count),
            (Some(words), None) => IndexSet::of(entities.suffixes_of(words), entities.count).into_selection(),
            (words, Some(beginnings)) => match beginnings.is_empty() {
                true => Selection::EMPTY,
                false => Selection::List(entities.with_all(words.iter().chain(beginnings))),
            },
        };
        let found = match &query.with_songs {
            None => by_name,
            Some(songs) => self.that_own(owner, by_name, songs),
        };
        let Some(id) = query.id else { return found };
        let only = self.find(owner.into(), id).filter(|at| Runs::new(found).any(|run| run.contains(at)));
        only.map_or(Selection::EMPTY, |at| Selection::Range(at..at + 1))
    }

    /// The entities of `found` that have a song which matches.
    fn that_own(&self, owner: Owner, found: Selection<'a>, songs: &Query) -> Selection<'a> {
        let songs = self.all_songs(songs);
        let count = self.names[owner].entities.count;
        let mut owners = IndexSet::new(count, songs.len());
        let of = self.songs.owners[owner];
        Runs::new(songs).flatten().for_each(|song| owners.add(of[song as usize].get()));
        if matches!(&found, Selection::Range(range) if *range == (0..count)) {
            return owners.into_selection();
        }
        let owners = owners.lookup();
        Selection::List(Runs::new(found).flatten().filter(|at| owners.holds(*at)).collect())
    }

    /// All songs that match, in default order.
    fn all_songs(&self, query: &Query) -> Selection<'a> {
        let Some(matching) = Matching::of(self, query) else { return Selection::EMPTY };
        self.select_matching(&COSTS, &matching, &Query { id: query.id, ..Query::default() })
    }

    /// The numbers of songs and of albums for each entity of `selection`, which are of kind `owner`: of all
    /// their songs, or of those that match. This takes one step per song.
    pub fn song_counts(
        &self,
        owner: Owner,
        selection: &Selection<'a>,
        songs: Option<&Query>,
    ) -> Vec<SongCounts> {
        let wanted = songs.map(|songs| {
            let songs = self.all_songs(songs);
            let mut set = IndexSet::new(self.count(Kind::Song), songs.len());
            Runs::new(songs).flatten().for_each(|song| set.add(song));
            set.lookup()
        });
        let (names, albums) = (&self.names[owner], self.songs.owners[Owner::Album]);
        // For each album, the last entity that was counted for it, so that no set needs clearing. No index
        // has the initial value.
        let mut seen = vec![u32::MAX; self.count(Owner::Album.into()) as usize];
        let count = |at: u32| {
            let mut counts = SongCounts::default();
            let _ = names.each_song(at, &ALL, |song| {
                if wanted.as_ref().is_none_or(|wanted| wanted.holds(song)) {
                    counts.songs += 1;
                    let last = &mut seen[albums[song as usize].get() as usize];
                    counts.albums += u32::from(*last != at);
                    *last = at;
                }
                std::ops::ControlFlow::Continue(())
            });
            counts
        };
        Runs::new(selection.clone()).flatten().map(count).collect()
    }
}

impl Entities<'_> {
    /// The entities whose names hold all these beginnings of words, ascending.
    fn with_all<'w>(&self, words: impl Iterator<Item = &'w String>) -> Vec<u32> {
        let mut found: Vec<(&[u8], &[Suffix])> =
            words.map(|words| (words.as_bytes(), self.suffixes_of(words))).collect();
        found.sort_by_key(|(_, suffixes)| suffixes.len());
        let mut found = found.into_iter();
        let Some((_, rarest)) = found.next() else { return Vec::new() };
        let mut list: Vec<u32> = rarest.iter().map(|suffix| suffix.entity.get()).collect();
        list.sort_unstable();
        list.dedup();
        for (words, suffixes) in found {
            if suffixes.len() > list.len().saturating_mul(NAME) {
                list.retain(|at| self.name_holds(*at, words));
            } else {
                let set = IndexSet::of(suffixes, self.count).lookup();
                list.retain(|at| set.holds(*at));
            }
        }
        list
    }
}
