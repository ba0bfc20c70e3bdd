//! The tables of a snapshot, as typed views of its bytes. [`super::reader`] has checked them, so queries may
//! index freely.

use zerocopy::little_endian::{U32, U64};

use super::bits::Bits;
use crate::api::Field;
use crate::model::{Owner, PerOwner};
use crate::snapshot::format::Suffix;

/// Texts without gaps, and the offset of each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Texts<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) offsets: &'a [U64],
}

impl<'a> Texts<'a> {
    /// The text of the entity at `at`.
    pub(crate) fn get(&self, at: u32) -> &'a [u8] {
        self.span(at, at + 1)
    }

    /// The offset of the text of the entity at `at`; at the count, the end of all texts.
    pub(crate) fn offset(&self, at: u32) -> u64 {
        self.offsets[at as usize].get()
    }

    /// The texts from `from` up to `to` (exclusive), one after the other.
    pub(crate) fn span(&self, from: u32, to: u32) -> &'a [u8] {
        let offset = |at: u32| self.offsets[at as usize].get() as usize;
        &self.bytes[offset(from)..offset(to)]
    }
}

/// The columns that all kinds have.
#[derive(Debug, Clone)]
pub(crate) struct Entities<'a> {
    pub(crate) count: u32,
    pub(crate) json: Texts<'a>,
    pub(crate) ids: &'a [[u8; 16]],
    pub(crate) by_id: &'a [U32],
    pub(crate) id_rank: &'a [U32],
    pub(crate) name_rank: &'a [U32],
    pub(crate) forms: Texts<'a>,
    pub(crate) suffixes: &'a [Suffix],
}

/// Albums, artists or genres.
#[derive(Debug, Clone)]
pub(crate) struct Names<'a> {
    pub(crate) entities: Entities<'a>,
    pub(crate) lower: Texts<'a>,
    pub(crate) by_lower: &'a [U32],
    pub(crate) song_offsets: &'a [U32],
    /// `None` for artists: their songs are neighbours in default order.
    pub(crate) songs: Option<&'a [U32]>,
    pub(super) gzip: Option<&'a [u8]>,
    pub(super) zstd: Option<&'a [u8]>,
}

/// The encoding of a stored, compressed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// One member of gzip (RFC 1952).
    Gzip,
    /// One frame of Zstandard (RFC 8878).
    Zstd,
}

impl<'a> Names<'a> {
    /// The compressed list of all entities, if the snapshot has it.
    pub(in crate::snapshot) fn packed(&self, packing: Packing) -> Option<&'a [u8]> {
        match packing {
            Packing::Gzip => self.gzip,
            Packing::Zstd => self.zstd,
        }
    }
}

/// Songs.
#[derive(Debug, Clone)]
pub(crate) struct Songs<'a> {
    pub(crate) entities: Entities<'a>,
    /// The album, artist and genre of each song.
    pub(crate) owners: PerOwner<&'a [U32]>,
    pub(crate) length_rank: &'a [U32],
    pub(crate) track_rank: &'a [U32],
    pub(crate) year_rank: &'a [U32],
    pub(super) orders: [&'a [U32]; Field::ALL.len()],
    pub(crate) sets: Sets<'a>,
}

impl<'a> Songs<'a> {
    /// The songs sorted by a field; `None` where that is the default order.
    pub(crate) fn order(&self, field: Field) -> Option<&'a [U32]> {
        (field != Field::name_of(Owner::Artist)).then(|| self.orders[field as usize])
    }
}

/// The songs that the commonest beginnings of words match.
#[derive(Debug, Clone)]
pub(crate) struct Sets<'a> {
    /// The beginnings, ascending.
    pub(crate) prefixes: Texts<'a>,
    /// The number of songs in each set.
    pub(crate) counts: &'a [U32],
    /// One bitmap after the other.
    pub(super) words: &'a [U64],
    /// Words of each bitmap.
    pub(super) width: usize,
}

impl<'a> Sets<'a> {
    /// The words of the bitmap at `at`.
    pub(in crate::snapshot) fn words(&self, at: u32) -> &'a [U64] {
        let begin = at as usize * self.width;
        &self.words[begin..begin + self.width]
    }

    /// The set of the beginning at `at`.
    pub(crate) fn get(&self, at: u32) -> Bits<'a> {
        Bits::mapped(self.words(at), self.counts[at as usize].get())
    }
}
