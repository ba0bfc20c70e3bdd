//! Questions to a snapshot.

use std::ops::Range;

use uuid::Uuid;

use crate::api::{Direction, Field};
use crate::model::Owner;
use crate::text;

/// A question. Each part narrows the answer; without any part the answer is all entities.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Search form of the words that a name must hold; blank words match no name.
    pub words: Option<String>,
    /// Beginnings of words that names must hold, in any order, see [`beginnings`]; an empty list matches
    /// nothing. Each may be in a different name of a song: its own, or that of its album, artist or genre.
    pub beginnings: Option<Vec<String>>,
    /// The id of the only entity that matches.
    pub id: Option<Uuid>,
    /// The owners that songs must have; ignored for other kinds of entities.
    pub filters: Vec<(Owner, Filter)>,
    /// A question about songs: an album, artist or genre must have a song that matches it. Ignored for songs.
    /// The order and the page of this inner question have no effect.
    pub with_songs: Option<Box<Query>>,
    /// Field to sort by. Ties, and all entities if there is no field, are in default order.
    pub order: Option<(Field, Direction)>,
    /// The part of the answer to return.
    pub page: Option<Page>,
}

/// The words of `text` in search form, as [`Query::beginnings`] holds them: sorted, and without a word with
/// which another one begins, as names that hold the longer word hold the shorter one.
pub fn beginnings(text: &str) -> Vec<String> {
    let form = text::search_form(text);
    let mut words: Vec<&str> = form.split(text::is_space).filter(|word| !word.is_empty()).collect();
    words.sort_unstable();
    let is_covered = |at: usize| words.get(at + 1).is_some_and(|next| next.starts_with(words[at]));
    (0..words.len()).filter(|at| !is_covered(*at)).map(|at| words[at].to_owned()).collect()
}

/// Selects albums, artists or genres.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// The one with this id.
    Id(Uuid),
    /// All with this name in lower case.
    LowerName(String),
}

/// `limit` entities after the first `offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// The largest number of entities.
    pub limit: usize,
    /// The number of entities to skip.
    pub offset: usize,
}

impl Page {
    /// The number of entities before its end.
    pub(super) fn end(self) -> usize {
        self.offset.saturating_add(self.limit)
    }

    /// The places of this page among `len` entities.
    pub(super) fn within(self, len: usize) -> Range<usize> {
        let from = self.offset.min(len);
        from..self.end().min(len)
    }

    /// Takes this page out of entities that are in their final order.
    pub(super) fn of(self, entities: impl Iterator<Item = u32>) -> Vec<u32> {
        entities.skip(self.offset).take(self.limit).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings_are_the_words_that_say_most() {
        for (text, words) in [
            ("", &[][..]),
            (" \u{1f}\u{3000}", &[]),
            ("Lim\u{f3}n  CORAZ\u{d3}N", &["corazon", "limon"]),
            ("li limon l li", &["limon"]),
            ("a\u{1f}b", &["a", "b"]),
            ("ab a b", &["ab", "b"]),
        ] {
            assert_eq!(beginnings(text), words, "{text:?}");
        }
    }
}
