//! The rows that have changed since a served version.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::change_log::Unlogged;
use super::revision::Version;
use super::rows::{Loaded, SongRow, Value};
use crate::model::{Named, PerOwner};
use crate::rows::delta::{self, Delta, Edits};

/// A load that has read changed rows alone.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Changed {
    /// The rows that may have changed, as they are now. A server serves all of them unchanged.
    pub delta: Delta,
    /// The numbers of rows in the tables of albums, artists and genres.
    pub names: PerOwner<u64>,
    /// The number of songs.
    pub songs: u64,
    /// The version of the rows.
    pub version: Version,
}

/// The rows of a database whose former rows are served.
#[derive(Debug)]
pub enum Found {
    /// Those that have changed.
    Changes(Changed),
    /// All of them, as the log of changes is of no use for this reason.
    Rows(Loaded, Unlogged),
}

impl From<Loaded> for Found {
    /// Of a database without tables.
    fn from(loaded: Loaded) -> Self {
        Found::Rows(loaded, "as the database has no tables".into())
    }
}

/// Why a load of changed rows ends: a load of all rows has the rules for such a row.
const ODD: Unlogged = Unlogged::Borrowed("as a changed row cannot be served as it is");

/// The rows with some ids, while they come in.
#[derive(Debug)]
pub(super) struct ById<T> {
    left: BTreeSet<Uuid>,
    present: Vec<T>,
}

impl<T> ById<T> {
    pub(super) fn new(ids: &[Uuid]) -> Self {
        ById { left: ids.iter().copied().collect(), present: Vec::new() }
    }

    /// Takes a row, which must be the only one with one of the ids.
    fn take(&mut self, id: Value<'_>, row: impl FnOnce(Uuid) -> Option<T>) -> Result<(), Unlogged> {
        let id = id.id().filter(|id| self.left.remove(id));
        self.present.push(id.and_then(row).ok_or(ODD)?);
        Ok(())
    }

    /// The rows, and the ids without one.
    pub(super) fn finish(self) -> Edits<T> {
        Edits { gone: self.left.into_iter().collect(), present: self.present }
    }
}

impl ById<Named> {
    pub(super) fn named(&mut self, id: Value<'_>, name: Value<'_>) -> Result<(), Unlogged> {
        self.take(id, |id| Some(Named { id, name: name.text()?.into_owned() }))
    }
}

impl ById<delta::SongRow> {
    pub(super) fn song(&mut self, row: &SongRow<'_>) -> Result<(), Unlogged> {
        self.take(row.id, |id| {
            Some(delta::SongRow {
                id,
                name: row.name.text().map(|name| name.into_owned()),
                length: row.length.number().ok()?,
                track: row.track.number().ok()?,
                year: row.year.number().ok()?,
                owners: PerOwner::from([row.album.id()?, row.artist.id()?, row.genre.id()?]),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: Value<'_> = Value::Text(b"00000000000000000000000000000001");
    const OTHER: Value<'_> = Value::Text(b"00000000000000000000000000000002");

    fn ids() -> [Uuid; 2] {
        [1, 2].map(Uuid::from_u128)
    }

    #[test]
    fn row_that_is_left_out_or_there_twice_is_odd() {
        let mut names = ById::new(&ids());
        names.named(ID, Value::Integer(7)).unwrap();
        assert_eq!(names.named(ID, Value::Text(b"a")), Err(ODD), "twice");
        assert_eq!(names.named(OTHER, Value::Null), Err(ODD));
        let third = Value::Text(b"00000000000000000000000000000003");
        let mut names = ById::new(&ids());
        assert_eq!(names.named(third, Value::Text(b"a")), Err(ODD), "not asked for");
        names.named(OTHER, Value::Text(b"a\xff")).unwrap();
        let name = Named { id: ids()[1], name: "a\u{fffd}".to_owned() };
        assert_eq!(names.finish(), Edits { gone: vec![ids()[0]], present: vec![name] });
    }

    #[test]
    fn song_is_as_in_a_load_of_all_rows() {
        let null = Value::Null;
        let row = SongRow {
            id: OTHER,
            name: null,
            length: Value::Text(b" 12 "),
            track: null,
            year: Value::Real(1999.0),
            album: ID,
            artist: ID,
            genre: OTHER,
        };
        for odd in [
            SongRow { id: null, ..row },
            SongRow { length: Value::Text(b"long"), ..row },
            SongRow { year: Value::Real(0.5), ..row },
            SongRow { album: null, ..row },
            SongRow { genre: Value::Text(b"x"), ..row },
        ] {
            assert_eq!(ById::new(&ids()).song(&odd), Err(ODD), "{odd:?}");
        }
        let mut songs = ById::new(&ids());
        songs.song(&row).unwrap();
        let [one, two] = ids();
        let (length, year) = (Some(12), Some(1999));
        let song =
            delta::SongRow { id: two, name: None, length, track: None, year, owners: [one, one, two].into() };
        assert_eq!(songs.finish(), Edits { gone: vec![one], present: vec![song] });
    }
}
