//! Single entities, lists of those that belong together, numbers of songs, and words in any order.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{LISTS, assert_error, assert_good_manners};
use crate::conformance::recorded_sqlite;
use crate::harness::http::Connection;
use crate::harness::server::{Setup, collection};
use crate::readme::sample_server;

fn id(entity: &Value) -> &str {
    entity["id"].as_str().expect("an id")
}

#[test]
fn each_entity_has_an_address_and_is_the_one_that_lists_have() {
    let server = recorded_sqlite().start();
    let mut connection = Connection::open(&server.address).expect("a connection");
    for list in LISTS {
        let all = connection.get(list).expect("an answer").success();
        let step = all.len() / 50 + 1;
        for entity in all.iter().step_by(step) {
            let plain = id(entity).replace('-', "");
            for written in [id(entity), &plain, &id(entity).to_uppercase(), &format!("%7B{}%7D", id(entity))]
            {
                let answer = connection.get(&format!("{list}/{written}")).expect("an answer");
                assert_eq!(answer.json(), json!({"errors": [], "success": entity, "warnings": []}));
                assert_good_manners(&answer);
            }
            let listed = connection.get(&format!("{list}?id={}&query=", id(entity))).expect("an answer");
            assert_eq!(listed.success(), [] as [Value; 0], "blank words match nothing");
            let listed = connection.get(&format!("{list}?id={plain}")).expect("an answer");
            assert_eq!(listed.success(), std::slice::from_ref(entity));
        }
        let first = format!("{list}/{}", id(&all[0]));
        let answer = connection.get(&first).expect("an answer");
        let tag = answer.header("etag").expect("a tag");
        let known =
            connection.request("GET", &first, &[&format!("If-None-Match: {tag}")]).expect("an answer");
        assert_eq!((known.status, known.header("etag")), (304, Some(tag)));
        assert_eq!(known.header("x-avalon-snapshot"), answer.header("x-avalon-snapshot"));
        let head = connection.request("HEAD", &first, &[]).expect("an answer");
        assert_eq!((head.status, head.len(), head.body.len()), (200, answer.len(), 0));
        let post = connection.request("POST", &first, &["Content-Length: 0"]).expect("an answer");
        assert_error(&post, 405, 5, "method_not_allowed");
    }
}

/// The database of a scan has more columns than `tracks`.
#[test]
fn what_else_a_scan_keeps_of_files_is_in_no_answer() {
    let server = sample_server();
    let database = rusqlite::Connection::open(server.path("avalon.sqlite")).expect("the database");
    let kept: Vec<(String, Vec<u8>)> = database
        .prepare("SELECT facts, path FROM avalon_files JOIN avalon_folders ON id = folder WHERE facts <> ''")
        .expect("what scans keep")
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .and_then(Iterator::collect)
        .expect("rows");
    let songs = server.get("/avalon/songs").success();
    assert_eq!(kept.len(), songs.len());
    let fields: Vec<&str> = avalon::api::Field::ALL.map(avalon::api::Field::name).to_vec();
    for (song, (facts, path)) in songs.iter().zip(kept) {
        let answer = server.get(&format!("/avalon/songs/{}", id(song)));
        assert_eq!(answer.json()["success"], *song);
        let names = song.as_object().expect("an object").keys();
        assert!(names.eq(fields.iter().collect::<BTreeSet<_>>()), "{song}");
        let facts: Value = serde_json::from_str(&facts).expect("JSON");
        assert!(facts["codec"].is_string(), "{facts}");
        let path = String::from_utf8(path).expect("UTF-8");
        assert!(!answer.text().contains(&path) && !answer.text().contains("codec"), "{song}");
    }
}

#[test]
fn unknown_ids_are_not_found() {
    let server = Setup::with(&collection(3)).start();
    let unknown = avalon::ids::genre("Polka");
    for list in LISTS {
        let answer = server.get(&format!("{list}/{unknown}"));
        assert_error(&answer, 404, 4, "not_found");
        assert_eq!(answer.json()["errors"][0]["payload"], json!({"field": "id", "value": unknown}));
        assert_eq!(server.get(&format!("{list}?id={unknown}")).success(), [] as [Value; 0]);
        // Of another kind.
        let genre = avalon::ids::genre("Ska");
        let status = if list == "/avalon/genres" { 200 } else { 404 };
        assert_eq!(server.get(&format!("{list}/{genre}")).status, status, "{list}");
        assert_error(&server.get(&format!("{list}/1")), 404, 4, "not_found");
        assert_error(&server.get(&format!("{list}/{genre}/")), 404, 4, "not_found");
    }
}

#[test]
fn lists_of_names_hold_those_of_songs_that_match() {
    let server = recorded_sqlite().start();
    let mut connection = Connection::open(&server.address).expect("a connection");
    let mut list = |target: &str| connection.get(target).expect("an answer").success();
    let songs = list("/avalon/songs");
    let song = &songs[songs.len() / 2];
    for (kind, field) in [("albums", "album_id"), ("artists", "artist_id"), ("genres", "genre_id")] {
        for by in ["album_id", "artist_id", "genre_id"] {
            let asked = format!("{by}={}", song[by].as_str().expect("an id"));
            let matching: Vec<Value> = list(&format!("/avalon/songs?{asked}"));
            let expected: BTreeSet<&str> =
                matching.iter().map(|song| song[field].as_str().expect("an id")).collect();
            let listed = list(&format!("/avalon/{kind}?{asked}&counts=true"));
            let found: BTreeSet<&str> = listed.iter().map(id).collect();
            assert_eq!((found.len(), found), (listed.len(), expected), "{kind}?{asked}");
            for entity in &listed {
                let of: Vec<&Value> = matching.iter().filter(|song| song[field] == entity["id"]).collect();
                assert_eq!(entity["songs"], of.len(), "{kind}?{asked}");
                let albums: BTreeSet<&str> =
                    of.iter().map(|song| song["album_id"].as_str().expect("an id")).collect();
                let expected = (kind != "albums").then(|| json!(albums.len()));
                assert_eq!(entity.get("albums"), expected.as_ref(), "{kind}?{asked}");
                let alone = server.get(&format!("/avalon/{kind}/{}?counts=true", id(entity))).json();
                let total = songs.iter().filter(|song| song[field] == entity["id"]).count();
                assert_eq!(alone["success"]["songs"], total, "{kind}");
            }
        }
    }
}

/// Also compressed: such lists are made for each request.
#[test]
fn numbers_stand_behind_the_other_fields_of_each() {
    let server = recorded_sqlite().start();
    let mut connection = Connection::open(&server.address).expect("a connection");
    let mut packed_lists = 0;
    for list in &LISTS[..3] {
        let plain = connection.get(list).expect("an answer").success();
        let counted = connection.get(&format!("{list}?counts=true")).expect("an answer");
        assert_eq!(counted.len(), Some(counted.body.len()));
        let mut sum = 0;
        let stripped: Vec<Value> = { counted.success() }
            .into_iter()
            .map(|mut entity| {
                let fields = entity.as_object_mut().expect("an object");
                sum += fields.remove("songs").and_then(|songs| songs.as_u64()).expect("a number");
                fields.remove("albums");
                entity
            })
            .collect();
        assert_eq!(stripped, plain, "{list}");
        assert_eq!(sum as usize, connection.get("/avalon/songs").expect("an answer").success().len());
        // The list of genres is too short to be compressed.
        if counted.body.len() > 8192 {
            let fields = ["Accept-Encoding: zstd"];
            let packed =
                connection.request("GET", &format!("{list}?counts=true"), &fields).expect("an answer");
            assert_eq!(packed.header("content-encoding"), Some("zstd"), "{list}");
            assert_eq!(zstd::decode_all(&packed.body[..]).expect("zstd"), counted.body, "{list}");
            packed_lists += 1;
        }
    }
    assert!(packed_lists > 0);
    // Songs have no such parameter, and lists ignore those that they do not have.
    assert_eq!(connection.get("/avalon/songs?counts=maybe&limit=1").expect("an answer").status, 200);
    let wrong = connection.get("/avalon/albums?counts=maybe").expect("an answer");
    assert_error(&wrong, 400, 101, "invalid_input_type");
}
