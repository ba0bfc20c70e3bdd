//! The snapshot format: version 2 keeps its form for ever, and version 1 is refused.

use std::env;
use std::fs;
use std::io::Cursor;
use std::path::PathBuf;

use avalon::rows::Rows;
use avalon::snapshot::query::Runs;
use avalon::snapshot::{self, Direction, Field, Kind, OpenError, Page, Query, Snapshot, Verify};

use crate::harness::server::collection;

/// The snapshot of three artists, as version 2 has it.
pub(crate) fn golden() -> PathBuf {
    fixture("version-2")
}

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/snapshot").join(name)
}

/// With `WRITE_GOLDEN` set it is written again, which after the first release only a new version
/// of the format may need, under another name.
#[test]
fn version_2_has_not_changed() {
    let mut built = Cursor::new(Vec::new());
    snapshot::build(&Rows::of(&collection(3)).expect("rows"), &mut built).expect("a snapshot");
    let built = built.into_inner();
    if env::var_os("WRITE_GOLDEN").is_some() {
        fs::write(golden(), &built).expect("written");
    }
    let bytes = fs::read(golden()).expect("the golden file");
    assert_eq!(bytes.len(), built.len());
    assert!(bytes == built, "the same rows give other bytes than before");
}

#[test]
fn version_2_is_read() {
    let bytes = fs::read(golden()).expect("the golden file");
    let snapshot = Snapshot::open(&bytes, Verify::Full).expect("a snapshot");
    assert_eq!(Kind::ALL.map(|kind| snapshot.count(kind)), [3, 3, 2, 30]);
    let names = |query: &Query| {
        let json = |run: std::ops::Range<u32>| {
            let json = [b"[", snapshot.json_run(Kind::Song, run.start, run.end), b"]"].concat();
            serde_json::from_slice::<Vec<serde_json::Value>>(&json).expect("JSON")
        };
        let songs = Runs::new(snapshot.select(Kind::Song, query)).flat_map(json);
        songs.map(|song| song["name"].as_str().expect("a name").to_owned()).collect::<Vec<_>>()
    };
    let all = names(&Query::default());
    assert_eq!(all.len(), 30);
    let query = Query {
        words: Some("s".to_owned()),
        order: Some((Field::Year, Direction::Descending)),
        page: Some(Page { limit: 4, offset: 1 }),
        ..Query::default()
    };
    let found = names(&query);
    assert!(found.len() == 4 && found.iter().all(|name| all.contains(name)), "{found:?}");
}

/// As a server finds one that an older release has kept.
#[test]
fn version_1_is_refused_by_its_number() {
    let bytes = fs::read(fixture("version-1")).expect("the former golden file");
    let refused = Snapshot::open(&bytes, Verify::Hash).expect_err("another version");
    assert_eq!(refused, OpenError::Version { found: 1 });
}
