//! The sets of songs that the commonest beginnings of words match. Which beginnings those are may change as well.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};
use std::io::{Seek, Write};

use zerocopy::IntoBytes;
use zerocopy::little_endian::U64;

use super::plan::SongsPlan;
use super::weave::Piece;
use super::words::Words;
use crate::model::{Kind, Owner, PerOwner};
use crate::snapshot::build::BuildError;
use crate::snapshot::build::search::{Postings, beginning};
use crate::snapshot::build::sections::Sections;
use crate::snapshot::format::{Column, PREFIX_CHARS, Suffix, dense_from, is_dense};
use crate::snapshot::open::Sets;
use crate::snapshot::query::galloping::partition_point;
use crate::text;

/// The words of a kind, and the songs of each of its entities.
pub(super) struct Part<'a> {
    pub(super) words: &'a Words<'a>,
    pub(super) suffixes: &'a [Suffix],
    pub(super) postings: Postings<'a>,
}

impl Part<'_> {
    /// The suffixes that begin with `prefix`.
    fn suffixes_of(&self, prefix: &[u8]) -> &[Suffix] {
        let compare = |suffix: &Suffix| {
            let text = self.words.text(suffix);
            text[..text.len().min(prefix.len())].cmp(prefix)
        };
        let start = self.suffixes.partition_point(|suffix| compare(suffix) == Ordering::Less);
        let rest = &self.suffixes[start..];
        &rest[..rest.partition_point(|suffix| compare(suffix) == Ordering::Equal)]
    }

    /// Adds all beginnings whose suffixes have `least` songs or more, and some others: in the list of the
    /// suffixes' songs, such a beginning has one of the places that are `least` apart.
    fn add_frequent(&self, least: u64, found: &mut BTreeSet<Vec<u8>>) {
        let (mut songs, mut next) = (0, least);
        for suffix in self.suffixes {
            songs += self.postings.count(suffix.entity.get()) as u64;
            if songs >= next {
                next = (songs / least + 1) * least;
                let text = self.words.text(suffix);
                let prefixes = (1..=PREFIX_CHARS).filter_map(|chars| beginning(text, chars));
                prefixes.for_each(|prefix| {
                    if !found.contains(prefix) {
                        found.insert(prefix.to_vec());
                    }
                });
            }
        }
    }
}

/// Writes the sets, those of albums, artists and genres in the order of their kinds before that of songs.
pub(super) fn write<W: Write + Seek>(
    old: &Sets<'_>,
    plan: &SongsPlan,
    names: &PerOwner<Part<'_>>,
    songs: &Part<'_>,
    out: &mut Sections<W>,
) -> Result<(), BuildError> {
    let count = plan.weave.count();
    let parts: Vec<&Part<'_>> = names.values().chain([songs]).collect();
    let mut found = BTreeSet::new();
    // A set is the union of the songs of each kind, so one kind has its share.
    let least = dense_from(count).div_ceil(parts.len()) as u64;
    parts.iter().for_each(|part| part.add_frequent(least, &mut found));
    let new_songs = songs_by_prefix(plan, names, songs, &found);
    let mut written: Vec<(&[u8], u32)> = Vec::new();
    let mut bits = vec![0_u64; count.div_ceil(64) as usize];
    out.begin(Kind::Song, Column::PrefixSets)?;
    for prefix in &found {
        let suffixes: Vec<&[Suffix]> = parts.iter().map(|part| part.suffixes_of(prefix)).collect();
        let songs_of = |(part, suffixes): (&&Part<'_>, &&[Suffix])| {
            suffixes.iter().map(|suffix| part.postings.count(suffix.entity.get())).sum::<usize>()
        };
        if !is_dense(parts.iter().zip(&suffixes).map(songs_of).sum(), count) {
            continue;
        }
        bits.fill(0);
        match place(old, prefix) {
            Some(at) => {
                copy_kept(old.words(at), plan, &mut bits);
                new_songs.get(prefix.as_slice()).into_iter().flatten().for_each(|song| set(&mut bits, *song));
            }
            None => {
                for (part, suffixes) in parts.iter().zip(&suffixes) {
                    for suffix in *suffixes {
                        part.postings.each(suffix.entity.get(), |song| set(&mut bits, song));
                    }
                }
            }
        }
        let members: u32 = bits.iter().map(|word| word.count_ones()).sum();
        if is_dense(members as usize, count) {
            bits.iter().try_for_each(|word| out.append(U64::new(*word).as_bytes()))?;
            written.push((prefix, members));
        }
    }
    out.end();
    out.texts(Kind::Song, Column::Prefixes, Column::PrefixOffsets, written.len() as u32, |at, text| {
        text.extend_from_slice(written[at as usize].0);
    })?;
    out.numbers(Kind::Song, Column::PrefixCounts, written.iter().map(|(_, members)| *members))
}

/// The new songs that each of the beginnings matches, by their next indexes.
fn songs_by_prefix<'a>(
    plan: &SongsPlan,
    names: &PerOwner<Part<'_>>,
    songs: &Part<'_>,
    found: &'a BTreeSet<Vec<u8>>,
) -> HashMap<&'a [u8], Vec<u32>> {
    let mut by_prefix: HashMap<&[u8], Vec<u32>> =
        found.iter().map(|prefix| (prefix.as_slice(), Vec::new())).collect();
    for (song, &next) in plan.added.iter().zip(plan.weave.added()) {
        let of_owner = |owner: Owner| names[owner].words.form(song.owners[owner]);
        for form in Owner::ALL.map(of_owner).into_iter().chain([songs.words.form(next)]) {
            for start in text::word_starts(form) {
                for prefix in (1..=PREFIX_CHARS).filter_map(|chars| beginning(&form[start..], chars)) {
                    if let Some(list) = by_prefix.get_mut(prefix) {
                        list.push(next);
                    }
                }
            }
        }
    }
    by_prefix
}

/// Where the old sets have this beginning.
fn place(old: &Sets<'_>, prefix: &[u8]) -> Option<u32> {
    let count = old.counts.len() as u32;
    let at = partition_point(count, |at| old.prefixes.get(at) < prefix);
    (at < count && old.prefixes.get(at) == prefix).then_some(at)
}

fn set(bits: &mut [u64], at: u32) {
    bits[at as usize / 64] |= 1 << (at % 64);
}

/// Copies the bits of kept songs to their next places.
fn copy_kept(from: &[U64], plan: &SongsPlan, to: &mut [u64]) {
    let mut at = 0;
    for piece in plan.weave.pieces() {
        match piece {
            Piece::Kept(run) => {
                copy_bits(from, run.start as usize, to, at, run.len());
                at += run.len();
            }
            Piece::New(_) => at += 1,
        }
    }
}

/// Copies `len` bits to where all of them are zero.
fn copy_bits(from: &[U64], mut from_at: usize, to: &mut [u64], mut to_at: usize, mut len: usize) {
    while len > 0 {
        let (shift, room) = (from_at % 64, (64 - to_at % 64).min(len));
        let low = from[from_at / 64].get() >> shift;
        let high = match from.get(from_at / 64 + 1) {
            Some(word) if shift > 0 => word.get() << (64 - shift),
            _ => 0,
        };
        let mask = u64::MAX >> (64 - room);
        to[to_at / 64] |= ((low | high) & mask) << (to_at % 64);
        from_at += room;
        to_at += room;
        len -= room;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bits_come_where_they_belong(
            words in prop::collection::vec(any::<u64>(), 5), from_at in 0..300_usize, to_at in 0..300_usize,
            len in 0..300_usize,
        ) {
            let from: Vec<U64> = words.iter().map(|word| U64::new(*word)).collect();
            let len = len.min(320 - from_at);
            let mut to = [0; 10];
            copy_bits(&from, from_at, &mut to, to_at, len);
            for at in 0..640 {
                let bit = to[at / 64] >> (at % 64) & 1;
                let inside = (to_at..to_at + len).contains(&at);
                let source = if inside { at - to_at + from_at } else { 0 };
                prop_assert_eq!(bit, if inside { words[source / 64] >> (source % 64) & 1 } else { 0 });
            }
        }
    }
}
