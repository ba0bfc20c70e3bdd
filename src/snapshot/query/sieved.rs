//! A page of songs in default order from the stored sets of words and of their beginnings alone.
//!
//! The first songs that are in all these sets are few, and most of them match. To look at their names costs less than
//! to look the words up.

use std::ops::ControlFlow;

use super::question::{Page, Query};
use crate::model::Owner;
use crate::snapshot::format::PREFIX_CHARS;
use crate::snapshot::open::{Bits, Snapshot};

/// Pages that end later have too many songs to look at.
const END_MAX: usize = 64;
/// The songs of the collection whose sets are read: two sets of them have 32 KB.
const WINDOW: u32 = 1 << 17;
/// Songs that should be in all sets for each song up to the end of the page, as not all of them match.
const SURPLUS: f64 = 2.0;
/// Most songs to look at.
const LOOKS_MAX: usize = 96;
/// Songs to look at before the code gives up because few match.
const LOOKS_MIN: usize = 16;
/// It gives up if fewer than one of that many songs matches.
const LOOKS_PER_MATCH: usize = 4;

/// The page, which is in default order; `None` if there may be a cheaper way, or songs that match behind those that
/// were looked at.
pub(super) fn page(snapshot: &Snapshot<'_>, query: &Query) -> Option<Vec<u32>> {
    let page = query.page.filter(|page| page.limit > 0 && page.end() <= END_MAX)?;
    // Blank words match nothing.
    let are_blank = query.beginnings.as_ref().is_some_and(Vec::is_empty);
    if query.id.is_some() || !query.filters.is_empty() || are_blank {
        return None;
    }
    Sieved::of(snapshot, query)?.page(page)
}

struct Sieved<'q, 'a> {
    snapshot: &'q Snapshot<'a>,
    /// The words of which only the beginning has a set.
    tested: Vec<&'q [u8]>,
    /// A set for each word.
    sets: Vec<Bits<'a>>,
}

impl<'q, 'a> Sieved<'q, 'a> {
    /// `None` without words, if a word has no set, or if there is only one word and its set has the songs that match.
    fn of(snapshot: &'q Snapshot<'a>, query: &'q Query) -> Option<Self> {
        let words = || query.words.iter().chain(query.beginnings.iter().flatten());
        let is_longer = |words: &&String| words.chars().nth(PREFIX_CHARS).is_some();
        let tested: Vec<_> = words().filter(is_longer).map(|words| words.as_bytes()).collect();
        let set = |words: &String| snapshot.songs.set_of(words).or_else(|| snapshot.songs.sieve_of(words));
        let sets: Vec<_> = words().map(set).collect::<Option<_>>()?;
        let is_for_others = tested.is_empty() && sets.len() < 2;
        (!is_for_others).then_some(Sieved { snapshot, tested, sets })
    }

    fn page(&self, page: Page) -> Option<Vec<u32>> {
        let songs = self.snapshot.songs.entities.count;
        let window = songs.min(WINDOW);
        let (first, others) = self.sets.split_first().filter(|_| self.is_promising(page, window))?;
        let (mut found, mut looks) = (Vec::with_capacity(page.end()), 0);
        let ended = first.each_common(others, &(0..window), |song| {
            looks += 1;
            if self.holds(song) {
                found.push(song);
            }
            let is_vain = looks >= LOOKS_MIN && found.len() * LOOKS_PER_MATCH < looks;
            let is_over = found.len() == page.end() || is_vain || looks == LOOKS_MAX;
            if is_over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let is_all = window == songs && ended.is_continue();
        (is_all || found.len() == page.end()).then(|| page.of(found.into_iter()))
    }

    /// Whether the page probably ends among the first songs of the collection.
    fn is_promising(&self, page: Page, window: u32) -> bool {
        let songs = self.snapshot.songs.entities.count;
        let share = |set: &Bits<'_>| set.len() as f64 / f64::from(songs);
        let in_all = self.sets.iter().map(share).product::<f64>() * f64::from(window);
        window == songs || in_all >= SURPLUS * page.end() as f64
    }

    /// Whether a song that is in all sets matches.
    fn holds(&self, song: u32) -> bool {
        self.tested.iter().all(|words| {
            let holds = |owner: Owner| {
                let at = self.snapshot.songs.owners[owner][song as usize].get();
                self.snapshot.names[owner].entities.name_holds(at, words)
            };
            self.snapshot.songs.entities.name_holds(song, words) || Owner::ALL.into_iter().any(holds)
        })
    }
}
