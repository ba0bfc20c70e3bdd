//! The kinds of entities: songs, and the three kinds that own songs.

use std::ops::{Index, IndexMut};

use serde::{Deserialize, Serialize};

use super::{Collection, Named, Song};

/// A kind of entity that owns songs: each song has exactly one owner of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// Albums.
    Album,
    /// Artists.
    Artist,
    /// Genres.
    Genre,
}

impl Owner {
    /// All owners, in the order in which a [`PerOwner`] holds its values.
    pub const ALL: [Owner; 3] = [Owner::Album, Owner::Artist, Owner::Genre];

    /// Returns the singular in lower case: `album`.
    pub const fn singular(self) -> &'static str {
        match self {
            Owner::Album => "album",
            Owner::Artist => "artist",
            Owner::Genre => "genre",
        }
    }

    /// Returns the plural in lower case: `albums`. The tables in the database have these names.
    pub const fn plural(self) -> &'static str {
        match self {
            Owner::Album => "albums",
            Owner::Artist => "artists",
            Owner::Genre => "genres",
        }
    }

    /// Returns all owners of this kind in `collection`.
    pub fn of(self, collection: &Collection) -> &[Named] {
        match self {
            Owner::Album => &collection.albums,
            Owner::Artist => &collection.artists,
            Owner::Genre => &collection.genres,
        }
    }

    /// Returns the owner of `song`, as an index into [`Owner::of`].
    pub fn index_in(self, song: &Song) -> u32 {
        match self {
            Owner::Album => song.album,
            Owner::Artist => song.artist,
            Owner::Genre => song.genre,
        }
    }
}

/// A kind of entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Albums, artists or genres.
    Of(Owner),
    /// Songs.
    Song,
}

impl Kind {
    /// All kinds. The place of a kind in this list is its [`Kind::number`].
    pub const ALL: [Kind; 4] =
        [Kind::Of(Owner::Album), Kind::Of(Owner::Artist), Kind::Of(Owner::Genre), Kind::Song];

    /// Returns its number, from 0 for albums to 3 for songs. Entity tags and the snapshot format
    /// contain it.
    pub const fn number(self) -> u8 {
        match self {
            Kind::Of(owner) => owner as u8,
            Kind::Song => 3,
        }
    }

    /// Returns the singular in lower case: `song`.
    pub const fn singular(self) -> &'static str {
        match self {
            Kind::Of(owner) => owner.singular(),
            Kind::Song => "song",
        }
    }

    /// Returns the plural in lower case: `songs`.
    pub const fn plural(self) -> &'static str {
        match self {
            Kind::Of(owner) => owner.plural(),
            Kind::Song => "songs",
        }
    }
}

impl From<Owner> for Kind {
    fn from(owner: Owner) -> Kind {
        Kind::Of(owner)
    }
}

/// One value for each [`Owner`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PerOwner<T>([T; Owner::ALL.len()]);

impl<T> PerOwner<T> {
    /// Creates the values with `make`.
    pub fn new(make: impl FnMut(Owner) -> T) -> Self {
        PerOwner(Owner::ALL.map(make))
    }

    /// Creates the values with `make`.
    ///
    /// # Errors
    /// The first error of `make`.
    pub fn try_new<E>(mut make: impl FnMut(Owner) -> Result<T, E>) -> Result<Self, E> {
        Ok(PerOwner([make(Owner::Album)?, make(Owner::Artist)?, make(Owner::Genre)?]))
    }

    /// Returns the values, each with its owner.
    pub fn iter(&self) -> impl Iterator<Item = (Owner, &T)> {
        Owner::ALL.into_iter().zip(&self.0)
    }

    /// Returns the values.
    pub fn values(&self) -> std::slice::Iter<'_, T> {
        self.0.iter()
    }

    /// Converts the values with `change`.
    pub fn map<U>(self, change: impl FnMut(T) -> U) -> PerOwner<U> {
        PerOwner(self.0.map(change))
    }
}

impl<T> From<[T; 3]> for PerOwner<T> {
    /// Takes the values of album, artist and genre.
    fn from(values: [T; 3]) -> Self {
        PerOwner(values)
    }
}

impl<T> From<PerOwner<T>> for [T; 3] {
    /// Returns the values of album, artist and genre.
    fn from(values: PerOwner<T>) -> Self {
        values.0
    }
}

impl<T> Index<Owner> for PerOwner<T> {
    type Output = T;

    #[inline]
    fn index(&self, owner: Owner) -> &T {
        &self.0[owner as usize]
    }
}

impl<T> IndexMut<Owner> for PerOwner<T> {
    #[inline]
    fn index_mut(&mut self, owner: Owner) -> &mut T {
        &mut self.0[owner as usize]
    }
}

impl<T> IntoIterator for PerOwner<T> {
    type Item = (Owner, T);
    type IntoIter = std::iter::Zip<std::array::IntoIter<Owner, 3>, std::array::IntoIter<T, 3>>;

    fn into_iter(self) -> Self::IntoIter {
        Owner::ALL.into_iter().zip(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_places() {
        for (place, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(kind.number()), place);
        }
        assert_eq!(Kind::ALL.map(Kind::plural), ["albums", "artists", "genres", "songs"]);
    }

    #[test]
    fn each_owner_has_its_value() {
        let mut plurals = PerOwner::new(Owner::plural);
        assert!(plurals.iter().all(|(owner, plural)| owner.plural() == *plural));
        assert!(Owner::ALL.into_iter().all(|owner| plurals[owner] == owner.plural()));
        plurals[Owner::Artist] = "bands";
        assert_eq!(plurals.map(str::len).into_iter().map(|(_, len)| len).collect::<Vec<_>>(), [6, 5, 6]);
        let tried = PerOwner::try_new(|owner| if owner == Owner::Genre { Err(owner) } else { Ok(()) });
        assert_eq!(tried, Err(Owner::Genre));
    }
}
