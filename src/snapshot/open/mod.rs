//! A mapped snapshot: its tables, checked once when it is opened.

mod bits;
mod error;
mod identity;
mod mapping;
pub(super) mod reader;
pub mod storage;
mod tables;

pub(crate) use bits::{Bits, Cursor};
pub use error::OpenError;
pub use identity::{Identity, Passing};
pub use mapping::Mapping;
pub use reader::Verify;
use reader::{Reader, check_header, table};
pub use tables::Packing;
pub(crate) use tables::{Entities, Names, Sets, Songs, Texts};

use super::format::{SectionEntry, VERSION};
use crate::model::{Kind, PerOwner};

/// A checked snapshot, borrowed from its bytes.
#[derive(Debug, Clone)]
pub struct Snapshot<'a> {
    hash: u128,
    len: usize,
    pub(super) names: PerOwner<Names<'a>>,
    pub(super) songs: Songs<'a>,
}

impl<'a> Snapshot<'a> {
    /// Checks `bytes`.
    ///
    /// # Errors
    /// The first fault.
    pub fn open(bytes: &'a [u8], verify: Verify) -> Result<Self, OpenError> {
        Self::open_as(bytes, VERSION, verify)
    }

    /// Checks bytes in another version of the format, one of [`crate::snapshot::VERSIONS`], which a publisher
    /// makes for programs that read that version.
    ///
    /// # Errors
    /// The first fault.
    pub fn open_as(bytes: &'a [u8], version: u32, verify: Verify) -> Result<Self, OpenError> {
        let header = check_header(bytes, version)?;
        let (names, songs) = Reader::new(bytes, &header, verify)?.tables()?;
        Ok(Snapshot { hash: u128::from_be_bytes(header.hash), len: bytes.len(), names, songs })
    }

    /// The hash of the content. Equal rows have equal hashes, whichever compressor has packed their lists.
    pub fn hash(&self) -> u128 {
        self.hash
    }

    /// The number of its bytes.
    pub fn size(&self) -> usize {
        self.len
    }

    /// The sections: id, bytes of an item, bytes in all.
    pub(super) fn sections(bytes: &[u8]) -> Result<Vec<(u32, usize, usize)>, OpenError> {
        let table = table(bytes, &check_header(bytes, VERSION)?)?;
        let line = |entry: &SectionEntry| {
            (
                entry.id.get(),
                entry.width.get() as usize,
                usize::try_from(entry.size.get()).unwrap_or(usize::MAX),
            )
        };
        Ok(table.iter().map(line).collect())
    }

    /// The number of entities of `kind`.
    pub fn count(&self, kind: Kind) -> u32 {
        self.entities(kind).count
    }

    /// The JSON texts of a run of neighbours in default order, with commas between them.
    ///
    /// # Panics
    /// If `to` is beyond the count of `kind`, or `from` is not below `to`.
    pub fn json_run(&self, kind: Kind, from: u32, to: u32) -> &'a [u8] {
        let texts = self.entities(kind).json.span(from, to);
        &texts[..texts.len() - 1]
    }

    /// The API's answer that lists all entities of `kind` in default order, compressed, if the snapshot has
    /// it. It never has the list of songs.
    pub fn packed(&self, kind: Kind, packing: Packing) -> Option<&'a [u8]> {
        match kind {
            Kind::Of(owner) => self.names[owner].packed(packing),
            Kind::Song => None,
        }
    }

    pub(super) fn entities(&self, kind: Kind) -> &Entities<'a> {
        match kind {
            Kind::Of(owner) => &self.names[owner].entities,
            Kind::Song => &self.songs.entities,
        }
    }
}
