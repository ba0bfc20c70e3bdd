//! Rows out of what the files say: one song per file, one album, artist and genre per
//! id, named by the spelling that most files use.

use std::collections::HashMap;
use std::path::Path;

use uuid::Uuid;

use super::previous::Row;
use crate::ids;
use crate::model::{Collection, Named, Song};

/// One file's song.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Track {
    pub(super) title: String,
    pub(super) album: String,
    pub(super) artist: String,
    pub(super) genre: String,
    /// Number on its record, 0 when unknown.
    pub(super) number: i64,
    /// Year of release, 0 when unknown.
    pub(super) year: i64,
    /// Whole seconds.
    pub(super) length: i64,
}

/// Gathers songs and the names they share.
#[derive(Debug, Default)]
pub(super) struct Rows {
    albums: Names,
    artists: Names,
    genres: Names,
    songs: Vec<Song>,
}

impl Rows {
    /// Adds the song in the file at `path`, which must be absolute and may come only once.
    pub(super) fn add(&mut self, path: &Path, track: Track) {
        self.songs.push(Song {
            id: ids::song(path),
            length: Some(track.length),
            track: Some(track.number),
            year: Some(track.year),
            album: self.albums.index(ids::album(&track.album), track.album),
            artist: self.artists.index(ids::artist(&track.artist), track.artist),
            genre: self.genres.index(ids::genre(&track.genre), track.genre),
            name: Some(track.title),
        });
    }

    /// Adds a row as a database held it.
    pub(super) fn add_row(&mut self, row: Row) {
        self.songs.push(Song {
            id: row.id,
            length: row.length,
            track: row.track,
            year: row.year,
            album: self.albums.index(row.album.0, row.album.1),
            artist: self.artists.index(row.artist.0, row.artist.1),
            genre: self.genres.index(row.genre.0, row.genre.1),
            name: row.name,
        });
    }

    /// The collection, in the order in which things were first seen.
    pub(super) fn collection(self) -> Collection {
        Collection {
            albums: self.albums.named(),
            artists: self.artists.named(),
            genres: self.genres.named(),
            songs: self.songs,
        }
    }
}

/// Names of one kind by id, with every spelling and how often it occurs.
#[derive(Debug, Default)]
struct Names {
    index_of: HashMap<Uuid, u32>,
    spellings: Vec<(Uuid, HashMap<String, usize>)>,
}

impl Names {
    fn index(&mut self, id: Uuid, spelling: String) -> u32 {
        let next = self.spellings.len();
        // A file takes more than one byte, so there are fewer than 2^32 of them to count.
        let index = *self.index_of.entry(id).or_insert(next as u32);
        if index as usize == next {
            self.spellings.push((id, HashMap::new()));
        }
        *self.spellings[index as usize].1.entry(spelling).or_default() += 1;
        index
    }

    fn named(self) -> Vec<Named> {
        self.spellings.into_iter().map(|(id, spellings)| Named { id, name: usual(spellings) }).collect()
    }
}

/// The most frequent spelling; among equals the first by code point, which is the order
/// of UTF-8's bytes.
fn usual(spellings: HashMap<String, usize>) -> String {
    let usual =
        spellings.into_iter().max_by(|(a, times_a), (b, times_b)| times_a.cmp(times_b).then(b.cmp(a)));
    usual.map(|(spelling, _)| spelling).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track(artist: &str) -> Track {
        let text = String::new;
        Track {
            title: text(),
            album: text(),
            artist: artist.to_owned(),
            genre: text(),
            number: 0,
            year: 0,
            length: 0,
        }
    }

    fn artists(spellings: &[&str]) -> Vec<String> {
        let mut rows = Rows::default();
        for (index, spelling) in spellings.iter().enumerate() {
            rows.add(Path::new(&format!("/music/{index}")), track(spelling));
        }
        rows.collection().artists.into_iter().map(|artist| artist.name).collect()
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
        assert_eq!(artists(&["Beyonc\u{e9}", "Beyonce\u{301}", ""]), ["Beyonc\u{e9}", "Beyonce\u{301}", ""]);
    }

    #[test]
    fn songs_point_to_their_names() {
        let mut rows = Rows::default();
        for (path, artist) in [("/a", "X"), ("/b", "Y"), ("/c", "x")] {
            rows.add(Path::new(path), track(artist));
        }
        let collection = rows.collection();
        let artists: Vec<_> = collection.songs.iter().map(|song| song.artist).collect();
        assert_eq!(artists, [0, 1, 0]);
        assert_eq!(collection.artists[0].id, ids::artist("x"));
        assert_eq!((collection.albums.len(), collection.genres.len()), (1, 1));
        assert_eq!(collection.songs[1].id, ids::song(Path::new("/b")));
    }
}
