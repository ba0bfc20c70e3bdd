//! Pages of other origins: which may read answers, and which parts of them.

use super::{LISTS, TEXTS, assert_good_manners};
use crate::harness::http::{Answer, Connection};
use crate::harness::server::{Setup, collection};

const ORIGIN: &str = "https://music.example.org";

fn allowed(answer: &Answer) -> Option<&str> {
    answer.header("access-control-allow-origin")
}

/// Whether caches keep answers for one origin and another apart.
fn varies(answer: &Answer) -> bool {
    answer.header("vary").is_some_and(|vary| vary.split(", ").any(|name| name == "origin"))
}

#[test]
fn pages_of_named_origins_may_read_everything_public_and_errors_as_well() {
    let origins = format!("http://localhost:5173,{ORIGIN}");
    let server = Setup::with(&collection(300)).variable("AVALON_CORS_ALLOW_ORIGINS", &origins).start();
    let mut connection = Connection::open(&server.address).expect("a connection");
    let mut ask =
        |method, target: &str, fields: &[&str]| connection.request(method, target, fields).expect(target);
    let from = |origin: &str| format!("Origin: {origin}");
    let others = [
        "/avalon/songs?limit=x",
        "/avalon/nothing",
        "/avalon/songs?snapshot=0123456789abcdef0123456789abcdef",
    ];
    for target in LISTS.into_iter().chain(TEXTS).chain(others) {
        for method in ["GET", "HEAD", "OPTIONS"] {
            for origin in [ORIGIN, "http://localhost:5173"] {
                let answer = ask(method, target, &[&from(origin)]);
                assert_good_manners(&answer);
                assert_eq!((allowed(&answer), varies(&answer)), (Some(origin), true), "{method} {target}");
                let exposed = answer.header("access-control-expose-headers").expect(target);
                for name in ["etag", "link", "x-total-count", "x-avalon-snapshot", "x-request-id"] {
                    assert!(exposed.split(", ").any(|one| one == name), "{name}: {exposed}");
                }
            }
            for fields in [vec![from("https://evil.example")], vec![from("null")], vec![]] {
                let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
                let answer = ask(method, target, &fields);
                assert_eq!((allowed(&answer), varies(&answer)), (None, true), "{method} {target}");
            }
        }
    }
    let list = ask("GET", "/avalon/songs", &[&from(ORIGIN), "Accept-Encoding: gzip"]);
    assert_eq!(list.header("vary"), Some("accept-encoding, origin"));
    let known = format!("If-None-Match: {}", list.header("etag").expect("a tag"));
    let known = ask("GET", "/avalon/songs", &[&from(ORIGIN), "Accept-Encoding: gzip", &known]);
    assert_eq!((known.status, allowed(&known), varies(&known)), (304, Some(ORIGIN), true));
    let refused = ask("POST", "/avalon/songs", &[&from(ORIGIN), "Content-Length: 0"]);
    assert_eq!((refused.status, allowed(&refused)), (405, Some(ORIGIN)));
}

/// A browser asks so before it sends a field that forms cannot send.
#[test]
fn preflight_requests_are_answered() {
    let server = Setup::with(&collection(1)).variable("AVALON_CORS_ALLOW_ORIGINS", ORIGIN).start();
    let mut connection = Connection::open(&server.address).expect("a connection");
    let mut preflight = |origin: &str| {
        let fields = [
            &format!("Origin: {origin}"),
            "Access-Control-Request-Method: GET",
            "Access-Control-Request-Headers: if-none-match,x-request-id",
        ];
        connection.request("OPTIONS", "/avalon/songs", &fields).expect("an answer")
    };
    let answer = preflight(ORIGIN);
    assert_good_manners(&answer);
    assert_eq!((answer.status, allowed(&answer), answer.body.len()), (200, Some(ORIGIN), 0));
    for (name, value) in [("methods", "GET, HEAD, OPTIONS"), ("headers", "*")] {
        assert_eq!(answer.header(&format!("access-control-allow-{name}")), Some(value));
    }
    assert_eq!(answer.header("access-control-max-age"), Some("7200"));
    let other = preflight("https://evil.example");
    assert_eq!((other.status, allowed(&other), other.header("access-control-max-age")), (200, None, None));
}

#[test]
fn endpoints_for_this_machine_are_closed_to_pages_of_other_origins() {
    let server = Setup::with(&collection(1)).variable("AVALON_CORS_ALLOW_ORIGINS", "*").start();
    let mut connection = Connection::open(&server.address).expect("a connection");
    let mut ask =
        |target: &str| connection.request("GET", target, &["Origin: https://a"]).expect("an answer");
    for target in ["/avalon/status", "/avalon/metrics"] {
        let answer = ask(target);
        assert_eq!((answer.status, allowed(&answer)), (200, None), "{target}");
    }
    let list = ask("/avalon/songs");
    assert_eq!((list.status, allowed(&list), varies(&list)), (200, Some("*"), false));
}

#[test]
fn without_the_setting_no_answer_speaks_of_origins() {
    let server = Setup::with(&collection(1)).start();
    let mut connection = Connection::open(&server.address).expect("a connection");
    for target in LISTS.into_iter().chain(TEXTS) {
        for method in ["GET", "OPTIONS"] {
            let fields = ["Origin: https://a", "Access-Control-Request-Method: GET"];
            let answer = connection.request(method, target, &fields).expect("an answer");
            let names = answer.headers.iter().map(|(name, _)| name.as_str());
            assert!(
                !{ names }.any(|name| name.starts_with("access-control")) && !varies(&answer),
                "{target}"
            );
        }
    }
}
