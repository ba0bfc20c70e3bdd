//! Conditional requests.

use avalon::config::DatabaseUrl;
use avalon::database;
use avalon::model::Collection;

use super::{LISTS, TEXTS, assert_error, assert_good_manners};
use crate::harness::http::{Answer, Connection};
use crate::harness::postgres::Postgres;
use crate::harness::server::{Server, Setup, collection};

fn tag(answer: &Answer) -> String {
    answer.header("etag").expect("an ETag").to_owned()
}

fn tag_of(server: &Server, target: &str) -> String {
    tag(&server.get(target))
}

/// The same rows, every list the other way round.
fn reversed(collection: &Collection) -> Collection {
    let Collection { albums, artists, genres, songs } = collection.clone();
    let last = |list: &[_]| u32::try_from(list.len()).expect("few") - 1;
    let (album, artist, genre) = (last(&albums), last(&artists), last(&genres));
    let songs = songs.into_iter().rev().map(|mut song| {
        (song.album, song.artist, song.genre) =
            (album - song.album, artist - song.artist, genre - song.genre);
        song
    });
    Collection {
        songs: songs.collect(),
        albums: albums.into_iter().rev().collect(),
        artists: artists.into_iter().rev().collect(),
        genres: genres.into_iter().rev().collect(),
    }
}

fn store(url: &str, collection: &Collection) {
    database::replace(&DatabaseUrl::parse(url).expect("a URL"), collection).expect("a database");
}

#[test]
fn every_node_with_the_same_rows_gives_the_same_tags_and_bytes() {
    let rows = collection(20);
    let postgres = Postgres::shared().create_database();
    store(&postgres.url(), &reversed(&rows));
    let nodes = [
        Setup::with(&rows).start(),
        Setup::with(&reversed(&rows)).start(),
        Setup::new(&postgres.url()).start(),
    ];
    for target in LISTS.iter().flat_map(|list| {
        ["", "?limit=3&offset=1", "?order=name&direction=desc", "?query=ska"]
            .map(|query| format!("{list}{query}"))
    }) {
        let answers = nodes.each_ref().map(|node| node.get(&target));
        assert!(tag(&answers[0]).starts_with('"') && tag(&answers[0]).ends_with('"'), "no strong tag");
        for other in &answers[1..] {
            assert_eq!((tag(other), other.text()), (tag(&answers[0]), answers[0].text()), "{target}");
        }
    }
}

#[test]
fn tags_tell_rows_endpoints_and_parameters_apart() {
    let mut rows = collection(2);
    let server = Setup::with(&rows).start();
    let targets = [
        "/avalon/songs",
        "/avalon/albums",
        "/avalon/artists",
        "/avalon/genres",
        "/avalon/songs?limit=1",
        "/avalon/songs?limit=2",
        "/avalon/songs?limit=2&offset=1",
        "/avalon/songs?order=name",
        "/avalon/songs?order=name&direction=desc",
    ];
    let before = targets.map(|target| tag_of(&server, target));
    let mut different = before.to_vec();
    different.sort();
    different.dedup();
    assert_eq!(different.len(), targets.len());

    // A reload of the same rows changes nothing, one changed letter does.
    server.reload();
    assert_eq!(targets.map(|target| tag_of(&server, target)), before);
    rows.songs[7].name = Some("Song 00008".to_owned());
    store(server.database_url(), &rows);
    server.reload();
    let after = targets.map(|target| tag_of(&server, target));
    assert!(after.iter().zip(&before).all(|(after, before)| after != before));
    server.assert_clean_shutdown();
}

#[test]
fn who_has_it_already_gets_no_body() {
    let server = Setup::with(&collection(200)).start();
    let mut connection = Connection::open(&server.address).expect("a connection");
    for target in ["/avalon/songs", "/avalon/songs?limit=1", "/avalon/genres?limit=0"] {
        let tag = tag_of(&server, target);
        for fields in [
            vec![format!("If-None-Match: {tag}")],
            vec![format!("If-None-Match: W/{tag}")],
            vec![format!("If-None-Match: \"x\", W/\"y\" ,{tag}")],
            vec!["If-None-Match: *".to_owned()],
            vec!["If-None-Match: \"x\"".to_owned(), format!("if-none-match: {tag}")],
        ] {
            let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
            for method in ["GET", "HEAD"] {
                let answer = connection.request(method, target, &fields).expect("an answer");
                assert_eq!((answer.status, answer.header("etag")), (304, Some(tag.as_str())), "{fields:?}");
                // The length of an answer without a body would be that of the whole list.
                assert_eq!(answer.len(), None);
                assert_good_manners(&answer);
            }
        }
        for field in ["If-None-Match: \"x\"", "If-None-Match:", "If-None-Match: x", "If-Match: *"] {
            let answer = connection.request("GET", target, &[field]).expect("an answer");
            assert_eq!((answer.status, answer.header("etag")), (200, Some(tag.as_str())), "{field}");
        }
    }
    drop(connection);
    server.assert_clean_shutdown();
}

#[test]
fn errors_and_texts_are_never_unmodified() {
    let server = Setup::with(&collection(1)).start();
    let mut connection = Connection::open(&server.address).expect("a connection");
    let mut ask =
        |method, target| connection.request(method, target, &["If-None-Match: *"]).expect("an answer");
    assert_error(&ask("GET", "/avalon/songs?limit=x"), 400, 101, "invalid_input_type");
    assert_error(&ask("GET", "/avalon/song"), 404, 4, "not_found");
    assert_error(&ask("POST", "/avalon/songs"), 405, 5, "method_not_allowed");
    assert_eq!(ask("OPTIONS", "/avalon/songs").status, 200);
    for target in TEXTS {
        assert_eq!(ask("GET", target).status, 200);
    }
    drop(connection);
    server.assert_clean_shutdown();
}
