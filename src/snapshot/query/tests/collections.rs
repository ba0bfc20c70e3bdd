//! Seeded collections of several shapes, and questions about them, to try the costs of plans on.

use uuid::Uuid;

use crate::api::{Direction, Field};
use crate::model::{Collection, Named, Owner, Song};
use crate::snapshot::query::{Filter, Page, Query};
use crate::text;

/// A distribution of songs over owners, and of words over names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// All owners have about as many songs, all words are about as frequent.
    Uniform,
    /// Few owners have many songs and few words are frequent, as people have them.
    Zipf,
    /// One artist has nine songs of ten.
    OneHugeArtist,
    /// Every artist has three songs, every album one, every genre thirty.
    ManyTiny,
}

impl Shape {
    pub(super) const ALL: [Shape; 4] = [Shape::Uniform, Shape::Zipf, Shape::OneHugeArtist, Shape::ManyTiny];
}

/// Numbers that depend on a seed alone (SplitMix64).
pub(super) struct Random(pub(super) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^ (number >> 31)
    }

    pub(super) fn below(&mut self, count: usize) -> usize {
        (self.next() % count as u64) as usize
    }

    /// Small numbers are frequent: about as many below 10 as from 10 to 100, and so on.
    fn zipf(&mut self, count: usize) -> usize {
        let unit = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        ((count as f64 + 1.0).powf(unit) - 1.0) as usize
    }

    fn of<'l, T>(&mut self, list: &'l [T]) -> &'l T {
        &list[self.below(list.len())]
    }
}

const SYLLABLES: [&str; 16] =
    ["sa", "the", "ro", "li", "mo", "ka", "sto", "ne", "bu", "shi", "tra", "el", "vo", "du", "gra", "fi"];

fn name(random: &mut Random, shape: Shape, words: usize) -> String {
    let word = |random: &mut Random| {
        let mut number = if shape == Shape::Uniform { random.below(9000) } else { random.zipf(9000) };
        let mut word = String::new();
        loop {
            word.push_str(SYLLABLES[number % 16]);
            number /= 16;
            if number == 0 {
                return word;
            }
        }
    };
    (0..words).map(|_| word(random)).collect::<Vec<_>>().join(" ")
}

/// A collection of `songs` songs. Genre and year depend on the artist, so that filters, words and
/// orders are correlated, and walks find matches in clusters.
pub(super) fn collection(shape: Shape, songs: usize, seed: u64) -> Collection {
    let mut random = Random(seed);
    let (artists, genres) = match shape {
        Shape::Uniform | Shape::Zipf => (songs / 60 + 1, (songs / 2000 + 8).min(300)),
        Shape::OneHugeArtist => (songs / 100 + 2, 20),
        Shape::ManyTiny => (songs / 3 + 1, songs / 30 + 1),
    };
    let albums = if shape == Shape::ManyTiny { songs } else { songs / 12 + 1 };
    let mut named = |count: usize, kind: u128, words: usize| -> Vec<Named> {
        (0..count)
            .map(|at| {
                let id = Uuid::from_u128(u128::from(random.next()) << 64 | kind << 60 | at as u128);
                Named { id, name: name(&mut random, shape, words) }
            })
            .collect()
    };
    let (albums, artists, genres) = (named(albums, 1, 2), named(artists, 2, 2), named(genres, 3, 1));
    let song = |at: usize| {
        let artist = match shape {
            Shape::Uniform => random.below(artists.len()),
            Shape::Zipf => random.zipf(artists.len()),
            Shape::OneHugeArtist if random.below(10) > 0 => 0,
            Shape::OneHugeArtist | Shape::ManyTiny => random.below(artists.len()),
        };
        let album = match shape {
            Shape::ManyTiny => at,
            _ => (artist * 31 + random.below(5)) % albums.len(),
        };
        let genre = match shape {
            Shape::Uniform => random.below(genres.len()),
            _ if random.below(5) == 0 => random.zipf(genres.len()),
            _ => artist % genres.len(),
        };
        Song {
            id: Uuid::from_u128(u128::from(random.next()) << 64 | at as u128),
            name: Some(name(&mut random, shape, 1 + at % 3)),
            length: Some(90 + random.below(400) as i64),
            track: Some(1 + random.below(14) as i64),
            year: Some(1960 + ((artist * 7) % 50 + random.below(14)) as i64),
            album: album as u32,
            artist: artist as u32,
            genre: genre as u32,
        }
    };
    let songs = (0..songs).map(song).collect();
    Collection { albums, artists, genres, songs }
}

/// A page of some songs of `collection`, as clients ask for them.
pub(super) fn query(collection: &Collection, random: &mut Random) -> Query {
    let orders = [
        None,
        None,
        Some((Field::Year, Direction::Ascending)),
        Some((Field::Year, Direction::Descending)),
        Some((Field::Name, Direction::Ascending)),
        Some((Field::Id, Direction::Descending)),
        Some((Field::Genre, Direction::Ascending)),
        Some((Field::Length, Direction::Descending)),
    ];
    let pages = [(20, 0), (20, 0), (1, 0), (100, 0), (20, 100), (20, 5000), (1000, 0), (5000, 0)];
    let (limit, offset) = *random.of(&pages);
    let song = random.of(&collection.songs);
    let filter = |owner: Owner| (owner, Filter::Id(owner.of(collection)[owner.index_in(song) as usize].id));
    let by: [&[Owner]; 6] = [
        &[],
        &[Owner::Genre],
        &[Owner::Genre],
        &[Owner::Artist],
        &[Owner::Album],
        &[Owner::Genre, Owner::Artist],
    ];
    let filters: Vec<_> = random.of(&by).iter().map(|owner| filter(*owner)).collect();
    let words = (filters.is_empty() || random.below(4) > 0).then(|| words(collection, random));
    Query {
        words,
        filters,
        order: *random.of(&orders),
        page: Some(Page { limit, offset }),
        ..Query::default()
    }
}

/// The beginning of a word, or of some words, of a name.
fn words(collection: &Collection, random: &mut Random) -> String {
    let song = random.of(&collection.songs);
    let named = |owner: Owner| &owner.of(collection)[owner.index_in(song) as usize].name;
    let name = match random.below(6) {
        0 => named(Owner::Album),
        1 => named(Owner::Artist),
        2 => named(Owner::Genre),
        _ => song.name.as_ref().unwrap_or(named(Owner::Album)),
    };
    let chars = *random.of(&[1, 2, 2, 3, 3, 4, 5, 6, 8]);
    text::search_form(&name.chars().take(chars).collect::<String>())
}
