//! The helpers that the tests of the readers share: files in memory, and rows to compare.

use std::path::Path;

use super::probe;
use super::source::Source;
use super::tags::{Field, Reading, Unread};

/// Reads bytes as a file of this name, and returns how many calls read them.
pub(super) fn read(name: &str, bytes: impl Into<Vec<u8>>) -> (Result<Reading, Unread>, u64) {
    let mut source = Source::of(bytes);
    let reading = super::read_source(&mut source, probe::promise(Path::new(name)));
    (reading, source.traffic().1)
}

/// Reads bytes that are a song.
pub(super) fn song(name: &str, bytes: impl Into<Vec<u8>>) -> Reading {
    read(name, bytes).0.unwrap_or_else(|unread| panic!("{name}: {unread:?}"))
}

/// Returns title, artist, album, genre, track, date and milliseconds. A dash marks a missing value.
pub(super) fn row(reading: &Reading) -> String {
    use Field::{Album, Artist, Date, Genre, Title, Track};
    let text = |field| reading.tags.first(field).unwrap_or("-").to_owned();
    let length = reading.sound.length.map_or("-".to_owned(), |length| length.as_millis().to_string());
    [Title, Artist, Album, Genre, Track, Date].map(text).join("|") + "|" + &length
}

/// Returns the names of the lost parts.
pub(super) fn losses(reading: &Reading) -> String {
    reading.losses.iter().map(|loss| loss.what.as_str()).collect::<Vec<_>>().join(",")
}

/// Asserts that any bytes are read to an end, without a panic and in few calls for each KB.
pub(super) fn assert_ends(name: &str, bytes: Vec<u8>) {
    let calls_max = 64 + bytes.len() as u64 / 16;
    let (reading, calls) = read(name, bytes);
    if let Err(Unread::Broken(reason)) = &reading {
        assert!(!reason.starts_with("its reader failed"), "{name}: {reason}");
    }
    assert!(calls <= calls_max, "{name}: {calls} calls");
}

/// Vorbis comments.
pub(super) fn comments(items: &[&[u8]]) -> Vec<u8> {
    let mut bytes = b"\x04\0\0\0test".to_vec();
    bytes.extend((items.len() as u32).to_le_bytes());
    for item in items {
        bytes.extend((item.len() as u32).to_le_bytes());
        bytes.extend(*item);
    }
    bytes
}
