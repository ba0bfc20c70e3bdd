//! Whole files of the formats without a container: the rows that avalonms made of them, and the
//! right values by the field reports.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;
use serde_json::Value;

use super::source::Source;
use super::tags::{Field, Reading};
use super::{look, probe, read_source};
use crate::scan::numbers;

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../../../tests/fixtures/scan/", $name))
    };
}

fn records(text: &str) -> BTreeMap<String, Value> {
    let records = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    records.map(|record| (record["path"].as_str().expect("a path").to_owned(), record)).collect()
}

/// Returns the value of a file for the column of this name.
fn column(reading: &Reading, name: &str) -> Value {
    let first = |field| reading.tags.first(field).unwrap_or_default();
    match name {
        "name" => first(Field::Title).into(),
        "album" => first(Field::Album).into(),
        "artist" => first(Field::Artist).into(),
        "genre" => first(Field::Genre).into(),
        "track" => numbers::track(first(Field::Track)).unwrap_or(0).into(),
        "year" => numbers::year(first(Field::Date)).unwrap_or(0).into(),
        _ => reading.sound.length.map_or(0, |length| length.as_secs()).into(),
    }
}

#[test]
fn rows_are_those_of_avalonms() {
    let folder = tempfile::tempdir().expect("folder");
    tar::Archive::new(GzDecoder::new(&fixture!("music.tar.gz")[..])).unpack(folder.path()).expect("tar");
    let mut text = String::new();
    GzDecoder::new(&fixture!("expected.jsonl.gz")[..]).read_to_string(&mut text).expect("gzip");
    let differences = records(include_str!("../../../tests/fixtures/scan/differences.jsonl"));
    let mut compared = 0;
    for (path, record) in records(&text) {
        let kind = Path::new(&path).extension().and_then(|ending| ending.to_str()).unwrap_or("mp3");
        if !matches!(kind.to_ascii_lowercase().as_str(), "mp3" | "aac" | "tta" | "wv") {
            continue;
        }
        let reading = look(&folder.path().join("music").join(&path))
            .result
            .unwrap_or_else(|why| panic!("{path}: {why:?}"));
        for name in ["name", "album", "artist", "genre", "track", "year", "length"] {
            // A later step chooses between several spellings.
            let case = |value: Value| match path.starts_with("names/case") {
                true => value.to_string().to_lowercase().into(),
                false => value,
            };
            let difference = differences.get(&path).and_then(|difference| difference["ours"].get(name));
            let due = difference.unwrap_or(&record[name]).clone();
            assert_eq!(case(column(&reading, name)), case(due), "{path} {name}");
        }
        // avalonms silently dropped the one frame with a wrong encoding.
        assert_eq!(
            reading.losses.len(),
            usize::from(path == "names/bad-utf8.mp3"),
            "{path}: {:?}",
            reading.losses
        );
        compared += 1;
    }
    assert!(compared > 100, "{compared}");
}

/// An APEv2 tag in front of the sound is a mistake that some taggers made.
#[test]
fn an_ape_tag_in_front_is_read() {
    let sound = &fixture!("field/K/surrogate.mp3")[..];
    let item = b"\x05\0\0\0\0\0\0\0Title\0title";
    let head =
        [&b"APETAGEX\xd0\x07\0\0"[..], &[item.len() as u8, 0, 0, 0, 1, 0, 0, 0], &[0, 0, 0, 0x60], &[0; 8]]
            .concat();
    let mut source = Source::of([&head, &item[..], sound].concat());
    let reading = read_source(&mut source, probe::promise(Path::new("x.mp3"))).expect("a song");
    let first = |field| reading.tags.first(field).unwrap_or_default();
    assert_eq!((first(Field::Title), first(Field::Artist)), ("title", "ok"));
    assert_eq!(reading.sound.length.map_or(0, |length| length.as_secs()), 2);
}
