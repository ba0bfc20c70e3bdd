//! Snapshots as a whole, against a naive model: a filter and a sort over rows.

mod answers;
mod bytes;
mod damage;
mod merges;
pub(super) mod model;
pub(super) mod questions;

use std::io::Cursor;

use super::query::Runs;
use super::*;
use crate::model::{Collection, Named, Song};
use crate::rows::Rows;
use uuid::Uuid;

pub(in crate::snapshot) fn snapshot_bytes(collection: &Collection) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    build(&Rows::of(collection).unwrap(), &mut out).unwrap();
    out.into_inner()
}

pub(in crate::snapshot) fn shown(
    snapshot: &Snapshot<'_>,
    kind: Kind,
    selection: Selection<'_>,
) -> Vec<serde_json::Value> {
    let mut rows = Vec::new();
    for run in Runs::new(selection) {
        let json = [b"[", snapshot.json_run(kind, run.start, run.end), b"]"].concat();
        rows.extend(serde_json::from_slice::<Vec<serde_json::Value>>(&json).unwrap());
    }
    rows
}

pub(in crate::snapshot) fn small() -> Collection {
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
