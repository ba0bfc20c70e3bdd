//! A collection as people have them: few artists with many albums and many with few,
//! albums of about a dozen songs by one artist in one year, a dozen genres that count
//! and a tail of others, compilations, and tags left empty here and there.

use std::collections::HashMap;
use std::path::Path;

use avalon::ids;
use avalon::model::{Collection, Named, Song};
use uuid::Uuid;

use crate::names::{self, Languages, RARE_WORDS};
use crate::random::{Random, Zipf};

const SONGS_PER_ALBUM: usize = 12;
const ALBUMS_PER_ARTIST: usize = 10;
/// A rare word is in this many songs, or in as many as a small collection allows.
const SONGS_PER_RARE_WORD: usize = 24;

/// A collection of exactly `songs` songs; the same for the same `songs` and `seed`.
pub(crate) fn generate(songs: usize, seed: u64) -> Collection {
    let mut generator = Generator::new(songs, seed);
    while generator.songs.len() < songs {
        generator.album(songs);
    }
    generator.sprinkle_rare_words();
    Collection {
        albums: generator.albums.list,
        artists: generator.artists.list,
        genres: generator.genres.list,
        songs: generator.songs,
    }
}

/// Named things, each id once: equal names are one thing, as for a scan.
#[derive(Debug, Default)]
struct Registry {
    list: Vec<Named>,
    index: HashMap<Uuid, u32>,
}

impl Registry {
    fn add(&mut self, id: Uuid, name: String) -> u32 {
        *self.index.entry(id).or_insert_with(|| {
            self.list.push(Named { id, name });
            (self.list.len() - 1) as u32
        })
    }
}

/// An artist before the first song: the facts that a later album needs.
#[derive(Debug)]
struct Artist {
    name: String,
    language: usize,
    genre: usize,
    /// The year of the first record.
    since: i64,
}

#[derive(Debug)]
struct Generator {
    random: Random,
    languages: Languages,
    roster: Vec<Artist>,
    artist_popularity: Zipf,
    genre_popularity: Zipf,
    albums: Registry,
    artists: Registry,
    genres: Registry,
    songs: Vec<Song>,
    albums_made: usize,
}

impl Generator {
    fn new(songs: usize, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let languages = Languages::embedded();
        let genre_count = (30 + songs / 2_000).min(names::GENRES_MAX);
        let genre_popularity = Zipf::new(genre_count, 2);
        let artist_count = (songs / SONGS_PER_ALBUM / ALBUMS_PER_ARTIST).max(1);
        let roster = (0..artist_count).map(|_| {
            let language = languages.pick(&mut random);
            Artist {
                name: languages.get(language).artist(&mut random),
                language,
                genre: genre_popularity.rank(&mut random),
                since: random.between(1955, 2020),
            }
        });
        Generator {
            roster: roster.collect(),
            random,
            languages,
            artist_popularity: Zipf::new(artist_count, 20),
            genre_popularity,
            albums: Registry::default(),
            artists: Registry::default(),
            genres: Registry::default(),
            songs: Vec::with_capacity(songs),
            albums_made: 0,
        }
    }

    /// Adds an album, cut off where the collection has `songs_max` songs.
    fn album(&mut self, songs_max: usize) {
        let artist = self.artist_popularity.rank(&mut self.random);
        let album = self.album_name(artist);
        let album = self.albums.add(ids::album(&album), album);
        let genre = self.genre_name(artist);
        let genre = self.genres.add(ids::genre(&genre), genre);
        let since = self.roster[artist].since;
        let year =
            if self.random.per_mille(30) { 0 } else { self.random.between(since, 2025.min(since + 30)) };
        let tracks =
            if self.random.per_mille(60) { self.random.between(15, 20) } else { self.random.between(10, 14) };
        let compilation = self.random.per_mille(30);
        self.albums_made += 1;
        for track in 1..=tracks.min((songs_max - self.songs.len()) as i64) {
            let by = if compilation { self.random.below(self.roster.len()) } else { artist };
            self.song(by, track, Song { year: Some(year), album, genre, ..unnamed() });
        }
    }

    fn song(&mut self, by: usize, track: i64, of_album: Song) {
        let artist = &self.roster[by];
        let artist_name = if self.random.per_mille(2) { "" } else { &artist.name };
        let path = format!("/music/{:07}/{track:02}.flac", self.albums_made);
        let title = self.languages.get(artist.language).song(&mut self.random);
        // the sum of two dice of 256: most songs last four to seven minutes
        let length = 90 + self.random.between(0, 255) + self.random.between(0, 255);
        self.songs.push(Song {
            id: ids::song(Path::new(&path)),
            name: Some(if self.random.per_mille(2) { String::new() } else { title }),
            length: Some(length),
            track: Some(if self.random.per_mille(20) { 0 } else { track }),
            artist: self.artists.add(ids::artist(artist_name), artist_name.to_owned()),
            ..of_album
        });
    }

    fn album_name(&mut self, artist: usize) -> String {
        if self.random.per_mille(3) {
            return String::new();
        }
        let language = self.roster[artist].language;
        self.languages.get(language).album(&mut self.random)
    }

    fn genre_name(&mut self, artist: usize) -> String {
        match self.random.below(100) {
            0..2 => String::new(),
            2..20 => names::genre(self.genre_popularity.rank(&mut self.random)),
            _ => names::genre(self.roster[artist].genre),
        }
    }

    fn sprinkle_rare_words(&mut self) {
        let places = SONGS_PER_RARE_WORD.min(self.songs.len() / 100);
        for word in RARE_WORDS {
            for _ in 0..places {
                let at = self.random.below(self.songs.len());
                if let Some(name) = &mut self.songs[at].name {
                    name.push(' ');
                    name.push_str(word);
                }
            }
        }
    }
}

fn unnamed() -> Song {
    let id = Uuid::nil();
    Song { id, name: None, length: None, track: None, year: None, album: 0, artist: 0, genre: 0 }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_collection() {
        assert_eq!(generate(3_000, 7), generate(3_000, 7));
        assert_ne!(generate(3_000, 7).songs, generate(3_000, 8).songs);
    }

    #[test]
    fn a_collection_is_valid_and_of_the_size_asked_for() {
        for songs in [0, 1, 13, 20_000] {
            let made = generate(songs, 1);
            assert_eq!(made.songs.len(), songs);
            let ids: HashSet<_> = made.songs.iter().map(|song| song.id).collect();
            assert_eq!(ids.len(), songs);
            for song in &made.songs {
                assert!((song.album as usize) < made.albums.len());
                assert!((song.artist as usize) < made.artists.len());
                assert!((song.genre as usize) < made.genres.len());
            }
        }
    }

    #[test]
    fn a_collection_has_the_shape_of_a_real_one() {
        let made = generate(30_000, 1);
        let mut songs_by_artist = vec![0; made.artists.len()];
        made.songs.iter().for_each(|song| songs_by_artist[song.artist as usize] += 1);
        songs_by_artist.sort_unstable();
        let (fewest, most) =
            (songs_by_artist[made.artists.len() / 10], songs_by_artist[made.artists.len() - 1]);
        assert!(fewest * 10 < most, "{fewest} {most}");
        assert!((2_000..3_000).contains(&made.albums.len()), "{}", made.albums.len());
        assert!((30..150).contains(&made.genres.len()), "{}", made.genres.len());
        for word in RARE_WORDS {
            let with =
                made.songs.iter().filter(|song| song.name.as_ref().is_some_and(|name| name.contains(word)));
            assert!((1..50).contains(&with.count()), "{word}");
        }
        assert!(made.songs.iter().any(|song| song.year == Some(0)));
        assert!(made.genres.iter().any(|genre| genre.name.is_empty()));
    }
}
