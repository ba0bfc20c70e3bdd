//! The smallest of many keys, for a page of a sorted answer.

use super::question::Page;

/// The fewest keys to gather before useless ones are dropped.
const ROOM_MIN: usize = 512;

/// The smallest of many keys, whose lower halves are indexes.
pub(super) struct First {
    keys: Vec<u64>,
    page: Page,
    /// Whether a key may come several times and counts once.
    repeated: bool,
    /// This key and larger ones cannot be in the page.
    beyond: u64,
    /// The number of keys to gather before useless ones are dropped.
    room: usize,
}

impl First {
    /// Keeps the keys in `page` and before it.
    pub(super) fn new(page: Page, repeated: bool) -> Self {
        let room = page.end().saturating_mul(2).max(ROOM_MIN);
        First { keys: Vec::new(), page, repeated, beyond: u64::MAX, room }
    }

    /// Adds keys. Branch-free, because the outcome is unpredictable: with branches the processor would wait
    /// for each key instead of for many at once.
    pub(super) fn extend(&mut self, keys: impl Iterator<Item = u64>) {
        // The length of a local list stays in a register.
        let (mut list, beyond) = (std::mem::take(&mut self.keys), self.beyond);
        let before = list.len();
        list.extend(keys);
        if beyond != u64::MAX {
            let mut kept = before;
            for at in before..list.len() {
                let key = list[at];
                list[kept] = key;
                kept += usize::from(key < beyond);
            }
            list.truncate(kept);
        }
        self.keys = list;
        if self.keys.len() >= self.room {
            self.shorten();
        }
    }

    fn shorten(&mut self) {
        if self.repeated {
            self.keys.sort_unstable();
            self.keys.dedup();
        }
        let end = self.page.end();
        if end == 0 {
            self.keys.clear();
        } else if self.keys.len() > end {
            let (_, last, _) = self.keys.select_nth_unstable(end - 1);
            // A repetition of the last key is useless, too.
            self.beyond = *last;
            self.keys.truncate(end);
        }
    }

    /// Whether it has all keys up to the end of the page, so that larger ones cannot be in the page.
    pub(super) fn is_full(&mut self) -> bool {
        let end = self.page.end();
        if self.repeated && self.keys.len() >= end {
            self.shorten();
        }
        self.keys.len() >= end
    }

    /// The indexes in the page, in order.
    pub(super) fn into_page(mut self) -> Vec<u32> {
        self.shorten();
        let places = self.page.within(self.keys.len());
        if places.is_empty() {
            return Vec::new();
        }
        if places.start > 0 {
            self.keys.select_nth_unstable(places.start);
        }
        let page = &mut self.keys[places.start..];
        page.sort_unstable();
        page.iter().map(|key| *key as u32).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn first_keys_are_those_of_a_sort(
            keys in prop::collection::vec(0..3000_u64, 0..2000),
            limit in 0..60_usize, offset in prop_oneof![0..3_usize, 0..900_usize],
            chunk in 1..700_usize,
        ) {
            let page = Page { limit, offset };
            let mut repeated = First::new(page, true);
            keys.chunks(chunk).for_each(|keys| repeated.extend(keys.iter().copied()));
            let mut sorted = keys;
            sorted.sort_unstable();
            sorted.dedup();
            let expected: Vec<u32> = sorted.iter().skip(offset).take(limit).map(|key| *key as u32).collect();
            prop_assert_eq!(repeated.into_page(), expected.clone());
            let mut single = First::new(page, false);
            sorted.reverse();
            sorted.chunks(chunk).for_each(|keys| single.extend(keys.iter().copied()));
            prop_assert_eq!(single.into_page(), expected);
        }
    }
}
