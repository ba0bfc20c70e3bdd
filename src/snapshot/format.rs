#![doc = include_str!("FORMAT.md")]

use xxhash_rust::xxh3::Xxh3;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::api::Field;
use crate::model::{Kind, Owner};

/// First bytes of every snapshot.
pub(crate) const MAGIC: [u8; 8] = *b"\x89AVLN\r\n\x1a";
/// The version that this program reads, and writes unless the caller asks for another one.
pub const VERSION: u32 = VERSIONS[0];
/// The versions that it can write, its own first, so that it can publish for programs that read a former one.
pub const VERSIONS: &[u32] = if cfg!(feature = "next-format") { &[3, 2] } else { &[2] };
/// Bytes of the header; the first section begins here.
pub(crate) const HEADER_LEN: usize = size_of::<Header>();
/// Sections begin at multiples of this.
pub(crate) const ALIGNMENT: u64 = 8;
/// The most entities of one kind: with one more, an index would be ambiguous.
pub(crate) const ENTITIES_MAX: usize = u32::MAX as usize - 1;

/// The first 64 bytes of a snapshot.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct Header {
    pub(crate) magic: [u8; 8],
    pub(crate) version: U32,
    pub(crate) sections: U32,
    pub(crate) length: U64,
    pub(crate) checksum: [u8; 16],
    pub(crate) table: U64,
    pub(crate) hash: [u8; 16],
}

const _: () = assert!(HEADER_LEN == 64);

/// One line of the section table.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct SectionEntry {
    pub(crate) id: U32,
    pub(crate) width: U32,
    pub(crate) offset: U64,
    pub(crate) size: U64,
}

const _: () = assert!(size_of::<SectionEntry>() == 24);

/// One word of one name: its offset in the search form of the entity.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct Suffix {
    pub(crate) entity: U32,
    pub(crate) start: U32,
}

/// Defines [`Column`] from one list of names, numbers and widths.
macro_rules! columns {
    ($($column:ident = $number:literal, $width:literal;)*) => {
        /// The content of a section, for one kind of entity.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Column {
            $($column,)*
            Order(Field),
            Rank(Field),
        }

        impl Column {
            /// The columns that belong to no field.
            const PLAIN: [Column; 20] = [$(Column::$column),*];

            /// The number of a column, which identifies its section.
            fn number(self) -> u32 {
                match self {
                    $(Column::$column => $number,)*
                    Column::Order(field) => 32 + field as u32,
                    Column::Rank(field) => 64 + field as u32,
                }
            }

            /// The bytes of one item.
            pub(crate) const fn width(self) -> u32 {
                match self {
                    $(Column::$column => $width,)*
                    Column::Order(_) | Column::Rank(_) => 4,
                }
            }
        }
    };
}

columns! {
    Json = 1, 1;
    JsonOffsets = 2, 8;
    Ids = 3, 16;
    Forms = 4, 1;
    FormOffsets = 5, 8;
    Suffixes = 6, 8;
    Lower = 7, 1;
    LowerOffsets = 8, 8;
    ByLower = 9, 4;
    SongOffsets = 10, 4;
    Songs = 11, 4;
    Album = 12, 4;
    Artist = 13, 4;
    Genre = 14, 4;
    Prefixes = 15, 1;
    PrefixOffsets = 16, 8;
    PrefixSets = 17, 8;
    PrefixCounts = 18, 4;
    Gzip = 19, 1;
    Zstd = 20, 1;
}

const _: () = assert!(size_of::<Suffix>() == Column::Suffixes.width() as usize);

impl Column {
    /// The column with the owner of each song.
    pub(crate) fn of(owner: Owner) -> Column {
        match owner {
            Owner::Album => Column::Album,
            Owner::Artist => Column::Artist,
            Owner::Genre => Column::Genre,
        }
    }

    fn all() -> impl Iterator<Item = Column> {
        let by_field = Field::ALL.into_iter().flat_map(|field| [Column::Order(field), Column::Rank(field)]);
        Column::PLAIN.into_iter().chain(by_field)
    }
}

/// The id of a section.
pub(crate) fn section_id(kind: Kind, column: Column) -> u32 {
    (u32::from(kind.number()) + 1) * 256 + column.number()
}

/// The kind and column of the section with an id.
pub(crate) fn section_of(id: u32) -> Option<(Kind, Column)> {
    let mut all = Column::all().flat_map(|column| Kind::ALL.map(|kind| (kind, column)));
    all.find(|(kind, column)| section_id(*kind, *column) == id)
}

/// The bytes that the API writes before the entities of a list.
pub const LIST_HEAD: &[u8] = b"{\"errors\":[],\"success\":[";
/// The bytes that the API writes after the entities, once a scan has found songs.
pub const LIST_TAIL: &[u8] = b"],\"warnings\":[]}";
/// The snapshot has no compressed list of a kind whose texts have fewer bytes, because compressing them for
/// each answer is quick enough.
pub(crate) const PACKED_LEAST: usize = 16 * 1024;

/// Characters of the longest beginning of a word for which the snapshot may have a set of songs.
pub(crate) const PREFIX_CHARS: usize = 3;
/// A set with more than one member per this many entities is a bitmap; a smaller one is a list.
const SPARSE: usize = 64;

/// Whether a set of `count` out of `all` entities is a bitmap.
pub(crate) fn is_dense(count: usize, all: u32) -> bool {
    count >= dense_from(all)
}

/// The fewest members of a set out of `all` entities that is a bitmap.
pub(crate) fn dense_from(all: u32) -> usize {
    all as usize / SPARSE + 1
}

/// Whether a section belongs to columns 19 and 20, whose bytes depend on the compressor and not on the rows
/// alone.
pub(crate) fn is_packed(entry: &SectionEntry) -> bool {
    [Column::Gzip, Column::Zstd].iter().any(|column| entry.id.get() % 256 == column.number())
}

/// The hash of the content: the bytes between the header and the compressed lists, then the lines of the
/// section `table` for all other sections than those lists.
pub(crate) fn content_hash(mut content: Xxh3, table: &[SectionEntry]) -> [u8; 16] {
    for entry in table.iter().filter(|entry| !is_packed(entry)) {
        content.update(entry.as_bytes());
    }
    content.digest128().to_be_bytes()
}

/// The checksum: all bytes behind the header, then the header itself.
pub(crate) fn checksum(mut rest: Xxh3, header: &Header) -> [u8; 16] {
    rest.update(Header { checksum: [0; 16], ..*header }.as_bytes());
    rest.digest128().to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMAT: &str = include_str!("FORMAT.md");

    /// The cells of the rows of the table whose head begins with `head`.
    fn table(head: &str) -> impl Iterator<Item = Vec<&str>> {
        let (_, rest) = FORMAT.split_once(head).expect("the table");
        let rows = rest.lines().skip(2).take_while(|line| line.starts_with('|'));
        rows.map(|row| row.split('|').skip(1).map(str::trim).collect())
    }

    /// Each column stands in one row of the table, with its width.
    #[test]
    fn format_document_has_the_columns_of_the_code() {
        let mut documented = Vec::new();
        for row in table("\n| column | width |") {
            let width: u32 = row[1].parse().expect("a width");
            match row[0].split_once(" + field") {
                Some((base, _)) => {
                    let base: u32 = base.parse().expect("a number");
                    documented.extend(Field::ALL.map(|field| (base + field as u32, width)));
                }
                None => documented
                    .extend(row[0].split(", ").map(|number| (number.parse().expect("a number"), width))),
            }
        }
        let mut listed: Vec<(u32, u32)> =
            Column::all().map(|column| (column.number(), column.width())).collect();
        listed.sort_unstable();
        assert_eq!(documented, listed);
    }

    #[test]
    fn format_document_has_the_numbers_of_kinds_and_fields() {
        let fields = Field::ALL.map(|field| format!("{} {}", field.name(), field as u32)).join(", ");
        let text = FORMAT.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(&format!("A *field* has a number: {fields}.")), "{fields}");
        let kinds =
            Kind::ALL.map(|kind| format!("{} {}", kind.number() + 1, kind.plural().trim_end_matches('s')));
        assert!(text.contains(&format!("Kinds: {}.", kinds.join(", "))), "{kinds:?}");
    }

    #[test]
    fn format_document_has_the_version_and_the_size_of_the_header() {
        assert!(FORMAT.contains(&format!("# Header, {HEADER_LEN} bytes")));
        let version =
            table("\n| offset | size | field | meaning |").find(|row| row[2] == "version").expect("a row");
        let documented = VERSIONS[VERSIONS.len() - 1];
        assert!(version[3].starts_with(&format!("{documented};")), "{version:?}");
        assert!(FORMAT.contains(&format!("one entry of {} bytes", size_of::<SectionEntry>())));
    }

    #[test]
    fn sections_are_found_by_their_ids() {
        for column in Column::all() {
            for kind in Kind::ALL {
                assert_eq!(section_of(section_id(kind, column)), Some((kind, column)));
            }
        }
        assert_eq!(section_of(0), None);
        assert_eq!(section_of(256 + 21), None);
    }
}
