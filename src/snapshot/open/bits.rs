//! Sets of entities as bitmaps, stored in the snapshot or made by a query.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use zerocopy::little_endian::U64;

/// Words of sets that are put together at a time.
const CHUNK: usize = 64;

/// A set of entities: bit *i* mod 64 of word *i* div 64 is entity *i*.
#[derive(Debug, Clone)]
pub(crate) struct Bits<'a> {
    words: Words<'a>,
    count: u32,
}

#[derive(Debug, Clone)]
enum Words<'a> {
    Mapped(&'a [U64]),
    Made(Arc<Vec<u64>>),
}

impl<'a> Bits<'a> {
    /// A set in the snapshot, with `count` members.
    pub(crate) fn mapped(words: &'a [U64], count: u32) -> Self {
        Bits { words: Words::Mapped(words), count }
    }

    /// A set that a query has made.
    pub(crate) fn made(words: Vec<u64>) -> Self {
        let count = words.iter().map(|word| word.count_ones()).sum();
        Bits { words: Words::Made(Arc::new(words)), count }
    }

    /// The number of its members.
    pub(crate) fn len(&self) -> usize {
        self.count as usize
    }

    #[inline]
    pub(crate) fn holds(&self, at: u32) -> bool {
        self.word(at as usize / 64) >> (at % 64) & 1 == 1
    }

    fn words_len(&self) -> usize {
        match &self.words {
            Words::Mapped(words) => words.len(),
            Words::Made(words) => words.len(),
        }
    }

    #[inline]
    fn word(&self, at: usize) -> u64 {
        match &self.words {
            Words::Mapped(words) => words[at].get(),
            Words::Made(words) => words[at],
        }
    }

    /// All members, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        let mut cursor = self.cursor(0);
        std::iter::from_fn(move || cursor.next(self))
    }

    /// Visits the members in `window` that all of the `others` have as well, ascending, until `visit` breaks.
    pub(crate) fn each_common(
        &self,
        others: &[Bits<'_>],
        window: &Range<u32>,
        mut visit: impl FnMut(u32) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let words = window.start as usize / 64..self.words_len().min((window.end as usize).div_ceil(64));
        for at in words.clone().step_by(CHUNK) {
            let mut common = [u64::MAX; CHUNK];
            let common = &mut common[..CHUNK.min(words.end - at)];
            [self].into_iter().chain(others).for_each(|bits| bits.narrow(common, at));
            for (word, at) in common.iter_mut().zip(at as u32..) {
                while *word != 0 {
                    let member = at * 64 + word.trailing_zeros();
                    *word &= *word - 1;
                    if window.contains(&member) {
                        visit(member)?;
                    }
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// Drops from `words`, which stand for those from `at` on, the members that this set does not have.
    fn narrow(&self, words: &mut [u64], at: usize) {
        match &self.words {
            Words::Mapped(all) => words.iter_mut().zip(&all[at..]).for_each(|(word, own)| *word &= own.get()),
            Words::Made(all) => words.iter_mut().zip(&all[at..]).for_each(|(word, own)| *word &= own),
        }
    }

    /// A cursor before the member at `place`, counted from 0 in ascending order.
    pub(crate) fn cursor(&self, place: usize) -> Cursor {
        let mut left = place;
        for at in 0..self.words_len() {
            let mut word = self.word(at);
            let count = word.count_ones() as usize;
            if left < count {
                for _ in 0..left {
                    word &= word - 1;
                }
                return Cursor { at, word };
            }
            left -= count;
        }
        Cursor { at: self.words_len(), word: 0 }
    }

    /// The next run of neighbours from the place of `cursor`, with at most `most` of them.
    pub(crate) fn next_run(&self, cursor: &mut Cursor, most: usize) -> Option<Range<u32>> {
        let first = cursor.next(self)?;
        let mut run = first..first + 1;
        while run.len() < most && run.end as usize / 64 < self.words_len() && self.holds(run.end) {
            cursor.next(self);
            run.end += 1;
        }
        Some(run)
    }
}

/// A place in a set: the rest of one of its words, and all words behind it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cursor {
    at: usize,
    word: u64,
}

impl Cursor {
    fn next(&mut self, bits: &Bits<'_>) -> Option<u32> {
        while self.word == 0 {
            self.at += 1;
            if self.at >= bits.words_len() {
                return None;
            }
            self.word = bits.word(self.at);
        }
        let member = self.at as u32 * 64 + self.word.trailing_zeros();
        self.word &= self.word - 1;
        Some(member)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn members_are_those_that_were_put_in(
            members in prop::collection::btree_set(0..700_u32, 0..400), place in 0..500_usize, most in 1..9_usize,
            other in prop::collection::vec(any::<u64>(), 11),
        ) {
            let mut words = vec![0_u64; 11];
            members.iter().for_each(|at| words[*at as usize / 64] |= 1 << (at % 64));
            let mapped: Vec<U64> = words.iter().map(|word| U64::new(*word)).collect();
            let members: Vec<u32> = members.into_iter().collect();
            for bits in [Bits::made(words), Bits::mapped(&mapped, members.len() as u32)] {
                prop_assert_eq!(bits.len(), members.len());
                prop_assert_eq!(bits.iter().collect::<Vec<_>>(), members.clone());
                prop_assert!((0..704).all(|at| bits.holds(at) == members.contains(&at)));
                let window = place as u32..place as u32 + 100 * most as u32;
                for window in [window, 0..u32::MAX, 5000..6000] {
                    let mut common = Vec::new();
                    let others = [Bits::made(other.clone()), bits.clone()];
                    let _ = bits.each_common(&others, &window, |at| {
                        common.push(at);
                        if common.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
                    });
                    let both = |at: &u32| window.contains(at) && others[0].holds(*at);
                    prop_assert_eq!(common, members.iter().copied().filter(both).take(most).collect::<Vec<_>>());
                }
                let mut cursor = bits.cursor(place);
                let runs: Vec<_> = std::iter::from_fn(|| bits.next_run(&mut cursor, most)).collect();
                prop_assert!(runs.iter().all(|run| !run.is_empty() && run.len() <= most));
                let listed: Vec<u32> = runs.into_iter().flatten().collect();
                prop_assert_eq!(&listed[..], members.get(place..).unwrap_or_default());
            }
        }
    }
}
