//! From rows to bytes: sorted, indexed, deterministic. Knows no database and no HTTP.

mod search;
mod sections;

use std::cmp::Ordering;
use std::fmt;
use std::io::{self, Seek, Write};

use search::{Postings, Search, write_sets};
use sections::Sections;
use serde_json::Value;

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
    let mut sections = Sections::create(out)?;
    let mut found_by = Vec::new();
    for names in [&albums, &artists, &genres] {
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

    fn write<W: Write + Seek>(&self, out: &mut Sections<W>) -> Result<Search, BuildError> {
        let kind = self.kind;
        let json = |at: u32, text: &mut Vec<u8>| {
            let entity = self.entities[at as usize];
            append_json(text, &[("id", id_value(entity.id)), ("name", entity.name.as_str().into())]);
        };
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
        out.texts(kind, Column::Json, Column::JsonOffsets, count, |at, text| self.append_song(at, text))?;
        out.ids(kind, self.songs.iter().map(|song| song.id))?;
        let search = Search::new(count, |at| self.songs[at as usize].name.as_deref())?;
        search.write(kind, out)?;
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
        Ok(search)
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
