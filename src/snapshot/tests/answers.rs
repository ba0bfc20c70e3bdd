//! Answers are those of the model.

use std::collections::BTreeSet;

use proptest::prelude::*;
use uuid::Uuid;

use super::model::{Row, collection, model_rows};
use super::questions::{Question, model_answer, query_of, question};
use super::*;
use crate::model::{Named, Song};
use crate::rows::Rows;
use crate::snapshot::build::{Levels, build_with};
use crate::snapshot::format::VERSION;
use crate::snapshot::query::Plan;

fn answer(snapshot: &Snapshot<'_>, collection: &Collection, question: &Question) -> Vec<serde_json::Value> {
    let query = query_of(collection, question);
    shown(snapshot, question.kind, snapshot.select(question.kind, &query))
}

proptest! {
    #![proptest_config(crate::chance::cases(300))]

    #[test]
    fn every_answer_is_a_filter_and_a_sort(
        collection in collection(),
        questions in prop::collection::vec(question(), 1..12),
    ) {
        let bytes = snapshot_bytes(&collection);
        let snapshot = Snapshot::open(&bytes, Verify::Full).unwrap();
        for question in &questions {
            prop_assert_eq!(
                answer(&snapshot, &collection, question),
                model_answer(&collection, question),
                "{:?}", question
            );
        }
    }

    #[test]
    fn totals_are_the_lengths_of_answers_without_pages(
        collection in collection(),
        questions in prop::collection::vec(question(), 1..12),
    ) {
        let bytes = snapshot_bytes(&collection);
        let snapshot = Snapshot::open(&bytes, Verify::Full).unwrap();
        for question in &questions {
            let query = query_of(&collection, question);
            let (selection, total) = snapshot.select_counted(question.kind, &query);
            let paged = model_answer(&collection, question);
            prop_assert_eq!(shown(&snapshot, question.kind, selection), paged.clone(), "{:?}", question);
            let unpaged = model_answer(&collection, &Question { page: None, ..question.clone() });
            prop_assert_eq!(total, unpaged.len(), "{:?}", question);
            for len in [0, 1, 3, usize::MAX] {
                // The question needs a page, as `truncate` does not cut a whole set in another order.
                let page = question.page.or(Some(Page { limit: usize::MAX, offset: 0 }));
                let mut cut = snapshot.select(question.kind, &Query { page, ..query.clone() });
                cut.truncate(len);
                prop_assert_eq!(&shown(&snapshot, question.kind, cut)[..], &paged[..len.min(paged.len())]);
            }
        }
    }

    #[test]
    fn songs_and_albums_are_counted_as_the_model_does(
        collection in collection(),
        questions in prop::collection::vec(question(), 1..8),
    ) {
        let bytes = snapshot_bytes(&collection);
        let snapshot = Snapshot::open(&bytes, Verify::Full).unwrap();
        for question in &questions {
            let Kind::Of(owner) = question.kind else { continue };
            let query = query_of(&collection, question);
            let songs = match &question.with_songs {
                Some(songs) => model_answer(&collection, songs),
                None => model_rows(&collection, Kind::Song).iter().map(Row::json).collect(),
            };
            let selection = snapshot.select(question.kind, &query);
            let counts = snapshot.song_counts(owner, &selection, query.with_songs.as_deref());
            let entities = shown(&snapshot, question.kind, selection);
            prop_assert_eq!(counts.len(), entities.len());
            for (entity, counts) in entities.iter().zip(counts) {
                let of: Vec<_> =
                    songs.iter().filter(|song| song[Field::id_of(owner).name()] == entity["id"]).collect();
                let albums: BTreeSet<_> = of.iter().map(|song| song["album_id"].as_str()).collect();
                prop_assert_eq!((counts.songs as usize, counts.albums as usize), (of.len(), albums.len()));
            }
        }
    }

    #[test]
    fn what_is_built_is_read_back_and_independent_of_the_order_of_rows(collection in collection()) {
        let bytes = snapshot_bytes(&collection);
        let snapshot = Snapshot::open(&bytes, Verify::Full).unwrap();
        for kind in Kind::ALL {
            let all: Vec<_> = model_rows(&collection, kind).iter().map(Row::json).collect();
            prop_assert_eq!(shown(&snapshot, kind, snapshot.select(kind, &Query::default())), all);
        }
        let mut turned = collection;
        turned.songs.reverse();
        turned.artists.reverse();
        let last = turned.artists.len() as u32 - 1;
        turned.songs.iter_mut().for_each(|song| song.artist = last - song.artist);
        prop_assert_eq!(snapshot_bytes(&turned), bytes);
    }
}

#[test]
fn default_order_is_artist_album_track() {
    let bytes = snapshot_bytes(&small());
    let snapshot = Snapshot::open(&bytes, Verify::Full).unwrap();
    let songs = shown(&snapshot, Kind::Song, snapshot.select(Kind::Song, &Query::default()));
    let names: Vec<_> = songs.iter().map(|song| song["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["Song 12", "Song 10", "Song 11"]);
}

/// With this many songs each plan is the cheapest for some questions. Years and genres go together, so
/// that some walks find too little and a listing follows.
#[test]
fn pages_are_parts_of_the_whole_answer() {
    let named = |number: u32, name: &str| Named {
        id: Uuid::from_u128(u128::from(number) << 64 | 7),
        name: format!("{name} {number}"),
    };
    let song = |number: u32| Song {
        id: Uuid::from_u128(u128::from(number.wrapping_mul(0x9e37_79b9)) << 96),
        name: Some(format!("{} {}", ["Sun", "Stars", "Moon"][number as usize % 3], number % 1000)),
        length: Some(i64::from(number * 7 % 300)),
        track: Some(i64::from(number % 13)),
        year: Some(i64::from(number * 60 / 6000)),
        album: number * 5 % 400,
        artist: number * 3 % 50,
        genre: (number * 4 / 6000).pow(2) % 6,
    };
    let collection = Collection {
        albums: (0..400).map(|number| named(number, "Silver")).collect(),
        artists: (0..50).map(|number| named(number, "Band")).collect(),
        genres: (0..6).map(|number| named(number, "Rock")).collect(),
        songs: (0..6000).map(song).collect(),
    };
    let bytes = snapshot_bytes(&collection);
    let snapshot = Snapshot::open(&bytes, Verify::Full).unwrap();
    let genre = |number: u32| (Owner::Genre, Filter::LowerName(format!("rock {number}")));
    let filters = [
        vec![],
        vec![genre(0)],
        vec![genre(1)],
        vec![genre(4), (Owner::Artist, Filter::LowerName("band 3".into()))],
    ];
    let orders = Field::ALL.into_iter().flat_map(|field| {
        [Direction::Ascending, Direction::Descending].map(|direction| Some((field, direction)))
    });
    let orders: Vec<_> = orders.chain([None]).collect();
    let mut seen = BTreeSet::new();
    for words in
        [None, Some("s"), Some("star"), Some("rock 4"), Some("rock"), Some("silver 39"), Some("moon 77")]
    {
        for (filters, order) in
            filters.iter().flat_map(|filters| orders.iter().map(move |order| (filters, order)))
        {
            let query = |page| {
                let (words, filters) = (words.map(str::to_owned), filters.clone());
                Query { words, filters, order: *order, page, ..Query::default() }
            };
            let listed =
                |page| Runs::new(snapshot.select(Kind::Song, &query(page))).flatten().collect::<Vec<_>>();
            let whole = listed(None);
            for (limit, offset) in [(1, 0), (20, 0), (20, 45), (20, 400), (3000, 1)] {
                let expected: Vec<u32> = whole.iter().skip(offset).take(limit).copied().collect();
                let page = Some(Page { limit, offset });
                assert_eq!(listed(page), expected, "{:?}", query(page));
                seen.insert(match snapshot.plan(&query(page)) {
                    Plan::Nothing => "nothing",
                    Plan::All => "all",
                    Plan::Whole(_) => "whole",
                    Plan::List(..) => "list",
                    Plan::Walk(..) => "walk",
                });
            }
        }
    }
    // No song of genre 4 is by band 3.
    assert_eq!(Vec::from_iter(seen), ["all", "list", "nothing", "walk", "whole"]);
}

#[test]
fn empty_collection_has_a_snapshot_too() {
    let bytes = snapshot_bytes(&Collection::default());
    let snapshot = Snapshot::open(&bytes, Verify::Full).unwrap();
    for kind in Kind::ALL {
        let query = Query {
            words: Some("a".into()),
            order: Some((Field::Id, Direction::Descending)),
            ..Query::default()
        };
        assert!(snapshot.select(kind, &query).is_empty());
        let all = Query { words: None, ..query };
        assert!(snapshot.select(kind, &all).is_empty());
    }
}

/// Another compressor, or another level, changes the bytes and not the content.
#[test]
fn hash_leaves_out_how_lists_are_compressed() {
    let genres =
        |count| (0..count).map(|number| Named { id: Uuid::from_u128(number), name: format!("G{number}") });
    let collection = |count| Collection { genres: genres(count).collect(), ..small() };
    let built = |collection: &Collection, levels| {
        let mut out = Cursor::new(Vec::new());
        build_with(&Rows::of(collection).unwrap(), VERSION, levels, usize::MAX, &mut out).unwrap();
        let bytes = out.into_inner();
        let snapshot = Snapshot::open(&bytes, Verify::Full).unwrap();
        assert!(snapshot.packed(Kind::Of(Owner::Genre), Packing::Gzip).is_some());
        (snapshot.hash(), bytes)
    };
    let (hash, bytes) = built(&collection(400), Levels::default());
    for levels in [Levels { gzip: 1, zstd: 6 }, Levels { gzip: 6, zstd: 1 }, Levels { gzip: 9, zstd: 19 }] {
        let (same, other) = built(&collection(400), levels);
        assert!(same == hash && other != bytes, "{levels:?}");
    }
    assert_ne!(built(&collection(401), Levels::default()).0, hash);
}
