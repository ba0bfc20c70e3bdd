//! The tables in which queries look words up: search forms, word suffixes sorted by their text, and
//! the sets of songs that the commonest beginnings of words match.

use std::collections::BTreeMap;
use std::io::{Seek, Write};
use std::ops::Range;

use zerocopy::IntoBytes;
use zerocopy::little_endian::U64;

use super::error::BuildError;
use super::order::text_key;
use super::sections::Sections;
use crate::model::Kind;
use crate::snapshot::format::{Column, PREFIX_CHARS, Suffix, is_dense};
use crate::text;

/// Search forms of the names of a kind, and their word suffixes in order.
pub(super) struct Search {
    forms: Vec<u8>,
    starts: Vec<usize>,
    suffixes: Vec<SortedSuffix>,
}

/// A suffix with the beginning of its text as a number, so that most comparisons touch
/// no text.
struct SortedSuffix {
    key: u128,
    entity: u32,
    start: u32,
}

impl Search {
    pub(super) fn new<'a>(count: u32, name: impl Fn(u32) -> Option<&'a str>) -> Result<Self, BuildError> {
        let mut search = Search { forms: Vec::new(), starts: vec![0], suffixes: Vec::new() };
        for at in 0..count {
            let form = name(at).map(text::index_form).unwrap_or_default();
            if u32::try_from(form.len()).is_err() {
                return Err(BuildError::NameTooLong { len: form.len() });
            }
            let words = text::word_starts(&form);
            search.suffixes.extend(words.map(|start| SortedSuffix::new(&form, at, start)));
            search.forms.extend_from_slice(&form);
            search.starts.push(search.forms.len());
        }
        let mut suffixes = std::mem::take(&mut search.suffixes);
        suffixes.sort_unstable_by(|a, b| {
            let by_text = a.key.cmp(&b.key).then_with(|| search.text(a).cmp(search.text(b)));
            by_text.then(a.entity.cmp(&b.entity)).then(a.start.cmp(&b.start))
        });
        search.suffixes = suffixes;
        Ok(search)
    }

    /// The text from the beginning of a suffix to the end of its name.
    fn text(&self, suffix: &SortedSuffix) -> &[u8] {
        let at = suffix.entity as usize;
        &self.forms[self.starts[at] + suffix.start as usize..self.starts[at + 1]]
    }

    pub(super) fn write<W: Write + Seek>(&self, kind: Kind, out: &mut Sections<W>) -> Result<(), BuildError> {
        let count = (self.starts.len() - 1) as u32;
        out.texts(kind, Column::Forms, Column::FormOffsets, count, |at, text| {
            text.extend_from_slice(&self.forms[self.starts[at as usize]..self.starts[at as usize + 1]]);
        })?;
        out.begin(kind, Column::Suffixes)?;
        for suffix in &self.suffixes {
            let suffix = Suffix { entity: suffix.entity.into(), start: suffix.start.into() };
            out.append(suffix.as_bytes())?;
        }
        out.end();
        Ok(())
    }

    /// Whether the text of `suffix` begins with `prefix`. The key decides it for all short prefixes,
    /// except for those with a zero byte, which may stand behind the end of the text.
    fn begins_with(&self, suffix: &SortedSuffix, prefix: &[u8]) -> bool {
        if prefix.len() > size_of_val(&suffix.key) || prefix.contains(&0) {
            return self.text(suffix).starts_with(prefix);
        }
        suffix.key.to_be_bytes().starts_with(prefix)
    }

    /// The beginnings of one to [`PREFIX_CHARS`] characters, each with its suffixes.
    fn prefixes(&self, mut visit: impl FnMut(&[u8], Range<usize>)) {
        for chars in 1..=PREFIX_CHARS {
            let mut group: Option<(&[u8], usize)> = None;
            for (at, suffix) in self.suffixes.iter().enumerate() {
                if group.is_some_and(|(prefix, _)| self.begins_with(suffix, prefix)) {
                    continue;
                }
                let text = self.text(suffix);
                if let Some((prefix, begin)) = group.take() {
                    visit(prefix, begin..at);
                }
                group = beginning(text, chars).map(|prefix| (prefix, at));
            }
            if let Some((prefix, begin)) = group {
                visit(prefix, begin..self.suffixes.len());
            }
        }
    }
}

impl SortedSuffix {
    /// `start` fits, as the length of the form was checked.
    fn new(form: &[u8], entity: u32, start: usize) -> Self {
        SortedSuffix { key: text_key(&form[start..]), entity, start: start as u32 }
    }
}

/// The first `chars` characters, if the first text of a form has as many.
fn beginning(text: &[u8], chars: usize) -> Option<&[u8]> {
    let valid = text.utf8_chunks().next()?.valid();
    let (last, char) = valid.char_indices().nth(chars - 1)?;
    Some(&text[..last + char.len_utf8()])
}

/// The songs of each entity, for [`write_sets`].
pub(super) enum Postings<'a> {
    /// The entity is the song.
    Itself,
    /// From one offset to the next, in the list of all songs or in another one.
    Lists(&'a [u32], Option<&'a [u32]>),
}

impl Postings<'_> {
    fn count(&self, entity: u32) -> usize {
        match self {
            Postings::Itself => 1,
            Postings::Lists(offsets, _) => (offsets[entity as usize + 1] - offsets[entity as usize]) as usize,
        }
    }

    fn each(&self, entity: u32, mut visit: impl FnMut(u32)) {
        let range = |offsets: &[u32]| offsets[entity as usize]..offsets[entity as usize + 1];
        match self {
            Postings::Itself => visit(entity),
            Postings::Lists(offsets, None) => range(offsets).for_each(visit),
            Postings::Lists(offsets, Some(songs)) => {
                let range = range(offsets);
                songs[range.start as usize..range.end as usize].iter().copied().for_each(visit);
            }
        }
    }
}

/// Writes the sets of songs of all beginnings that match many songs. They are bitmaps, because lists
/// would be longer. They are stored, because of all queries these would take the longest.
pub(super) fn write_sets<W: Write + Seek>(
    songs: u32,
    searches: &[(&Search, Postings<'_>)],
    out: &mut Sections<W>,
) -> Result<(), BuildError> {
    let mut prefixes: BTreeMap<Vec<u8>, Vec<(usize, Range<usize>)>> = BTreeMap::new();
    for (which, (search, _)) in searches.iter().enumerate() {
        search.prefixes(|prefix, range| match prefixes.get_mut(prefix) {
            Some(ranges) => ranges.push((which, range)),
            None => drop(prefixes.insert(prefix.to_vec(), vec![(which, range)])),
        });
    }
    let mut written: Vec<(Vec<u8>, u32)> = Vec::new();
    let mut bits = vec![0_u64; songs.div_ceil(64) as usize];
    out.begin(Kind::Song, Column::PrefixSets)?;
    for (prefix, ranges) in prefixes {
        let count_at_most: usize = ranges
            .iter()
            .flat_map(|(which, range)| {
                let (search, postings) = &searches[*which];
                search.suffixes[range.clone()].iter().map(|suffix| postings.count(suffix.entity))
            })
            .sum();
        if !is_dense(count_at_most, songs) {
            continue;
        }
        bits.fill(0);
        for (which, range) in ranges {
            let (search, postings) = &searches[which];
            for suffix in &search.suffixes[range] {
                postings.each(suffix.entity, |song| bits[song as usize / 64] |= 1 << (song % 64));
            }
        }
        let count: u32 = bits.iter().map(|word| word.count_ones()).sum();
        if is_dense(count as usize, songs) {
            bits.iter().try_for_each(|word| out.append(U64::new(*word).as_bytes()))?;
            written.push((prefix, count));
        }
    }
    out.end();
    let count = written.len() as u32;
    out.texts(Kind::Song, Column::Prefixes, Column::PrefixOffsets, count, |at, text| {
        text.extend_from_slice(&written[at as usize].0);
    })?;
    out.numbers(Kind::Song, Column::PrefixCounts, written.iter().map(|(_, count)| *count))
}
