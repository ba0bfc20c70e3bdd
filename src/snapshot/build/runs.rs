//! Sorts more items than memory holds: it sorts runs in memory, stores them outside of it, and merges them.

use std::cmp::Ordering;
use std::io;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::error::BuildError;
use crate::rows::scratch::{Folder, Scratch, Stored};

/// Collects items in any order.
pub(super) struct Runs<T> {
    folder: Folder,
    /// Items of a run.
    len: usize,
    current: Vec<T>,
    sorted: Vec<Stored>,
}

/// Items in order.
pub(super) enum Sorted<T> {
    Memory(Vec<T>),
    Stored(Stored),
}

/// An item that can be kept outside of memory.
pub(super) trait Item: FromBytes + IntoBytes + Immutable + KnownLayout + Unaligned + Copy {}

impl<T: FromBytes + IntoBytes + Immutable + KnownLayout + Unaligned + Copy> Item for T {}

impl<T: Item> Runs<T> {
    /// Keeps `len` items in memory.
    pub(super) fn new(len: usize, folder: &Folder) -> Self {
        Runs { folder: folder.clone(), len: len.max(1), current: Vec::new(), sorted: Vec::new() }
    }

    /// Adds an item. No two items may compare as equal.
    pub(super) fn push(&mut self, item: T, compare: impl Fn(&T, &T) -> Ordering) -> Result<(), BuildError> {
        if self.current.len() == self.len {
            self.current.sort_unstable_by(compare);
            let mut run = Scratch::new(&self.folder);
            self.current.chunks(1024).try_for_each(|chunk| run.push(chunk.as_bytes()))?;
            self.sorted.push(run.finish()?);
            self.current.clear();
        }
        self.current.push(item);
        Ok(())
    }

    /// All items, in order.
    pub(super) fn finish(mut self, compare: impl Fn(&T, &T) -> Ordering) -> Result<Sorted<T>, BuildError> {
        self.current.sort_unstable_by(&compare);
        if self.sorted.is_empty() {
            self.current.shrink_to_fit();
            return Ok(Sorted::Memory(self.current));
        }
        let mut merged = Scratch::new(&self.folder);
        let runs = self.sorted.iter().map(items).chain([Ok(self.current.as_slice())]);
        merge(runs.collect::<Result<_, _>>()?, compare, |item| Ok(merged.push(item.as_bytes())?))?;
        drop(self.sorted);
        drop(self.current);
        Ok(Sorted::Stored(merged.finish()?))
    }
}

impl<T: Item> Sorted<T> {
    /// The items.
    ///
    /// # Errors
    /// The storage does not hold whole items, which is impossible.
    pub(super) fn items(&self) -> Result<&[T], BuildError> {
        match self {
            Sorted::Memory(sorted) => Ok(sorted),
            Sorted::Stored(stored) => items(stored),
        }
    }
}

fn items<T: Item>(run: &Stored) -> Result<&[T], BuildError> {
    <[T]>::ref_from_bytes(run).map_err(|_| io::Error::other("a run has a part of an item").into())
}

/// Visits the items of all runs in order: a heap holds the runs, with the least item on top.
fn merge<T>(
    mut runs: Vec<&[T]>,
    compare: impl Fn(&T, &T) -> Ordering,
    mut visit: impl FnMut(&T) -> Result<(), BuildError>,
) -> Result<(), BuildError> {
    runs.retain(|run| !run.is_empty());
    let is_less = |a: &[T], b: &[T]| compare(&a[0], &b[0]) == Ordering::Less;
    for at in (0..runs.len() / 2).rev() {
        sift_down(&mut runs, at, is_less);
    }
    while let Some(run) = runs.first_mut() {
        visit(&run[0])?;
        *run = &run[1..];
        if run.is_empty() {
            runs.swap_remove(0);
        }
        sift_down(&mut runs, 0, is_less);
    }
    Ok(())
}

/// Restores the heap below `at`.
fn sift_down<'a, T>(runs: &mut [&'a [T]], mut at: usize, is_less: impl Fn(&'a [T], &'a [T]) -> bool) {
    loop {
        let children = 2 * at + 1..(2 * at + 3).min(runs.len());
        let Some(least) = children.reduce(|a, b| if is_less(runs[b], runs[a]) { b } else { a }) else {
            return;
        };
        if !is_less(runs[least], runs[at]) {
            return;
        }
        runs.swap(at, least);
        at = least;
    }
}

#[cfg(test)]
mod tests {
    use zerocopy::little_endian::U64;

    use super::*;

    #[test]
    fn runs_of_every_length_give_the_same_order() {
        let numbers: Vec<U64> = (0..1000).map(|at| U64::new(at * 7919 % 1009)).collect();
        let compare = |a: &U64, b: &U64| a.get().cmp(&b.get());
        let mut expected = numbers.clone();
        expected.sort_unstable_by(compare);
        for len in [1, 2, 3, 10, 333, 999, 1000, 5000] {
            let mut runs = Runs::new(len, &Folder::default());
            numbers.iter().for_each(|number| runs.push(*number, compare).unwrap());
            let sorted = runs.finish(compare).unwrap();
            assert_eq!(matches!(sorted, Sorted::Memory(_)), len >= numbers.len());
            assert_eq!(sorted.items().unwrap(), expected, "{len}");
        }
        let none = Runs::<U64>::new(3, &Folder::default()).finish(compare).unwrap();
        assert!(none.items().unwrap().is_empty());
    }
}
