//! All checks of untrusted bytes, once. What comes out may be indexed freely.

use std::fmt;
use std::io;
use std::os::fd::AsFd;

use xxhash_rust::xxh3::Xxh3;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::bits::Bits;
use super::format::{
    Column, ENTITIES_MAX, HEADER_LEN, Header, MAGIC, SectionEntry, Suffix, VERSION, content_hash, section_id,
};
use super::{Field, Kind, Packing, storage};

/// How much of a snapshot to check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verify {
    /// Everything: the hash, and every index and offset. Reads the whole snapshot.
    Full,
    /// The hash, and what `Structure` checks: for bytes of a former process, which a loader
    /// had verified in full before it or its master wrote them down. Reads the whole snapshot.
    Hash,
    /// Header, table and the sizes of sections: for bytes that a loader of ours has
    /// verified in full and that cannot change since.
    Structure,
}

/// Bytes that are no snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenError {
    /// Shorter than a header.
    TooShort {
        /// Its bytes.
        len: usize,
    },
    /// Something else, or damaged by a transfer as text.
    Magic,
    /// Of another program version.
    Version {
        /// The version found.
        found: u32,
    },
    /// Cut short or with something behind its end.
    Length {
        /// What the header says.
        expected: u64,
        /// What is there.
        actual: u64,
    },
    /// Bytes have changed since it was written.
    Hash,
    /// A section is missing, misplaced, or holds what it must not.
    Section {
        /// Of which kind of entity.
        kind: Kind,
        /// Which one.
        column: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// The section table lies outside of the snapshot.
    Table,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::TooShort { len } => write!(f, "{len} bytes are less than a snapshot's header"),
            OpenError::Magic => f.write_str("this is no snapshot (wrong first bytes)"),
            OpenError::Version { found } => {
                write!(f, "the snapshot has format version {found}, this program reads {VERSION}")
            }
            OpenError::Length { expected, actual } => {
                write!(f, "the snapshot should have {expected} bytes but has {actual}")
            }
            OpenError::Hash => f.write_str("the snapshot's bytes do not have the hash in its header"),
            OpenError::Section { kind, column, problem } => {
                write!(f, "snapshot section {kind:?} {column}: {problem}")
            }
            OpenError::Table => f.write_str("the snapshot's section table lies outside of it"),
        }
    }
}

impl std::error::Error for OpenError {}

/// A checked snapshot, borrowed from its bytes.
#[derive(Debug, Clone)]
pub struct Snapshot<'a> {
    hash: u128,
    len: usize,
    pub(super) albums: Names<'a>,
    pub(super) artists: Names<'a>,
    pub(super) genres: Names<'a>,
    pub(super) songs: Songs<'a>,
}

/// Texts without gaps, and where each begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Texts<'a> {
    bytes: &'a [u8],
    offsets: &'a [U64],
}

impl<'a> Texts<'a> {
    pub(super) fn get(&self, at: u32) -> &'a [u8] {
        self.span(at, at + 1)
    }

    /// The texts from `from` to before `to`, as they stand one after the other.
    pub(super) fn span(&self, from: u32, to: u32) -> &'a [u8] {
        let offset = |at: u32| self.offsets[at as usize].get() as usize;
        &self.bytes[offset(from)..offset(to)]
    }
}

/// What all kinds have.
#[derive(Debug, Clone)]
pub(super) struct Entities<'a> {
    pub(super) count: u32,
    pub(super) json: Texts<'a>,
    pub(super) ids: &'a [[u8; 16]],
    pub(super) by_id: &'a [U32],
    pub(super) id_rank: &'a [U32],
    pub(super) name_rank: &'a [U32],
    pub(super) forms: Texts<'a>,
    pub(super) suffixes: &'a [Suffix],
}

/// Albums, artists or genres.
#[derive(Debug, Clone)]
pub(super) struct Names<'a> {
    pub(super) entities: Entities<'a>,
    pub(super) lower: Texts<'a>,
    pub(super) by_lower: &'a [U32],
    pub(super) song_offsets: &'a [U32],
    /// `None` for artists, whose songs stand together in default order.
    pub(super) songs: Option<&'a [U32]>,
    /// The whole list in gzip and in zstd, if it is kept.
    gzip: Option<&'a [u8]>,
    zstd: Option<&'a [u8]>,
}

/// Songs.
#[derive(Debug, Clone)]
pub(super) struct Songs<'a> {
    pub(super) entities: Entities<'a>,
    pub(super) album: &'a [U32],
    pub(super) artist: &'a [U32],
    pub(super) genre: &'a [U32],
    pub(super) length_rank: &'a [U32],
    pub(super) track_rank: &'a [U32],
    pub(super) year_rank: &'a [U32],
    /// By number of the field; empty for artist, whose order is the default order.
    pub(super) orders: [&'a [U32]; Field::ALL.len()],
    pub(super) sets: Sets<'a>,
}

/// The songs that the commonest beginnings of words match.
#[derive(Debug, Clone)]
pub(super) struct Sets<'a> {
    /// The beginnings, ascending.
    pub(super) prefixes: Texts<'a>,
    pub(super) counts: &'a [U32],
    /// One bitmap after the other.
    words: &'a [U64],
    /// Words of each.
    width: usize,
}

impl<'a> Sets<'a> {
    /// The set of a beginning.
    pub(super) fn get(&self, at: u32) -> Bits<'a> {
        let begin = at as usize * self.width;
        Bits::mapped(&self.words[begin..begin + self.width], self.counts[at as usize].get())
    }
}

/// Maps a snapshot for the rest of the process's life. A loader has verified all of it, and it is sealed since.
///
/// # Errors
/// The kernel cannot map it, or it is not sealed, or no snapshot.
pub fn open_sealed(sealed: impl AsFd) -> io::Result<&'static Snapshot<'static>> {
    let map: &'static memmap2::Mmap = Box::leak(Box::new(storage::map(sealed)?));
    let snapshot = Snapshot::open(map, Verify::Structure).map_err(io::Error::other)?;
    Ok(Box::leak(Box::new(snapshot)))
}

impl<'a> Snapshot<'a> {
    /// Checks `bytes`.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn open(bytes: &'a [u8], verify: Verify) -> Result<Self, OpenError> {
        let header = check_header(bytes)?;
        if verify != Verify::Structure {
            let mut rest = Xxh3::new();
            rest.update(&bytes[HEADER_LEN..]);
            if content_hash(rest, &header) != header.hash {
                return Err(OpenError::Hash);
            }
        }
        let reader = Reader { bytes, table: table(bytes, &header)?, verify };
        let songs_count = reader.count(Kind::Song)?;
        let albums = reader.names(Kind::Album, songs_count)?;
        let artists = reader.names(Kind::Artist, songs_count)?;
        let genres = reader.names(Kind::Genre, songs_count)?;
        let songs = reader.songs([&albums, &artists, &genres])?;
        let hash = u128::from_be_bytes(header.hash);
        Ok(Snapshot { hash, len: bytes.len(), albums, artists, genres, songs })
    }

    /// The hash of the content, the same wherever the rows are the same.
    pub fn hash(&self) -> u128 {
        self.hash
    }

    /// Its bytes.
    pub fn size(&self) -> usize {
        self.len
    }

    /// The sections: id, bytes of an item, bytes in all.
    pub(super) fn sections(bytes: &[u8]) -> Result<Vec<(u32, usize, usize)>, OpenError> {
        let table = table(bytes, &check_header(bytes)?)?;
        let line = |entry: &SectionEntry| {
            (
                entry.id.get(),
                entry.width.get() as usize,
                usize::try_from(entry.size.get()).unwrap_or(usize::MAX),
            )
        };
        Ok(table.iter().map(line).collect())
    }

    /// How many entities of `kind` there are.
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

    /// The API's answer that lists all entities of `kind` in default order, compressed, if it is kept.
    pub fn packed(&self, kind: Kind, packing: Packing) -> Option<&'a [u8]> {
        let names = match kind {
            Kind::Album => &self.albums,
            Kind::Artist => &self.artists,
            Kind::Genre => &self.genres,
            Kind::Song => return None,
        };
        match packing {
            Packing::Gzip => names.gzip,
            Packing::Zstd => names.zstd,
        }
    }

    pub(super) fn entities(&self, kind: Kind) -> &Entities<'a> {
        match kind {
            Kind::Album => &self.albums.entities,
            Kind::Artist => &self.artists.entities,
            Kind::Genre => &self.genres.entities,
            Kind::Song => &self.songs.entities,
        }
    }
}

fn check_header(bytes: &[u8]) -> Result<Header, OpenError> {
    let Ok((header, _)) = Header::read_from_prefix(bytes) else {
        return Err(OpenError::TooShort { len: bytes.len() });
    };
    if header.magic != MAGIC {
        return Err(OpenError::Magic);
    }
    if header.version.get() != VERSION {
        return Err(OpenError::Version { found: header.version.get() });
    }
    if header.length.get() != bytes.len() as u64 {
        return Err(OpenError::Length { expected: header.length.get(), actual: bytes.len() as u64 });
    }
    Ok(header)
}

fn table<'a>(bytes: &'a [u8], header: &Header) -> Result<&'a [SectionEntry], OpenError> {
    let rest = usize::try_from(header.table.get()).ok().and_then(|offset| bytes.get(offset..));
    let table = rest.and_then(|rest| <[SectionEntry]>::ref_from_bytes(rest).ok());
    table.filter(|table| table.len() as u64 == u64::from(header.sections.get())).ok_or(OpenError::Table)
}

/// Finds and checks sections.
struct Reader<'a> {
    bytes: &'a [u8],
    table: &'a [SectionEntry],
    verify: Verify,
}

impl<'a> Reader<'a> {
    fn section(&self, kind: Kind, column: Column, width: usize) -> Result<&'a [u8], OpenError> {
        let id = section_id(kind, column);
        let entry = self.table.iter().find(|entry| entry.id.get() == id);
        let entry = entry.ok_or_else(|| error(kind, column, "is missing"))?;
        if entry.width.get() as usize != width {
            return Err(error(kind, column, "has items of another width"));
        }
        let offset = usize::try_from(entry.offset.get()).ok();
        let size = usize::try_from(entry.size.get()).ok();
        let bytes = offset.zip(size).and_then(|(offset, size)| {
            let end = offset.checked_add(size)?;
            self.bytes.get(offset..end)
        });
        bytes.ok_or_else(|| error(kind, column, "lies outside of the snapshot"))
    }

    /// Bytes that need not be there.
    fn optional(&self, kind: Kind, column: Column) -> Result<Option<&'a [u8]>, OpenError> {
        let id = section_id(kind, column);
        let exists = self.table.iter().any(|entry| entry.id.get() == id);
        exists.then(|| self.section(kind, column, 1)).transpose()
    }

    fn items<T: FromBytes + Immutable + KnownLayout + Unaligned>(
        &self,
        kind: Kind,
        column: Column,
        width: usize,
    ) -> Result<&'a [T], OpenError> {
        let bytes = self.section(kind, column, width)?;
        <[T]>::ref_from_bytes(bytes).map_err(|_| error(kind, column, "is cut within an item"))
    }

    fn count(&self, kind: Kind) -> Result<u32, OpenError> {
        let ids: &[[u8; 16]] = self.items(kind, Column::Ids, 16)?;
        let count = u32::try_from(ids.len()).ok().filter(|count| *count as usize <= ENTITIES_MAX);
        count.ok_or_else(|| error(kind, Column::Ids, "has too many items"))
    }

    /// `len` numbers, each below `bound`.
    fn numbers(&self, kind: Kind, column: Column, len: usize, bound: u32) -> Result<&'a [U32], OpenError> {
        let numbers: &[U32] = self.items(kind, column, 4)?;
        if numbers.len() != len {
            return Err(error(kind, column, "has another number of items than entities"));
        }
        if self.verify == Verify::Full && numbers.iter().any(|number| number.get() >= bound) {
            return Err(error(kind, column, "holds a number out of range"));
        }
        Ok(numbers)
    }

    /// Texts of `count` entities, each at least `least` bytes long.
    fn texts(
        &self,
        kind: Kind,
        texts: Column,
        offsets: Column,
        count: u32,
        least: u64,
    ) -> Result<Texts<'a>, OpenError> {
        let bytes = self.section(kind, texts, 1)?;
        let starts: &[U64] = self.items(kind, offsets, 8)?;
        let ends = (starts.first(), starts.last());
        if starts.len() != count as usize + 1
            || ends.0.is_none_or(|first| first.get() != 0)
            || ends.1.is_none_or(|last| last.get() != bytes.len() as u64)
        {
            return Err(error(kind, offsets, "does not cover the texts"));
        }
        let follows = |pair: &[U64]| pair[0].get().checked_add(least).is_some_and(|end| end <= pair[1].get());
        if self.verify == Verify::Full && !starts.windows(2).all(follows) {
            return Err(error(kind, offsets, "is not ascending"));
        }
        Ok(Texts { bytes, offsets: starts })
    }

    fn entities(&self, kind: Kind) -> Result<Entities<'a>, OpenError> {
        let count = self.count(kind)?;
        let len = count as usize;
        let forms = self.texts(kind, Column::Forms, Column::FormOffsets, count, 0)?;
        let suffixes: &[Suffix] = self.items(kind, Column::Suffixes, size_of::<Suffix>())?;
        let inside = |suffix: &Suffix| {
            let entity = suffix.entity.get();
            entity < count && (suffix.start.get() as usize) < forms.get(entity).len()
        };
        if self.verify == Verify::Full && !suffixes.iter().all(inside) {
            return Err(error(kind, Column::Suffixes, "points outside of a name"));
        }
        Ok(Entities {
            count,
            // The shortest text is "{},".
            json: self.texts(kind, Column::Json, Column::JsonOffsets, count, 3)?,
            ids: self.items(kind, Column::Ids, 16)?,
            by_id: self.numbers(kind, Column::Order(Field::Id), len, count)?,
            id_rank: self.numbers(kind, Column::Rank(Field::Id), len, count)?,
            name_rank: self.numbers(kind, Column::Rank(Field::Name), len, count)?,
            forms,
            suffixes,
        })
    }

    fn names(&self, kind: Kind, songs_count: u32) -> Result<Names<'a>, OpenError> {
        let entities = self.entities(kind)?;
        let len = entities.count as usize;
        let song_offsets = self.numbers(kind, Column::SongOffsets, len + 1, u32::MAX)?;
        let ends = (song_offsets.first(), song_offsets.last());
        let covers = ends.0.is_some_and(|first| first.get() == 0)
            && ends.1.is_some_and(|last| last.get() == songs_count);
        let follows = |pair: &[U32]| pair[0].get() <= pair[1].get();
        if !covers || (self.verify == Verify::Full && !song_offsets.windows(2).all(follows)) {
            return Err(error(kind, Column::SongOffsets, "does not cover the songs"));
        }
        let songs = match kind {
            Kind::Artist => None,
            _ => Some(self.numbers(kind, Column::Songs, songs_count as usize, songs_count)?),
        };
        Ok(Names {
            lower: self.texts(kind, Column::Lower, Column::LowerOffsets, entities.count, 0)?,
            by_lower: self.numbers(kind, Column::ByLower, len, entities.count)?,
            song_offsets,
            songs,
            gzip: self.optional(kind, Column::Gzip)?,
            zstd: self.optional(kind, Column::Zstd)?,
            entities,
        })
    }

    fn songs(&self, [albums, artists, genres]: [&Names<'a>; 3]) -> Result<Songs<'a>, OpenError> {
        let kind = Kind::Song;
        let entities = self.entities(kind)?;
        let (count, len) = (entities.count, entities.count as usize);
        let numbers = |column, bound| self.numbers(kind, column, len, bound);
        let mut orders: [&[U32]; Field::ALL.len()] = Default::default();
        for field in Field::ALL.into_iter().filter(|field| *field != Field::Artist) {
            orders[field as usize] = numbers(Column::Order(field), count)?;
        }
        Ok(Songs {
            sets: self.sets(count)?,
            album: numbers(Column::Album, albums.entities.count)?,
            artist: numbers(Column::Artist, artists.entities.count)?,
            genre: numbers(Column::Genre, genres.entities.count)?,
            length_rank: numbers(Column::Rank(Field::Length), count)?,
            track_rank: numbers(Column::Rank(Field::Track), count)?,
            year_rank: numbers(Column::Rank(Field::Year), count)?,
            orders,
            entities,
        })
    }
}

impl<'a> Reader<'a> {
    fn sets(&self, songs: u32) -> Result<Sets<'a>, OpenError> {
        let kind = Kind::Song;
        let counts: &[U32] = self.items(kind, Column::PrefixCounts, 4)?;
        let count = u32::try_from(counts.len()).ok().filter(|count| *count < u32::MAX);
        let count = count.ok_or_else(|| error(kind, Column::PrefixCounts, "has too many items"))?;
        let prefixes = self.texts(kind, Column::Prefixes, Column::PrefixOffsets, count, 1)?;
        let words: &[U64] = self.items(kind, Column::PrefixSets, 8)?;
        let width = songs.div_ceil(64) as usize;
        if Some(words.len()) != counts.len().checked_mul(width) {
            return Err(error(kind, Column::PrefixSets, "has another number of bitmaps than of counts"));
        }
        let sets = Sets { prefixes, counts, words, width };
        let is_right = |at: u32| {
            let bits = sets.get(at);
            bits.iter().count() == bits.len() && bits.iter().last().is_none_or(|last| last < songs)
        };
        if self.verify == Verify::Full && !(0..count).all(is_right) {
            return Err(error(kind, Column::PrefixSets, "holds songs that do not exist, or not so many"));
        }
        Ok(sets)
    }
}

fn error(kind: Kind, column: Column, problem: &'static str) -> OpenError {
    OpenError::Section { kind, column: format!("{column:?}"), problem }
}
