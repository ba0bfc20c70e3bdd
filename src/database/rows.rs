//! From the rows of a database to [`Rows`], for any values: this file decides which rows are left out, which
//! values become null, and which of two rows with the same id stays. The backends only pass values on.

use std::borrow::Cow;

use uuid::Uuid;

use super::left_out::{LeftOut, NamesLeftOut};
use crate::model::{Owner, PerOwner};
use crate::rows::Rows;
use crate::rows::names::{Lookup, Names, NamesWriter};
use crate::rows::scratch::{Folder, ScratchError};
use crate::rows::songs::{SongValues, SongsWriter};

/// The rows to serve, and the count of those that are left out.
#[derive(Debug, PartialEq)]
pub struct Loaded {
    /// The rows to serve. They depend on neither their order nor the kind of database.
    pub rows: Rows,
    /// The number of rows that are left out.
    pub left_out: LeftOut,
    /// The revision of the rows, which grows with each change; `None` if the database does not report it.
    pub revision: Option<u64>,
    /// The second mark of the rows, as in [`Version`](super::Version).
    pub mark: String,
}

impl Loaded {
    /// The rows of a database without tables.
    pub(super) fn empty(folder: &Folder) -> Result<Self, ScratchError> {
        SongRows::new(PerOwner::new(|_| NameRows::new(folder)), folder)?.finish()
    }
}

/// A value as a database returns it, from a column of any type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    Null,
    /// A value of PostgreSQL's own type.
    Id(Uuid),
    Integer(i64),
    Real(f64),
    /// Text that should be UTF-8 and is not checked.
    Text(&'a [u8]),
}

impl<'a> Value<'a> {
    /// The id in this value, with or without hyphens, in any case.
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

    /// The number in this value; `Err` if it is not a whole number.
    pub(super) fn number(self) -> Result<Option<i64>, NoNumber> {
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
pub(super) struct NoNumber;

/// 2^63 is the first float beyond the range of i64; the float before it is far below.
#[allow(clippy::cast_possible_truncation, reason = "the number is whole and in the range of i64")]
fn whole(number: f64) -> Result<i64, NoNumber> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if number.fract() == 0.0 && (-LIMIT..LIMIT).contains(&number) { Ok(number as i64) } else { Err(NoNumber) }
}

/// Collects the rows of the albums, artists or genres table.
#[derive(Debug)]
pub(super) struct NameRows {
    kept: NamesWriter,
    left_out: NamesLeftOut,
}

impl NameRows {
    pub(super) fn new(folder: &Folder) -> Self {
        NameRows { kept: NamesWriter::new(folder), left_out: NamesLeftOut::default() }
    }

    pub(super) fn push(&mut self, id: Value<'_>, name: Value<'_>) -> Result<(), ScratchError> {
        match (id.id(), name.text()) {
            (None, _) => self.left_out.bad_id += 1,
            (_, None) => self.left_out.without_name += 1,
            (Some(id), Some(name)) => self.kept.push(id, &name)?,
        }
        Ok(())
    }

    fn finish(self) -> Result<(Names, NamesLeftOut), ScratchError> {
        let (names, duplicate) = self.kept.finish()?;
        Ok((names, NamesLeftOut { duplicate, ..self.left_out }))
    }
}

/// A row of the tracks table.
#[derive(Debug, Clone, Copy)]
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

impl<'a> SongRow<'a> {
    /// Reads the columns of [`TRACK_COLUMNS`](super::schema::TRACK_COLUMNS) by their places.
    pub(super) fn read<E>(value: impl Fn(usize) -> Result<Value<'a>, E>) -> Result<Self, E> {
        Ok(SongRow {
            id: value(0)?,
            name: value(1)?,
            length: value(2)?,
            track: value(3)?,
            year: value(4)?,
            album: value(5)?,
            artist: value(6)?,
            genre: value(7)?,
        })
    }
}

/// Collects the rows of the tracks table, after those of the other three.
#[derive(Debug)]
pub(super) struct SongRows {
    names: PerOwner<Names>,
    lookups: PerOwner<Lookup>,
    songs: SongsWriter,
    left_out: LeftOut,
    folder: Folder,
}

impl SongRows {
    pub(super) fn new(names: PerOwner<NameRows>, folder: &Folder) -> Result<SongRows, ScratchError> {
        let [albums, artists, genres] = names.into();
        let (albums, artists, genres) = (albums.finish()?, artists.finish()?, genres.finish()?);
        let left_out =
            LeftOut { albums: albums.1, artists: artists.1, genres: genres.1, ..LeftOut::default() };
        let names = PerOwner::from([albums.0, artists.0, genres.0]);
        Ok(SongRows {
            lookups: PerOwner::new(|owner| names[owner].lookup()),
            names,
            songs: SongsWriter::new(folder),
            left_out,
            folder: folder.clone(),
        })
    }

    pub(super) fn push(&mut self, row: &SongRow<'_>) -> Result<(), ScratchError> {
        let Some(id) = row.id.id() else {
            self.left_out.songs_bad_id += 1;
            return Ok(());
        };
        let Some(album) = self.find(Owner::Album, row.album) else {
            self.left_out.songs_without_album += 1;
            return Ok(());
        };
        let Some(artist) = self.find(Owner::Artist, row.artist) else {
            self.left_out.songs_without_artist += 1;
            return Ok(());
        };
        let Some(genre) = self.find(Owner::Genre, row.genre) else {
            self.left_out.songs_without_genre += 1;
            return Ok(());
        };
        let mut number = |value: Value<'_>| {
            value.number().unwrap_or_else(|NoNumber| {
                self.left_out.numbers_unreadable += 1;
                None
            })
        };
        let (length, track, year) = (number(row.length), number(row.track), number(row.year));
        let name = row.name.text();
        let name = name.as_deref().map(str::as_bytes);
        let owners = PerOwner::from([album, artist, genre]);
        self.songs.push(&SongValues { id, name, length, track, year, owners })
    }

    fn find(&self, owner: Owner, id: Value<'_>) -> Option<u32> {
        self.lookups[owner].find(&self.names[owner], id.id()?)
    }

    pub(super) fn finish(self) -> Result<Loaded, ScratchError> {
        // This frees their memory for the sort of the songs.
        drop(self.lookups);
        let (rows, songs_duplicate) = Rows::new(self.names, self.songs.finish()?, self.folder);
        let left_out = LeftOut { songs_duplicate, ..self.left_out };
        Ok(Loaded { rows, left_out, revision: None, mark: String::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: Value<'_> = Value::Text(b"8ce9a7a2a5fa4ca39d84a5b0b9f2a9b1");

    fn names(rows: &[(Value<'_>, Value<'_>)]) -> NameRows {
        let mut names = NameRows::new(&Folder::default());
        rows.iter().for_each(|(id, name)| names.push(*id, *name).unwrap());
        names
    }

    fn song_rows(names: [NameRows; 3]) -> SongRows {
        SongRows::new(names.into(), &Folder::default()).unwrap()
    }

    fn one_of_each() -> SongRows {
        song_rows([
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
        songs.push(&row(ID)).unwrap();
        let loaded = songs.finish().unwrap();
        assert_eq!(loaded.rows.songs().map(|song| song.name).collect::<Vec<_>>(), [None]);
        assert!(loaded.left_out.is_empty());
        assert_eq!(loaded.left_out.to_string(), "nothing");
    }

    #[test]
    fn each_reason_to_leave_a_row_out_is_counted() {
        let other = Value::Text(b"00000000000000000000000000000001");
        let bad = Value::Text(b"x");
        let mut songs = song_rows([
            names(&[(ID, Value::Text(b"b")), (ID, Value::Text(b"a")), (other, Value::Null)]),
            names(&[(ID, Value::Text(b"")), (bad, Value::Text(b"x"))]),
            names(&[(ID, Value::Integer(7)), (Value::Null, Value::Null)]),
        ]);
        songs.push(&SongRow { name: Value::Text(b"later"), ..row(ID) }).unwrap();
        songs.push(&SongRow { name: Value::Text(b"first"), year: Value::Text(b"soon"), ..row(ID) }).unwrap();
        songs.push(&row(bad)).unwrap();
        songs.push(&SongRow { album: other, ..row(other) }).unwrap();
        songs.push(&SongRow { album: Value::Null, ..row(other) }).unwrap();
        songs.push(&SongRow { artist: other, ..row(other) }).unwrap();
        songs.push(&SongRow { genre: bad, ..row(other) }).unwrap();

        let Loaded { rows, left_out, .. } = songs.finish().unwrap();
        let collection = rows.collection();
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
