//! From rows to bytes: sorted, indexed, deterministic. Knows no database and no HTTP.

mod json;
mod order;
mod packed;
mod search;
mod sections;

use std::cmp::Ordering;
use std::fmt;
use std::io::{self, Seek, Write};
use std::panic::resume_unwind;
use std::thread;

use order::{Ranked, by_rank, inverse, ranked, sorted, text_key};
use packed::{Packed, pack};
use search::{Postings, Search, write_sets};
use sections::Sections;

use super::format::{Column, ENTITIES_MAX};
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
    let all_names = [&albums, &artists, &genres];
    // Without songs a list has a warning in its end.
    let with_songs = !songs.songs.is_empty();
    let pack = || all_names.map(|names| with_songs.then(|| names.pack()).transpose());
    let (packed, sections) = at_once(pack, || write_all(&songs, all_names, out));
    let mut sections = sections?;
    for (names, packed) in all_names.into_iter().zip(packed) {
        if let Some(packed) = packed?.flatten() {
            sections.bytes(names.kind, Column::Gzip, &packed.gzip)?;
            sections.bytes(names.kind, Column::Zstd, &packed.zstd)?;
        }
    }
    sections.finish()
}

/// Writes everything that is not compressed.
fn write_all<W: Write + Seek>(
    songs: &SortedSongs<'_>,
    all_names: [&SortedNames<'_>; 3],
    out: W,
) -> Result<Sections<W>, BuildError> {
    let mut sections = Sections::create(out)?;
    let mut found_by = Vec::new();
    for names in all_names {
        let search = names.write(&mut sections)?;
        found_by.push((search, songs.write_postings(names, &mut sections)?));
    }
    let search = songs.write(&mut sections)?;
    let mut searches = vec![(&search, Postings::Itself)];
    searches.extend(
        found_by.iter().map(|(search, postings)| {
            (search, Postings::Lists(&postings.offsets, postings.songs.as_deref()))
        }),
    );
    write_sets(songs.songs.len() as u32, &searches, &mut sections)?;
    Ok(sections)
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
        check_count(kind, list.len())?;
        let order = sorted(list.iter().map(|named| text_key(named.name.as_bytes())), |a, b| {
            let (a, b) = (&list[a as usize], &list[b as usize]);
            a.name.cmp(&b.name).then(a.id.cmp(&b.id))
        });
        let entities: Vec<&Named> = order.iter().map(|&at| &list[at as usize]).collect();
        let by_id = sorted(entities.iter().map(|named| named.id), |a, b| a.cmp(&b));
        Ok(SortedNames {
            kind,
            moved: inverse(&order),
            name_rank: name_ranks(&entities),
            id_rank: inverse(&by_id),
            by_id,
            entities,
        })
    }

    fn write<W: Write + Seek>(&self, out: &mut Sections<W>) -> Result<Search, BuildError> {
        let kind = self.kind;
        let json = |at: u32, text: &mut Vec<u8>| json::append_named(text, self.entities[at as usize]);
        out.texts(kind, Column::Json, Column::JsonOffsets, self.count(), json)?;
        out.ids(kind, self.entities.iter().map(|entity| entity.id))?;
        let search = Search::new(self.count(), |at| Some(&self.entities[at as usize].name))?;
        search.write(kind, out)?;
        self.write_lower(out)?;
        out.numbers(kind, Column::Order(Field::Id), self.by_id.iter().copied())?;
        out.numbers(kind, Column::Rank(Field::Id), self.id_rank.iter().copied())?;
        out.numbers(kind, Column::Rank(Field::Name), self.name_rank.iter().copied())?;
        Ok(search)
    }

    /// The whole list, if it is long enough to be kept compressed.
    fn pack(&self) -> io::Result<Option<Packed>> {
        pack(self.count(), |at, text| json::append_named(text, self.entities[at as usize]))
    }

    fn write_lower<W: Write + Seek>(&self, out: &mut Sections<W>) -> Result<(), BuildError> {
        let lower: Vec<String> = self.entities.iter().map(|entity| text::lower(&entity.name)).collect();
        let keys = lower.iter().map(|lower| text_key(lower.as_bytes()));
        let by_lower = sorted(keys, |a, b| lower[a as usize].cmp(&lower[b as usize]));
        let append = |at: u32, text: &mut Vec<u8>| text.extend_from_slice(lower[at as usize].as_bytes());
        out.texts(self.kind, Column::Lower, Column::LowerOffsets, self.count(), append)?;
        out.numbers(self.kind, Column::ByLower, by_lower.iter().copied())
    }

    fn count(&self) -> u32 {
        self.entities.len() as u32
    }
}

/// The songs of each album, artist or genre.
struct OwnedPostings {
    offsets: Vec<u32>,
    /// `None` for artists, whose songs stand together in default order.
    songs: Option<Vec<u32>>,
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
        check_count(Kind::Song, list.len())?;
        let place = |song: &Song| (artists.moved[song.artist as usize], albums.moved[song.album as usize]);
        let order = sorted(list.iter().map(|song| (place(song), song.track)), |a, b| {
            let (a, b) = (&list[a as usize], &list[b as usize]);
            a.name.cmp(&b.name).then(a.id.cmp(&b.id))
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
    ) -> Result<OwnedPostings, BuildError> {
        let owner = match names.kind {
            Kind::Album => &self.album,
            Kind::Artist => &self.artist,
            Kind::Genre | Kind::Song => &self.genre,
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
            return Ok(OwnedPostings { offsets, songs: None });
        }
        let mut next = offsets.clone();
        let mut list = vec![0_u32; owner.len()];
        for (song, &entity) in owner.iter().enumerate() {
            let slot = &mut next[entity as usize];
            list[*slot as usize] = song as u32;
            *slot += 1;
        }
        out.numbers(names.kind, Column::Songs, list.iter().copied())?;
        Ok(OwnedPostings { offsets, songs: Some(list) })
    }

    fn write<W: Write + Seek>(&self, out: &mut Sections<W>) -> Result<Search, BuildError> {
        let kind = Kind::Song;
        let count = self.songs.len() as u32;
        let search = || Search::new(count, |at| self.songs[at as usize].name.as_deref());
        let (search, written) = at_once(search, || {
            out.texts(kind, Column::Json, Column::JsonOffsets, count, |at, text| self.append_song(at, text))
        });
        written?;
        let search = search?;
        out.ids(kind, self.songs.iter().map(|song| song.id))?;
        search.write(kind, out)?;
        out.numbers(kind, Column::Album, self.album.iter().copied())?;
        out.numbers(kind, Column::Artist, self.artist.iter().copied())?;
        out.numbers(kind, Column::Genre, self.genre.iter().copied())?;
        self.write_orders(out)?;
        Ok(search)
    }

    fn write_orders<W: Write + Seek>(&self, out: &mut Sections<W>) -> Result<(), BuildError> {
        let name = |at: u32| self.songs[at as usize].name.as_deref();
        let name_key = |song: &&Song| song.name.as_deref().map(|name| text_key(name.as_bytes()));
        let same = |_, _| Ordering::Equal;
        let songs = &self.songs;
        write_order(out, Field::Id, &ranked(songs.iter().map(|song| song.id), same))?;
        write_order(out, Field::Name, &ranked(songs.iter().map(name_key), |a, b| name(a).cmp(&name(b))))?;
        write_order(out, Field::Length, &ranked(songs.iter().map(|song| song.length), same))?;
        write_order(out, Field::Track, &ranked(songs.iter().map(|song| song.track), same))?;
        write_order(out, Field::Year, &ranked(songs.iter().map(|song| song.year), same))?;
        for (field, owner, rank) in [
            (Field::Album, &self.album, &self.albums.name_rank),
            (Field::AlbumId, &self.album, &self.albums.id_rank),
            (Field::ArtistId, &self.artist, &self.artists.id_rank),
            (Field::Genre, &self.genre, &self.genres.name_rank),
            (Field::GenreId, &self.genre, &self.genres.id_rank),
        ] {
            let order = by_rank(rank.len(), owner.iter().map(|&at| rank[at as usize]));
            out.numbers(Kind::Song, Column::Order(field), order.iter().copied())?;
        }
        Ok(())
    }

    fn append_song(&self, at: u32, text: &mut Vec<u8>) {
        let album = self.albums.entities[self.album[at as usize] as usize];
        let artist = self.artists.entities[self.artist[at as usize] as usize];
        let genre = self.genres.entities[self.genre[at as usize] as usize];
        json::append_song(text, self.songs[at as usize], [album, artist, genre]);
    }
}

/// Order and ranks by a value of the song itself.
fn write_order<W: Write + Seek>(
    out: &mut Sections<W>,
    field: Field,
    ranked: &Ranked,
) -> Result<(), BuildError> {
    out.numbers(Kind::Song, Column::Order(field), ranked.order.iter().copied())?;
    out.numbers(Kind::Song, Column::Rank(field), ranked.rank.iter().copied())
}

/// Ranks of the names of entities that are sorted by name.
fn name_ranks(entities: &[&Named]) -> Vec<u32> {
    let mut rank = 0;
    let mut ranks = vec![0; entities.len()];
    for (pair, place) in entities.windows(2).zip(1..) {
        rank += u32::from(pair[0].name != pair[1].name);
        ranks[place] = rank;
    }
    ranks
}

/// Does `one` in a thread of its own, if there can be one, and `other` here. One after the other where
/// other processes go before this one: with a processor left over, what is urgent need not wait for
/// the kernel to take one away from us.
fn at_once<A: Send, B>(one: impl Fn() -> A + Sync, other: impl FnOnce() -> B) -> (A, B) {
    if gives_way() {
        return (one(), other());
    }
    thread::scope(|scope| match thread::Builder::new().spawn_scoped(scope, &one) {
        Ok(one) => {
            let done = other();
            (one.join().unwrap_or_else(|panic| resume_unwind(panic)), done)
        }
        Err(_) => (one(), other()),
    })
}

/// Whether this process is nicer than others, as the loader of a reload is.
fn gives_way() -> bool {
    rustix::process::getpriority_process(None).is_ok_and(|nice| nice > 0)
}

fn check_count(kind: Kind, count: usize) -> Result<(), BuildError> {
    if count > ENTITIES_MAX {
        return Err(BuildError::TooMany { kind, count });
    }
    Ok(())
}
