//! Connections: how long they last, how much goes through them, and how many there may be.

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::assert_good_manners;
use crate::harness::http::{self, Connection};
use crate::harness::server::{Setup, collection};

const HEARTBEAT: &str = "/avalon/heartbeat";

#[test]
fn requests_in_one_write_are_answered_in_their_order() {
    let server = Setup::with(&collection(100)).start();
    let requests = [
        ("GET", "/avalon/songs"),
        ("HEAD", "/avalon/songs"),
        ("GET", HEARTBEAT),
        ("POST", HEARTBEAT),
        ("GET", "/avalon/none"),
        ("GET", "/avalon/songs?limit=x"),
        ("OPTIONS", "/avalon/songs"),
        ("GET", "/avalon/genres?limit=1"),
    ];
    let expected = requests.map(|(method, target)| {
        let mut connection = Connection::open(&server.address).expect("a connection");
        let answer = connection.request(method, target, &[]).expect("an answer");
        (answer.status, answer.len(), answer.body)
    });
    let head = |(method, target): (&str, &str)| format!("{method} {target} HTTP/1.1\r\nHost: x\r\n\r\n");
    let all = requests.map(head).concat().repeat(10);
    let mut connection = Connection::open(&server.address).expect("a connection");
    connection.send(all.as_bytes()).expect("sent");
    for _ in 0..10 {
        for ((method, target), expected) in requests.iter().zip(&expected) {
            let answer = connection.answer(method).expect("an answer");
            assert_eq!(
                (answer.status, answer.len(), &answer.body),
                (expected.0, expected.1, &expected.2),
                "{target}"
            );
            assert_good_manners(&answer);
        }
    }
    // And the other way: one request in many writes.
    for byte in head(("GET", HEARTBEAT)).as_bytes() {
        connection.send(&[*byte]).expect("sent");
    }
    assert_eq!(connection.answer("GET").expect("an answer").text(), "OKOKOK");
    drop(connection);
    server.assert_clean_shutdown();
}

#[test]
fn a_connection_lasts_as_long_as_both_sides_say() {
    let server = Setup::with(&collection(1)).start();
    let ask = |head: &str| {
        let mut connection = Connection::open(&server.address).expect("a connection");
        connection.send(format!("GET {HEARTBEAT} {head}\r\n\r\n").as_bytes()).expect("sent");
        let answer = connection.answer("GET").expect("an answer");
        assert_eq!(answer.text(), "OKOKOK");
        assert_good_manners(&answer);
        (connection, answer)
    };
    for closing in ["HTTP/1.0", "HTTP/1.0\r\nHost: x", "HTTP/1.1\r\nHost: x\r\nConnection: close"] {
        let (mut connection, _) = ask(closing);
        assert_eq!(connection.rest().expect("the end"), b"", "{closing}");
    }
    let (_, answer) = ask("HTTP/1.1\r\nHost: x\r\nConnection: CLOSE");
    assert!(answer.closes());
    let (mut connection, answer) = ask("HTTP/1.0\r\nConnection: keep-alive");
    assert_eq!(answer.header("connection"), Some("keep-alive"));
    assert_eq!(connection.get(HEARTBEAT).expect("an answer").text(), "OKOKOK");
    drop(connection);
    server.assert_clean_shutdown();
}

#[test]
fn without_keep_alive_each_answer_is_the_last() {
    let server = Setup::with(&collection(100)).flag("--keep-alive=0").start();
    for target in [HEARTBEAT, "/avalon/songs", "/avalon/none"] {
        let mut connection = Connection::open(&server.address).expect("a connection");
        let answer = connection.get(target).expect("an answer");
        assert!(answer.closes(), "{target}");
        assert_eq!(connection.rest().expect("the end"), b"", "{target}");
    }
    server.assert_clean_shutdown();
}

/// An answer that ends its connection must leave before the end, also when the client has
/// sent more already (with hyper's `pipeline_flush` it did not).
#[test]
fn the_last_answer_is_sent_for_any_bytes_after_its_request() {
    let server = Setup::with(&collection(1)).start();
    let closing = Setup::with(&collection(1)).flag("--keep-alive=0").start();
    let next = format!("GET {HEARTBEAT} HTTP/1.1\r\nHost: x\r\n\r\n");
    for (server, head) in
        [(&server, "HTTP/1.0"), (&server, "HTTP/1.1\r\nConnection: close"), (&closing, "HTTP/1.1")]
    {
        for rest in [&next, "\r\n", "junk", &next.repeat(100)] {
            let mut connection = Connection::open(&server.address).expect("a connection");
            connection
                .send(format!("GET {HEARTBEAT} {head}\r\nHost: x\r\n\r\n{rest}").as_bytes())
                .expect("sent");
            assert_eq!(connection.answer("GET").expect("an answer").text(), "OKOKOK", "{head} {rest}");
            assert_eq!(connection.rest().expect("the end"), b"", "{head} {rest}");
        }
    }
    server.assert_clean_shutdown();
    closing.assert_clean_shutdown();
}

/// As `nc -N` does.
#[test]
fn a_client_that_has_ended_its_side_gets_all_its_answers() {
    let server = Setup::with(&collection(200)).start();
    for target in [HEARTBEAT, "/avalon/songs"] {
        let body = server.get(target).body;
        for times in [1, 20] {
            let mut connection = Connection::open_narrow(&server.address).expect("a connection");
            let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").repeat(times);
            connection.send(request.as_bytes()).expect("sent");
            connection.end_sending().expect("ended");
            let answers = connection.answers();
            assert_eq!(answers.len(), times, "{target}");
            assert!(answers.iter().all(|answer| answer.body == body), "{target}");
        }
    }
    server.assert_clean_shutdown();
}

#[test]
fn an_idle_connection_is_closed_when_its_time_is_up() {
    let server = Setup::with(&collection(100)).flag("--keep-alive=1").start();
    let mut connections: Vec<Connection> =
        (0..3).map(|_| Connection::open(&server.address).expect("a connection")).collect();
    for connection in &mut connections {
        assert!(!connection.get("/avalon/songs").expect("an answer").closes());
    }
    let idle = Instant::now();
    for connection in &mut connections {
        assert_eq!(connection.rest().expect("the end"), b"");
    }
    assert!(idle.elapsed() >= Duration::from_millis(700), "{:?}", idle.elapsed());
    // One that is used goes on beyond that time.
    let mut busy = Connection::open(&server.address).expect("a connection");
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(1_500) {
        assert_eq!(busy.get(HEARTBEAT).expect("an answer").text(), "OKOKOK");
    }
    drop(connections);
    drop(busy);
    server.assert_clean_shutdown();
}

#[test]
fn several_addresses_are_served_at_once() {
    let setup = Setup::with(&collection(1));
    let socket = setup.path("socket");
    let mut setup = setup.flag(&format!("--bind=unix:{}", socket.display()));
    let has_ipv6 = TcpListener::bind("[::1]:0").is_ok();
    if has_ipv6 {
        setup = setup.flag("--bind=[::1]:0");
    }
    let server = setup.start();
    assert_eq!(server.addresses.len(), if has_ipv6 { 3 } else { 2 }, "{:?}", server.addresses);
    for address in &server.addresses {
        assert_eq!(http::get(address, "/avalon/songs").success().len(), 10, "{address}");
    }
    // Also while connections to the other addresses say nothing.
    let silent: Vec<Connection> = (0..20)
        .flat_map(|_| &server.addresses)
        .map(|address| Connection::open(address).expect("a connection"))
        .collect();
    for address in &server.addresses {
        assert_eq!(http::get(address, HEARTBEAT).text(), "OKOKOK", "{address}");
    }
    assert!(fs::symlink_metadata(&socket).is_ok());
    drop(silent);
    server.assert_clean_shutdown();
    assert!(fs::symlink_metadata(&socket).is_err());
}

#[test]
fn large_answers_reach_slow_readers_whole() {
    let server = Setup::with(&collection(2_000)).start();
    let target = "/avalon/songs?order=name&direction=desc";
    let whole = server.get(target);
    assert_eq!(whole.success().len(), 20_000);
    assert!(whole.body.len() > 4_000_000, "{}", whole.body.len());
    let mut slow = Connection::open_narrow(&server.address).expect("a connection");
    let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
    slow.send(request.repeat(2).as_bytes()).expect("sent");
    for _ in 0..2 {
        let mut answer = slow.head().expect("a head");
        let len = answer.len().expect("a length");
        while answer.body.len() < len {
            let piece = slow.read((len - answer.body.len()).min(10_000)).expect("a piece");
            assert!(!piece.is_empty(), "cut after {} of {len} bytes", answer.body.len());
            answer.body.extend(piece);
        }
        assert!(answer.body == whole.body);
    }
    drop(slow);
    server.assert_clean_shutdown();
}

#[test]
fn a_thousand_connections_are_served_at_the_same_time() {
    const CONNECTIONS: usize = 1_000;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("a limit");
    // A busy machine may take longer than the defaults to come round.
    let setup = Setup::with(&collection(10)).flag("--keep-alive=60");
    let server = setup.variable("AVALON_HEADER_TIMEOUT", "60").start();
    let open = |_| Connection::open(&server.address).expect("a connection");
    let mut connections: Vec<Connection> = (0..CONNECTIONS).map(open).collect();
    let expected = server.get("/avalon/songs?limit=20").body;
    let workers = server.workers();
    for _ in 0..4 {
        for connection in &mut connections {
            connection.send(b"GET /avalon/songs?limit=20 HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
        }
        for connection in &mut connections {
            let answer = connection.answer("GET").expect("an answer");
            assert!(answer.status == 200 && !answer.closes() && answer.body == expected);
        }
    }
    assert_eq!(server.workers(), workers);
    drop(connections);
    server.assert_clean_shutdown();
}
