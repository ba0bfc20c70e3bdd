//! The allowed parts of a request, and their limits.

use super::{assert_error, assert_good_manners};
use crate::harness::http::{Answer, Connection};
use crate::harness::server::{Server, Setup, collection};

/// The answer to these bytes, after which the connection must end.
#[track_caller]
fn last_answer(server: &Server, bytes: &[u8]) -> Answer {
    let mut connection = Connection::open(&server.address).expect("a connection");
    connection.send(bytes).expect("sent");
    let answer = connection.answer("GET").expect("an answer");
    assert!(answer.closes(), "{:?}", answer.headers);
    assert_good_manners(&answer);
    assert_eq!(connection.rest().expect("the end"), b"");
    answer
}

/// A request line of exactly `len` bytes, without its end.
fn request_line(len: usize) -> String {
    let (before, after) = ("GET /avalon/genres?x=", " HTTP/1.1");
    format!("{before}{}{after}", "x".repeat(len - before.len() - after.len()))
}

#[test]
fn a_request_line_over_the_limit_is_refused_with_414() {
    for limit in [100, 4094, 65_534] {
        let server = Setup::with(&collection(1)).flag(&format!("--limit-request-line={limit}"));
        let server = server.variable("AVALON_LIMIT_REQUEST_HEAD", "131072").start();
        let mut connection = Connection::open(&server.address).expect("a connection");
        connection.send(format!("{}\r\nHost: x\r\n\r\n", request_line(limit)).as_bytes()).expect("sent");
        assert_eq!(connection.answer("GET").expect("an answer").status, 200, "{limit}");
        let line = request_line(limit + 1);
        // hyper has a limit of its own on targets, and answers it without our envelope.
        let answer = last_answer(&server, format!("{line}\r\nHost: x\r\n\r\n").as_bytes());
        if line.len() < 65_534 {
            assert_error(&answer, 414, 102, "invalid_input_value");
        }
        assert_eq!(answer.status, 414, "{limit}");
        drop(connection);
        server.assert_clean_shutdown();
    }
}

#[test]
fn an_absolute_target_counts_as_a_whole() {
    let server = Setup::with(&collection(1)).flag("--limit-request-line=64").start();
    let line = |host_len: usize| format!("GET http://{}/avalon/genres HTTP/1.1", "h".repeat(host_len));
    let fits = 64 - line(0).len();
    let mut connection = Connection::open(&server.address).expect("a connection");
    connection.send(format!("{}\r\nHost: x\r\n\r\n", line(fits)).as_bytes()).expect("sent");
    assert_eq!(connection.answer("GET").expect("an answer").status, 200);
    let answer = last_answer(&server, format!("{}\r\nHost: x\r\n\r\n", line(fits + 1)).as_bytes());
    assert_error(&answer, 414, 102, "invalid_input_value");
    drop(connection);
    server.assert_clean_shutdown();
}

#[test]
fn too_many_or_too_large_fields_are_refused_with_431() {
    let server = Setup::with(&collection(1)).flag("--limit-request-fields=5");
    let server = server.flag("--limit-request-field-size=100").start();
    let head = |fields: &str| format!("GET /avalon/genres HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
    let field = |len: usize| format!("X: {}\r\n", "x".repeat(len - 3));
    let mut connection = Connection::open(&server.address).expect("a connection");
    for fits in [field(10).repeat(4), field(100)] {
        connection.send(head(&fits).as_bytes()).expect("sent");
        assert_eq!(connection.answer("GET").expect("an answer").status, 200);
    }
    for refused in [field(10).repeat(5), field(101), field(9_000)] {
        let answer = last_answer(&server, head(&refused).as_bytes());
        assert_error(&answer, 431, 102, "invalid_input_value");
    }
    // More than hyper reads: it answers itself, without our envelope.
    for refused in [field(10).repeat(50), field(70_000)] {
        assert_eq!(last_answer(&server, head(&refused).as_bytes()).status, 431);
    }
    drop(connection);
    server.assert_clean_shutdown();
}

#[test]
fn a_request_with_a_body_is_refused_and_nothing_after_it_is_read() {
    let server = Setup::with(&collection(1)).start();
    let next = "GET /avalon/heartbeat HTTP/1.1\r\nHost: x\r\n\r\n";
    for framing in [
        format!("Content-Length: {}\r\n\r\n{next}", next.len()),
        "Content-Length: 1000000\r\n\r\n".to_owned(),
        format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{next}\r\n0\r\n\r\n{next}", next.len()),
        format!("Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello{next}"),
    ] {
        let request = format!("GET /avalon/genres HTTP/1.1\r\nHost: x\r\n{framing}");
        assert_error(&last_answer(&server, request.as_bytes()), 413, 102, "invalid_input_value");
        let request = request.replacen("GET", "HEAD", 1);
        let mut connection = Connection::open(&server.address).expect("a connection");
        connection.send(request.as_bytes()).expect("sent");
        let answer = connection.answer("HEAD").expect("an answer");
        assert_eq!((answer.status, answer.closes()), (413, true));
        assert_eq!(connection.rest().expect("the end"), b"");
    }
    // An announced body of no bytes is none.
    let mut connection = Connection::open(&server.address).expect("a connection");
    let answer = connection.request("GET", "/avalon/heartbeat", &["Content-Length: 0"]).expect("an answer");
    assert_eq!(answer.status, 200);
    drop(connection);
    server.assert_clean_shutdown();
}

/// Whether the body is read or the connection closed is the server's choice; its bytes are
/// no request in either case.
#[test]
fn a_body_of_a_refused_method_is_never_taken_for_a_request() {
    let server = Setup::with(&collection(1)).start();
    let smuggled = "GET /avalon/version HTTP/1.1\r\nHost: x\r\n\r\n";
    let next = "GET /avalon/heartbeat HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    for (target, status) in [("/avalon/genres", 405), ("/nothing", 404)] {
        let length = smuggled.len();
        let mut connection = Connection::open(&server.address).expect("a connection");
        let request =
            format!("POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{smuggled}{next}");
        connection.send(request.as_bytes()).expect("sent");
        let answer = connection.answer("POST").expect("an answer");
        assert_eq!(answer.status, status);
        if answer.closes() {
            assert_eq!(connection.rest().expect("the end"), b"");
        } else {
            assert_eq!(connection.answer("GET").expect("an answer").text(), "OKOKOK");
            assert_eq!(connection.rest().expect("the end"), b"");
        }
    }
    server.assert_clean_shutdown();
}
