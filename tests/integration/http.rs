//! The API over HTTP, as a client sees it: heads and bodies byte by byte. The recorded cases cover
//! the contents of lists.

mod caches;
mod compression;
mod connections;
mod cors;
mod entities;
mod entity_tags;
mod examples;
mod judges;
mod limits;
mod openapi;
mod refusals;
mod rows;
mod snapshots;
mod totals;
mod uploads;
mod warnings;
mod words;

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use serde_json::{Value, json};

use crate::harness::http::{Answer, Connection};
use crate::harness::server::{Setup, collection};

const LISTS: [&str; 4] = ["/avalon/albums", "/avalon/artists", "/avalon/genres", "/avalon/songs"];
const TEXTS: [&str; 2] = ["/avalon/version", "/avalon/heartbeat"];

/// Checks the fields of every answer, and the one thing that it must not reveal.
#[track_caller]
fn assert_good_manners(answer: &Answer) {
    let date = answer.header("date").expect("a Date");
    assert!(date.len() == 29 && date.ends_with(" GMT"), "{date}");
    let date = rfc2822::parse(date).expect("a date").timestamp();
    assert!(Timestamp::now().duration_since(date).as_secs().abs() < 60, "{date}");
    assert_eq!((answer.header("server"), answer.header("x-powered-by")), (None, None));
    assert!(answer.header("cache-control").is_some());
    // Whether it is kept, and how long, is told in one way.
    assert!(!(answer.closes() && answer.header("keep-alive").is_some()), "{:?}", answer.headers);
    assert_eq!(answer.header("transfer-encoding"), None);
    let mut names: Vec<&String> = answer.headers.iter().map(|(name, _)| name).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), answer.headers.len(), "a field occurs twice: {:?}", answer.headers);
    if answer.status != 304 {
        assert!(answer.len().is_some(), "{:?}", answer.headers);
    }
}

/// An error in the envelope, with its status, code and key.
#[track_caller]
fn assert_error(answer: &Answer, status: u16, code: u64, key: &str) {
    assert_eq!((answer.status, answer.error()), (status, (code, format!("avalon.service.error.{key}"))));
    assert_eq!(answer.header("content-type"), Some("application/json; charset=utf-8"));
    assert_eq!(answer.json()["warnings"], json!([]));
    assert_good_manners(answer);
}

/// Everything but the time of day.
fn lasting(answer: &Answer) -> Vec<(String, String)> {
    answer.headers.iter().filter(|(name, _)| name != "date").cloned().collect()
}

#[test]
fn lists_and_texts_have_their_recorded_bytes() {
    let server = Setup::with(&collection(1)).start();
    let genres = server.get("/avalon/genres");
    let [rock, ska] = ["Rock", "Ska"].map(avalon::ids::genre);
    assert_eq!(
        genres.json(),
        json!({"errors": [], "success": [{"id": rock, "name": "Rock"}, {"id": ska, "name": "Ska"}], "warnings": []})
    );
    assert_eq!(genres.header("content-type"), Some("application/json; charset=utf-8"));
    let song = &server.get("/avalon/songs?order=track&limit=1").success()[0];
    let mut fields: Vec<&String> = song.as_object().expect("an object").keys().collect();
    fields.sort();
    assert_eq!(
        fields,
        [
            "album",
            "album_id",
            "artist",
            "artist_id",
            "genre",
            "genre_id",
            "id",
            "length",
            "name",
            "track",
            "year"
        ]
    );
    assert_eq!((&song["track"], &song["year"], &song["length"]), (&json!(1), &json!(1990), &json!(180)));
    for (target, body) in [(TEXTS[0], env!("CARGO_PKG_VERSION")), (TEXTS[1], "OKOKOK")] {
        let answer = server.get(target);
        assert_eq!((answer.status, answer.text()), (200, body));
        assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
        assert_good_manners(&answer);
    }
    for target in LISTS {
        assert_good_manners(&server.get(target));
    }
    server.assert_clean_shutdown();
}

#[test]
fn head_is_get_without_the_body() {
    let server = Setup::with(&collection(200)).start();
    let mut connection = Connection::open(&server.address).expect("a connection");
    let more =
        ["/avalon/songs?limit=0", "/avalon/songs?limit=x", "/avalon/nothing", "/avalon/songs?query=ska"];
    for target in LISTS.into_iter().chain(TEXTS).chain(more) {
        let id = ["X-Request-Id: same"];
        let get = connection.request("GET", target, &id).expect(target);
        let head = connection.request("HEAD", target, &id).expect(target);
        assert_eq!((head.status, lasting(&head)), (get.status, lasting(&get)), "{target}");
        assert_eq!(head.len(), Some(get.body.len()), "{target}");
        assert_good_manners(&head);
    }
    drop(connection);
    server.assert_clean_shutdown();
}

#[test]
fn methods_and_paths_that_do_not_exist_are_errors_in_the_envelope() {
    let server = Setup::with(&collection(1)).start();
    let mut connection = Connection::open(&server.address).expect("a connection");
    for target in LISTS.into_iter().chain(TEXTS) {
        let options = connection.request("OPTIONS", &format!("{target}?limit=x"), &[]).expect(target);
        assert_eq!((options.status, options.len()), (200, Some(0)));
        assert_eq!(options.header("allow"), Some("GET, HEAD, OPTIONS"));
        assert_good_manners(&options);
        for method in ["POST", "PUT", "PATCH", "DELETE", "TRACE", "FOO", "get", "LINK"] {
            let answer = connection.request(method, target, &["Content-Length: 0"]).expect(target);
            assert_error(&answer, 405, 5, "method_not_allowed");
            assert_eq!(answer.header("allow"), Some("GET, HEAD, OPTIONS"));
        }
    }
    for target in
        ["/avalon/page", "/avalon//", "/avalon/songs/", "//avalon/songs", "/avalon//songs", "/static/x"]
    {
        for method in ["GET", "POST", "OPTIONS"] {
            let answer = connection.request(method, target, &[]).expect(target);
            assert_error(&answer, 404, 4, "not_found");
        }
    }
    drop(connection);
    server.assert_clean_shutdown();
}

#[test]
fn targets_may_be_absolute_or_percent_encoded() {
    let server = Setup::with(&collection(3)).start();
    let plain = server.get("/avalon/genres?limit=1");
    for target in [
        "http://example.org/avalon/genres?limit=1",
        "http://user@example.org:1/avalon/genres?limit=1",
        "http://[::1]/avalon/genres?limit=1",
        "/%61valon/%67%65nres?limit=1",
        "/avalon/genres?%6cimit=%31",
    ] {
        assert_eq!(server.get(target).body, plain.body, "{target}");
    }
    for (target, status) in [
        ("http://example.org", 308),
        ("http://example.org/", 308),
        ("/avalon%2fgenres", 404),
        ("*", 400),
        ("example.org:80", 400),
    ] {
        assert_eq!(server.get(target).status, status, "{target}");
    }
    server.assert_clean_shutdown();
}

#[test]
fn errors_quote_the_request_and_nothing_else() {
    let server = Setup::with(&collection(1)).start();
    for (target, code, key, message, payload) in [
        (
            "songs?order=%22%3C%27%00",
            100,
            "invalid_input_name",
            "Invalid order-by field '\"<'\u{0}'",
            json!({"field": "\"<'\u{0}"}),
        ),
        (
            "songs?album_id=%FF",
            101,
            "invalid_input_type",
            "Invalid field value for UUID field album_id: '\u{fffd}'",
            json!({"field": "album_id", "value": "\u{fffd}"}),
        ),
        (
            "genres?limit=-007",
            102,
            "invalid_input_value",
            "The value of limit may not be negative",
            json!({"field": "limit", "value": -7}),
        ),
    ] {
        let answer = server.get(&format!("/avalon/{target}"));
        assert_error(&answer, 400, code, key);
        let error: &Value = &answer.json()["errors"][0];
        assert_eq!((&error["message"], &error["payload"]), (&json!(message), &payload));
    }
    server.assert_clean_shutdown();
}
