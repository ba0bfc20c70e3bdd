//! Plain data: a scan makes it, a database keeps it, and a snapshot is built from it. No I/O, no
//! order, no checks beyond those of the types.

mod kind;
pub mod library;

pub use kind::{Kind, Owner, PerOwner};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// An album, an artist or a genre.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// Its id; [`crate::ids`] makes it.
    pub id: Uuid,
    /// Its name as tagged, white space kept; may be empty.
    pub name: String,
}

/// One song. Its owners are indexes into the lists of its [`Collection`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Song {
    /// Its id.
    pub id: Uuid,
    /// Its title; `None` if the database holds NULL.
    pub name: Option<String>,
    /// Length in whole seconds, truncated.
    pub length: Option<i64>,
    /// Number on its record; 0 if unknown.
    pub track: Option<i64>,
    /// Year of release; 0 if unknown.
    pub year: Option<i64>,
    /// Index into [`Collection::albums`].
    pub album: u32,
    /// Index into [`Collection::artists`].
    pub artist: u32,
    /// Index into [`Collection::genres`].
    pub genre: u32,
}

/// The whole collection. Ids are unique in each list, and every index of a song is valid: the code
/// that makes a collection ensures it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Collection {
    /// Albums, in any order.
    pub albums: Vec<Named>,
    /// Artists, in any order.
    pub artists: Vec<Named>,
    /// Genres, in any order.
    pub genres: Vec<Named>,
    /// Songs, in any order.
    pub songs: Vec<Song>,
}
