//! The bytes of a snapshot depend on the rows alone.

use std::io::Cursor;

use proptest::prelude::*;

use super::model::collection;
use super::*;
use crate::snapshot::build::{Levels, build_with};

/// The snapshot of the rows, with this many suffixes or more in memory.
fn bytes_with(collection: &Collection, run_least: usize) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    build_with(&Rows::of(collection).unwrap(), VERSION, Levels::default(), run_least, &mut out).unwrap();
    out.into_inner()
}

/// The same collection with the rows of each list in the opposite order.
fn reversed(collection: &Collection) -> Collection {
    let mut reversed = collection.clone();
    let last = |list: &Vec<Named>| list.len() as u32 - 1;
    for song in &mut reversed.songs {
        song.album = last(&collection.albums) - song.album;
        song.artist = last(&collection.artists) - song.artist;
        song.genre = last(&collection.genres) - song.genre;
    }
    reversed.albums.reverse();
    reversed.artists.reverse();
    reversed.genres.reverse();
    reversed.songs.reverse();
    reversed
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn memory_and_the_order_of_rows_change_no_byte(collection in collection()) {
        let bytes = bytes_with(&collection, usize::MAX);
        prop_assert!(bytes_with(&collection, 1) == bytes);
        prop_assert!(bytes_with(&reversed(&collection), 3) == bytes);
    }
}
