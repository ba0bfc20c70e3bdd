//! From rows to bytes: sorted, indexed, deterministic. Knows no database and no HTTP.

use std::cmp::Ordering;
use std::fmt;
use std::io::{self, Seek, SeekFrom, Write};

use serde_json::Value;
use xxhash_rust::xxh3::Xxh3;
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U32, U64};

use super::format::{
    ALIGNMENT, Column, ENTITIES_MAX, HEADER_LEN, Header, MAGIC, SectionEntry, Suffix, VERSION, content_hash,
    section_id,
};
use super::{Field, Kind};
use crate::model::{Collection, Named, Song};
use crate::text;

/// A snapshot that could not be built.
#[derive(Debug)]
pub enum BuildError {
    /// The bytes could not be written (memory or disk full, for instance).
    Write(io::Error),
    /// More entities than an index can tell apart.
    TooMany {
        /// Of which kind.
        kind: Kind,
        /// How many there are.
        count: usize,
    },
    /// A name whose offsets do not fit into 32 bits.
    NameTooLong {
        /// Bytes of its search form.
        len: usize,
    },
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BuildError::Write(_) => f.write_str("the snapshot could not be written"),
            BuildError::TooMany { kind, count } => {
                write!(f, "{count} entities of kind {kind:?} are more than a snapshot holds ({ENTITIES_MAX})")
            }
            BuildError::NameTooLong { len } => write!(f, "a name of {len} bytes is longer than 4 GiB"),
        }
    }
}

impl std::error::Error for BuildError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            BuildError::Write(source) => Some(source),
            _ => None,
        }
    }
}

impl From<io::Error> for BuildError {
    fn from(error: io::Error) -> Self {
        BuildError::Write(error)
    }
}

/// Writes the snapshot of `collection` to `out`, from its beginning. The same rows, in
/// whatever order, give the same bytes.
///
/// # Errors
/// What `out` says, or a collection beyond the limits of the format.
pub fn build<W: Write + Seek>(collection: &Collection, out: W) -> Result<(), BuildError> {
    let albums = SortedNames::new(Kind::Album, &collection.albums)?;
    let artists = SortedNames::new(Kind::Artist, &collection.artists)?;
    let genres = SortedNames::new(Kind::Genre, &collection.genres)?;
    let songs = SortedSongs::new(collection, &albums, &artists, &genres)?;
    let mut sections = Sections::create(out)?;
    for names in [&albums, &artists, &genres] {
        names.write(&mut sections)?;
        songs.write_postings(names, &mut sections)?;
    }
    songs.write(&mut sections)?;
    sections.finish()
}

/// Albums, artists or genres in default order.
struct SortedNames<'a> {
    kind: Kind,
    entities: Vec<&'a Named>,
    /// From the index in the collection to the index in default order.
    moved: Vec<u32>,
    name_rank: Vec<u32>,
    by_id: Vec<u32>,
    id_rank: Vec<u32>,
}

impl<'a> SortedNames<'a> {
    fn new(kind: Kind, list: &'a [Named]) -> Result<Self, BuildError> {
        let order = sorted(check_count(kind, list.len())?, |a, b| {
            let (a, b) = (&list[a as usize], &list[b as usize]);
            a.name.cmp(&b.name).then(a.id.cmp(&b.id))
        });
        let entities: Vec<&Named> = order.iter().map(|&at| &list[at as usize]).collect();
        let count = order.len() as u32;
        let same_order: Vec<u32> = (0..count).collect();
        let by_id = sorted(count, |a, b| entities[a as usize].id.cmp(&entities[b as usize].id));
        Ok(SortedNames {
            kind,
            moved: inverse(&order),
            name_rank: dense_rank(&same_order, |at| &entities[at as usize].name),
            id_rank: inverse(&by_id),
            by_id,
            entities,
        })
    }

    fn write<W: Write + Seek>(&self, out: &mut Sections<W>) -> Result<(), BuildError> {
        let kind = self.kind;
        let json = |at: u32, text: &mut Vec<u8>| {
            let entity = self.entities[at as usize];
            append_json(text, &[("id", id_value(entity.id)), ("name", entity.name.as_str().into())]);
        };
        out.texts(kind, Column::Json, Column::JsonOffsets, self.count(), json)?;
        out.ids(kind, self.entities.iter().map(|entity| entity.id))?;
        write_search(out, kind, self.count(), |at| Some(&self.entities[at as usize].name))?;
        self.write_lower(out)?;
        out.numbers(kind, Column::Order(Field::Id), self.by_id.iter().copied())?;
        out.numbers(kind, Column::Rank(Field::Id), self.id_rank.iter().copied())?;
        out.numbers(kind, Column::Rank(Field::Name), self.name_rank.iter().copied())
    }

    fn write_lower<W: Write + Seek>(&self, out: &mut Sections<W>) -> Result<(), BuildError> {
        let lower: Vec<String> = self.entities.iter().map(|entity| text::lower(&entity.name)).collect();
        let by_lower = sorted(self.count(), |a, b| lower[a as usize].cmp(&lower[b as usize]));
        let append = |at: u32, text: &mut Vec<u8>| text.extend_from_slice(lower[at as usize].as_bytes());
        out.texts(self.kind, Column::Lower, Column::LowerOffsets, self.count(), append)?;
        out.numbers(self.kind, Column::ByLower, by_lower.iter().copied())
    }

    fn count(&self) -> u32 {
        self.entities.len() as u32
    }
}

/// Songs in default order, with the indexes of what they belong to.
struct SortedSongs<'a> {
    songs: Vec<&'a Song>,
    albums: &'a SortedNames<'a>,
    artists: &'a SortedNames<'a>,
    genres: &'a SortedNames<'a>,
    album: Vec<u32>,
    artist: Vec<u32>,
    genre: Vec<u32>,
}

impl<'a> SortedSongs<'a> {
    fn new(
        collection: &'a Collection,
        albums: &'a SortedNames<'a>,
        artists: &'a SortedNames<'a>,
        genres: &'a SortedNames<'a>,
    ) -> Result<Self, BuildError> {
        let list = &collection.songs;
        let place = |song: &Song| (artists.moved[song.artist as usize], albums.moved[song.album as usize]);
        let order = sorted(check_count(Kind::Song, list.len())?, |a, b| {
            let (a, b) = (&list[a as usize], &list[b as usize]);
            let by_place = place(a).cmp(&place(b)).then(a.track.cmp(&b.track));
            by_place.then_with(|| a.name.cmp(&b.name)).then(a.id.cmp(&b.id))
        });
        let songs: Vec<&Song> = order.iter().map(|&at| &list[at as usize]).collect();
        Ok(SortedSongs {
            album: songs.iter().map(|song| albums.moved[song.album as usize]).collect(),
            artist: songs.iter().map(|song| artists.moved[song.artist as usize]).collect(),
            genre: songs.iter().map(|song| genres.moved[song.genre as usize]).collect(),
            songs,
            albums,
            artists,
            genres,
        })
    }

    /// Which songs belong to each of `names`.
    fn write_postings<W: Write + Seek>(
        &self,
        names: &SortedNames<'_>,
        out: &mut Sections<W>,
    ) -> Result<(), BuildError> {
        let owner = match names.kind {
            Kind::Album => &self.album,
            Kind::Artist => &self.artist,
            Kind::Genre => &self.genre,
            Kind::Song => return Ok(()),
        };
        let mut offsets = vec![0_u32; names.entities.len() + 1];
        for &entity in owner {
            offsets[entity as usize + 1] += 1;
        }
        for at in 1..offsets.len() {
            offsets[at] += offsets[at - 1];
        }
        out.numbers(names.kind, Column::SongOffsets, offsets.iter().copied())?;
        if names.kind == Kind::Artist {
            return Ok(());
        }
        let mut next = offsets;
        let mut list = vec![0_u32; owner.len()];
        for (song, &entity) in owner.iter().enumerate() {
            let slot = &mut next[entity as usize];
            list[*slot as usize] = song as u32;
            *slot += 1;
        }
        out.numbers(names.kind, Column::Songs, list.iter().copied())
    }

    fn write<W: Write + Seek>(&self, out: &mut Sections<W>) -> Result<(), BuildError> {
        let kind = Kind::Song;
        let count = self.songs.len() as u32;
        out.texts(kind, Column::Json, Column::JsonOffsets, count, |at, text| self.append_song(at, text))?;
        out.ids(kind, self.songs.iter().map(|song| song.id))?;
        write_search(out, kind, count, |at| self.songs[at as usize].name.as_deref())?;
        out.numbers(kind, Column::Album, self.album.iter().copied())?;
        out.numbers(kind, Column::Artist, self.artist.iter().copied())?;
        out.numbers(kind, Column::Genre, self.genre.iter().copied())?;
        self.write_order(out, Field::Id, |song| song.id)?;
        self.write_order(out, Field::Name, |song| song.name.as_deref())?;
        self.write_order(out, Field::Length, |song| song.length)?;
        self.write_order(out, Field::Track, |song| song.track)?;
        self.write_order(out, Field::Year, |song| song.year)?;
        for (field, owner, rank) in [
            (Field::Album, &self.album, &self.albums.name_rank),
            (Field::AlbumId, &self.album, &self.albums.id_rank),
            (Field::ArtistId, &self.artist, &self.artists.id_rank),
            (Field::Genre, &self.genre, &self.genres.name_rank),
            (Field::GenreId, &self.genre, &self.genres.id_rank),
        ] {
            let key = |at: u32| rank[owner[at as usize] as usize];
            let order = sorted(count, |a, b| key(a).cmp(&key(b)));
            out.numbers(kind, Column::Order(field), order.iter().copied())?;
        }
        Ok(())
    }

    /// Order and ranks by a value of the song itself.
    fn write_order<'s, W: Write + Seek, V: Ord>(
        &'s self,
        out: &mut Sections<W>,
        field: Field,
        value: impl Fn(&'s Song) -> V,
    ) -> Result<(), BuildError> {
        let value = |at: u32| value(self.songs[at as usize]);
        let order = sorted(self.songs.len() as u32, |a, b| value(a).cmp(&value(b)));
        out.numbers(Kind::Song, Column::Order(field), order.iter().copied())?;
        out.numbers(Kind::Song, Column::Rank(field), dense_rank(&order, value).into_iter())
    }

    fn append_song(&self, at: u32, text: &mut Vec<u8>) {
        let song = self.songs[at as usize];
        let album = self.albums.entities[self.album[at as usize] as usize];
        let artist = self.artists.entities[self.artist[at as usize] as usize];
        let genre = self.genres.entities[self.genre[at as usize] as usize];
        append_json(
            text,
            &[
                ("id", id_value(song.id)),
                ("name", song.name.as_deref().into()),
                ("length", song.length.into()),
                ("track", song.track.into()),
                ("year", song.year.into()),
                ("album", album.name.as_str().into()),
                ("album_id", id_value(album.id)),
                ("artist", artist.name.as_str().into()),
                ("artist_id", id_value(artist.id)),
                ("genre", genre.name.as_str().into()),
                ("genre_id", id_value(genre.id)),
            ],
        );
    }
}

/// Search forms, and the word suffixes sorted by their text.
fn write_search<'a, W: Write + Seek>(
    out: &mut Sections<W>,
    kind: Kind,
    count: u32,
    name: impl Fn(u32) -> Option<&'a str>,
) -> Result<(), BuildError> {
    let mut forms = Vec::new();
    let mut starts = vec![0_usize];
    let mut suffixes = Vec::new();
    for at in 0..count {
        let form = name(at).map(text::index_form).unwrap_or_default();
        if u32::try_from(form.len()).is_err() {
            return Err(BuildError::NameTooLong { len: form.len() });
        }
        let words = text::word_starts(&form);
        suffixes.extend(words.map(|start| SortedSuffix::new(&form, at, start)));
        forms.extend_from_slice(&form);
        starts.push(forms.len());
    }
    let rest = |suffix: &SortedSuffix| {
        let at = suffix.entity as usize;
        &forms[starts[at] + suffix.start as usize..starts[at + 1]]
    };
    suffixes.sort_unstable_by(|a, b| {
        let by_text = a.key.cmp(&b.key).then_with(|| rest(a).cmp(rest(b)));
        by_text.then(a.entity.cmp(&b.entity)).then(a.start.cmp(&b.start))
    });
    out.texts(kind, Column::Forms, Column::FormOffsets, count, |at, text| {
        text.extend_from_slice(&forms[starts[at as usize]..starts[at as usize + 1]]);
    })?;
    out.begin(kind, Column::Suffixes, size_of::<Suffix>())?;
    for suffix in &suffixes {
        let suffix = Suffix { entity: suffix.entity.into(), start: suffix.start.into() };
        out.append(suffix.as_bytes())?;
    }
    out.end();
    Ok(())
}

/// A suffix with the beginning of its text as a number, so that most comparisons touch
/// no text.
struct SortedSuffix {
    key: u64,
    entity: u32,
    start: u32,
}

impl SortedSuffix {
    /// `start` fits, as the length of the form was checked.
    fn new(form: &[u8], entity: u32, start: usize) -> Self {
        let mut key = [0; 8];
        let rest = &form[start..];
        let len = rest.len().min(key.len());
        key[..len].copy_from_slice(&rest[..len]);
        SortedSuffix { key: u64::from_be_bytes(key), entity, start: start as u32 }
    }
}

/// Indexes below `count` in the order of `compare`, ties by index.
fn sorted(count: u32, compare: impl Fn(u32, u32) -> Ordering) -> Vec<u32> {
    let mut order: Vec<u32> = (0..count).collect();
    order.sort_unstable_by(|&a, &b| compare(a, b).then(a.cmp(&b)));
    order
}

/// Where each index stands in `order`, a permutation.
fn inverse(order: &[u32]) -> Vec<u32> {
    let mut places = vec![0; order.len()];
    for (place, &at) in order.iter().enumerate() {
        places[at as usize] = place as u32;
    }
    places
}

/// Ranks of the values of all indexes, which `order` sorts by value.
fn dense_rank<V: PartialEq>(order: &[u32], value: impl Fn(u32) -> V) -> Vec<u32> {
    let mut ranks = vec![0; order.len()];
    let mut rank = 0;
    for pair in order.windows(2) {
        rank += u32::from(value(pair[0]) != value(pair[1]));
        ranks[pair[1] as usize] = rank;
    }
    ranks
}

fn check_count(kind: Kind, count: usize) -> Result<u32, BuildError> {
    if count > ENTITIES_MAX {
        return Err(BuildError::TooMany { kind, count });
    }
    Ok(count as u32)
}

fn id_value(id: uuid::Uuid) -> Value {
    Value::String(id.hyphenated().to_string())
}

/// Appends a JSON object, its fields in this order, and a comma.
fn append_json(text: &mut Vec<u8>, fields: &[(&str, Value)]) {
    for (place, (name, value)) in fields.iter().enumerate() {
        text.push(if place == 0 { b'{' } else { b',' });
        text.extend_from_slice(format!("\"{name}\":{value}").as_bytes());
    }
    text.extend_from_slice(b"},");
}

/// Bytes that are gathered before they are hashed and written.
const BUFFER_LEN: usize = 1 << 20;

/// Writes sections one after the other and remembers where they are.
struct Sections<W> {
    out: W,
    buffer: Vec<u8>,
    position: u64,
    hash: Xxh3,
    table: Vec<SectionEntry>,
}

impl<W: Write + Seek> Sections<W> {
    fn create(mut out: W) -> Result<Self, BuildError> {
        out.seek(SeekFrom::Start(0))?;
        out.write_all(&[0; HEADER_LEN])?;
        let buffer = Vec::with_capacity(BUFFER_LEN);
        Ok(Sections { out, buffer, position: HEADER_LEN as u64, hash: Xxh3::new(), table: Vec::new() })
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), BuildError> {
        self.buffer.extend_from_slice(bytes);
        self.position += bytes.len() as u64;
        if self.buffer.len() >= BUFFER_LEN { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), BuildError> {
        self.out.write_all(&self.buffer)?;
        self.hash.update(&self.buffer);
        self.buffer.clear();
        Ok(())
    }

    fn align(&mut self) -> Result<(), BuildError> {
        let gap = self.position.next_multiple_of(ALIGNMENT) - self.position;
        self.append(&[0; ALIGNMENT as usize][..gap as usize])
    }

    /// Begins the section of `column`; what is appended until [`Sections::end`] is in it.
    fn begin(&mut self, kind: Kind, column: Column, width: usize) -> Result<(), BuildError> {
        self.align()?;
        self.table.push(SectionEntry {
            id: section_id(kind, column).into(),
            width: (width as u32).into(),
            offset: self.position.into(),
            size: 0.into(),
        });
        Ok(())
    }

    fn end(&mut self) {
        if let Some(entry) = self.table.last_mut() {
            entry.size = (self.position - entry.offset.get()).into();
        }
    }

    fn numbers(
        &mut self,
        kind: Kind,
        column: Column,
        numbers: impl Iterator<Item = u32>,
    ) -> Result<(), BuildError> {
        self.begin(kind, column, 4)?;
        for number in numbers {
            self.append(U32::new(number).as_bytes())?;
        }
        self.end();
        Ok(())
    }

    fn ids(&mut self, kind: Kind, ids: impl Iterator<Item = uuid::Uuid>) -> Result<(), BuildError> {
        self.begin(kind, Column::Ids, 16)?;
        for id in ids {
            self.append(id.as_bytes())?;
        }
        self.end();
        Ok(())
    }

    /// `count` texts without gaps, and where each begins.
    fn texts(
        &mut self,
        kind: Kind,
        texts: Column,
        offsets: Column,
        count: u32,
        append: impl Fn(u32, &mut Vec<u8>),
    ) -> Result<(), BuildError> {
        let mut starts = Vec::with_capacity(count as usize + 1);
        let mut buffer = Vec::new();
        self.begin(kind, texts, 1)?;
        let begin = self.position;
        for at in 0..count {
            starts.push(U64::new(self.position - begin));
            buffer.clear();
            append(at, &mut buffer);
            self.append(&buffer)?;
        }
        starts.push(U64::new(self.position - begin));
        self.end();
        self.begin(kind, offsets, 8)?;
        self.append(starts.as_slice().as_bytes())?;
        self.end();
        Ok(())
    }

    /// The table, and last the header: a snapshot that was torn has none.
    fn finish(mut self) -> Result<(), BuildError> {
        self.align()?;
        let table = self.position;
        self.table.sort_unstable_by_key(|entry| entry.id.get());
        let entries = std::mem::take(&mut self.table);
        self.append(entries.as_slice().as_bytes())?;
        self.flush()?;
        let mut header = Header {
            magic: MAGIC,
            version: VERSION.into(),
            sections: (entries.len() as u32).into(),
            length: self.position.into(),
            hash: [0; 16],
            table: table.into(),
            reserved: [0; 16],
        };
        header.hash = content_hash(self.hash, &header);
        self.out.seek(SeekFrom::Start(0))?;
        self.out.write_all(header.as_bytes())?;
        self.out.flush()?;
        Ok(())
    }
}
