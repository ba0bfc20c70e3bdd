//! Albums, artists or genres: their ids and names.

use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use uuid::Uuid;

use super::scratch::{Folder, Scratch, ScratchError, Stored};
use super::utf8::{len_of, text};

/// The place of a name.
#[derive(Debug, Clone, Copy)]
struct Place {
    id: Uuid,
    start: u64,
    len: u32,
}

/// Collects rows with an id and a name, in any order.
#[derive(Debug)]
pub struct NamesWriter {
    places: Vec<Place>,
    texts: Scratch,
}

impl NamesWriter {
    /// Begins without a row.
    pub fn new(folder: &Folder) -> Self {
        NamesWriter { places: Vec::new(), texts: Scratch::new(folder) }
    }

    /// Adds a row.
    ///
    /// # Errors
    /// As for [`Scratch::push`].
    pub fn push(&mut self, id: Uuid, name: &str) -> Result<(), ScratchError> {
        let (start, len) = (self.texts.size(), len_of(name));
        self.places.push(Place { id, start, len });
        self.texts.push(&name.as_bytes()[..len as usize])
    }

    /// The rows, and the number of those left out because another row has the same id. Of such rows the one
    /// stays whose name is first by code point, so the outcome does not depend on the order of the rows.
    ///
    /// # Errors
    /// As for [`Scratch::finish`].
    pub fn finish(self) -> Result<(Names, u64), ScratchError> {
        let NamesWriter { mut places, texts } = self;
        let texts = texts.finish()?;
        let name = |place: &Place| &texts[place.range()];
        places.sort_unstable_by(|a, b| a.id.cmp(&b.id).then_with(|| name(a).cmp(name(b))));
        let count = places.len();
        places.dedup_by_key(|place| place.id);
        let duplicates = (count - places.len()) as u64;
        places.shrink_to_fit();
        Ok((Names { places, texts }, duplicates))
    }
}

impl Place {
    #[allow(
        clippy::cast_possible_truncation,
        reason = "the texts are mapped, so their offsets fit into a usize"
    )]
    fn range(&self) -> std::ops::Range<usize> {
        let start = self.start as usize;
        start..start + self.len as usize
    }
}

/// Albums, artists or genres by ascending id. No id occurs twice.
#[derive(Debug)]
pub struct Names {
    places: Vec<Place>,
    texts: Stored,
}

impl Names {
    /// The number of names.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are no names.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The indexes of all names.
    pub fn indexes(&self) -> std::ops::Range<u32> {
        0..u32::try_from(self.len()).unwrap_or(u32::MAX)
    }

    /// The id at `at`, which is below [`Names::len`].
    pub fn id(&self, at: u32) -> Uuid {
        self.places[at as usize].id
    }

    /// The name at `at`, in UTF-8.
    pub fn bytes(&self, at: u32) -> &[u8] {
        &self.texts[self.places[at as usize].range()]
    }

    /// The name at `at`.
    pub fn name(&self, at: u32) -> Cow<'_, str> {
        text(self.bytes(at))
    }

    /// Finds the index of an id.
    pub fn lookup(&self) -> Lookup {
        let hasher = RandomState::new();
        let mut table = HashTable::with_capacity(self.len());
        let hash = |at: &u32| hasher.hash_one(self.id(*at));
        for at in self.indexes() {
            table.insert_unique(hash(&at), at, hash);
        }
        Lookup { table, hasher }
    }
}

/// Finds the index of an id: a hash table of five bytes per name.
#[derive(Debug)]
pub struct Lookup {
    table: HashTable<u32>,
    hasher: RandomState,
}

impl Lookup {
    /// The index of `id` in `names`, from which this was made.
    pub fn find(&self, names: &Names, id: Uuid) -> Option<u32> {
        self.table.find(self.hasher.hash_one(id), |at| names.id(*at) == id).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_rows_with_one_id_the_first_name_stays() {
        let mut writer = NamesWriter::new(&Folder::default());
        for (id, name) in [(7, "b"), (3, "Zoe"), (7, "a"), (7, "c"), (1, "")] {
            writer.push(Uuid::from_u128(id), name).unwrap();
        }
        let (names, duplicates) = writer.finish().unwrap();
        assert_eq!((names.len(), duplicates), (3, 2));
        assert_eq!((0..3).map(|at| names.name(at)).collect::<Vec<_>>(), ["", "Zoe", "a"]);
        let lookup = names.lookup();
        let found = [1, 3, 7, 2].map(|id| lookup.find(&names, Uuid::from_u128(id)));
        assert_eq!(found, [Some(0), Some(1), Some(2), None]);
    }
}
