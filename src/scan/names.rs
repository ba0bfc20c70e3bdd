//! Albums, artists and genres out of what the songs say: one per id, named by the spelling
//! that most songs use.

use std::collections::HashMap;

use uuid::Uuid;

use super::row::Row;
use super::track::Track;
use crate::database::difference::Kind;
use crate::model::Named;

/// Names of all three kinds by id, with every spelling and how often it occurs.
#[derive(Debug, Default)]
pub(super) struct Names {
    kinds: [HashMap<Uuid, Spellings>; 3],
}

/// Nearly all names have one spelling.
type Spellings = Vec<(Box<str>, u32)>;

impl Names {
    /// Counts the names of a song.
    pub(super) fn add(&mut self, track: &Track<'_>) {
        for kind in Kind::ALL {
            self.count(kind, track.ids[kind as usize], track.names[kind as usize]);
        }
    }

    /// Counts the names of a song that no file explains.
    pub(super) fn add_row(&mut self, row: &Row) {
        for kind in Kind::ALL {
            let (id, name) = &row.names[kind as usize];
            self.count(kind, *id, name);
        }
    }

    fn count(&mut self, kind: Kind, id: Uuid, name: &str) {
        let spellings = self.kinds[kind as usize].entry(id).or_default();
        match spellings.iter_mut().find(|(spelling, _)| **spelling == *name) {
            Some((_, times)) => *times += 1,
            None => spellings.push((name.into(), 1)),
        }
    }

    /// How many there are of a kind.
    pub(super) fn len(&self, kind: Kind) -> usize {
        self.kinds[kind as usize].len()
    }

    /// Whether `stored` are these names, no more and no less.
    pub(super) fn are(&self, stored: &[HashMap<Uuid, String>; 3]) -> bool {
        Kind::ALL.into_iter().all(|kind| {
            let (own, stored) = (&self.kinds[kind as usize], &stored[kind as usize]);
            own.len() == stored.len()
                && own.iter().all(|(id, spellings)| {
                    stored.get(id).is_some_and(|name| is_stored_as(usual(spellings), name))
                })
        })
    }

    /// The names of a kind that `stored` lacks or spells otherwise, in the order of their ids.
    pub(super) fn changed(&self, kind: Kind, stored: &HashMap<Uuid, String>) -> Vec<Named> {
        let mut changed: Vec<Named> = self.kinds[kind as usize]
            .iter()
            .map(|(id, spellings)| (*id, usual(spellings)))
            .filter(|(id, name)| !stored.get(id).is_some_and(|stored| is_stored_as(name, stored)))
            .map(|(id, name)| Named { id, name: name.to_owned() })
            .collect();
        changed.sort_unstable_by_key(|named| named.id);
        changed
    }

    /// The ids of a kind that only `stored` has, in order.
    pub(super) fn removed(&self, kind: Kind, stored: &HashMap<Uuid, String>) -> Vec<Uuid> {
        let own = &self.kinds[kind as usize];
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
            names.count(Kind::Artist, ids::artist(spelling), spelling);
        }
        let mut artists: Vec<String> =
            names.changed(Kind::Artist, &HashMap::new()).into_iter().map(|named| named.name).collect();
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
            names.count(Kind::Genre, ids::genre(name), name);
        }
        let stored: HashMap<Uuid, String> = [("a", "a"), ("b", "B"), ("c\0", "c\u{fffd}"), ("d", "d")]
            .into_iter()
            .map(|(id, name)| (ids::genre(id), name.to_owned()))
            .collect();
        assert_eq!(
            names.changed(Kind::Genre, &stored),
            [Named { id: ids::genre("b"), name: "b".to_owned() }]
        );
        assert_eq!(names.removed(Kind::Genre, &stored), [ids::genre("d")]);
        assert!(!names.are(&[HashMap::new(), HashMap::new(), stored]));
    }
}
