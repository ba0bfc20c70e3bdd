//! The parts of a way, one by one: look-ups, counts, chunks, runs.

use std::ops::{ControlFlow, Range};

use uuid::Uuid;

use crate::api::{Direction, Field};
use crate::model::{Collection, Kind, Named, Owner, Song};
use crate::snapshot::open::{Snapshot, Verify};
use crate::snapshot::query::counts::{Source, WordCounts, WordLookup};
use crate::snapshot::query::lookup::ALL;
use crate::snapshot::query::matching::Matching;
use crate::snapshot::query::plan::Listing;
use crate::snapshot::query::words::WordMatches;
use crate::snapshot::query::{COSTS, Filter, Page, Query, Runs, Selection, beginnings};
use crate::snapshot::tests::snapshot_bytes;

/// Songs that two artists of nearly one name have by turns; the first one is called as they are.
fn collection(songs: usize) -> Collection {
    let named = |kind: u128, names: [&str; 2]| -> Vec<Named> {
        let ids = (0..).map(|at| Uuid::from_u128(kind << 120 | at));
        ids.zip(names).map(|(id, name)| Named { id, name: name.to_owned() }).collect()
    };
    let song = |at: usize| Song {
        // Spread over all ids, but for some that stand side by side at either end.
        id: Uuid::from_u128(match at % 5 {
            0 => 7 << 64 | at as u128,
            1 => u128::MAX - at as u128,
            _ => (at as u128 + 1) << 120 | at as u128,
        }),
        name: Some(if at == 0 { "Queen of Spades".to_owned() } else { format!("Song {at}") }),
        length: None,
        track: None,
        year: None,
        album: (at / 2 % 2) as u32,
        artist: (at % 2) as u32,
        genre: (at % 2) as u32,
    };
    Collection {
        albums: named(1, ["Hits", "Live"]),
        artists: named(2, ["Queen", "queen"]),
        genres: named(3, ["Rock", "Queensland"]),
        songs: (0..songs).map(song).collect(),
    }
}

fn with_words(words: &str) -> Query {
    Query { words: Some(words.to_owned()), ..Query::default() }
}

fn filtered(owner: Owner, filter: Filter) -> Query {
    Query { filters: vec![(owner, filter)], ..Query::default() }
}

#[test]
fn words_are_counted_by_the_steps_that_list_their_songs() {
    let bytes = snapshot_bytes(&collection(8));
    let snapshot = Snapshot::open(&bytes, Verify::Full).unwrap();
    let counts = |words: &str| {
        let counts = *Matching::of(&snapshot, &with_words(words)).expect("matches").counts();
        assert_eq!(counts.songs, 8);
        counts.words.expect("words")
    };
    // Seven songs have "so" in a name of theirs.
    let share = |set: &str| snapshot.songs.set_of(set).map(|set| set.len() as f64 / 8.0);
    assert_eq!(share("so"), Some(0.875));
    // One song, two artists and a genre, which take a step each, and four songs of each of the three.
    let queen =
        WordCounts { is_stored_set: false, songs: 16, own: 1, owners: 3, kinds: 2, sieve: share("que") };
    assert!(queen.sieve.is_some());
    assert_eq!(counts("queen"), queen);
    // Of short words, the snapshot has a set.
    assert_eq!(
        counts("so"),
        WordCounts { is_stored_set: true, songs: 7, sieve: share("so"), ..WordCounts::default() }
    );
}

#[test]
fn stored_sets_are_found_by_their_words() {
    let bytes = snapshot_bytes(&collection(40));
    let snapshot = Snapshot::open(&bytes, Verify::Full).unwrap();
    let sets = &snapshot.songs.sets;
    assert!(sets.counts.len() > 8, "{}", sets.counts.len());
    for at in 0..sets.counts.len() as u32 {
        let words = std::str::from_utf8(sets.prefixes.get(at)).unwrap();
        let found = snapshot.songs.set_of(words).expect("a set");
        assert!(found.iter().eq(sets.get(at).iter()), "{words}");
    }
    for words in ["", "!", "qua", "quu", "zzz", "queen"] {
        assert!(snapshot.songs.set_of(words).is_none(), "{words}");
    }
}

#[test]
fn stored_sets_alone_lead_to_a_page_of_frequent_words() {
    let bytes = snapshot_bytes(&collection(400));
    let snapshot = Snapshot::open(&bytes, Verify::Full).unwrap();
    let query = |words: &str, limit, offset| Query {
        beginnings: Some(beginnings(words)),
        page: Some(Page { limit, offset }),
        ..Query::default()
    };
    let places = |words, limit, offset| snapshot.sieved(&query(words, limit, offset));
    let planned =
        |query: &Query| Runs::new(snapshot.select_songs(&COSTS, query)).flatten().collect::<Vec<_>>();
    for words in ["song quee", "son que", "song", "hits song", "queen song live", "quee hit son"] {
        for (limit, offset) in [(1, 0), (20, 0), (9, 11), (64, 0), (1, 63)] {
            let expected = planned(&query(words, limit, offset));
            assert!(!expected.is_empty());
            assert_eq!(places(words, limit, offset), Some(expected), "{words} {limit} {offset}");
        }
    }
    let phrase = Query { words: Some("quee".to_owned()), ..query("", 20, 0) };
    let phrase = Query { beginnings: None, ..phrase };
    assert_eq!(snapshot.sieved(&phrase), Some(planned(&phrase)));
    let with_blank = Query { beginnings: Some(Vec::new()), ..phrase };
    assert_eq!((snapshot.sieved(&with_blank), planned(&with_blank)), (None, Vec::new()));
    // A set that has the songs already; a word without a set; too many songs; none of the first ones matches.
    for (words, limit, offset) in [
        ("son", 20, 0),
        ("song xylophone", 20, 0),
        ("song quee", 65, 0),
        ("song quee", 64, 1),
        ("song quee", 0, 0),
        ("song queens", 20, 0),
        ("", 20, 0),
    ] {
        assert_eq!(places(words, limit, offset), None, "{words} {limit} {offset}");
    }
    let from = |change: fn(&mut Query)| {
        let mut query = query("song quee", 20, 0);
        change(&mut query);
        snapshot.sieved(&query)
    };
    assert!(from(|query| query.order = Some((Field::Artist, Direction::Ascending))).is_some());
    assert_eq!(from(|query| query.order = Some((Field::Artist, Direction::Descending))), None);
    assert_eq!(from(|query| query.order = Some((Field::Year, Direction::Ascending))), None);
    assert_eq!(from(|query| query.page = None), None);
    assert_eq!(from(|query| query.id = Some(Uuid::nil())), None);
    assert_eq!(from(|query| query.filters = vec![(Owner::Genre, Filter::LowerName("rock".into()))]), None);
}

#[test]
fn an_order_is_settled_where_one_owner_is_left() {
    let bytes = snapshot_bytes(&collection(8));
    let snapshot = Snapshot::open(&bytes, Verify::Full).unwrap();
    let by_artist = Some((Field::Artist, Direction::Descending));
    let one = filtered(Owner::Artist, Filter::Id(Uuid::from_u128(2 << 120)));
    let matching = Matching::of(&snapshot, &one).unwrap();
    assert_eq!(matching.unsettled(by_artist), None);
    for other in [None, Some((Field::Year, Direction::Ascending)), Some((Field::Genre, Direction::Ascending))]
    {
        assert_eq!(matching.unsettled(other), other);
    }
    let both = filtered(Owner::Artist, Filter::LowerName("queen".to_owned()));
    let matching = Matching::of(&snapshot, &both).unwrap();
    assert_eq!(matching.unsettled(by_artist), by_artist);
}

/// The processor waits for the memory of many songs together, and a page that ends early tests few.
#[test]
fn chunks_grow_from_32_to_512_songs() {
    let bytes = snapshot_bytes(&collection(3000));
    let snapshot = Snapshot::open(&bytes, Verify::Full).unwrap();
    let query = filtered(Owner::Genre, Filter::LowerName("rock".to_owned()));
    let matching = Matching::of(&snapshot, &query).unwrap();
    let source = Source::Owners(Owner::Genre);
    let test = matching.test(Some(source), None, 1);
    let chunks = |most: usize| {
        let mut chunks = Vec::new();
        matching.each_tested(source, &ALL, &test, |chunk| {
            chunks.push(chunk.len());
            if chunks.len() == most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        chunks
    };
    assert_eq!(chunks(usize::MAX), [32, 64, 128, 256, 512, 508]);
    assert_eq!(chunks(2), [32, 64]);
}

#[test]
fn words_visit_the_songs_of_a_window_and_no_others() {
    let bytes = snapshot_bytes(&collection(1200));
    let snapshot = Snapshot::open(&bytes, Verify::Full).unwrap();
    let visited = |words: &str, window: Range<u32>| {
        let mut songs = Vec::new();
        let _ = WordMatches::of(&snapshot, words).each_song(&snapshot, &[], &window, |song| {
            songs.push(song);
            ControlFlow::Continue(())
        });
        songs.sort_unstable();
        songs
    };
    let [only] = visited("queen of", ALL)[..] else { panic!("one song") };
    assert_eq!(visited("queen of", only..only + 1), [only]);
    assert_eq!((visited("queen of", 0..only), visited("queen of", only + 1..1200)), (vec![], vec![]));
    // Each but one, in chunks of suffixes.
    let songs: Vec<u32> = (0..1200).filter(|song| *song != only).collect();
    let within =
        |window: Range<u32>| songs.iter().copied().filter(|song| window.contains(song)).collect::<Vec<_>>();
    for window in [0..1, 7..8, 0..256, 255..257, 500..900, 1199..1200, 0..1200] {
        assert_eq!(visited("song ", window.clone()), within(window.clone()), "{window:?}");
    }
}

#[test]
fn ids_are_found_wherever_they_stand() {
    for count in [1, 2, 3, 8, 200] {
        let collection = collection(count);
        let bytes = snapshot_bytes(&collection);
        let snapshot = Snapshot::open(&bytes, Verify::Full).unwrap();
        let mut places: Vec<u32> = collection
            .songs
            .iter()
            .map(|song| {
                snapshot.find(Kind::Song, song.id).unwrap_or_else(|| panic!("{} of {count}", song.id))
            })
            .collect();
        places.sort_unstable();
        assert!(places.into_iter().eq(0..count as u32), "each song has a place of its own");
        let beside = collection.songs.iter().flat_map(|song| {
            let id = song.id.as_u128();
            [id.wrapping_sub(1), id + 1]
        });
        for id in beside.chain([0, u128::MAX, u128::MAX / 2]).map(Uuid::from_u128) {
            let is_there = collection.songs.iter().any(|song| song.id == id);
            assert_eq!(snapshot.find(Kind::Song, id).is_some(), is_there, "{id} of {count}");
        }
    }
}

/// A few songs are tested for further words by their names, many by a set.
#[test]
fn further_words_are_tested_by_names_for_few_songs() {
    let bytes = snapshot_bytes(&collection(8));
    let snapshot = Snapshot::open(&bytes, Verify::Full).unwrap();
    let beginnings = Some(vec!["queen".to_owned(), "spades".to_owned()]);
    let query = Query { beginnings, ..Query::default() };
    let matching = Matching::of(&snapshot, &query).unwrap();
    let by_names = |songs| matching.test(None, Some(WordLookup::Set), songs).others_are_by_names();
    assert_eq!((by_names(1), by_names(1000)), (true, false));
}

#[test]
fn songs_that_words_list_several_times_are_once_in_a_page() {
    let bytes = snapshot_bytes(&collection(8));
    let snapshot = Snapshot::open(&bytes, Verify::Full).unwrap();
    let query = with_words("queen");
    let matching = Matching::of(&snapshot, &query).unwrap();
    let listing = Listing { source: Source::Words, words: None, in_order: false };
    let test = matching.test(Some(Source::Words), None, 8);
    for (limit, offset) in [(8, 0), (3, 0), (3, 3), (20, 5)] {
        for window in 1..9 {
            let page = matching.list_windows(listing, Page { limit, offset }, &test, window);
            assert!(page.into_iter().eq((0..8).skip(offset).take(limit)), "{limit} {offset} {window}");
        }
    }
}

/// All songs match, some by two kinds of owners, one by its own name as well.
#[test]
fn words_match_a_song_by_any_of_its_names() {
    let bytes = snapshot_bytes(&collection(8));
    let snapshot = Snapshot::open(&bytes, Verify::Full).unwrap();
    let query = with_words("queen");
    let matching = Matching::of(&snapshot, &query).unwrap();
    for lookup in [WordLookup::Set, WordLookup::Names { own_set: true }, WordLookup::Names { own_set: false }]
    {
        let test = matching.test(None, Some(lookup), 8);
        assert!((0..8).all(|song| test.holds(song)), "{lookup:?}");
    }
}

#[test]
fn neighbours_in_a_list_are_one_run() {
    let runs = |list: &[u32]| Runs::new(Selection::List(list.to_vec())).collect::<Vec<_>>();
    assert_eq!(runs(&[1, 2, 3, 5, 6, 4]), [1..4, 5..7, 4..5]);
    assert_eq!(runs(&[9, 8]), [9..10, 8..9]);
    assert_eq!(runs(&[]), [0..0; 0]);
    let runs: Vec<_> = Runs::new(Selection::Range(3..9)).collect();
    assert!(matches!(runs[..], [Range { start: 3, end: 9 }]), "{runs:?}");
}

#[test]
fn the_length_of_an_answer_is_that_of_its_texts_and_commas() {
    let bytes = snapshot_bytes(&collection(8));
    let snapshot = Snapshot::open(&bytes, Verify::Full).unwrap();
    let text = |song: u32| snapshot.json_run(Kind::Song, song, song + 1).len() as u64 + 1;
    assert_eq!(snapshot.json_len(Kind::Song, &Selection::EMPTY), 0);
    assert_eq!(snapshot.json_len(Kind::Song, &Selection::List(vec![])), 0);
    assert_eq!(snapshot.json_len(Kind::Song, &Selection::List(vec![5, 2, 3])), text(5) + text(2) + text(3));
    assert_eq!(snapshot.json_len(Kind::Song, &Selection::Range(2..5)), text(2) + text(3) + text(4));
    let all: u64 = (0..8).map(text).sum();
    for order in [None, Some((Field::Name, Direction::Descending))] {
        let query = Query { order, ..Query::default() };
        assert_eq!(snapshot.json_len(Kind::Song, &snapshot.select(Kind::Song, &query)), all);
    }
    let order = Some((Field::Name, Direction::Descending));
    for (limit, offset) in [(3, 0), (3, 2), (8, 1), (0, 0)] {
        let page = Some(Page { limit, offset });
        let selection = snapshot.select(Kind::Song, &Query { order, page, ..Query::default() });
        let sum: u64 = Runs::new(selection.clone()).flatten().map(text).sum();
        assert_eq!(snapshot.json_len(Kind::Song, &selection), sum, "{limit} {offset}");
    }
    let queens = Query { order: Some((Field::Name, Direction::Ascending)), ..with_words("so") };
    let selection = snapshot.select(Kind::Song, &queens);
    assert_eq!(selection.len(), 7);
    let sum: u64 = Runs::new(selection.clone()).flatten().map(text).sum();
    assert_eq!(snapshot.json_len(Kind::Song, &selection), sum);
}

#[test]
fn a_selection_is_cut_at_its_end() {
    let bytes = snapshot_bytes(&collection(8));
    let snapshot = Snapshot::open(&bytes, Verify::Full).unwrap();
    let sorted = Query { order: Some((Field::Name, Direction::Ascending)), ..Query::default() };
    let sorted = snapshot.select(Kind::Song, &sorted);
    let members = snapshot.select(Kind::Song, &with_words("so"));
    for selection in [Selection::Range(2..8), Selection::List(vec![4, 1, 7]), sorted, members] {
        let places = |selection: &Selection<'_>| Runs::new(selection.clone()).flatten().collect::<Vec<u32>>();
        let whole = places(&selection);
        for len in 0..whole.len() + 2 {
            let mut cut = selection.clone();
            cut.truncate(len);
            assert_eq!(places(&cut), whole[..len.min(whole.len())], "{selection:?} {len}");
        }
    }
}
