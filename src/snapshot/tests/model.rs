//! The naive model: collections, the rows that the API shows of them, and the meaning of words.

use proptest::prelude::*;
use proptest::sample::{Index, select};
use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};
use uuid::Uuid;

use crate::api::Field;
use crate::model::{Collection, Kind, Named, Owner, PerOwner, Song};

const NAMES: &[&str] = &[
    "",
    " ",
    "The Bouncing Souls",
    "the bouncing  souls",
    "Souls",
    "Beyonc\u{e9}",
    "Beyonce\u{301}",
    "BEYONCE",
    "ΣΊΣΥΦΟΣ",
    "Σίσυφοσ",
    "σας",
    "\u{130}stanbul",
    "stra\u{df}e",
    "STRA\u{1e9e}E",
    "한국",
    "하",
    "\u{1f}Unit\u{1c}Band",
    "a",
    "a\0",
    "a\0b",
    "a a",
    "A b a",
    "ab",
    "\u{301}",
    "\"quoted\"\\",
    "tab\there",
    "zebra",
    "\u{c9}clair",
    "\u{10ffff}",
    "Ārt b",
];

pub(in crate::snapshot) fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => select(NAMES).prop_map(str::to_owned),
        1 => "[abσς é\u{301}\u{3000}]{0,6}",
        1 => any::<String>(),
    ]
}

pub(in crate::snapshot) fn id() -> impl Strategy<Value = Uuid> {
    // Few different first bytes, so that ids have neighbours.
    (0..4_u8, any::<[u8; 15]>()).prop_map(|(first, rest)| {
        let mut bytes = [first; 16];
        bytes[1..].copy_from_slice(&rest);
        Uuid::from_bytes(bytes)
    })
}

pub(in crate::snapshot) fn names(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Named>> {
    let named = (id(), name()).prop_map(|(id, name)| Named { id, name });
    prop::collection::vec(named, count).prop_map(|mut list| {
        list.sort_by_key(|named| named.id);
        list.dedup_by_key(|named| named.id);
        list
    })
}

pub(in crate::snapshot) type RawSong =
    (Uuid, Option<String>, Option<i64>, Option<i64>, Option<i64>, [Index; 3]);

pub(in crate::snapshot) fn raw_song() -> impl Strategy<Value = RawSong> {
    let number = || prop::option::weighted(0.9, prop_oneof![0..4_i64, any::<i64>()]);
    (id(), prop::option::weighted(0.9, name()), number(), number(), number(), any::<[Index; 3]>())
}

prop_compose! {
    pub(in crate::snapshot) fn collection()(
        albums in names(1..8),
        artists in names(1..6),
        genres in names(1..5),
        raw in prop::collection::vec(raw_song(), 0..120),
    ) -> Collection {
        let mut songs: Vec<Song> = raw.into_iter().map(|(id, name, length, track, year, [album, artist, genre])| Song {
            id, name, length, track, year,
            album: album.index(albums.len()) as u32,
            artist: artist.index(artists.len()) as u32,
            genre: genre.index(genres.len()) as u32,
        }).collect();
        songs.sort_by_key(|song| song.id);
        songs.dedup_by_key(|song| song.id);
        Collection { albums, artists, genres, songs }
    }
}

/// The values of an entity that the API shows.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::snapshot) struct Row {
    pub(in crate::snapshot) id: Uuid,
    pub(in crate::snapshot) name: Option<String>,
    numbers: [Option<i64>; 3],
    pub(in crate::snapshot) owners: Option<PerOwner<Named>>,
}

impl Row {
    pub(in crate::snapshot) fn key(&self, field: Field) -> Key {
        let owner = |owner: Owner| self.owners.as_ref().map(|owners| &owners[owner]);
        let name = |of| Key::Text(owner(of).map(|owner| owner.name.clone()));
        let id = |of| Key::Id(owner(of).unwrap().id);
        match field {
            Field::Id => Key::Id(self.id),
            Field::Name => Key::Text(self.name.clone()),
            Field::Length => Key::Number(self.numbers[0]),
            Field::Track => Key::Number(self.numbers[1]),
            Field::Year => Key::Number(self.numbers[2]),
            Field::Album => name(Owner::Album),
            Field::AlbumId => id(Owner::Album),
            Field::Artist => name(Owner::Artist),
            Field::ArtistId => id(Owner::Artist),
            Field::Genre => name(Owner::Genre),
            Field::GenreId => id(Owner::Genre),
        }
    }

    pub(in crate::snapshot) fn json(&self) -> serde_json::Value {
        let Some(owners) = &self.owners else {
            return serde_json::json!({"id": self.id.to_string(), "name": self.name});
        };
        let [album, artist, genre] = Owner::ALL.map(|owner| &owners[owner]);
        serde_json::json!({
            "id": self.id.to_string(), "name": self.name,
            "length": self.numbers[0], "track": self.numbers[1], "year": self.numbers[2],
            "album": album.name, "album_id": album.id.to_string(),
            "artist": artist.name, "artist_id": artist.id.to_string(),
            "genre": genre.name, "genre_id": genre.id.to_string(),
        })
    }
}

/// NULL before every value, as `Option` has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::snapshot) enum Key {
    Id(Uuid),
    Text(Option<String>),
    Number(Option<i64>),
}

/// Search form, restated: NFD, category Mn removed, lower case, final sigma as sigma,
/// trimmed as Python does.
pub(in crate::snapshot) fn model_form(text: &str) -> String {
    let bare: String =
        text.nfd().filter(|c| c.general_category() != GeneralCategory::NonspacingMark).collect();
    let lower = bare.to_lowercase().replace('ς', "σ");
    lower.trim_matches(model_space).to_owned()
}

/// White space is Python's.
pub(in crate::snapshot) fn model_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}' | '\u{1d}' | '\u{1e}' | '\u{1f}')
}

/// Runs of White_Space are one space.
pub(in crate::snapshot) fn model_collapse(form: &str) -> String {
    form.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The query is a prefix of the whole name, or of its words from the second, third, ... on,
/// joined by single spaces.
pub(in crate::snapshot) fn model_matches(name: &str, words: &str) -> bool {
    let (form, words) = (model_form(name), model_collapse(&model_form(words)));
    let split: Vec<&str> = form.split(model_space).filter(|word| !word.is_empty()).collect();
    let rest_matches = |from: usize| split[from..].join(" ").starts_with(&words);
    !words.is_empty() && (model_collapse(&form).starts_with(&words) || (1..split.len()).any(rest_matches))
}

pub(in crate::snapshot) fn model_rows(collection: &Collection, kind: Kind) -> Vec<Row> {
    let plain = |list: &[Named]| {
        let row = |named: &Named| Row {
            id: named.id,
            name: Some(named.name.clone()),
            numbers: [None; 3],
            owners: None,
        };
        let mut rows: Vec<Row> = list.iter().map(row).collect();
        rows.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        rows
    };
    match kind {
        Kind::Of(owner) => plain(owner.of(collection)),
        Kind::Song => {
            let mut rows: Vec<Row> = collection
                .songs
                .iter()
                .map(|song| Row {
                    id: song.id,
                    name: song.name.clone(),
                    numbers: [song.length, song.track, song.year],
                    owners: Some(PerOwner::new(|owner| {
                        owner.of(collection)[owner.index_in(song) as usize].clone()
                    })),
                })
                .collect();
            rows.sort_by_key(|row| {
                let [album, artist, _] = row.owners.clone().unwrap().into();
                (artist.name, artist.id, album.name, album.id, row.numbers[1], row.name.clone(), row.id)
            });
            rows
        }
    }
}
