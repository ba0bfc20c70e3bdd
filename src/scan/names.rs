//! Albums, artists and genres out of what the songs say: one per id, named by the spelling
//! that most songs use.

use std::collections::HashMap;

use uuid::Uuid;

use super::previous::Row;
use super::track::Track;
use crate::model::{Named, Owner, PerOwner};

/// Names of all three kinds by id, with every spelling and how often it occurs.
#[derive(Debug, Default)]
pub(super) struct Names {
    owners: PerOwner<HashMap<Uuid, Spellings>>,
}

/// Nearly all names have one spelling.
type Spellings = Vec<(Box<str>, u32)>;

impl Names {
    /// Counts the names of a song.
    pub(super) fn add(&mut self, track: &Track<'_>) {
        for owner in Owner::ALL {
            self.count(owner, track.ids[owner], track.names[owner]);
        }
    }

    /// Counts the names of a song that no file explains.
    pub(super) fn add_row(&mut self, row: &Row) {
        for owner in Owner::ALL {
            let (id, name) = &row.names[owner];
            self.count(owner, *id, name);
        }
    }

    fn count(&mut self, owner: Owner, id: Uuid, name: &str) {
        let spellings = self.owners[owner].entry(id).or_default();
        match spellings.iter_mut().find(|(spelling, _)| **spelling == *name) {
            Some((_, times)) => *times += 1,
            None => spellings.push((name.into(), 1)),
        }
    }

    /// How many there are of a kind.
    pub(super) fn len(&self, owner: Owner) -> usize {
        self.owners[owner].len()
    }

    /// Whether `stored` are these names, no more and no less.
    pub(super) fn are(&self, stored: &PerOwner<HashMap<Uuid, String>>) -> bool {
        Owner::ALL.into_iter().all(|owner| {
            let (own, stored) = (&self.owners[owner], &stored[owner]);
            own.len() == stored.len()
                && own.iter().all(|(id, spellings)| {
                    stored.get(id).is_some_and(|name| is_stored_as(usual(spellings), name))
                })
        })
    }

    /// The names of a kind that `stored` lacks or spells otherwise, in the order of their ids.
    pub(super) fn changed(&self, owner: Owner, stored: &HashMap<Uuid, String>) -> Vec<Named> {
        let mut changed: Vec<Named> = self.owners[owner]
            .iter()
            .map(|(id, spellings)| (*id, usual(spellings)))
            .filter(|(id, name)| !stored.get(id).is_some_and(|stored| is_stored_as(name, stored)))
            .map(|(id, name)| Named { id, name: name.to_owned() })
            .collect();
        changed.sort_unstable_by_key(|named| named.id);
        changed
    }

    /// The ids of a kind that only `stored` has, in order.
    pub(super) fn removed(&self, owner: Owner, stored: &HashMap<Uuid, String>) -> Vec<Uuid> {
        let own = &self.owners[owner];
        let mut removed: Vec<Uuid> = stored.keys().filter(|id| !own.contains_key(*id)).copied().collect();
        removed.sort_unstable();
        removed
    }
}

/// PostgreSQL stores U+FFFD for a NUL.
fn is_stored_as(name: &str, stored: &str) -> bool {
    name == stored || (name.contains('\0') && name.replace('\0', "\u{fffd}") == stored)
}

/// The most frequent spelling; among equals the first by code point, which is the order
/// of UTF-8's bytes.
fn usual(spellings: &Spellings) -> &str {
    let usual =
        spellings.iter().max_by(|(a, times_a), (b, times_b)| times_a.cmp(times_b).then_with(|| b.cmp(a)));
    usual.map_or("", |(spelling, _)| spelling)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids;

    fn artists(spellings: &[&str]) -> Vec<String> {
        let mut names = Names::default();
        for spelling in spellings {
            names.count(Owner::Artist, ids::artist(spelling), spelling);
        }
        let mut artists: Vec<String> =
            names.changed(Owner::Artist, &HashMap::new()).into_iter().map(|named| named.name).collect();
        artists.sort();
        artists
    }

    #[test]
    fn the_most_frequent_spelling_is_kept() {
        assert_eq!(artists(&["nofx", "NOFX", "NoFX", "NoFX"]), ["NoFX"]);
        assert_eq!(artists(&["NoFX", "NoFX", "nofx", "NOFX"]), ["NoFX"]);
    }

    #[test]
    fn among_equally_frequent_spellings_the_first_by_code_point_is_kept() {
        assert_eq!(artists(&["nofx", "NoFX", "NOFX"]), ["NOFX"]);
        assert_eq!(artists(&["STRA\u{1e9e}E", "Stra\u{df}e"]), ["STRA\u{1e9e}E"]);
    }

    #[test]
    fn names_that_differ_by_more_than_case_stay_apart() {
        assert_eq!(artists(&["Beyonc\u{e9}", "Beyonce\u{301}", ""]), ["", "Beyonce\u{301}", "Beyonc\u{e9}"]);
    }

    #[test]
    fn only_differences_are_changed_or_removed() {
        let mut names = Names::default();
        for name in ["a", "b", "c\0"] {
            names.count(Owner::Genre, ids::genre(name), name);
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
        assert!(!names.are(&PerOwner::from([HashMap::new(), HashMap::new(), stored])));
    }
}
