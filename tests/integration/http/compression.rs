//! Content codings.

use std::io::Read;

use crate::harness::http::{Answer, Connection};
use crate::harness::server::{Server, Setup, collection};

fn get(server: &Server, target: &str, headers: &[&str]) -> Answer {
    let mut connection = Connection::open(&server.address).expect("a connection");
    connection.request("GET", target, headers).expect("an answer")
}

fn unpacked(answer: &Answer) -> Vec<u8> {
    let mut bytes = Vec::new();
    let body = &answer.body[..];
    match answer.header("content-encoding") {
        Some("gzip") => flate2::read::GzDecoder::new(body).read_to_end(&mut bytes).expect("gzip"),
        Some("zstd") => {
            let mut decoder = zstd::stream::read::Decoder::new(body).expect("zstd");
            decoder.read_to_end(&mut bytes).expect("zstd")
        }
        coding => panic!("unknown coding {coding:?}"),
    };
    bytes
}

/// Some kilobytes, as the snapshot holds them or in one piece, and some hundreds, in many.
const TARGETS: [&str; 4] = [
    "/avalon/artists",
    "/avalon/artists?order=name&direction=desc",
    "/avalon/songs",
    "/avalon/songs?query=a&order=year",
];

#[test]
fn lists_are_compressed_for_those_who_accept_it() {
    let server = Setup::with(&collection(300)).start();
    for target in TARGETS {
        let plain = get(&server, target, &[]);
        assert_eq!((plain.header("content-encoding"), plain.header("vary")), (None, Some("accept-encoding")));
        for coding in ["gzip", "zstd"] {
            let answer = get(&server, target, &[&format!("Accept-Encoding: {coding}")]);
            assert_eq!(answer.header("content-encoding"), Some(coding), "{target}");
            assert_eq!(answer.header("vary"), Some("accept-encoding"), "{target}");
            assert!(unpacked(&answer) == plain.body, "{target} {coding}");
            assert!(answer.body.len() < plain.body.len() * 2 / 3, "{target} {coding}");
            assert_ne!(answer.header("etag"), plain.header("etag"));
        }
    }
    // Not worth it, not wanted, not understood.
    let small = get(&server, "/avalon/songs?limit=1", &["Accept-Encoding: gzip"]);
    assert_eq!((small.header("content-encoding"), small.success().len()), (None, 1));
    for value in ["identity", "br", "gzip;q=0", ""] {
        let answer = get(&server, "/avalon/songs", &[&format!("Accept-Encoding: {value}")]);
        assert_eq!(answer.header("content-encoding"), None, "{value}");
    }
    assert_eq!(get(&server, "/avalon/version", &["Accept-Encoding: gzip"]).header("vary"), None);
}

#[test]
fn head_tells_of_the_coding_and_connections_go_on_after_it() {
    let server = Setup::with(&collection(300)).start();
    let mut connection = Connection::open(&server.address).expect("a connection");
    for _ in 0..3 {
        let head = connection.request("HEAD", "/avalon/songs", &["Accept-Encoding: zstd"]).expect("a head");
        assert_eq!((head.status, head.header("content-encoding")), (200, Some("zstd")));
        let answer = connection.request("GET", "/avalon/songs", &["Accept-Encoding: zstd"]);
        let answer = answer.expect("an answer");
        assert_eq!(answer.header("etag"), head.header("etag"));
        assert!(unpacked(&answer).ends_with(b"\"warnings\":[]}"));
    }
}

/// A cache asks for clients that accept another coding than the cached one.
#[test]
fn tags_are_those_of_the_answer_that_would_be_sent() {
    let server = Setup::with(&collection(300)).start();
    for (target, is_long) in [("/avalon/songs", true), ("/avalon/songs?limit=1", false)] {
        for had in ["identity", "gzip", "zstd"] {
            let accept = format!("Accept-Encoding: {had}");
            let tag = get(&server, target, &[&accept]).header("etag").expect("a tag").to_owned();
            for now in ["identity", "gzip", "zstd"] {
                let accept = format!("Accept-Encoding: {now}");
                let selected = get(&server, target, &[&accept]).header("etag").expect("a tag").to_owned();
                let answer = get(&server, target, &[&format!("If-None-Match: {tag}"), &accept]);
                let status = if had == now || !is_long { 304 } else { 200 };
                assert_eq!(
                    (answer.status, answer.header("etag")),
                    (status, Some(selected.as_str())),
                    "{had} {now}"
                );
                assert_eq!(answer.header("vary"), Some("accept-encoding"));
                let answer = get(&server, target, &[&format!("If-Match: {tag}"), &accept]);
                assert_eq!(answer.status, if status == 304 { 200 } else { 412 }, "{had} {now}");
            }
        }
    }
}

#[test]
fn old_clients_get_the_end_of_the_connection_as_the_end_of_the_body() {
    let server = Setup::with(&collection(300)).start();
    let plain = get(&server, "/avalon/songs", &[]);
    let mut connection = Connection::open(&server.address).expect("a connection");
    connection.send(b"GET /avalon/songs HTTP/1.0\r\nAccept-Encoding: gzip\r\n\r\n").expect("sent");
    let mut answer = connection.head().expect("a head");
    assert_eq!(answer.header("transfer-encoding"), None);
    answer.body = connection.rest().expect("a body");
    assert!(unpacked(&answer) == plain.body);
}

#[test]
fn compression_can_be_switched_off() {
    let server = Setup::with(&collection(300)).variable("AVALON_COMPRESS_FROM", "0").start();
    let answer = get(&server, "/avalon/songs", &["Accept-Encoding: gzip, zstd"]);
    assert_eq!((answer.header("content-encoding"), answer.header("vary")), (None, None));
    assert_eq!(answer.success().len(), 3000);
}
