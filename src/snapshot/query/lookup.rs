//! Look-ups in the tables: entities by words, name or id, and the songs of each owner.

use std::cmp::Ordering;
use std::ops::{ControlFlow, Range};

use super::galloping::{leading, partition_point, reach};
use crate::snapshot::format::{PREFIX_CHARS, Suffix};
use crate::snapshot::open::{Bits, Entities, Names, Songs};
use crate::text;

/// The window of all songs.
pub(super) const ALL: Range<u32> = 0..u32::MAX;

impl<'a> Entities<'a> {
    /// The suffixes that begin with `words`, none for blank words.
    pub(super) fn suffixes_of(&self, words: &str) -> &'a [Suffix] {
        if words.is_empty() {
            return &[];
        }
        let words = words.as_bytes();
        let text = |suffix: &Suffix| &self.forms.get(suffix.entity.get())[suffix.start.get() as usize..];
        // Compares the beginning of a suffix, cut to the length of the words, so that all matches are equal.
        let compare = |suffix: &Suffix| {
            let text = text(suffix);
            text[..text.len().min(words.len())].cmp(words)
        };
        let start = self.suffixes.partition_point(|suffix| compare(suffix) == Ordering::Less);
        let rest = &self.suffixes[start..];
        &rest[..leading(rest, |suffix| compare(suffix) == Ordering::Equal)]
    }

    /// The entity with this id.
    pub(in crate::snapshot) fn index_of(&self, id: &[u8; 16]) -> Option<u32> {
        // Ids are hashes, hence uniformly distributed: the distance of an id from its place in a perfectly
        // even distribution is about the square root of their number. Galloping finds it from there.
        let by_id = self.by_id;
        let id_at = |place: u32| &self.ids[by_id[place as usize].get() as usize];
        let count = by_id.len() as u32;
        let head = id.first_chunk().map_or(0, |head| u32::from_be_bytes(*head));
        let guess = ((u64::from(head) * u64::from(count)) >> 32) as u32;
        let above = reach(count - guess, |by| id_at(guess + by - 1) < id);
        let place = guess + above - reach(guess, |by| above == 0 && id_at(guess - by) >= id);
        (place < count && id_at(place) == id).then(|| by_id[place as usize].get())
    }

    /// Whether the words match at the beginning of a word of the entity's name.
    pub(super) fn name_holds(&self, at: u32, words: &[u8]) -> bool {
        let form = self.forms.get(at);
        text::word_starts(form).any(|start| form[start..].starts_with(words))
    }
}

impl Names<'_> {
    /// The places of an entity's songs in the list of songs, or for artists in default order.
    pub(in crate::snapshot) fn songs_range(&self, at: u32) -> Range<u32> {
        self.song_offsets[at as usize].get()..self.song_offsets[at as usize + 1].get()
    }

    /// The songs of these entities (ascending), ascending.
    pub(super) fn songs_of(&self, entities: &[u32]) -> Vec<u32> {
        let mut list = Vec::with_capacity(entities.iter().map(|&at| self.songs_range(at).len()).sum());
        for &at in entities {
            let _ = self.each_song(at, &ALL, |song| {
                list.push(song);
                ControlFlow::Continue(())
            });
        }
        if entities.len() > 1 && self.songs.is_some() {
            list.sort_unstable();
        }
        list
    }

    /// Visits the songs of an entity that are in `window`, ascending, until `visit` breaks.
    pub(super) fn each_song(
        &self,
        at: u32,
        window: &Range<u32>,
        visit: impl FnMut(u32) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let range = self.songs_range(at);
        match self.songs {
            None => (range.start.max(window.start)..range.end.min(window.end)).try_for_each(visit),
            Some(songs) => {
                let songs = &songs[range.start as usize..range.end as usize];
                let before = match window.start {
                    0 => 0,
                    start => songs.partition_point(|song| song.get() < start),
                };
                let within =
                    songs[before..].iter().map(|song| song.get()).take_while(|song| *song < window.end);
                within.into_iter().try_for_each(visit)
            }
        }
    }

    /// The entities whose name in lower case is `name`, ascending.
    pub(super) fn with_lower_name(&self, name: &str) -> impl Iterator<Item = u32> {
        let text = |at: u32| self.lower.get(at);
        let start = self.by_lower.partition_point(|at| text(at.get()) < name.as_bytes());
        let rest = &self.by_lower[start..];
        rest[..leading(rest, |at| text(at.get()) == name.as_bytes())].iter().map(|at| at.get())
    }
}

impl<'a> Songs<'a> {
    /// The songs that words match, if the words are short and the snapshot has a set for them.
    pub(super) fn set_of(&self, words: &str) -> Option<Bits<'a>> {
        if words.chars().nth(PREFIX_CHARS).is_some() {
            return None;
        }
        let sets = &self.sets;
        let count = sets.counts.len() as u32;
        let at = partition_point(count, |at| sets.prefixes.get(at) < words.as_bytes());
        (at < count && sets.prefixes.get(at) == words.as_bytes()).then(|| sets.get(at))
    }

    /// A set that holds all songs that longer words match, if the snapshot has one for their beginning.
    pub(super) fn sieve_of(&self, words: &str) -> Option<Bits<'a>> {
        let (end, _) = words.char_indices().nth(PREFIX_CHARS)?;
        self.set_of(&words[..end])
    }
}
