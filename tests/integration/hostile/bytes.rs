//! Bytes that are no request, or two requests in the clothes of one.

use std::time::SystemTime;

use super::Watched;
use crate::harness::server::{Setup, collection};

fn watched() -> Watched {
    Watched::new(Setup::with(&collection(2)).start())
}

#[test]
fn garbage_is_answered_with_400_or_not_at_all() {
    let watched = watched();
    let mut client_hello = b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03".to_vec();
    client_hello.extend([0x5a; 160]);
    let head = |line: &str| format!("{line}\r\nHost: x\r\n\r\n").into_bytes();
    for garbage in [
        b"\0\0\0\0\r\n\r\n".to_vec(),
        b"\xff\xfe\xfd\r\n\r\n".to_vec(),
        b"hello\r\n\r\n".to_vec(),
        b"GET\r\n\r\n".to_vec(),
        b"GET /avalon/songs\r\n\r\n".to_vec(),
        client_hello,
        head(" GET /avalon/songs HTTP/1.1"),
        head("GET  /avalon/songs HTTP/1.1"),
        head("GET /avalon/songs HTTP/1.1 x"),
        head("GET /avalon/songs HTTP/11"),
        head("GET /avalon/songs http/1.1"),
        head("GET /avalon/songs HTTP/1.2"),
        head("G(T /avalon/songs HTTP/1.1"),
        head("GET /avalon/songs\0 HTTP/1.1"),
        head("GET /avalon/ songs HTTP/1.1"),
        head("GET avalon/songs HTTP/1.1"),
        head("GET http:// HTTP/1.1"),
        b"GET /avalon/songs HTTP/1.1\r\nno colon\r\n\r\n".to_vec(),
        b"GET /avalon/songs HTTP/1.1\r\n: no name\r\n\r\n".to_vec(),
        b"GET /avalon/songs HTTP/1.1\r\nHost: a\0b\r\n\r\n".to_vec(),
        b"GET /avalon/songs HTTP/1.1\r\nHost: a\rb\r\n\r\n".to_vec(),
        b"GET /avalon/songs HTTP/1.1\r\nH\xc3\xb6st: x\r\n\r\n".to_vec(),
        b"GET /avalon/songs HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n".to_vec(),
    ] {
        let shown = String::from_utf8_lossy(&garbage).into_owned();
        let answers = watched.answers(&garbage);
        let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        assert_eq!(statuses, [400], "{shown:?}");
        assert_eq!(answers[0].error().0, 102, "{shown:?}");
        assert!(answers[0].closes(), "{shown:?}");
    }
    // Not finished, or another protocol: there is nothing to answer.
    for silent in ["", "\r\n", "GET /avalon/songs HTT", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        assert_eq!(watched.answers(silent.as_bytes()).len(), 0, "{silent:?}");
    }
    watched.assert_unharmed();
}

#[test]
fn garbage_behind_good_requests_is_answered_in_its_turn() {
    let watched = watched();
    let good = "GET /avalon/genres HTTP/1.1\r\nHost: x\r\n\r\n";
    for count in [1, 2, 20] {
        let answers = watched.answers(format!("{}G(T / HTTP/1.1\r\n\r\n", good.repeat(count)).as_bytes());
        let (last, before) = answers.split_last().expect("answers");
        assert_eq!(before.iter().filter(|answer| answer.success().len() == 2).count(), count);
        assert_eq!((last.status, last.error().0, last.closes()), (400, 102, true));
    }
    watched.assert_unharmed();
}

#[test]
fn a_request_names_one_host() {
    let watched = watched();
    for (line, hosts, status) in [
        ("GET /avalon/version HTTP/1.1", "Host: x\r\n", 200),
        ("GET /avalon/version HTTP/1.1", "Host:\r\n", 400),
        ("GET /avalon/version HTTP/1.1", "Host: user@x\r\n", 400),
        ("GET /avalon/version HTTP/1.1", "Host: x/y\r\n", 400),
        ("GET /avalon/version HTTP/1.1", "Host: x, y\r\n", 400),
        ("GET /avalon/version HTTP/1.1", "Host: [::1]:8000\r\n", 200),
        ("GET /avalon/version HTTP/1.1", "", 400),
        ("GET /avalon/version HTTP/1.1", "Host: x\r\nHost: x\r\n", 400),
        ("GET http://x/avalon/version HTTP/1.1", "", 400),
        ("GET /avalon/version HTTP/1.0", "", 200),
        ("GET /avalon/version HTTP/1.0", "Host: x\r\nHost: y\r\n", 400),
    ] {
        let answers = watched.answers(format!("{line}\r\n{hosts}Connection: close\r\n\r\n").as_bytes());
        let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        assert_eq!(statuses, [status], "{line} {hosts:?}");
    }
    watched.assert_unharmed();
}

#[test]
fn very_long_targets_and_fields_are_refused() {
    let watched = watched();
    for (line, fields) in [
        (format!("GET /avalon/songs?x={} HTTP/1.1", "x".repeat(100_000)), String::new()),
        (format!("GET /{} HTTP/1.1", "a/".repeat(50_000)), String::new()),
        (format!("GET http://{}/ HTTP/1.1", "x".repeat(100_000)), String::new()),
        (format!("{} / HTTP/1.1", "X".repeat(100_000)), String::new()),
        ("GET / HTTP/1.1".to_owned(), format!("X: {}\r\n", "x".repeat(1_000_000))),
        ("GET / HTTP/1.1".to_owned(), "X: x\r\n".repeat(100_000)),
    ] {
        let request = format!("{line}\r\nHost: x\r\n{fields}\r\n");
        let answers = watched.answers(request.as_bytes());
        let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        assert!(matches!(statuses[..], [414 | 431]), "{statuses:?} for {line:.40}");
        assert_eq!(answers[0].error().0, 102, "{line:.40}");
    }
    watched.assert_unharmed();
}

/// The bytes after each head could pass for a second request at one of two servers in a row. There
/// may be one answer, an error, and then the end.
#[test]
fn requests_whose_length_is_in_doubt_are_refused_and_end_the_connection() {
    let watched = watched();
    let hidden = "GET /avalon/version HTTP/1.1\r\nHost: x\r\n\r\n";
    for fields in [
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 0\r\nContent-Length: 43",
        "Content-Length: 5, 6",
        "Content-Length: 5, 5",
        "Content-Length: +5",
        "Content-Length: -1",
        "Content-Length: 0x5",
        "Content-Length: 5 5",
        "Content-Length: five",
        "Content-Length:",
        "Content-Length: 99999999999999999999",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Transfer-Encoding: chunked\r\nContent-Length: x",
        "Content-Length: 0\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding:",
        "Transfer-Encoding : chunked",
        "Content-Length : 5",
        "X: y\r\n Transfer-Encoding: chunked",
        "Content-Length: 5\r\n 6",
        "X: y\rTransfer-Encoding: chunked",
        "X: y\nContent-Length: 5\nTransfer-Encoding: chunked",
    ] {
        for method in ["GET", "POST", "OPTIONS"] {
            for after in [hidden.to_owned(), format!("0\r\n\r\n{hidden}"), format!("5\r\nhello\r\n{hidden}")]
            {
                let request =
                    format!("{method} /avalon/genres HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n{after}");
                // The end must come although the client could send more.
                let mut connection = watched.connect();
                connection.send(request.as_bytes()).expect("sent");
                let answers = connection.answers();
                let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
                let refused = match method {
                    "GET" => matches!(statuses[..], [400 | 413]),
                    "POST" => matches!(statuses[..], [400 | 405]),
                    // Allowed with any body; the connection ends nevertheless.
                    _ => statuses == [400] || (statuses == [200] && answers[0].body.is_empty()),
                };
                assert!(refused, "{statuses:?} for {request:?}");
            }
        }
    }
    for fields in ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nConnection: keep-alive"] {
        let request = format!("POST /avalon/genres HTTP/1.0\r\n{fields}\r\n\r\n0\r\n\r\n{hidden}");
        let answers = watched.answers(request.as_bytes());
        assert!(matches!(answers[..], [ref answer] if answer.status == 400), "{answers:?}");
    }
    watched.assert_unharmed();
}

#[test]
fn nothing_that_is_quoted_back_becomes_a_header() {
    let watched = watched();
    let lines = "%0d%0aX-Injected:%201%0d%0a%0d%0a%3Cscript%3E";
    for target in [
        format!("/avalon/songs?order={lines}"),
        format!("/avalon/songs?order=name&direction={lines}"),
        format!("/avalon/songs?album_id={lines}"),
        format!("/avalon/songs?limit={lines}"),
        format!("/avalon/{lines}"),
        format!("/avalon/songs?{lines}={lines}&limit=1"),
    ] {
        for fields in [
            "",
            "If-None-Match: \"\r\nX-Forwarded-Host: evil\r\nX-Request-Id: <evil>\r\n",
            "Origin: http://evil\r\n",
        ] {
            let request = format!("GET {target} HTTP/1.1\r\nHost: evil\r\n{fields}Connection: close\r\n\r\n");
            let answers = watched.answers(request.as_bytes());
            assert_eq!(answers.len(), 1, "{request:?}");
            let known = [
                "cache-control",
                "connection",
                "content-length",
                "content-type",
                "date",
                "etag",
                "vary",
                "x-avalon-snapshot",
                "x-content-type-options",
                "x-request-id",
            ];
            for (name, value) in &answers[0].headers {
                assert!(known.contains(&name.as_str()), "{name}: {value}");
                assert!(!value.contains("Injected") && !value.contains("evil"), "{name}: {value}");
            }
            // It is JSON for any quoted text.
            let _ = answers[0].json();
        }
    }
    watched.assert_unharmed();
}

/// xorshift64*, so that a seed that is printed gives the same bytes again.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 16) as usize % end
    }
}

const SEEDLINGS: [&str; 7] = [
    "GET /avalon/songs?query=song&order=name&limit=3&offset=1 HTTP/1.1\r\nHost: localhost:8000\r\nAccept: */*\r\n\r\n",
    "GET /avalon/albums?query=%C3%A9&direction=desc HTTP/1.1\r\nHost: x\r\nIf-None-Match: W/\"x\", *\r\n\r\n",
    "GET http://host/avalon/genres HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "GET /avalon/?query=x HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip, zstd\r\nIf-None-Match: \"x\"\r\n\r\n",
    "POST /avalon/songs HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
    "OPTIONS /avalon/songs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "GET /avalon/songs?album_id=b048612e-1207-59f4-bebb-a0bc9a48cd1a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n",
];

fn mutated(random: &mut Random) -> Vec<u8> {
    let mut bytes = SEEDLINGS[random.below(SEEDLINGS.len())].as_bytes().to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        match random.below(6) {
            0 => bytes[at] = random.next() as u8,
            1 => bytes[at] ^= 1 << random.below(8),
            2 => bytes.insert(at, b"\0\r\n :/?%&=\"\xff"[random.below(12)]),
            3 if bytes.len() > 1 => drop(bytes.remove(at)),
            4 => bytes.truncate(at + 1),
            _ => {
                let end = at + random.below(bytes.len() - at);
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
    bytes
}

#[test]
fn mutated_requests_never_harm_a_worker() {
    let seed = SystemTime::UNIX_EPOCH.elapsed().expect("a clock").as_nanos() as u64 | 1;
    // Shown when the test fails.
    println!("seed {seed}");
    let mut random = Random(seed);
    let watched = watched();
    for number in 0..2_000 {
        let request = mutated(&mut random);
        for answer in watched.answers(&request) {
            let known = [200, 304, 308, 400, 404, 405, 412, 413, 414, 417, 431];
            assert!(
                known.contains(&answer.status),
                "{} for number {number}: {:?}",
                answer.status,
                String::from_utf8_lossy(&request)
            );
        }
    }
    watched.assert_unharmed();
}
