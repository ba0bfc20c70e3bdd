//! The collection as one immutable, memory-mapped, queryable object.
//!
//! [`mod@build`] makes it of rows, [`storage`] keeps and maps it, [`open`] checks it,
//! [`query`] asks it. The bytes are specified in [`mod@format`].

mod bits;
pub mod build;
pub mod format;
pub mod inspect;
mod matching;
pub mod open;
mod page;
pub mod query;
mod select;
mod sets;
pub mod storage;
mod words;

pub use build::build;
pub use format::{LIST_HEAD, LIST_TAIL};
pub use open::{OpenError, Snapshot, Verify, open_sealed};
pub use query::{Direction, Filter, Page, Query, Selection};

/// What an answer lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Albums.
    Album,
    /// Artists.
    Artist,
    /// Genres.
    Genre,
    /// Songs.
    Song,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 4] = [Kind::Album, Kind::Artist, Kind::Genre, Kind::Song];
}

/// How the whole list of a kind is kept compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// One member of gzip (RFC 1952).
    Gzip,
    /// One frame of Zstandard (RFC 8878).
    Zstd,
}

/// A field of an entity, as the API names it. The numbers are part of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Field {
    Id = 0,
    Name = 1,
    Length = 2,
    Track = 3,
    Year = 4,
    Album = 5,
    AlbumId = 6,
    Artist = 7,
    ArtistId = 8,
    Genre = 9,
    GenreId = 10,
}

impl Field {
    /// All fields of a song.
    pub const ALL: [Field; 11] = [
        Field::Id,
        Field::Name,
        Field::Length,
        Field::Track,
        Field::Year,
        Field::Album,
        Field::AlbumId,
        Field::Artist,
        Field::ArtistId,
        Field::Genre,
        Field::GenreId,
    ];

    /// The field that the API calls `name`, if entities of `kind` have it.
    pub fn parse(kind: Kind, name: &str) -> Option<Field> {
        let field = Field::ALL.into_iter().find(|field| field.name() == name)?;
        (kind == Kind::Song || matches!(field, Field::Id | Field::Name)).then_some(field)
    }

    /// Its name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Field::Id => "id",
            Field::Name => "name",
            Field::Length => "length",
            Field::Track => "track",
            Field::Year => "year",
            Field::Album => "album",
            Field::AlbumId => "album_id",
            Field::Artist => "artist",
            Field::ArtistId => "artist_id",
            Field::Genre => "genre",
            Field::GenreId => "genre_id",
        }
    }
}

#[cfg(test)]
mod tests;
