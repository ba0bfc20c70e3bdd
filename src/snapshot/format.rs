#![doc = include_str!("FORMAT.md")]

use xxhash_rust::xxh3::Xxh3;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{Field, Kind};

/// First bytes of every snapshot.
pub(super) const MAGIC: [u8; 8] = *b"\x89AVLN\r\n\x1a";
/// The only version that this program writes and reads.
pub(super) const VERSION: u32 = 1;
/// Bytes of the header; the first section begins here.
pub(super) const HEADER_LEN: usize = size_of::<Header>();
/// Sections begin at multiples of this.
pub(super) const ALIGNMENT: u64 = 8;
/// Entities of one kind; one less than what would make an index ambiguous.
pub(super) const ENTITIES_MAX: usize = u32::MAX as usize - 1;

/// The first 64 bytes.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Header {
    pub(super) magic: [u8; 8],
    pub(super) version: U32,
    pub(super) sections: U32,
    pub(super) length: U64,
    pub(super) hash: [u8; 16],
    pub(super) table: U64,
    pub(super) reserved: [u8; 16],
}

const _: () = assert!(HEADER_LEN == 64);

/// One line of the section table.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct SectionEntry {
    pub(super) id: U32,
    pub(super) width: U32,
    pub(super) offset: U64,
    pub(super) size: U64,
}

const _: () = assert!(size_of::<SectionEntry>() == 24);

/// One word of one name: where it begins in the search form of the entity.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Suffix {
    pub(super) entity: U32,
    pub(super) start: U32,
}

/// What a section holds, of a kind of entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    Json,
    JsonOffsets,
    Ids,
    Forms,
    FormOffsets,
    Suffixes,
    Lower,
    LowerOffsets,
    ByLower,
    SongOffsets,
    Songs,
    Album,
    Artist,
    Genre,
    Prefixes,
    PrefixOffsets,
    PrefixSets,
    PrefixCounts,
    Gzip,
    Zstd,
    Order(Field),
    Rank(Field),
}

impl Column {
    fn number(self) -> u32 {
        match self {
            Column::Json => 1,
            Column::JsonOffsets => 2,
            Column::Ids => 3,
            Column::Forms => 4,
            Column::FormOffsets => 5,
            Column::Suffixes => 6,
            Column::Lower => 7,
            Column::LowerOffsets => 8,
            Column::ByLower => 9,
            Column::SongOffsets => 10,
            Column::Songs => 11,
            Column::Album => 12,
            Column::Artist => 13,
            Column::Genre => 14,
            Column::Prefixes => 15,
            Column::PrefixOffsets => 16,
            Column::PrefixSets => 17,
            Column::PrefixCounts => 18,
            Column::Gzip => 19,
            Column::Zstd => 20,
            Column::Order(field) => 32 + field as u32,
            Column::Rank(field) => 64 + field as u32,
        }
    }
}

/// What the section with an id holds.
pub(super) fn section_of(id: u32) -> Option<(Kind, Column)> {
    use Column::*;
    const PLAIN: [Column; 20] = [
        Json,
        JsonOffsets,
        Ids,
        Forms,
        FormOffsets,
        Suffixes,
        Lower,
        LowerOffsets,
        ByLower,
        SongOffsets,
        Songs,
        Album,
        Artist,
        Genre,
        Prefixes,
        PrefixOffsets,
        PrefixSets,
        PrefixCounts,
        Gzip,
        Zstd,
    ];
    let by_field = Field::ALL.into_iter().flat_map(|field| [Order(field), Rank(field)]);
    let columns = PLAIN.into_iter().chain(by_field);
    let mut all = columns.flat_map(|column| Kind::ALL.map(|kind| (kind, column)));
    all.find(|(kind, column)| section_id(*kind, *column) == id)
}

/// What the API writes before the entities of a list.
pub const LIST_HEAD: &[u8] = b"{\"errors\":[],\"success\":[";
/// What it writes behind them, once something has been scanned.
pub const LIST_TAIL: &[u8] = b"],\"warnings\":[]}";
/// Texts of a kind that have fewer bytes are not kept compressed: that is done as quickly as asked for.
pub(super) const PACKED_LEAST: usize = 16 * 1024;

/// Characters of the longest beginning of a word whose songs are kept as a set.
pub(super) const PREFIX_CHARS: usize = 3;
/// A set with more than one member per this many entities is a bitmap, a smaller one a list.
const SPARSE: usize = 64;

/// Whether a set of `count` out of `all` entities is a bitmap.
pub(super) fn is_dense(count: usize, all: u32) -> bool {
    count > all as usize / SPARSE
}

/// The id of a section.
pub(super) fn section_id(kind: Kind, column: Column) -> u32 {
    let kind = match kind {
        Kind::Album => 1,
        Kind::Artist => 2,
        Kind::Genre => 3,
        Kind::Song => 4,
    };
    kind * 256 + column.number()
}

/// The hash over everything behind the header, finished with the header itself.
pub(super) fn content_hash(mut rest: Xxh3, header: &Header) -> [u8; 16] {
    rest.update(Header { hash: [0; 16], ..*header }.as_bytes());
    rest.digest128().to_be_bytes()
}
