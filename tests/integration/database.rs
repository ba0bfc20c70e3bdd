//! Rows in and out of both databases, as they really are: files and servers that avalonms
//! wrote, that are damaged, gone, busy, or not ours to write.

mod contract;
mod hosts;
mod parameters;
mod postgres;
mod session;
mod sqlite;
mod tls;

use std::io::Read;
use std::path::PathBuf;

use avalon::config::DatabaseUrl;
use avalon::database::{self, DatabaseError, Loaded};
use avalon::model::{Collection, Named, Song};
use avalon::rows::scratch::Folder;
use uuid::Uuid;

use crate::harness::postgres::Postgres;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/conformance").join(name)
}

fn unpacked(name: &str) -> Vec<u8> {
    let file = std::fs::File::open(fixture(name)).unwrap();
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
    bytes
}

fn load(url: &str) -> Result<Loaded, DatabaseError> {
    database::load(&DatabaseUrl::parse(url).unwrap(), &Folder::default())
}

fn replace(url: &str, collection: &Collection) -> Result<(), DatabaseError> {
    database::replace(&DatabaseUrl::parse(url).unwrap(), collection)
}

/// The collection in a database that must be readable in full.
fn load_all(url: &str) -> Collection {
    let loaded = load(url).unwrap();
    assert!(loaded.left_out.is_empty(), "{}", loaded.left_out);
    loaded.rows.collection()
}

/// `count` songs of one album, with ids that grow: the order in which a load gives them.
fn collection(count: u128) -> Collection {
    let named = |name: &str| vec![Named { id: Uuid::from_u128(1), name: name.to_owned() }];
    let song = |number: u128| Song {
        id: Uuid::from_u128(number),
        name: Some(format!("Song {number}")),
        length: Some(180),
        track: Some(number as i64),
        year: Some(1994),
        album: 0,
        artist: 0,
        genre: 0,
    };
    Collection {
        albums: named("Dookie"),
        artists: named("Green Day"),
        genres: named("Punk"),
        songs: (0..count).map(song).collect(),
    }
}

/// Names with everything that a format in between could trip over.
fn awkward() -> Collection {
    let mut collection = collection(5);
    let names = ["", "\\N", "tab\tnew\nline\r\\.", "\u{1f3b8} \u{e9}e\u{301} \u{7f}\u{85}", "'\"$$;--"];
    for (song, name) in collection.songs.iter_mut().zip(names) {
        song.name = Some(name.to_owned());
    }
    collection.songs[0].name = None;
    (collection.songs[0].length, collection.songs[0].track, collection.songs[0].year) = (None, None, None);
    collection.songs[1].year = Some(i32::MAX.into());
    collection.songs[1].track = Some(i32::MIN.into());
    collection.albums[0].name = "\t\\".to_owned();
    collection
}

#[test]
fn both_databases_hold_the_equal_collection() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("collection.sqlite");
    std::fs::write(&path, unpacked("collection.sqlite.gz")).unwrap();
    let server = Postgres::shared().create_database();
    server.restore(&unpacked("collection_postgres.sql.gz"));

    let from_sqlite = load_all(&format!("sqlite:///{}", path.display()));
    let from_postgres = load_all(&server.url());
    assert_eq!(from_sqlite.albums.len(), 243);
    assert_eq!(from_sqlite.artists.len(), 93);
    assert_eq!(from_sqlite.genres.len(), 27);
    assert_eq!(from_sqlite.songs.len(), 3170);
    assert!(from_sqlite == from_postgres);

    // And the contents of one can be copied to the other.
    let copy = Postgres::shared().create_database();
    replace(&copy.url(), &from_sqlite).unwrap();
    assert!(load_all(&copy.url()) == from_sqlite);
}
