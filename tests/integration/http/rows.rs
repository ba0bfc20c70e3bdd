//! Answers from odd rows.

use avalon::model::Collection;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::harness::postgres::Postgres;
use crate::harness::server::{Server, Setup, collection};

const ID: &str = "00000000000000000000000000000001";

/// One song that is fine, one of NULLs, and one of each kind that cannot be served. The
/// last ones are no rows for PostgreSQL, which has types and foreign keys.
const ROWS: [&str; 9] = [
    "INSERT INTO albums VALUES ('ID', 'Dookie'), ('00000000000000000000000000000002', NULL)",
    "INSERT INTO artists VALUES ('ID', 'Green Day')",
    "INSERT INTO genres VALUES ('ID', 'Punk')",
    "INSERT INTO tracks VALUES ('10000000000000000000000000000000', 'Longview', 239, 4, 1994, 'ID', 'ID', 'ID')",
    "INSERT INTO tracks VALUES ('20000000000000000000000000000000', NULL, NULL, NULL, NULL, 'ID', 'ID', 'ID')",
    "INSERT INTO tracks VALUES ('30000000000000000000000000000000', 'x', 1, 1, 1, NULL, 'ID', 'ID')",
    "INSERT INTO tracks VALUES ('40000000000000000000000000000000', 'x', 1, 1, 1, 'ID', NULL, 'ID')",
    "INSERT INTO tracks VALUES ('50000000000000000000000000000000', 'x', 1, 1, 1, 'ID', 'ID', NULL)",
    "INSERT INTO tracks VALUES ('60000000000000000000000000000000', 'x', 1, 1, 1, \
     '00000000000000000000000000000002', 'ID', 'ID')",
];

const SQLITE_ROWS: [&str; 4] = [
    "INSERT INTO artists VALUES ('no uuid', 'x')",
    "INSERT INTO tracks VALUES ('no uuid either', 'x', 1, 1, 1, 'ID', 'ID', 'ID')",
    "INSERT INTO tracks VALUES ('70000000000000000000000000000000', 'x', 1, 1, 1, 'ID', \
     '99999999999999999999999999999999', 'ID')",
    "INSERT INTO tracks VALUES ('80000000000000000000000000000000', 'Many', 'a while', 1, 1, 'ID', 'ID', 'ID')",
];

fn statements<const N: usize>(rows: [&str; N]) -> String {
    rows.map(|row| row.replace("'ID'", &format!("'{ID}'")) + ";").concat()
}

fn names(server: &Server, target: &str) -> Vec<Value> {
    server.get(target).success().iter().map(|song| song["name"].clone()).collect()
}

/// Sorted both ways by each field that may be NULL.
fn assert_null_comes_first(server: &Server, songs: usize) {
    for field in ["name", "length", "track", "year"] {
        let target = format!("/avalon/songs?order={field}");
        let ascending = names(server, &target);
        assert_eq!((ascending.len(), &ascending[0]), (songs, &Value::Null), "{field}");
        let descending = names(server, &(target + "&direction=desc"));
        assert_eq!(descending[songs - 1], Value::Null, "{field}");
    }
}

fn assert_null_song(server: &Server) {
    let songs = server.get("/avalon/songs?order=name&limit=1").success();
    let id = "00000000-0000-0000-0000-000000000001";
    assert_eq!(
        songs[0],
        json!({
            "id": "20000000-0000-0000-0000-000000000000", "name": null, "length": null, "track": null,
            "year": null, "album": "Dookie", "album_id": id, "artist": "Green Day", "artist_id": id,
            "genre": "Punk", "genre_id": id
        })
    );
}

#[test]
fn odd_rows_of_sqlite_are_null_or_left_out_and_counted_once() {
    let setup = Setup::with(&Collection::default());
    let database = Connection::open(setup.path("avalon.sqlite")).expect("a database");
    database.execute_batch("PRAGMA foreign_keys = off").expect("a pragma");
    database.execute_batch(&(statements(ROWS) + &statements(SQLITE_ROWS))).expect("rows");
    let server = setup.start();
    assert_eq!(names(&server, "/avalon/songs?order=name"), [json!(null), json!("Longview"), json!("Many")]);
    assert_eq!(names(&server, "/avalon/albums"), ["Dookie"]);
    assert_eq!(names(&server, "/avalon/artists"), ["Green Day"]);
    assert_null_song(&server);
    let by_length = names(&server, "/avalon/songs?order=length&direction=desc");
    assert_eq!(by_length[0], "Longview");
    assert_eq!(server.get("/avalon/songs?query=many").success()[0]["length"], Value::Null);
    assert_eq!(server.get("/avalon/songs?query=x").success(), Vec::<Value>::new());
    assert_eq!(server.count_log("[WARNING]"), 1);
    let warning = server.wait_log("[WARNING]");
    for part in [
        "2 songs without album",
        "2 songs without artist",
        "1 song without genre",
        "1 song whose id is no UUID",
        "1 album without name",
        "1 artist whose id is no UUID",
        "1 length, track or year that is no whole number (null instead)",
    ] {
        assert!(warning.contains(part), "{part:?} is not in {warning}");
    }
    server.assert_clean_shutdown();
}

#[test]
fn odd_rows_of_postgresql_are_null_or_left_out_and_counted_once() {
    let database = Postgres::shared().create_database();
    // The first server creates the schema.
    Setup::new(&database.url()).start().assert_clean_shutdown();
    database.execute(&statements(ROWS));
    let server = Setup::new(&database.url()).start();
    assert_null_comes_first(&server, 2);
    assert_null_song(&server);
    assert_eq!(server.count_log("[WARNING]"), 1);
    let warning = server.wait_log("[WARNING]");
    for part in
        ["2 songs without album", "1 song without artist", "1 song without genre", "1 album without name"]
    {
        assert!(warning.contains(part), "{part:?} is not in {warning}");
    }
    server.assert_clean_shutdown();
}

#[test]
fn an_empty_collection_is_served() {
    let server = Setup::with(&Collection::default()).start();
    for list in super::LISTS {
        for query in ["", "?query=x", "?order=name&direction=desc", "?limit=5&offset=2", "?album=x"] {
            let answer = server.get(&format!("{list}{query}"));
            let json = answer.json();
            assert_eq!((&json["errors"], &json["success"]), (&json!([]), &json!([])), "{list}{query}");
            let warnings = json["warnings"].as_array().expect("a list");
            assert_eq!(warnings.len(), 1, "{list}{query}");
            assert_eq!(warnings[0]["message_key"], "avalon.service.warning.empty_collection");
        }
        super::assert_error(&server.get(&format!("{list}?order=x")), 400, 100, "invalid_input_name");
    }
    let id = "/avalon/songs?album_id=00000000-0000-0000-0000-000000000001";
    assert_eq!(server.get(id).success(), Vec::<Value>::new());
    assert_eq!(server.count_log("[WARNING] the collection is empty"), 1);
    assert_eq!(server.count_log("[WARNING]"), 1);
    assert_eq!(server.status()["snapshot"]["empty"], true);
    // There is no warning any more once there are rows.
    server.store(1);
    server.reload();
    assert_eq!(server.get("/avalon/songs?query=x").json()["warnings"], json!([]));
    assert_eq!(server.status()["snapshot"]["empty"], false);
    server.assert_clean_shutdown();
}

/// The original does not start with a name of 970 characters.
#[test]
fn names_of_any_length_are_served_found_and_sorted() {
    let mut rows = collection(1);
    // Two bytes per character, and six in a request.
    let long = |end: char| format!("{}{end}", "\u{e9}".repeat(4_999));
    rows.albums[0].name = long('a');
    rows.artists[0].name = "b ".repeat(2_499) + "bb";
    rows.genres[0].name = long('c');
    for (song, end) in rows.songs.iter_mut().zip('d'..) {
        song.name = Some(long(end));
    }
    let server = Setup::with(&rows).flag("--limit-request-line=65534").start();
    let encoded = |name: &str| name.replace('\u{e9}', "%C3%A9").replace(' ', "+");
    let songs = |query: String| server.get(&format!("/avalon/songs?{query}")).success();
    assert_eq!(songs(format!("query={}", encoded(&long('d')))).len(), 1);
    assert_eq!(songs(format!("query={}", "e".repeat(4_999))).len(), 10);
    assert_eq!(songs(format!("album={}", encoded(&long('a')))).len(), 10);
    assert_eq!(songs(format!("genre={}&limit=2", encoded(&long('c').to_uppercase()))).len(), 2);
    let artists =
        server.get(&format!("/avalon/artists?query={}", encoded(&("b ".repeat(1_000) + "bb")))).success();
    assert_eq!(artists[0]["name"], json!(rows.artists[0].name));
    let sorted = songs("order=name&direction=desc&limit=1".to_owned());
    assert_eq!(sorted[0]["name"], json!(long('m')));
    assert_eq!(sorted[0]["album"], json!(rows.albums[0].name));
    server.assert_clean_shutdown();
}
