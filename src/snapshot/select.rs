//! What the tables say at once: entities by words, name or id, and the songs of each.

use std::cmp::Ordering;
use std::ops::{ControlFlow, Range};

use zerocopy::little_endian::U32;

use super::Kind;
use super::bits::Bits;
use super::format::{PREFIX_CHARS, Suffix};
use super::open::{Entities, Names, Snapshot, Songs};
use super::query::{Selection, partition_point, reach};
use super::sets::IndexSet;
use crate::text;

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
        set.into_selection()
    }

    pub(super) fn names(&self, kind: Kind) -> &Names<'a> {
        match kind {
            Kind::Album => &self.albums,
            Kind::Artist => &self.artists,
            Kind::Genre | Kind::Song => &self.genres,
        }
    }

    /// The album, artist or genre of each song.
    pub(super) fn owners(&self, kind: Kind) -> &'a [U32] {
        match kind {
            Kind::Album => self.songs.album,
            Kind::Artist => self.songs.artist,
            Kind::Genre | Kind::Song => self.songs.genre,
        }
    }
}

/// How many items at the beginning of a sorted slice it holds for: mostly few, so that a second
/// binary search would look at many more.
fn leading<T>(sorted: &[T], holds: impl Fn(&T) -> bool) -> usize {
    // Entities and their words are numbered in 32 bits.
    reach(sorted.len() as u32, |by| holds(&sorted[by as usize - 1])) as usize
}

impl<'a> Entities<'a> {
    /// The suffixes that begin with `words`, none for blank words.
    pub(super) fn suffixes_of(&self, words: &str) -> &'a [Suffix] {
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
        let rest = &self.suffixes[start..];
        &rest[..leading(rest, |suffix| compare(suffix) == Ordering::Equal)]
    }

    pub(super) fn index_of(&self, id: &[u8; 16]) -> Option<u32> {
        // Ids are hashes, so they are spread evenly, and one is found near where it would stand if they
        // were spread quite evenly: within the square root of their number, by doubled steps.
        let by_id = self.by_id;
        let id_at = |place: u32| &self.ids[by_id[place as usize].get() as usize];
        let count = by_id.len() as u32;
        let head = id.first_chunk().map_or(0, |head| u32::from_be_bytes(*head));
        let guess = ((u64::from(head) * u64::from(count)) >> 32) as u32;
        let above = reach(count - guess, |by| id_at(guess + by - 1) < id);
        let place = guess + above - reach(guess, |by| above == 0 && id_at(guess - by) >= id);
        (place < count && id_at(place) == id).then(|| by_id[place as usize].get())
    }

    /// Whether the words stand at the beginning of a word of the entity's name.
    pub(super) fn name_holds(&self, at: u32, words: &[u8]) -> bool {
        let form = self.forms.get(at);
        text::word_starts(form).any(|start| form[start..].starts_with(words))
    }
}

impl Names<'_> {
    pub(super) fn songs_range(&self, at: u32) -> Range<u32> {
        self.song_offsets[at as usize].get()..self.song_offsets[at as usize + 1].get()
    }

    /// The songs of these entities (ascending), ascending.
    pub(super) fn songs_of(&self, entities: &[u32]) -> Vec<u32> {
        let mut list = Vec::with_capacity(entities.iter().map(|&at| self.songs_range(at).len()).sum());
        for &at in entities {
            let _ = self.each_song(at, |song| {
                list.push(song);
                ControlFlow::Continue(())
            });
        }
        if entities.len() > 1 && self.songs.is_some() {
            list.sort_unstable();
        }
        list
    }

    /// Visits the songs of an entity, ascending, until it is told to stop.
    pub(super) fn each_song(
        &self,
        at: u32,
        mut visit: impl FnMut(u32) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut range = self.songs_range(at);
        match self.songs {
            None => range.try_for_each(visit),
            Some(songs) => {
                songs[range.start as usize..range.end as usize].iter().try_for_each(|song| visit(song.get()))
            }
        }
    }

    pub(super) fn with_lower_name(&self, name: &str) -> impl Iterator<Item = u32> {
        let text = |at: u32| self.lower.get(at);
        let start = self.by_lower.partition_point(|at| text(at.get()) < name.as_bytes());
        let rest = &self.by_lower[start..];
        rest[..leading(rest, |at| text(at.get()) == name.as_bytes())].iter().map(|at| at.get())
    }
}

impl<'a> Songs<'a> {
    /// The songs that match words as short as this, if those are kept as a set.
    pub(super) fn set_of(&self, words: &str) -> Option<Bits<'a>> {
        if words.chars().nth(PREFIX_CHARS).is_some() {
            return None;
        }
        let sets = &self.sets;
        let count = sets.counts.len() as u32;
        let at = partition_point(count, |at| sets.prefixes.get(at) < words.as_bytes());
        (at < count && sets.prefixes.get(at) == words.as_bytes()).then(|| sets.get(at))
    }
}
