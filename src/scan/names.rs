//! The albums, artists and genres of all songs: one per id, with the spelling that most songs use.

use std::collections::HashMap;

use indexmap::IndexMap;
use uuid::Uuid;

use super::row::Row;
use crate::ids;
use crate::model::{Named, Owner, PerOwner};

/// The names of a song (album, artist, genre) by their numbers in [`Names`].
pub(super) type Numbers = PerOwner<u32>;

/// The names that songs use, each text once, and how many songs use it.
#[derive(Debug, Default)]
pub(super) struct Names {
    owners: PerOwner<Spellings>,
}

/// The names of one kind.
#[derive(Debug, Default)]
struct Spellings {
    by_text: IndexMap<Box<str>, Spelling>,
    /// The number that was counted last: the songs of a folder share most names.
    last: usize,
    /// Names of rows that no file explains. Such a row may hold any id.
    of_rows: HashMap<Uuid, Vec<(Box<str>, u32)>>,
}

/// A text that is used as a name.
#[derive(Debug, Clone, Copy)]
struct Spelling {
    id: Uuid,
    times: u32,
}

impl Spellings {
    /// Counts a name `times` times, and returns its number.
    fn count(&mut self, text: &str, times: u32, id: fn(&str) -> Uuid) -> usize {
        if let Some((last, spelling)) = self.by_text.get_index_mut(self.last)
            && **last == *text
        {
            spelling.times += times;
            return self.last;
        }
        self.last = match self.by_text.get_full_mut(text) {
            Some((number, _, spelling)) => {
                spelling.times += times;
                number
            }
            None => self.by_text.insert_full(text.into(), Spelling { id: id(text), times }).0,
        };
        self.last
    }

    /// Returns how many rows that no file explains use this spelling of the name of `id`.
    fn times_in_rows(&self, id: Uuid, text: &str) -> u32 {
        let spellings = self.of_rows.get(&id);
        spellings.and_then(|all| all.iter().find(|(of, _)| **of == *text)).map_or(0, |(_, times)| *times)
    }

    /// Returns the most frequent spelling of each id. Among equals the first by code point wins,
    /// which is the order of UTF-8's bytes.
    fn usual(&self) -> HashMap<Uuid, &str> {
        let mut usual: HashMap<Uuid, (u32, &str)> = HashMap::with_capacity(self.by_text.len());
        let mut suggest = |id: Uuid, times: u32, text| {
            let best = usual.entry(id).or_insert((times, text));
            if (times, best.1) > (best.0, text) {
                *best = (times, text);
            }
        };
        for (text, spelling) in self.by_text.iter().filter(|(_, spelling)| spelling.times > 0) {
            suggest(spelling.id, spelling.times + self.times_in_rows(spelling.id, text), &**text);
        }
        for (id, spellings) in &self.of_rows {
            for (text, times) in spellings {
                let own = self.by_text.get(text).filter(|spelling| spelling.id == *id);
                suggest(*id, times + own.map_or(0, |spelling| spelling.times), &**text);
            }
        }
        usual.into_iter().map(|(id, (_, text))| (id, text)).collect()
    }
}

/// Returns the function that makes the ids of a kind.
fn id_of(owner: Owner) -> fn(&str) -> Uuid {
    match owner {
        Owner::Album => ids::album,
        Owner::Artist => ids::artist,
        Owner::Genre => ids::genre,
    }
}

impl Names {
    /// Counts the names of a song.
    pub(super) fn add(&mut self, names: PerOwner<&str>) -> Numbers {
        PerOwner::new(|owner| {
            let number = self.owners[owner].count(names[owner], 1, id_of(owner));
            // Memory runs out before the numbers exceed 32 bits.
            u32::try_from(number).unwrap_or(u32::MAX)
        })
    }

    /// Uncounts the names of a song.
    pub(super) fn forget(&mut self, numbers: Numbers) {
        for (owner, number) in numbers {
            if let Some((_, spelling)) = self.owners[owner].by_text.get_index_mut(number as usize) {
                spelling.times = spelling.times.saturating_sub(1);
            }
        }
    }

    /// Adds the counts of `other` for the names of songs.
    pub(super) fn absorb(&mut self, other: &Names) {
        for (owner, others) in other.owners.iter() {
            for (text, spelling) in &others.by_text {
                self.owners[owner].count(text, spelling.times, id_of(owner));
            }
        }
    }

    /// Counts the names of a song that no file explains.
    pub(super) fn add_row(&mut self, row: &Row) {
        for (owner, (id, name)) in row.names.iter() {
            let spellings = self.owners[owner].of_rows.entry(*id).or_default();
            match spellings.iter_mut().find(|(spelling, _)| **spelling == **name) {
                Some((_, times)) => *times += 1,
                None => spellings.push((name.as_str().into(), 1)),
            }
        }
    }

    /// Returns the ids of counted names.
    pub(super) fn ids(&self, numbers: Numbers) -> PerOwner<Uuid> {
        PerOwner::new(|owner| {
            let found = self.owners[owner].by_text.get_index(numbers[owner] as usize);
            found.map_or_else(Uuid::nil, |(_, spelling)| spelling.id)
        })
    }

    /// Returns the ids of the names with these texts.
    pub(super) fn ids_of(&self, names: PerOwner<&str>) -> PerOwner<Uuid> {
        PerOwner::new(|owner| {
            let text = names[owner];
            let found = self.owners[owner].by_text.get(text);
            found.map_or_else(|| id_of(owner)(text), |spelling| spelling.id)
        })
    }

    /// Returns the number of names of a kind.
    pub(super) fn len(&self, owner: Owner) -> usize {
        self.owners[owner].usual().len()
    }

    /// Reports whether `stored` holds exactly these names.
    pub(super) fn are(&self, stored: &PerOwner<HashMap<Uuid, String>>) -> bool {
        Owner::ALL.into_iter().all(|owner| {
            let (own, stored) = (self.owners[owner].usual(), &stored[owner]);
            own.len() == stored.len()
                && own.iter().all(|(id, own)| stored.get(id).is_some_and(|name| is_stored_as(own, name)))
        })
    }

    /// Returns the names of a kind that `stored` lacks or spells otherwise, in the order of their
    /// ids.
    pub(super) fn changed(&self, owner: Owner, stored: &HashMap<Uuid, String>) -> Vec<Named> {
        let usual = self.owners[owner].usual();
        let mut changed: Vec<Named> = usual
            .into_iter()
            .filter(|(id, name)| !stored.get(id).is_some_and(|stored| is_stored_as(name, stored)))
            .map(|(id, name)| Named { id, name: name.to_owned() })
            .collect();
        changed.sort_unstable_by_key(|named| named.id);
        changed
    }

    /// Returns the ids of a kind that only `stored` has, in order.
    pub(super) fn removed(&self, owner: Owner, stored: &HashMap<Uuid, String>) -> Vec<Uuid> {
        let usual = self.owners[owner].usual();
        let mut removed: Vec<Uuid> = stored.keys().filter(|id| !usual.contains_key(*id)).copied().collect();
        removed.sort_unstable();
        removed
    }
}

/// PostgreSQL stores U+FFFD for a NUL.
fn is_stored_as(name: &str, stored: &str) -> bool {
    name == stored || (name.contains('\0') && name.replace('\0', "\u{fffd}") == stored)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artists(names: &Names) -> Vec<String> {
        let changed = names.changed(Owner::Artist, &HashMap::new());
        let mut artists: Vec<String> = changed.into_iter().map(|named| named.name).collect();
        artists.sort();
        artists
    }

    fn spelled(spellings: &[&str]) -> Names {
        let mut names = Names::default();
        for spelling in spellings {
            names.add(["", spelling, ""].into());
        }
        names
    }

    #[test]
    fn the_most_frequent_spelling_is_kept() {
        assert_eq!(artists(&spelled(&["nofx", "NOFX", "NoFX", "NoFX"])), ["NoFX"]);
        assert_eq!(artists(&spelled(&["NoFX", "NoFX", "nofx", "NOFX"])), ["NoFX"]);
    }

    #[test]
    fn among_equally_frequent_spellings_the_first_by_code_point_is_kept() {
        assert_eq!(artists(&spelled(&["nofx", "NoFX", "NOFX"])), ["NOFX"]);
        assert_eq!(artists(&spelled(&["STRA\u{1e9e}E", "Stra\u{df}e"])), ["STRA\u{1e9e}E"]);
    }

    #[test]
    fn names_that_differ_by_more_than_case_stay_apart() {
        let names = spelled(&["Beyonc\u{e9}", "Beyonce\u{301}", ""]);
        assert_eq!(artists(&names), ["", "Beyonce\u{301}", "Beyonc\u{e9}"]);
    }

    #[test]
    fn forgotten_names_no_longer_count_and_absorbed_ones_do() {
        let mut names = Names::default();
        let numbers = ["NoFX", "NoFX", "nofx", "x"].map(|name| names.add(["a", name, "g"].into()));
        assert_eq!(names.ids(numbers[0]), [ids::album("a"), ids::artist("nofx"), ids::genre("g")].into());
        assert_eq!(names.ids_of(["a", "NOFX", "g"].into()), names.ids(numbers[2]));
        for numbers in [numbers[0], numbers[1], numbers[3]] {
            names.forget(numbers);
        }
        assert_eq!((artists(&names), names.len(Owner::Artist)), (vec!["nofx".to_owned()], 1));
        names.absorb(&spelled(&["NOFX", "NOFX", "y"]));
        assert_eq!(artists(&names), ["NOFX", "y"]);
    }

    #[test]
    fn rows_of_other_programs_count_with_their_own_ids() {
        let id = Uuid::from_u128(7);
        let row = |artist: (Uuid, &str)| Row {
            id,
            names: [(id, String::new()), (artist.0, artist.1.to_owned()), (id, String::new())].into(),
        };
        let mut names = spelled(&["NoFX", "nofx"]);
        names.add_row(&row((ids::artist("nofx"), "nofx")));
        names.add_row(&row((id, "NoFX")));
        assert_eq!(artists(&names), ["NoFX", "nofx"]);
    }

    #[test]
    fn only_differences_are_changed_or_removed() {
        let mut names = Names::default();
        for name in ["a", "b", "c\0"] {
            names.add(["", "", name].into());
        }
        let stored: HashMap<Uuid, String> = [("a", "a"), ("b", "B"), ("c\0", "c\u{fffd}"), ("d", "d")]
            .into_iter()
            .map(|(id, name)| (ids::genre(id), name.to_owned()))
            .collect();
        assert_eq!(
            names.changed(Owner::Genre, &stored),
            [Named { id: ids::genre("b"), name: "b".to_owned() }]
        );
        assert_eq!(names.removed(Owner::Genre, &stored), [ids::genre("d")]);
        assert!(!names.are(&[HashMap::new(), HashMap::new(), stored].into()));
    }
}
