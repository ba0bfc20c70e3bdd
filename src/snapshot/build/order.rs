//! Orders and ranks. Sorting compares keys in the sorted array itself as far as possible: entities lie
//! scattered in memory, and one access to them costs more than many comparisons.

use std::cmp::Ordering;

/// The order of all indexes by a value, and the rank of each value among all values.
pub(in crate::snapshot) struct Ranked {
    /// Indexes sorted by value, ties by index.
    pub(in crate::snapshot) order: Vec<u32>,
    /// The rank of each index. Ranks are dense, and equal values have equal ranks.
    pub(in crate::snapshot) rank: Vec<u32>,
}

/// Sorts the indexes of `keys`, ties by index. A key holds as much of a value as it can; `compare` decides
/// between values with equal keys.
pub(in crate::snapshot) fn sorted<K: Ord>(
    keys: impl Iterator<Item = K>,
    compare: impl Fn(u32, u32) -> Ordering,
) -> Vec<u32> {
    let mut keyed: Vec<(K, u32)> = keys.zip(0..).collect();
    keyed.sort_unstable_by(|(a, a_at), (b, b_at)| {
        a.cmp(b).then_with(|| compare(*a_at, *b_at)).then(a_at.cmp(b_at))
    });
    keyed.into_iter().map(|(_, at)| at).collect()
}

/// Sorts as [`sorted`] does, and computes ranks.
pub(in crate::snapshot) fn ranked<K: Ord>(
    keys: impl Iterator<Item = K>,
    compare: impl Fn(u32, u32) -> Ordering,
) -> Ranked {
    let mut keyed: Vec<(K, u32)> = keys.zip(0..).collect();
    let by_value = |(a, a_at): &(K, u32), (b, b_at): &(K, u32)| a.cmp(b).then_with(|| compare(*a_at, *b_at));
    keyed.sort_unstable_by(|a, b| by_value(a, b).then(a.1.cmp(&b.1)));
    let mut rank = vec![0; keyed.len()];
    let mut current = 0;
    for pair in keyed.windows(2) {
        current += u32::from(by_value(&pair[0], &pair[1]) != Ordering::Equal);
        rank[pair[1].1 as usize] = current;
    }
    Ranked { order: keyed.into_iter().map(|(_, at)| at).collect(), rank }
}

/// Indexes sorted by their ranks, each below `count`, ties by index. This is a counting sort, without
/// comparisons.
pub(in crate::snapshot) fn by_rank(count: usize, ranks: impl Iterator<Item = u32> + Clone) -> Vec<u32> {
    let mut next = vec![0_u32; count + 1];
    ranks.clone().for_each(|rank| next[rank as usize + 1] += 1);
    for at in 1..next.len() {
        next[at] += next[at - 1];
    }
    let mut order = vec![0; next[count] as usize];
    for (rank, at) in ranks.zip(0..) {
        let place = &mut next[rank as usize];
        order[*place as usize] = at;
        *place += 1;
    }
    order
}

/// The first bytes of a text as a number that compares in the same way. A shorter text is filled with zeros,
/// so equal numbers do not mean equal texts.
pub(in crate::snapshot) fn text_key(text: &[u8]) -> u128 {
    let mut key = [0; 16];
    let len = text.len().min(key.len());
    key[..len].copy_from_slice(&text[..len]);
    u128::from_be_bytes(key)
}

/// The place of each index in `order`, a permutation.
pub(in crate::snapshot) fn inverse(order: &[u32]) -> Vec<u32> {
    let mut places = vec![0; order.len()];
    for (place, &at) in order.iter().enumerate() {
        places[at as usize] = place as u32;
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_with_one_key_are_told_apart() {
        let texts = ["b", "a\0", "a", "0123456789abcdefB", "0123456789abcdefA", "a"];
        let key = |text: &&str| text_key(text.as_bytes());
        let compare = |a: u32, b: u32| texts[a as usize].cmp(texts[b as usize]);
        let Ranked { order, rank } = ranked(texts.iter().map(key), compare);
        assert_eq!(order, [4, 3, 2, 5, 1, 0]);
        assert_eq!(rank, [4, 3, 2, 1, 0, 2]);
        assert_eq!(sorted(texts.iter().map(key), compare), order);
        assert_eq!(by_rank(5, rank.iter().copied()), order);
        assert_eq!(inverse(&order), [5, 4, 2, 1, 0, 3]);
    }

    #[test]
    fn nothing_has_an_order_too() {
        assert_eq!(by_rank(0, std::iter::empty()), [0; 0]);
        assert_eq!(ranked(std::iter::empty::<u8>(), |_, _| Ordering::Equal).rank, [0; 0]);
    }
}
