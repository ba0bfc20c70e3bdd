//! Request targets with characters that belong percent-encoded, and are sent as they are.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::Gunicorn;
use crate::harness::free_port;
use crate::harness::http::Connection;
use crate::harness::server::{Server, Setup, collection};

/// The status of an answer to a target of these bytes.
fn status(address: &str, target: &[u8]) -> String {
    let mut stream = TcpStream::connect(address.trim_start_matches("http://")).expect("a connection");
    let request = [b"GET ", target, b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"].concat();
    stream.write_all(&request).expect("written");
    let mut answer = Vec::new();
    // The server may have had enough before it has read everything.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(answer.get(9..12).unwrap_or_default()).into_owned()
}

#[test]
fn each_byte_in_a_query_is_answered_as_by_gunicorn() {
    let server = Setup::with(&collection(1)).start();
    let theirs = format!("127.0.0.1:{}", free_port());
    let _gunicorn = Gunicorn::start(&["env".to_owned()], &["-b", &theirs], &[], 1);
    let mut served = 0;
    for byte in 0..=255 {
        let target = [b"/avalon/songs?album=a", &[byte][..], b"b"].concat();
        let status = [status(&server.address, &target), self::status(&theirs, &target)];
        assert_eq!(status[0], status[1], "byte {byte:#04x}");
        served += u32::from(status[0] == "200");
    }
    // All that can be seen.
    assert_eq!(served, 0x7f - 0x21);
    server.assert_clean_shutdown();
}

fn server() -> Server {
    let mut rows = collection(2);
    rows.songs[0].name = Some("\"Heroes\" <live> `77`".to_owned());
    Setup::with(&rows).start()
}

const RAW: &str = "/avalon/songs?query=\"heroes\"+<live>+`77`";
const ENCODED: &str = "/avalon/songs?query=%22heroes%22+%3Clive%3E+%6077%60";

#[test]
fn raw_characters_mean_the_same_as_encoded_ones() {
    let server = server();
    let mut connection = Connection::open(&server.address).expect("a connection");
    let encoded = connection.get(ENCODED).expect("an answer");
    assert_eq!(encoded.success().len(), 1);
    // Repeatedly on one connection, after any other request.
    for target in [RAW, "/avalon/heartbeat", RAW, RAW] {
        let answer = connection.get(target).expect("an answer");
        if target == RAW {
            assert_eq!(
                (answer.success(), answer.header("etag")),
                (encoded.success(), encoded.header("etag"))
            );
        }
    }
    // In the path it is one more that does not exist.
    assert_eq!(connection.get("/avalon/<songs>").expect("an answer").status, 404);
    server.assert_clean_shutdown();
}

#[test]
fn raw_characters_may_come_in_any_pieces_and_behind_each_other() {
    let server = server();
    let request = format!("GET {RAW} HTTP/1.1\r\nHost: \"<x>\"\r\nIf-None-Match: \"x\"\r\n\r\n")
        .replace("\"<x>\"", "x");
    for len in [1, 7, request.len(), request.len() + 5, usize::MAX] {
        let mut connection = Connection::open(&server.address).expect("a connection");
        for piece in request.repeat(3).as_bytes().chunks(len) {
            connection.send(piece).expect("sent");
        }
        for _ in 0..3 {
            assert_eq!(connection.answer("GET").expect("an answer").success().len(), 1, "{len}");
        }
    }
    server.assert_clean_shutdown();
}

/// Longer than the piece that is read at once, so that more is to be read than has room.
#[test]
fn long_targets_are_encoded_whole() {
    let setup =
        Setup::with(&collection(1)).flag("--limit-request-line=65534").flag("--limit-request-head=262144");
    let server = setup.start();
    for len in [1_000, 8_000, 16_300, 16_384, 20_000] {
        let mut connection = Connection::open(&server.address).expect("a connection");
        let target = format!("/avalon/songs?query={}", "\"".repeat(len));
        let answer = connection.get(&target).expect("an answer");
        assert_eq!((answer.status, answer.success().len()), (200, 0), "{len}");
        // The connection has not lost its place.
        assert_eq!(connection.get("/avalon/heartbeat").expect("an answer").text(), "OKOKOK");
    }
    server.assert_clean_shutdown();
}

/// Bytes in a body that look like a request are not one, and none of them changes.
#[test]
fn bodies_are_never_taken_for_requests() {
    let server = server();
    let inner = format!("GET {RAW} HTTP/1.1\r\nHost: x\r\n\r\n");
    for (fields, body) in [
        (format!("Content-Length: {}", inner.len()), inner.clone()),
        ("Transfer-Encoding: chunked".to_owned(), format!("{:x}\r\n{inner}\r\n0\r\n\r\n", inner.len())),
    ] {
        for method in ["POST", "GET"] {
            let mut connection = Connection::open(&server.address).expect("a connection");
            let text = format!("{method} /avalon/songs HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n{body}");
            let _ = connection.send(text.as_bytes()).and_then(|()| connection.end_sending());
            let answers = connection.answers();
            let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
            assert_eq!(statuses, [if method == "GET" { 413 } else { 405 }], "{fields}");
        }
    }
    server.assert_clean_shutdown();
}
