//! Snapshots against a naive model: a filter and a sort over rows.

use std::io::Cursor;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};
use uuid::Uuid;

use super::matching::Matching;
use super::query::Runs;
use super::*;
use crate::model::{Collection, Named, Song};

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

fn snapshot_bytes(collection: &Collection) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    build(collection, &mut out).unwrap();
    out.into_inner()
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => select(NAMES).prop_map(str::to_owned),
        1 => "[abσς é\u{301}\u{3000}]{0,6}",
        1 => any::<String>(),
    ]
}

fn id() -> impl Strategy<Value = Uuid> {
    // Few different first bytes, so that ids have neighbours.
    (0..4_u8, any::<[u8; 15]>()).prop_map(|(first, rest)| {
        let mut bytes = [first; 16];
        bytes[1..].copy_from_slice(&rest);
        Uuid::from_bytes(bytes)
    })
}

fn names(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Named>> {
    let named = (id(), name()).prop_map(|(id, name)| Named { id, name });
    prop::collection::vec(named, count).prop_map(|mut list| {
        list.sort_by_key(|named| named.id);
        list.dedup_by_key(|named| named.id);
        list
    })
}

type RawSong = (Uuid, Option<String>, Option<i64>, Option<i64>, Option<i64>, [Index; 3]);

fn raw_song() -> impl Strategy<Value = RawSong> {
    let number = || prop::option::weighted(0.9, prop_oneof![0..4_i64, any::<i64>()]);
    (id(), prop::option::weighted(0.9, name()), number(), number(), number(), any::<[Index; 3]>())
}

prop_compose! {
    fn collection()(
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

/// What the API shows of an entity, and what it is found by.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    id: Uuid,
    name: Option<String>,
    numbers: [Option<i64>; 3],
    owners: Option<[Named; 3]>,
}

impl Row {
    fn key(&self, field: Field) -> Key {
        let owner = |at: usize| self.owners.as_ref().map(|owners| &owners[at]);
        let name = |at| Key::Text(owner(at).map(|owner| owner.name.clone()));
        let id = |at| Key::Id(owner(at).unwrap().id);
        match field {
            Field::Id => Key::Id(self.id),
            Field::Name => Key::Text(self.name.clone()),
            Field::Length => Key::Number(self.numbers[0]),
            Field::Track => Key::Number(self.numbers[1]),
            Field::Year => Key::Number(self.numbers[2]),
            Field::Album => name(0),
            Field::AlbumId => id(0),
            Field::Artist => name(1),
            Field::ArtistId => id(1),
            Field::Genre => name(2),
            Field::GenreId => id(2),
        }
    }

    fn json(&self) -> serde_json::Value {
        let Some([album, artist, genre]) = &self.owners else {
            return serde_json::json!({"id": self.id.to_string(), "name": self.name});
        };
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
enum Key {
    Id(Uuid),
    Text(Option<String>),
    Number(Option<i64>),
}

/// Search form, restated: NFD, category Mn removed, lower case, final sigma as sigma,
/// trimmed as Python does.
fn model_form(text: &str) -> String {
    let bare: String =
        text.nfd().filter(|c| c.general_category() != GeneralCategory::NonspacingMark).collect();
    let lower = bare.to_lowercase().replace('ς', "σ");
    lower.trim_matches(model_space).to_owned()
}

/// White space is Python's.
fn model_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}' | '\u{1d}' | '\u{1e}' | '\u{1f}')
}

/// Runs of White_Space are one space.
fn model_collapse(form: &str) -> String {
    form.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The query is a prefix of the whole name, or of its words from the second, third, ... on,
/// joined by single spaces.
fn model_matches(name: &str, words: &str) -> bool {
    let (form, words) = (model_form(name), model_collapse(&model_form(words)));
    let split: Vec<&str> = form.split(model_space).filter(|word| !word.is_empty()).collect();
    let rest_matches = |from: usize| split[from..].join(" ").starts_with(&words);
    !words.is_empty() && (model_collapse(&form).starts_with(&words) || (1..split.len()).any(rest_matches))
}

fn model_rows(collection: &Collection, kind: Kind) -> Vec<Row> {
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
        Kind::Album => plain(&collection.albums),
        Kind::Artist => plain(&collection.artists),
        Kind::Genre => plain(&collection.genres),
        Kind::Song => {
            let mut rows: Vec<Row> = collection
                .songs
                .iter()
                .map(|song| Row {
                    id: song.id,
                    name: song.name.clone(),
                    numbers: [song.length, song.track, song.year],
                    owners: Some([
                        collection.albums[song.album as usize].clone(),
                        collection.artists[song.artist as usize].clone(),
                        collection.genres[song.genre as usize].clone(),
                    ]),
                })
                .collect();
            rows.sort_by_key(|row| {
                let [album, artist, _] = row.owners.clone().unwrap();
                (artist.name, artist.id, album.name, album.id, row.numbers[1], row.name.clone(), row.id)
            });
            rows
        }
    }
}

#[derive(Debug, Clone)]
struct Question {
    kind: Kind,
    words: Option<String>,
    filters: Vec<(Kind, Wanted)>,
    order: Option<(Field, Direction)>,
    page: Option<Page>,
}

#[derive(Debug, Clone)]
enum Wanted {
    Id(Index),
    Name(String),
    NameOf(Index),
}

fn question() -> impl Strategy<Value = Question> {
    let words = prop::option::of(
        prop_oneof![3 => name(), 2 => select(&["a", "b", "s", "be", "σ", "the b", "\u{1112}"][..]).prop_map(str::to_owned)],
    );
    let wanted = prop_oneof![
        any::<Index>().prop_map(Wanted::Id),
        name().prop_map(Wanted::Name),
        any::<Index>().prop_map(Wanted::NameOf)
    ];
    let filters =
        prop::collection::vec((select(&[Kind::Album, Kind::Artist, Kind::Genre][..]), wanted), 0..3);
    let direction = select(&[Direction::Ascending, Direction::Descending][..]);
    let order = prop::option::of((select(&Field::ALL[..]), direction));
    let page = prop::option::of((
        prop_oneof![0..10_usize, Just(usize::MAX)],
        prop_oneof![0..20_usize, Just(usize::MAX)],
    ));
    (select(&Kind::ALL[..]), words, filters, order, page).prop_map(|(kind, words, filters, order, page)| {
        Question {
            kind,
            words,
            filters: if kind == Kind::Song { filters } else { Vec::new() },
            order: order.filter(|(field, _)| kind == Kind::Song || matches!(field, Field::Id | Field::Name)),
            page: page.map(|(limit, offset)| Page { limit, offset }),
        }
    })
}

fn list_of(collection: &Collection, kind: Kind) -> &[Named] {
    match kind {
        Kind::Album => &collection.albums,
        Kind::Artist => &collection.artists,
        _ => &collection.genres,
    }
}

fn model_answer(collection: &Collection, question: &Question) -> Vec<serde_json::Value> {
    let mut rows = model_rows(collection, question.kind);
    if let Some(words) = &question.words {
        rows.retain(|row| {
            let own = row.name.iter().chain(row.owners.iter().flatten().map(|owner| &owner.name));
            own.into_iter().any(|name| model_matches(name, words))
        });
    }
    for (kind, wanted) in &question.filters {
        let list = list_of(collection, *kind);
        rows.retain(|row| {
            let owner = &row.owners.as_ref().unwrap()[*kind as usize];
            match wanted {
                Wanted::Id(at) => owner.id == at.get(list).id,
                Wanted::Name(name) => owner.name.to_lowercase() == name.to_lowercase(),
                Wanted::NameOf(at) => owner.name.to_lowercase() == at.get(list).name.to_lowercase(),
            }
        });
    }
    match question.order {
        Some((field, Direction::Ascending)) => rows.sort_by_key(|row| row.key(field)),
        Some((field, Direction::Descending)) => rows.sort_by_key(|row| std::cmp::Reverse(row.key(field))),
        None => {}
    }
    let page = question.page.unwrap_or(Page { limit: usize::MAX, offset: 0 });
    rows.iter().skip(page.offset).take(page.limit).map(Row::json).collect()
}

fn query_of(collection: &Collection, question: &Question) -> Query {
    let filter = |(kind, wanted): &(Kind, Wanted)| {
        let list = list_of(collection, *kind);
        let filter = match wanted {
            Wanted::Id(at) => Filter::Id(at.get(list).id),
            Wanted::Name(name) => Filter::LowerName(crate::text::lower(name)),
            Wanted::NameOf(at) => Filter::LowerName(crate::text::lower(&at.get(list).name)),
        };
        (*kind, filter)
    };
    Query {
        words: question.words.as_deref().map(crate::text::search_form),
        filters: question.filters.iter().map(filter).collect(),
        order: question.order,
        page: question.page,
    }
}

fn answer(snapshot: &Snapshot<'_>, collection: &Collection, question: &Question) -> Vec<serde_json::Value> {
    let query = query_of(collection, question);
    shown(snapshot, question.kind, snapshot.select(question.kind, &query))
}

fn shown(snapshot: &Snapshot<'_>, kind: Kind, selection: Selection<'_>) -> Vec<serde_json::Value> {
    let mut rows = Vec::new();
    for run in Runs::new(selection) {
        let json = [b"[", snapshot.json_run(kind, run.start, run.end), b"]"].concat();
        rows.extend(serde_json::from_slice::<Vec<serde_json::Value>>(&json).unwrap());
    }
    rows
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

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

    /// Which one is taken depends on what it is expected to cost, so each is tried.
    #[test]
    fn every_way_leads_to_the_same_page(
        collection in collection(),
        questions in prop::collection::vec(question(), 1..12),
        most in 0..150_usize,
    ) {
        let bytes = snapshot_bytes(&collection);
        let snapshot = Snapshot::open(&bytes, Verify::Full).unwrap();
        for question in questions.iter().filter(|question| question.kind == Kind::Song) {
            // An empty one is nothing to look for.
            let Some(page) = question.page.filter(|page| page.limit > 0) else { continue };
            let query = query_of(&collection, question);
            let Some(matching) = Matching::of(&snapshot, &query) else { continue };
            let model = model_answer(&collection, question);
            let (field, direction) = question.order.unwrap_or((Field::Artist, Direction::Ascending));
            let order = snapshot.sorted(Kind::Song, field, direction);
            let shown = |page| shown(&snapshot, Kind::Song, Selection::List(page));
            for source in matching.sources() {
                // How words are looked up depends on how many tests there are.
                for tests in [0.5, 1e6] {
                    let page = matching.list(source, &order, page, &matching.test(Some(source), tests));
                    prop_assert_eq!(shown(page), model.clone(), "{:?} by {:?}", question, source);
                }
                for (walked, tests) in [(0.5, 0.5), (0.5, 1e6), (1e6, 0.5), (1e6, 1e6)] {
                    let test = matching.test_after(matching.test(None, walked), source, tests);
                    let page = matching.list(source, &order, page, &test);
                    prop_assert_eq!(shown(page), model.clone(), "{:?} by {:?}", question, source);
                }
            }
            for expected in [0.5, 1e6] {
                let walked = matching.walk(&order, page, &matching.test(None, expected), usize::MAX);
                prop_assert_eq!(walked.map(shown), Some(model.clone()), "{:?}", question);
            }
            if let Some(page) = matching.walk(&order, page, &matching.test(None, 9.0), most) {
                prop_assert_eq!(shown(page), model, "{:?} within {}", question, most);
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

    #[test]
    fn any_changed_byte_is_refused(collection in collection(), at in any::<Index>(), mask in 1..=255_u8) {
        let mut bytes = snapshot_bytes(&collection);
        let at = at.index(bytes.len());
        bytes[at] ^= mask;
        prop_assert!(Snapshot::open(&bytes, Verify::Full).is_err());
    }

    /// Hostile bytes with the right hash: refused, or answered without a panic.
    #[test]
    fn forged_bytes_are_never_read_out_of_bounds(
        collection in collection(),
        changes in prop::collection::vec((any::<Index>(), any::<u8>()), 1..6),
        questions in prop::collection::vec(question(), 1..6),
    ) {
        let mut bytes = snapshot_bytes(&collection);
        for (at, byte) in changes {
            let at = format::HEADER_LEN + at.index(bytes.len() - format::HEADER_LEN);
            bytes[at] = byte;
        }
        sign(&mut bytes);
        if let Ok(snapshot) = Snapshot::open(&bytes, Verify::Full) {
            for question in &questions {
                let query = Query {
                    words: question.words.clone(),
                    filters: vec![(Kind::Album, Filter::LowerName("a".into()))],
                    order: question.order,
                    page: question.page,
                };
                for run in Runs::new(snapshot.select(question.kind, &query)) {
                    snapshot.json_run(question.kind, run.start, run.end);
                }
            }
        }
    }

    #[test]
    fn any_bytes_at_all_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Snapshot::open(&bytes, Verify::Full).is_err());
        prop_assert!(Snapshot::open(&bytes, Verify::Structure).is_err());
    }
}

/// Writes the hash that the bytes should have.
fn sign(bytes: &mut [u8]) {
    use zerocopy::{FromBytes, IntoBytes};
    let mut header = format::Header::read_from_prefix(bytes).unwrap().0;
    let mut rest = xxhash_rust::xxh3::Xxh3::new();
    rest.update(&bytes[format::HEADER_LEN..]);
    header.hash = format::content_hash(rest, &header);
    bytes[..format::HEADER_LEN].copy_from_slice(header.as_bytes());
}

fn small() -> Collection {
    let named = |byte, name: &str| Named { id: Uuid::from_bytes([byte; 16]), name: name.to_owned() };
    let song = |byte: u8, album, artist| Song {
        id: Uuid::from_bytes([byte; 16]),
        name: Some(format!("Song {byte}")),
        length: Some(180),
        track: Some(i64::from(byte)),
        year: None,
        album,
        artist,
        genre: 0,
    };
    Collection {
        albums: vec![named(1, "B-Sides"), named(2, "Hits")],
        artists: vec![named(3, "Zoe"), named(4, "Abe")],
        genres: vec![named(5, "Punk")],
        songs: vec![song(10, 0, 0), song(11, 1, 0), song(12, 1, 1)],
    }
}

#[test]
fn truncated_snapshot_is_refused() {
    let bytes = snapshot_bytes(&small());
    for len in 0..bytes.len() {
        let error = Snapshot::open(&bytes[..len], Verify::Structure).unwrap_err();
        let expected = if len < format::HEADER_LEN {
            OpenError::TooShort { len }
        } else {
            OpenError::Length { expected: bytes.len() as u64, actual: len as u64 }
        };
        assert_eq!(error, expected);
    }
}

#[test]
fn other_magic_and_future_version_are_named() {
    let mut bytes = snapshot_bytes(&small());
    bytes[8] = 2;
    assert_eq!(Snapshot::open(&bytes, Verify::Full).unwrap_err(), OpenError::Version { found: 2 });
    bytes[0] = b'x';
    assert_eq!(Snapshot::open(&bytes, Verify::Full).unwrap_err(), OpenError::Magic);
}

/// Each section in turn: one byte changed is caught by the hash; wrong sizes, offsets and
/// widths with a right hash by the checks of the section.
#[test]
fn damage_in_every_section_is_refused() {
    let good = snapshot_bytes(&small());
    let table = u64::from_le_bytes(good[40..48].try_into().unwrap()) as usize;
    let entries = (good.len() - table) / 24;
    assert_eq!(entries, 4 * 9 + 3 * 4 + 2 + 3 + 9 + 3 + 4);
    for entry in 0..entries {
        let at = table + entry * 24;
        let field =
            |offset: usize| u64::from_le_bytes(good[at + offset..at + offset + 8].try_into().unwrap());
        let (offset, size) = (field(8) as usize, field(16) as usize);
        assert!(size > 0, "section {entry} of the small collection is empty");
        let mut torn = good.clone();
        torn[offset + size / 2] ^= 1;
        assert_eq!(Snapshot::open(&torn, Verify::Full).unwrap_err(), OpenError::Hash);
        for (place, value) in [(0, 0xffff_u32), (4, 3), (8, u32::MAX), (16, size as u32 + 4), (20, u32::MAX)]
        {
            let mut forged = good.clone();
            forged[at + place..at + place + 4].copy_from_slice(&value.to_le_bytes());
            sign(&mut forged);
            let opened = Snapshot::open(&forged, Verify::Structure);
            assert!(opened.is_err(), "section {entry}: field at {place} set to {value}");
        }
    }
}

/// The structure is what every worker checks, so it must cost the same for any collection.
#[test]
fn places_of_songs_are_read_by_the_full_check_only() {
    use zerocopy::FromBytes;
    let genres = (1..=3).map(|number| Named { id: Uuid::from_u128(number), name: number.to_string() });
    let mut bytes = snapshot_bytes(&Collection { genres: genres.collect(), ..Collection::default() });
    let header = format::Header::read_from_prefix(&bytes).unwrap().0;
    let table = <[format::SectionEntry]>::ref_from_bytes(&bytes[header.table.get() as usize..]).unwrap();
    let id = format::section_id(Kind::Genre, format::Column::SongOffsets);
    let entry = table.iter().find(|entry| entry.id.get() == id).unwrap();
    let second = entry.offset.get() as usize + 4;
    bytes[second..second + 4].copy_from_slice(&1_u32.to_le_bytes());
    sign(&mut bytes);
    assert!(matches!(Snapshot::open(&bytes, Verify::Full), Err(OpenError::Section { .. })));
    assert!(Snapshot::open(&bytes, Verify::Structure).is_ok());
}

#[test]
fn default_order_is_artist_album_track() {
    let bytes = snapshot_bytes(&small());
    let snapshot = Snapshot::open(&bytes, Verify::Full).unwrap();
    let songs = shown(&snapshot, Kind::Song, snapshot.select(Kind::Song, &Query::default()));
    let names: Vec<_> = songs.iter().map(|song| song["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["Song 12", "Song 10", "Song 11"]);
}

/// So many songs that each way is the cheapest for some questions. Years and genres go together, so
/// that some walks find nothing for long and are given up.
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
    let genre = |number: u32| (Kind::Genre, Filter::LowerName(format!("rock {number}")));
    let filters = [
        vec![],
        vec![genre(0)],
        vec![genre(1)],
        vec![genre(4), (Kind::Artist, Filter::LowerName("band 3".into()))],
    ];
    let orders = Field::ALL.into_iter().flat_map(|field| {
        [Direction::Ascending, Direction::Descending].map(|direction| Some((field, direction)))
    });
    let orders: Vec<_> = orders.chain([None]).collect();
    for words in
        [None, Some("s"), Some("star"), Some("rock 4"), Some("rock"), Some("silver 39"), Some("moon 77")]
    {
        for (filters, order) in
            filters.iter().flat_map(|filters| orders.iter().map(move |order| (filters, order)))
        {
            let query = |page| {
                let (words, filters) = (words.map(str::to_owned), filters.clone());
                Query { words, filters, order: *order, page }
            };
            let listed =
                |page| Runs::new(snapshot.select(Kind::Song, &query(page))).flatten().collect::<Vec<_>>();
            let whole = listed(None);
            for (limit, offset) in [(1, 0), (20, 0), (20, 45), (20, 400), (3000, 1)] {
                let expected: Vec<u32> = whole.iter().skip(offset).take(limit).copied().collect();
                let page = Some(Page { limit, offset });
                assert_eq!(listed(page), expected, "{:?}", query(page));
            }
        }
    }
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
