//! The tables for look-ups of words: search forms, word suffixes sorted by their text, and the sets of songs
//! that the commonest beginnings of words match.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{Seek, Write};
use std::ops::Range;

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::error::BuildError;
use super::order::text_key;
use super::runs::{Runs, Sorted};
use super::sections::Sections;
use super::texts::{Texts, TextsWriter};
use crate::model::Kind;
use crate::rows::scratch::Folder;
use crate::snapshot::format::{Column, PREFIX_CHARS, Suffix, is_dense};
use crate::text;

/// Search forms of the names of a kind, and their word suffixes in order.
pub(super) struct Search {
    forms: Texts,
    suffixes: Sorted<SortedSuffix>,
}

/// A suffix with the beginning of its text, so that most comparisons touch no other bytes.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct SortedSuffix {
    key: [u8; 16],
    entity: U32,
    start: U32,
}

impl Search {
    /// Keeps at most `run_len` suffixes in memory while it sorts them.
    pub(super) fn new<'a>(
        count: u32,
        run_len: usize,
        folder: &Folder,
        name: impl Fn(u32) -> Option<Cow<'a, str>>,
    ) -> Result<Self, BuildError> {
        let mut forms = TextsWriter::new(count, folder);
        for at in 0..count {
            let form = name(at).map(|name| text::index_form(&name)).unwrap_or_default();
            if u32::try_from(form.len()).is_err() {
                return Err(BuildError::NameTooLong { len: form.len() });
            }
            forms.push(&form)?;
        }
        let forms = forms.finish()?;
        let compare = |a: &SortedSuffix, b: &SortedSuffix| {
            let by_text = a.number().cmp(&b.number()).then_with(|| a.text(&forms).cmp(b.text(&forms)));
            by_text.then(a.place().cmp(&b.place()))
        };
        let mut suffixes = Runs::new(run_len, folder);
        for at in 0..count {
            let form = forms.get(at);
            for start in text::word_starts(form) {
                suffixes.push(SortedSuffix::new(form, at, start), compare)?;
            }
        }
        let suffixes = suffixes.finish(compare)?;
        Ok(Search { forms, suffixes })
    }

    pub(super) fn write<W: Write + Seek>(&self, kind: Kind, out: &mut Sections<W>) -> Result<(), BuildError> {
        let append = |at: u32, text: &mut Vec<u8>| text.extend_from_slice(self.forms.get(at));
        out.texts(kind, Column::Forms, Column::FormOffsets, self.forms.count(), append)?;
        out.begin(kind, Column::Suffixes)?;
        for suffix in self.suffixes.items()? {
            let suffix = Suffix { entity: suffix.entity, start: suffix.start };
            out.append(suffix.as_bytes())?;
        }
        out.end();
        Ok(())
    }

    /// Whether the text of `suffix` begins with `prefix`. The key decides this for all short prefixes, except
    /// those with a zero byte, which may follow the end of the text.
    fn begins_with(&self, suffix: &SortedSuffix, prefix: &[u8]) -> bool {
        if prefix.len() > suffix.key.len() || prefix.contains(&0) {
            return suffix.text(&self.forms).starts_with(prefix);
        }
        suffix.key.starts_with(prefix)
    }

    /// The beginnings of one to [`PREFIX_CHARS`] characters, each with its suffixes.
    fn prefixes(&self, suffixes: &[SortedSuffix], mut visit: impl FnMut(&[u8], Range<usize>)) {
        for chars in 1..=PREFIX_CHARS {
            let mut group: Option<(&[u8], usize)> = None;
            for (at, suffix) in suffixes.iter().enumerate() {
                if group.is_some_and(|(prefix, _)| self.begins_with(suffix, prefix)) {
                    continue;
                }
                let text = suffix.text(&self.forms);
                if let Some((prefix, begin)) = group.take() {
                    visit(prefix, begin..at);
                }
                group = beginning(text, chars).map(|prefix| (prefix, at));
            }
            if let Some((prefix, begin)) = group {
                visit(prefix, begin..suffixes.len());
            }
        }
    }
}

impl SortedSuffix {
    /// `start` fits, as the caller has checked the length of the form.
    fn new(form: &[u8], entity: u32, start: usize) -> Self {
        let key = text_key(&form[start..]).to_be_bytes();
        SortedSuffix { key, entity: entity.into(), start: (start as u32).into() }
    }

    fn number(&self) -> u128 {
        u128::from_be_bytes(self.key)
    }

    fn place(&self) -> (u32, u32) {
        (self.entity.get(), self.start.get())
    }

    /// The text from the beginning of a suffix to the end of its name.
    fn text<'a>(&self, forms: &'a Texts) -> &'a [u8] {
        &forms.get(self.entity.get())[self.start.get() as usize..]
    }
}

/// The first `chars` characters, if the first text of a form has as many.
pub(in crate::snapshot) fn beginning(text: &[u8], chars: usize) -> Option<&[u8]> {
    let valid = text.utf8_chunks().next()?.valid();
    let (last, char) = valid.char_indices().nth(chars - 1)?;
    Some(&text[..last + char.len_utf8()])
}

/// The songs of each entity, for [`write_sets`].
pub(in crate::snapshot) enum Postings<'a> {
    /// The entity is the song.
    Itself,
    /// The songs between two offsets in the list of all songs, or in another list.
    Lists(&'a [u32], Option<&'a [u32]>),
}

impl Postings<'_> {
    pub(in crate::snapshot) fn count(&self, entity: u32) -> usize {
        match self {
            Postings::Itself => 1,
            Postings::Lists(offsets, _) => (offsets[entity as usize + 1] - offsets[entity as usize]) as usize,
        }
    }

    pub(in crate::snapshot) fn each(&self, entity: u32, mut visit: impl FnMut(u32)) {
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

/// Writes the sets of songs for all beginnings that match many songs. They are bitmaps, because lists would
/// be longer. The snapshot stores them because queries for them would take the longest.
pub(super) fn write_sets<W: Write + Seek>(
    songs: u32,
    searches: &[(&Search, Postings<'_>)],
    out: &mut Sections<W>,
) -> Result<(), BuildError> {
    let mut prefixes: BTreeMap<Vec<u8>, Vec<(usize, Range<usize>)>> = BTreeMap::new();
    let suffixes = searches.iter().map(|(search, _)| search.suffixes.items());
    let suffixes = suffixes.collect::<Result<Vec<_>, _>>()?;
    for (which, (search, _)) in searches.iter().enumerate() {
        search.prefixes(suffixes[which], |prefix, range| match prefixes.get_mut(prefix) {
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
                let (_, postings) = &searches[*which];
                suffixes[*which][range.clone()].iter().map(|suffix| postings.count(suffix.entity.get()))
            })
            .sum();
        if !is_dense(count_at_most, songs) {
            continue;
        }
        bits.fill(0);
        for (which, range) in ranges {
            let (_, postings) = &searches[which];
            for suffix in &suffixes[which][range] {
                postings.each(suffix.entity.get(), |song| bits[song as usize / 64] |= 1 << (song % 64));
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
