//! From rows to a [`Collection`], whatever the rows hold: this file decides what is left
//! out, what is answered as null, and which of two rows with one id stays. The backends
//! only hand over values.

use std::borrow::Cow;
use std::collections::HashMap;

use uuid::Uuid;

use super::left_out::{LeftOut, NamesLeftOut};
use crate::model::{Collection, Named, Song};

/// A collection and what of the database is not in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// What there is to serve. Its order depends only on the rows, not on the database.
    pub collection: Collection,
    /// What had to be left out.
    pub left_out: LeftOut,
    /// The revision of the rows, which grows with each change; `None` if the database does not tell it.
    pub revision: Option<u64>,
    /// What else tells the rows from others, as [`Version`](super::Version) has it.
    pub mark: String,
}

impl Loaded {
    /// What a database without tables holds.
    pub(super) fn empty() -> Self {
        SongRows::new(Default::default()).finish()
    }
}

/// A value as a database hands it over, of whatever type its column is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    Null,
    /// PostgreSQL's own type.
    Id(Uuid),
    Integer(i64),
    Real(f64),
    /// Meant as UTF-8, but not checked.
    Text(&'a [u8]),
}

impl<'a> Value<'a> {
    /// With or without hyphens, in any case.
    pub(super) fn id(self) -> Option<Uuid> {
        match self {
            Value::Id(id) => Some(id),
            Value::Text(text) => Uuid::try_parse_ascii(text).ok(),
            Value::Null | Value::Integer(_) | Value::Real(_) => None,
        }
    }

    pub(super) fn text(self) -> Option<Cow<'a, str>> {
        match self {
            Value::Null => None,
            Value::Id(id) => Some(id.to_string().into()),
            Value::Integer(number) => Some(number.to_string().into()),
            Value::Real(number) => Some(format!("{number:?}").into()),
            Value::Text(text) => Some(String::from_utf8_lossy(text)),
        }
    }

    /// `Err` for what is there but no whole number.
    fn number(self) -> Result<Option<i64>, NoNumber> {
        match self {
            Value::Null => Ok(None),
            Value::Integer(number) => Ok(Some(number)),
            Value::Real(number) => whole(number).map(Some),
            Value::Id(_) => Err(NoNumber),
            Value::Text(text) => {
                let text = std::str::from_utf8(text).map_err(|_| NoNumber)?.trim();
                let parsed = text.parse().or_else(|_| whole(text.parse().map_err(|_| NoNumber)?));
                parsed.map(Some)
            }
        }
    }
}

#[derive(Debug, PartialEq)]
struct NoNumber;

/// 2^63 is the first float past the range of i64; the one before it is far below.
#[allow(clippy::cast_possible_truncation, reason = "the number is whole and in the range of i64")]
fn whole(number: f64) -> Result<i64, NoNumber> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if number.fract() == 0.0 && (-LIMIT..LIMIT).contains(&number) { Ok(number as i64) } else { Err(NoNumber) }
}

/// The rows of the albums, artists or genres table while they come in.
#[derive(Debug, Default)]
pub(super) struct NameRows {
    kept: Vec<Named>,
    left_out: NamesLeftOut,
}

impl NameRows {
    pub(super) fn push(&mut self, id: Value<'_>, name: Value<'_>) {
        match (id.id(), name.text()) {
            (None, _) => self.left_out.bad_id += 1,
            (_, None) => self.left_out.without_name += 1,
            (Some(id), Some(name)) => self.kept.push(Named { id, name: name.into_owned() }),
        }
    }

    /// Of rows with one id the one whose name is first by code point stays, so that the
    /// outcome does not depend on the order of the rows.
    fn deduplicate(&mut self) {
        self.kept.sort_unstable_by(|a, b| (a.id, &a.name).cmp(&(b.id, &b.name)));
        let count = self.kept.len();
        self.kept.dedup_by_key(|named| named.id);
        self.left_out.duplicate += (count - self.kept.len()) as u64;
    }
}

/// A row of the tracks table.
#[derive(Debug)]
pub(super) struct SongRow<'a> {
    pub(super) id: Value<'a>,
    pub(super) name: Value<'a>,
    pub(super) length: Value<'a>,
    pub(super) track: Value<'a>,
    pub(super) year: Value<'a>,
    pub(super) album: Value<'a>,
    pub(super) artist: Value<'a>,
    pub(super) genre: Value<'a>,
}

/// The rows of the tracks table while they come in, after those of the other three.
#[derive(Debug)]
pub(super) struct SongRows {
    loaded: Loaded,
    albums: HashMap<Uuid, u32>,
    artists: HashMap<Uuid, u32>,
    genres: HashMap<Uuid, u32>,
}

impl SongRows {
    pub(super) fn new([mut albums, mut artists, mut genres]: [NameRows; 3]) -> SongRows {
        for names in [&mut albums, &mut artists, &mut genres] {
            names.deduplicate();
        }
        SongRows {
            albums: indexes(&albums.kept),
            artists: indexes(&artists.kept),
            genres: indexes(&genres.kept),
            loaded: Loaded {
                collection: Collection {
                    albums: albums.kept,
                    artists: artists.kept,
                    genres: genres.kept,
                    songs: Vec::new(),
                },
                left_out: LeftOut {
                    albums: albums.left_out,
                    artists: artists.left_out,
                    genres: genres.left_out,
                    ..LeftOut::default()
                },
                revision: None,
                mark: String::new(),
            },
        }
    }

    pub(super) fn push(&mut self, row: &SongRow<'_>) {
        let left_out = &mut self.loaded.left_out;
        let Some(id) = row.id.id() else {
            left_out.songs_bad_id += 1;
            return;
        };
        let Some(album) = find(&self.albums, row.album) else {
            left_out.songs_without_album += 1;
            return;
        };
        let Some(artist) = find(&self.artists, row.artist) else {
            left_out.songs_without_artist += 1;
            return;
        };
        let Some(genre) = find(&self.genres, row.genre) else {
            left_out.songs_without_genre += 1;
            return;
        };
        let mut number = |value: Value<'_>| {
            value.number().unwrap_or_else(|NoNumber| {
                left_out.numbers_unreadable += 1;
                None
            })
        };
        self.loaded.collection.songs.push(Song {
            id,
            length: number(row.length),
            track: number(row.track),
            year: number(row.year),
            name: row.name.text().map(Cow::into_owned),
            album,
            artist,
            genre,
        });
    }

    /// Sorting finds songs with one id in place; a set of ten million ids would not.
    pub(super) fn finish(mut self) -> Loaded {
        let songs = &mut self.loaded.collection.songs;
        songs.sort_unstable_by(|a, b| a.id.cmp(&b.id).then_with(|| rest(a).cmp(&rest(b))));
        let count = songs.len();
        songs.dedup_by_key(|song| song.id);
        self.loaded.left_out.songs_duplicate = (count - songs.len()) as u64;
        self.loaded
    }
}

/// What decides which of two songs with one id stays.
fn rest(song: &Song) -> impl Ord {
    (&song.name, song.length, song.track, song.year, song.album, song.artist, song.genre)
}

fn indexes(names: &[Named]) -> HashMap<Uuid, u32> {
    names.iter().map(|named| named.id).zip(0..).collect()
}

fn find(indexes: &HashMap<Uuid, u32>, id: Value<'_>) -> Option<u32> {
    indexes.get(&id.id()?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: Value<'_> = Value::Text(b"8ce9a7a2a5fa4ca39d84a5b0b9f2a9b1");

    fn names(rows: &[(Value<'_>, Value<'_>)]) -> NameRows {
        let mut names = NameRows::default();
        rows.iter().for_each(|(id, name)| names.push(*id, *name));
        names
    }

    fn one_of_each() -> SongRows {
        SongRows::new([
            names(&[(ID, Value::Text(b"Dookie"))]),
            names(&[(ID, Value::Text(b"Green Day"))]),
            names(&[(ID, Value::Text(b"Punk"))]),
        ])
    }

    fn row<'a>(id: Value<'a>) -> SongRow<'a> {
        let null = Value::Null;
        SongRow { id, name: null, length: null, track: null, year: null, album: ID, artist: ID, genre: ID }
    }

    #[test]
    fn ids_are_read_with_and_without_hyphens_in_any_case() {
        let expected = ID.id();
        assert!(expected.is_some());
        for text in ["8CE9A7A2A5FA4CA39D84A5B0B9F2A9B1", "8ce9a7a2-a5fa-4ca3-9d84-a5b0B9F2A9B1"] {
            assert_eq!(Value::Text(text.as_bytes()).id(), expected, "{text}");
        }
        for text in ["", "8ce9a7a2", "8ce9a7a2a5fa4ca39d84a5b0b9f2a9bg", "\u{e9}"] {
            assert_eq!(Value::Text(text.as_bytes()).id(), None, "{text}");
        }
        assert_eq!(Value::Integer(7).id(), None);
        assert_eq!(Value::Null.id(), None);
    }

    #[test]
    fn numbers_are_read_from_any_type() {
        for (value, number) in [
            (Value::Integer(-7), Some(-7)),
            (Value::Real(1999.0), Some(1999)),
            (Value::Real(-9_223_372_036_854_775_808.0), Some(i64::MIN)),
            (Value::Text(b" 12 "), Some(12)),
            (Value::Text(b"12.0"), Some(12)),
            (Value::Null, None),
        ] {
            assert_eq!(value.number(), Ok(number), "{value:?}");
        }
        for value in [
            Value::Real(0.5),
            Value::Real(f64::NAN),
            Value::Real(f64::INFINITY),
            Value::Real(9_223_372_036_854_775_808.0),
            Value::Text(b""),
            Value::Text(b"12.5"),
            Value::Text(b"A1"),
            Value::Text(b"\xff"),
            Value::Id(Uuid::nil()),
        ] {
            assert_eq!(value.number(), Err(NoNumber), "{value:?}");
        }
    }

    #[test]
    fn names_are_read_from_any_type() {
        assert_eq!(Value::Integer(1984).text().as_deref(), Some("1984"));
        assert_eq!(Value::Real(1.5).text().as_deref(), Some("1.5"));
        assert_eq!(Value::Text(b"a\xffb").text().as_deref(), Some("a\u{fffd}b"));
        assert_eq!(Value::Text(b"").text().as_deref(), Some(""));
        assert_eq!(Value::Null.text(), None);
    }

    #[test]
    fn a_song_of_nulls_stays() {
        let mut songs = one_of_each();
        songs.push(&row(ID));
        let loaded = songs.finish();
        assert_eq!(loaded.collection.songs.len(), 1);
        assert_eq!(loaded.collection.songs[0].name, None);
        assert!(loaded.left_out.is_empty());
        assert_eq!(loaded.left_out.to_string(), "nothing");
    }

    #[test]
    fn each_reason_to_leave_a_row_out_is_counted() {
        let other = Value::Text(b"00000000000000000000000000000001");
        let bad = Value::Text(b"x");
        let mut songs = SongRows::new([
            names(&[(ID, Value::Text(b"b")), (ID, Value::Text(b"a")), (other, Value::Null)]),
            names(&[(ID, Value::Text(b"")), (bad, Value::Text(b"x"))]),
            names(&[(ID, Value::Integer(7)), (Value::Null, Value::Null)]),
        ]);
        songs.push(&SongRow { name: Value::Text(b"later"), ..row(ID) });
        songs.push(&SongRow { name: Value::Text(b"first"), year: Value::Text(b"soon"), ..row(ID) });
        songs.push(&row(bad));
        songs.push(&SongRow { album: other, ..row(other) });
        songs.push(&SongRow { album: Value::Null, ..row(other) });
        songs.push(&SongRow { artist: other, ..row(other) });
        songs.push(&SongRow { genre: bad, ..row(other) });

        let Loaded { collection, left_out, .. } = songs.finish();
        assert_eq!(collection.albums.len(), 1);
        assert_eq!(collection.albums[0].name, "a");
        assert_eq!(collection.artists[0].name, "");
        assert_eq!(collection.genres[0].name, "7");
        assert_eq!(collection.songs.len(), 1);
        assert_eq!(collection.songs[0].name.as_deref(), Some("first"));
        assert_eq!(
            left_out.to_string(),
            "2 songs without album, 1 song without artist, 1 song without genre, \
             1 song whose id is no UUID, 1 song with the id of another, \
             1 album without name, 1 album with the id of another, 1 artist whose id is no UUID, \
             1 genre whose id is no UUID, 1 length, track or year that is no whole number (null instead)"
        );
    }
}
