//! All checks of untrusted bytes, made once: header, section table, and the content of each section.

use xxhash_rust::xxh3::Xxh3;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::error::OpenError;
use super::tables::{Entities, Names, Sets, Songs, Texts};
use crate::api::Field;
use crate::model::{Kind, Owner, PerOwner};
use crate::snapshot::format::{
    Column, ENTITIES_MAX, HEADER_LEN, Header, MAGIC, SectionEntry, Suffix, checksum, content_hash, is_packed,
    section_id,
};

/// The part of a snapshot to check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verify {
    /// Everything: checksum and hash, and every index and offset. Reads the whole snapshot.
    Full,
    /// Everything but checksum and hash: every index and offset. With `Hash` this is as much as `Full`.
    Indexes,
    /// Checksum and hash, and everything that `Structure` checks. This suffices for bytes of a former
    /// process, which a loader verified in full before it or its master wrote them. Reads the whole snapshot.
    Hash,
    /// Header, table and the sizes of sections. This suffices for bytes that a loader of this server has
    /// verified in full and that cannot have changed since.
    Structure,
}

/// The header, if the bytes look like a snapshot of this version of the format.
pub(super) fn check_header(bytes: &[u8], version: u32) -> Result<Header, OpenError> {
    let Ok((header, _)) = Header::read_from_prefix(bytes) else {
        return Err(OpenError::TooShort { len: bytes.len() });
    };
    if header.magic != MAGIC {
        return Err(OpenError::Magic);
    }
    if header.version.get() != version {
        return Err(OpenError::Version { found: header.version.get() });
    }
    if header.length.get() != bytes.len() as u64 {
        return Err(OpenError::Length { expected: header.length.get(), actual: bytes.len() as u64 });
    }
    Ok(header)
}

/// The section table.
pub(in crate::snapshot) fn table<'a>(
    bytes: &'a [u8],
    header: &Header,
) -> Result<&'a [SectionEntry], OpenError> {
    let rest = usize::try_from(header.table.get()).ok().and_then(|offset| bytes.get(offset..));
    let table = rest.and_then(|rest| <[SectionEntry]>::ref_from_bytes(rest).ok());
    table.filter(|table| table.len() as u64 == u64::from(header.sections.get())).ok_or(OpenError::Table)
}

/// The hash of the content, if the table places the content before the compressed lists, and the state of the
/// checksum before it takes the header. Reads the bytes once.
pub(in crate::snapshot) fn hashed(
    bytes: &[u8],
    header: &Header,
    table: &[SectionEntry],
) -> (Option<[u8; 16]>, Xxh3) {
    let packed = table.iter().filter(|entry| is_packed(entry)).map(|entry| entry.offset.get());
    let end = packed.min().unwrap_or_else(|| header.table.get());
    let ends_before =
        |entry: &SectionEntry| entry.offset.get().checked_add(entry.size.get()).is_some_and(|of| of <= end);
    let is_before = table.iter().all(|entry| is_packed(entry) || ends_before(entry));
    let rest = &bytes[HEADER_LEN..];
    let len = usize::try_from(end).ok().and_then(|end| end.checked_sub(HEADER_LEN));
    let parts = len.and_then(|len| rest.split_at_checked(len)).filter(|_| is_before);
    let (content, lists) = parts.unwrap_or((rest, &[]));
    let mut state = Xxh3::new();
    state.update(content);
    let hash = parts.map(|_| content_hash(state.clone(), table));
    state.update(lists);
    (hash, state)
}

/// Finds and checks sections.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    table: &'a [SectionEntry],
    verify: Verify,
}

impl<'a> Reader<'a> {
    /// Checks header and table, and what `verify` asks for of checksum and hash.
    pub(super) fn new(bytes: &'a [u8], header: &Header, verify: Verify) -> Result<Self, OpenError> {
        let table = table(bytes, header);
        if matches!(verify, Verify::Full | Verify::Hash) {
            // The checks of the bytes come first, so that a damaged table counts as damage.
            let (hash, rest) = hashed(bytes, header, table.as_ref().map_or(&[], |table| table));
            if checksum(rest, header) != header.checksum {
                return Err(OpenError::Checksum);
            }
            if hash != Some(header.hash) {
                return Err(OpenError::Hash);
            }
        }
        let table = table?;
        Ok(Reader { bytes, table, verify })
    }

    /// The tables of albums, artists and genres, and that of songs.
    pub(super) fn tables(&self) -> Result<(PerOwner<Names<'a>>, Songs<'a>), OpenError> {
        let songs_count = self.count(Kind::Song)?;
        let names = PerOwner::try_new(|owner| self.names(owner, songs_count))?;
        let songs = self.songs(&names)?;
        Ok((names, songs))
    }

    /// Whether it checks every index and offset.
    fn checks_indexes(&self) -> bool {
        matches!(self.verify, Verify::Full | Verify::Indexes)
    }

    fn section(&self, kind: Kind, column: Column) -> Result<&'a [u8], OpenError> {
        let id = section_id(kind, column);
        let entry = self.table.iter().find(|entry| entry.id.get() == id);
        let entry = entry.ok_or_else(|| OpenError::of(kind, column, "is missing"))?;
        if entry.width.get() != column.width() {
            return Err(OpenError::of(kind, column, "has items of another width"));
        }
        let offset = usize::try_from(entry.offset.get()).ok();
        let size = usize::try_from(entry.size.get()).ok();
        let bytes = offset.zip(size).and_then(|(offset, size)| {
            let end = offset.checked_add(size)?;
            self.bytes.get(offset..end)
        });
        bytes.ok_or_else(|| OpenError::of(kind, column, "lies outside of the snapshot"))
    }

    /// The bytes of a section that may be missing.
    fn optional(&self, kind: Kind, column: Column) -> Result<Option<&'a [u8]>, OpenError> {
        let id = section_id(kind, column);
        let exists = self.table.iter().any(|entry| entry.id.get() == id);
        exists.then(|| self.section(kind, column)).transpose()
    }

    fn items<T: FromBytes + Immutable + KnownLayout + Unaligned>(
        &self,
        kind: Kind,
        column: Column,
    ) -> Result<&'a [T], OpenError> {
        let bytes = self.section(kind, column)?;
        <[T]>::ref_from_bytes(bytes).map_err(|_| OpenError::of(kind, column, "is cut within an item"))
    }

    fn count(&self, kind: Kind) -> Result<u32, OpenError> {
        let ids: &[[u8; 16]] = self.items(kind, Column::Ids)?;
        let count = u32::try_from(ids.len()).ok().filter(|count| *count as usize <= ENTITIES_MAX);
        count.ok_or_else(|| OpenError::of(kind, Column::Ids, "has too many items"))
    }

    /// `len` numbers, each below `bound`.
    fn numbers(&self, kind: Kind, column: Column, len: usize, bound: u32) -> Result<&'a [U32], OpenError> {
        let numbers: &[U32] = self.items(kind, column)?;
        if numbers.len() != len {
            return Err(OpenError::of(kind, column, "has another number of items than entities"));
        }
        if self.checks_indexes() && numbers.iter().any(|number| number.get() >= bound) {
            return Err(OpenError::of(kind, column, "holds a number out of range"));
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
        let bytes = self.section(kind, texts)?;
        let starts: &[U64] = self.items(kind, offsets)?;
        let ends = (starts.first(), starts.last());
        if starts.len() != count as usize + 1
            || ends.0.is_none_or(|first| first.get() != 0)
            || ends.1.is_none_or(|last| last.get() != bytes.len() as u64)
        {
            return Err(OpenError::of(kind, offsets, "does not cover the texts"));
        }
        let follows = |pair: &[U64]| pair[0].get().checked_add(least).is_some_and(|end| end <= pair[1].get());
        if self.checks_indexes() && !starts.windows(2).all(follows) {
            return Err(OpenError::of(kind, offsets, "is not ascending"));
        }
        Ok(Texts { bytes, offsets: starts })
    }

    fn entities(&self, kind: Kind) -> Result<Entities<'a>, OpenError> {
        let count = self.count(kind)?;
        let len = count as usize;
        let forms = self.texts(kind, Column::Forms, Column::FormOffsets, count, 0)?;
        let suffixes: &[Suffix] = self.items(kind, Column::Suffixes)?;
        let inside = |suffix: &Suffix| {
            let entity = suffix.entity.get();
            entity < count && (suffix.start.get() as usize) < forms.get(entity).len()
        };
        if self.checks_indexes() && !suffixes.iter().all(inside) {
            return Err(OpenError::of(kind, Column::Suffixes, "points outside of a name"));
        }
        Ok(Entities {
            count,
            // The shortest text is "{},".
            json: self.texts(kind, Column::Json, Column::JsonOffsets, count, 3)?,
            ids: self.items(kind, Column::Ids)?,
            by_id: self.numbers(kind, Column::Order(Field::Id), len, count)?,
            id_rank: self.numbers(kind, Column::Rank(Field::Id), len, count)?,
            name_rank: self.numbers(kind, Column::Rank(Field::Name), len, count)?,
            forms,
            suffixes,
        })
    }

    fn names(&self, owner: Owner, songs_count: u32) -> Result<Names<'a>, OpenError> {
        let kind = Kind::Of(owner);
        let entities = self.entities(kind)?;
        let len = entities.count as usize;
        let song_offsets = self.numbers(kind, Column::SongOffsets, len + 1, u32::MAX)?;
        let ends = (song_offsets.first(), song_offsets.last());
        let covers = ends.0.is_some_and(|first| first.get() == 0)
            && ends.1.is_some_and(|last| last.get() == songs_count);
        let follows = |pair: &[U32]| pair[0].get() <= pair[1].get();
        if !covers || (self.checks_indexes() && !song_offsets.windows(2).all(follows)) {
            return Err(OpenError::of(kind, Column::SongOffsets, "does not cover the songs"));
        }
        let songs = match owner {
            Owner::Artist => None,
            Owner::Album | Owner::Genre => {
                Some(self.numbers(kind, Column::Songs, songs_count as usize, songs_count)?)
            }
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

    fn songs(&self, names: &PerOwner<Names<'a>>) -> Result<Songs<'a>, OpenError> {
        let kind = Kind::Song;
        let entities = self.entities(kind)?;
        let (count, len) = (entities.count, entities.count as usize);
        let numbers = |column, bound| self.numbers(kind, column, len, bound);
        let mut orders: [&[U32]; Field::ALL.len()] = Default::default();
        // The order by artist is the default order.
        for field in Field::ALL.into_iter().filter(|field| *field != Field::Artist) {
            orders[field as usize] = numbers(Column::Order(field), count)?;
        }
        Ok(Songs {
            sets: self.sets(count)?,
            owners: PerOwner::try_new(|owner| numbers(Column::of(owner), names[owner].entities.count))?,
            length_rank: numbers(Column::Rank(Field::Length), count)?,
            track_rank: numbers(Column::Rank(Field::Track), count)?,
            year_rank: numbers(Column::Rank(Field::Year), count)?,
            orders,
            entities,
        })
    }

    fn sets(&self, songs: u32) -> Result<Sets<'a>, OpenError> {
        let kind = Kind::Song;
        let counts: &[U32] = self.items(kind, Column::PrefixCounts)?;
        let count = u32::try_from(counts.len()).ok().filter(|count| *count < u32::MAX);
        let count = count.ok_or_else(|| OpenError::of(kind, Column::PrefixCounts, "has too many items"))?;
        let prefixes = self.texts(kind, Column::Prefixes, Column::PrefixOffsets, count, 1)?;
        let words: &[U64] = self.items(kind, Column::PrefixSets)?;
        let width = songs.div_ceil(64) as usize;
        if Some(words.len()) != counts.len().checked_mul(width) {
            return Err(OpenError::of(
                kind,
                Column::PrefixSets,
                "has another number of bitmaps than of counts",
            ));
        }
        let sets = Sets { prefixes, counts, words, width };
        let is_right = |at: u32| {
            let bits = sets.get(at);
            bits.iter().count() == bits.len() && bits.iter().last().is_none_or(|last| last < songs)
        };
        if self.checks_indexes() && !(0..count).all(is_right) {
            return Err(OpenError::of(
                kind,
                Column::PrefixSets,
                "holds songs that do not exist, or a wrong number of them",
            ));
        }
        Ok(sets)
    }
}
