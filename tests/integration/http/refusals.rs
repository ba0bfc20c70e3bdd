//! Requests that hyper itself refuses are counted, logged and identified like all others.

use std::fs;

use crate::harness::eventually;
use crate::harness::http::{Answer, Connection};
use crate::harness::server::{Server, Setup, collection};

fn ask(server: &Server, bytes: &[u8]) -> Answer {
    let mut connection = Connection::open(&server.address).expect("a connection");
    connection.send(bytes).expect("sent");
    connection.answer("GET").expect("an answer")
}

#[test]
fn bytes_that_are_no_request_leave_the_traces_of_one() {
    let setup = Setup::with(&collection(1)).flag("--log-level=DEBUG");
    let log = setup.path("access.log");
    let setup = setup.flag(&format!("--access-logfile={}", log.display()));
    let setup = setup.flag("--access-logformat=%(h)s|%(r)s|%(s)s|%(B)s|%({x-request-id}o)s");
    let server = setup.flag("--workers=1").start();
    let long_line = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(100_000));
    let long_head = format!("GET /avalon/y HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: x\r\n".repeat(200));
    // Of a head that hyper has read, and found to be wrong then, nothing is known any more.
    let cases: [(&[u8], u16, &str); 5] = [
        (b"G(T /avalon/x?y HTTP/1.1\r\nHost: x\r\n\r\n", 400, "G(T /avalon/x?y HTTP/1.1"),
        (
            b"GET /avalon/x HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\nGET /b HTTP/1.1\r\n\r\n",
            400,
            "- - -",
        ),
        (b"\x16\x03\x01\r\n\r\n", 400, "\\x16\\x03\\x01 - -"),
        (long_line.as_bytes(), 414, "GET /xxx"),
        (long_head.as_bytes(), 431, "GET /avalon/y HTTP/1.1"),
    ];
    for (bytes, status, line) in cases {
        let answer = ask(&server, bytes);
        assert_eq!((answer.status, answer.error().0), (status, 102), "{line}");
        let id = answer.header("x-request-id").expect("an id");
        assert!(answer.closes() && answer.header("date").is_some(), "{:?}", answer.headers);
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let told = server.wait_log(id);
        assert!(told.contains("[DEBUG] a request is refused: ") && told.contains("127.0.0.1"), "{told}");
        eventually(&format!("{line} in the access log"), || {
            let text = fs::read_to_string(&log).ok()?;
            let fits = |found: &&str| {
                found.starts_with(&format!("127.0.0.1|{line}"))
                    && found.contains(&format!("|{status}|{}|", answer.body.len()))
            };
            text.lines().find(fits).map(|_| ())
        });
    }
    let metrics = server.get("/avalon/metrics");
    for (code, count) in [(400, 3), (414, 1), (431, 1)] {
        let sample = format!("endpoint=\"none\",code=\"{code}\"}} {count}");
        let found = metrics.text().lines().any(|line| line.starts_with("avalon_") && line.ends_with(&sample));
        assert!(found, "{sample} in {}", metrics.text());
    }
    server.assert_clean_shutdown();
}
