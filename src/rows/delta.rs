//! The rows that differ from those of an earlier snapshot.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::model::{Named, PerOwner};

/// Rows of one table that have changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edits<T> {
    /// Ids whose row is gone.
    pub gone: Vec<Uuid>,
    /// The new and changed rows, in their present state. No id occurs twice.
    pub present: Vec<T>,
}

impl<T> Default for Edits<T> {
    fn default() -> Self {
        Edits { gone: Vec::new(), present: Vec::new() }
    }
}

impl<T> Edits<T> {
    /// How many rows have changed.
    pub fn len(&self) -> usize {
        self.gone.len() + self.present.len()
    }

    /// Whether no row has changed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A song with the ids of its owners.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SongRow {
    /// Its id.
    pub id: Uuid,
    /// Its name; `None` for NULL.
    pub name: Option<String>,
    /// Length in whole seconds.
    pub length: Option<i64>,
    /// Number on its record.
    pub track: Option<i64>,
    /// Year of release.
    pub year: Option<i64>,
    /// Ids of its album, artist and genre.
    pub owners: PerOwner<Uuid>,
}

/// The changes of a database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delta {
    /// Albums, artists and genres. A change of a name does not require its songs in the list.
    pub names: PerOwner<Edits<Named>>,
    /// Songs.
    pub songs: Edits<SongRow>,
}

impl Delta {
    /// How many rows have changed.
    pub fn count(&self) -> usize {
        self.names.values().map(Edits::len).sum::<usize>() + self.songs.len()
    }
}
