//! The properties that must hold for any bytes: no panic, no read out of bounds.

#![allow(dead_code)]

use std::ops::Range;
use std::path::Path;

use avalon::snapshot::query::Runs;
use avalon::snapshot::{Direction, Field, Filter, Kind, Owner, Page, Query, Snapshot, Verify};
use xxhash_rust::xxh3::Xxh3;

/// The length of a snapshot's header, and the places of its fields (src/snapshot/FORMAT.md).
const HEADER: usize = 64;
const CHECKSUM: Range<usize> = 24..40;
const TABLE: usize = 40;
const HASH: Range<usize> = 48..64;

/// Bytes that may be a snapshot: they are refused, or every question is answered. Once as they are,
/// and once with the hash and the checksum that they should have, as few of them get further otherwise.
pub(crate) fn open(bytes: &[u8]) {
    ask_all(bytes, true);
    if bytes.len() >= HEADER {
        ask_all(&signed(bytes), false);
    }
}

/// Bytes of a music file of this name: they are read to an end, in few calls for their size, and no
/// value is long or holds a NUL.
pub(crate) fn read(name: &Path, bytes: Vec<u8>) {
    let len = bytes.len() as u64;
    let trial = avalon::scan::try_bytes(name, bytes);
    assert!(trial.traffic.1 <= 64 + len / 16, "{} calls for {len} bytes", trial.traffic.1);
    for (field, value) in trial.values {
        assert!(value.len() <= 4096 && !value.contains('\0'), "{field}: {} bytes", value.len());
    }
}

/// A query string, whose first byte selects the kind of entity.
pub(crate) fn params(bytes: &[u8]) {
    let Some((kind, query_string)) = bytes.split_first() else { return };
    let kind = Kind::ALL[usize::from(*kind) % Kind::ALL.len()];
    // These bytes are the ones that HTTP lets through.
    if let Ok(query_string) = std::str::from_utf8(query_string) {
        avalon::worker::accepts(kind, query_string);
    }
}

/// With the hash and the checksum that the bytes should have.
pub(crate) fn signed(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if let Some(hash) = content_hash(&bytes) {
        bytes[HASH].copy_from_slice(&hash);
    }
    bytes[CHECKSUM].fill(0);
    let mut checksum = Xxh3::new();
    checksum.update(&bytes[HEADER..]);
    checksum.update(&bytes[..HEADER]);
    bytes[CHECKSUM].copy_from_slice(&checksum.digest128().to_be_bytes());
    bytes
}

/// That of all but the compressed lists, if the table is one.
fn content_hash(bytes: &[u8]) -> Option<[u8; 16]> {
    let number = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let table = usize::try_from(number(TABLE)?).ok()?;
    let mut end = table;
    let mut lines = Vec::new();
    for line in bytes.get(table..)?.chunks_exact(24) {
        let column = line[0];
        if [19, 20].contains(&column) {
            end = end.min(usize::try_from(u64::from_le_bytes(line[8..16].try_into().ok()?)).ok()?);
        } else {
            lines.extend_from_slice(line);
        }
    }
    let mut hash = Xxh3::new();
    hash.update(bytes.get(HEADER..end)?);
    hash.update(&lines);
    Some(hash.digest128().to_be_bytes())
}

/// Of `honest` bytes the length of an answer is known before it is read; forged ones may hold the
/// same song twice.
fn ask_all(bytes: &[u8], honest: bool) {
    let Ok(snapshot) = Snapshot::open(bytes, Verify::Full) else { return };
    for query in questions().chain(newer_questions()) {
        for kind in Kind::ALL {
            if kind != Kind::Song
                && query.order.is_some_and(|(field, _)| Field::parse(kind, field.name()).is_none())
            {
                continue;
            }
            let selection = snapshot.select(kind, &query);
            let len = snapshot.json_len(kind, &selection);
            let entities = selection.len();
            let runs: Vec<_> = Runs::new(selection).collect();
            let read: u64 =
                runs.iter().map(|run| snapshot.json_run(kind, run.start, run.end).len() as u64 + 1).sum();
            assert_eq!(entities, runs.iter().map(|run| run.len()).sum::<usize>());
            assert!(!honest || len == read, "{len} bytes announced, {read} there");
            let (selection, total) = snapshot.select_counted(kind, &query);
            assert!(!honest || total >= entities, "{entities} of {total}");
            if let Kind::Of(owner) = kind {
                let counts = snapshot.song_counts(owner, &selection, query.with_songs.as_deref());
                assert_eq!(counts.len(), selection.len());
            }
        }
    }
}

fn questions() -> impl Iterator<Item = Query> {
    let words = [None, Some("a"), Some("so"), Some("song 1"), Some("limon")];
    let pages = [None, Some(Page { limit: 3, offset: 2 })];
    let orders = [None, Some(Field::Year), Some(Field::Name), Some(Field::Genre), Some(Field::Id)];
    let filters = [vec![], vec![(Owner::Genre, Filter::LowerName("ska".to_owned()))]];
    words.into_iter().flat_map(move |words| {
        let filters = filters.clone();
        pages.into_iter().flat_map(move |page| {
            let filters = filters.clone();
            orders.into_iter().flat_map(move |order| {
                filters.clone().into_iter().map(move |filters| Query {
                    words: words.map(str::to_owned),
                    filters,
                    order: order.map(|field| (field, Direction::Descending)),
                    page,
                    ..Query::default()
                })
            })
        })
    })
}

/// Those with several words, an id, or a question about songs in them.
fn newer_questions() -> impl Iterator<Item = Query> {
    let words = [&["limon", "so"][..], &["a", "s", "t"], &[]];
    let pages = [None, Some(Page { limit: 3, offset: 2 })];
    words.into_iter().flat_map(move |words| {
        let words = Some(words.iter().map(|word| (*word).to_owned()).collect());
        pages.into_iter().flat_map(move |page| {
            let flat = Query { beginnings: words.clone(), page, ..Query::default() };
            let nested = Query { with_songs: Some(Box::new(flat.clone())), page, ..Query::default() };
            let id = Some(avalon::ids::genre("Ska"));
            [Query { id, ..flat.clone() }, Query { id, ..nested.clone() }, flat, nested]
        })
    })
}
