//! The page, in a real Chromium: tests/page/ has the steps there.

use std::path::Path;
use std::process::Command;

use crate::conformance::recorded_sqlite;
use crate::harness::http::Connection;
use crate::harness::server::{Server, Setup, collection, sample};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Plays a scenario with the page of this server.
fn play(scenario: &str, server: &Server) {
    play_with(scenario, server, &[]);
}

/// Plays a scenario in which the page asks these other servers, too.
fn play_with(scenario: &str, server: &Server, others: &[&Server]) {
    let peers = Path::new(ROOT).join("target/peers");
    let driver = peers.join("node_modules/playwright-core");
    assert!(driver.exists(), "{} is missing: scripts/install-test-deps", driver.display());
    let output = Command::new("node")
        .arg(Path::new(ROOT).join("tests/page/run.mjs"))
        .args([scenario, &server.address])
        .args(others.iter().map(|other| &other.address))
        .env("AVALON_PEERS", peers)
        .env("AVALON_SHOTS", Path::new(ROOT).join("target/page"))
        .output()
        .expect("node: scripts/install-test-deps");
    let told = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{scenario}: {}\n{}", told(&output.stdout), told(&output.stderr));
}

#[test]
fn it_shows_lists_follows_links_and_goes_back() {
    let server = sample().start();
    play("browse", &server);
    play("owners", &server);
    play("request", &server);
    server.assert_clean_shutdown();
}

#[test]
fn typing_finds_and_back_returns() {
    let server = Setup::with(&collection(500)).start();
    play("typing", &server);
    play("totals", &server);
    server.assert_clean_shutdown();
}

#[test]
fn keys_are_enough() {
    let server = Setup::with(&collection(50)).start();
    play("keyboard", &server);
    server.assert_clean_shutdown();
}

#[test]
fn the_last_of_a_million_rows_is_reached() {
    let server = Setup::with(&collection(10)).start();
    play("million", &server);
    server.assert_clean_shutdown();
    // The same of a real collection, which takes a debug build a while.
    let artists = if std::env::var_os("AVALON_LONG").is_some() { 100_000 } else { 20_000 };
    let server = Setup::with(&collection(artists)).start();
    play("last", &server);
    server.assert_clean_shutdown();
}

#[test]
fn hostile_names_are_text() {
    let server = recorded_sqlite().start();
    play("hostile", &server);
    server.assert_clean_shutdown();
}

#[test]
fn all_users_can_use_it_in_light_dark_and_on_a_phone() {
    let server = sample().start();
    play("accessible", &server);
    play("looks", &server);
    server.assert_clean_shutdown();
}

#[test]
fn an_empty_collection_a_newer_one_and_silence_are_told() {
    let server = Setup::with(&collection(0)).start();
    play("empty", &server);
    server.store(3);
    server.reload();
    play("trouble", &server);
    server.assert_clean_shutdown();
}

#[test]
fn pages_of_other_origins_read_lists_where_the_setting_names_them() {
    let rows = collection(3);
    let other = Setup::with(&rows).start();
    let allowing = Setup::with(&rows).variable("AVALON_CORS_ALLOW_ORIGINS", &other.address).start();
    let refusing =
        Setup::with(&rows).variable("AVALON_CORS_ALLOW_ORIGINS", "https://music.example.org").start();
    let silent = Setup::with(&rows).start();
    play_with("origins", &other, &[&allowing, &refusing]);
    play_with("origins", &other, &[&allowing, &silent]);
    for server in [other, allowing, refusing, silent] {
        server.assert_clean_shutdown();
    }
}

/// The fields of an answer that a browser keeps the page safe with.
const GUARDS: [(&str, &str); 4] = [
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cache-control", "no-cache"),
];

#[test]
fn its_answer_has_the_fields_that_guard_it() {
    let server = Setup::with(&collection(1)).start();
    let mut connection = Connection::open(&server.address).expect("a connection");
    let page = connection.request("GET", "/avalon/?query=x", &[]).expect("the page");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
    assert!(policy.ends_with("; frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("x-avalon-snapshot"), server.get("/avalon/songs").header("x-avalon-snapshot"));
    assert_eq!(page.header("x-avalon-stale"), None);
    let tag = page.header("etag").expect("a tag");
    let head = connection.request("HEAD", "/avalon/", &[]).expect("its head");
    assert_eq!((head.status, head.len(), head.header("etag")), (200, Some(page.body.len()), Some(tag)));
    let known = format!("If-None-Match: W/{tag}");
    let same = connection.request("GET", "/avalon/", &[&known]).expect("an answer");
    assert_eq!((same.status, same.body.len(), same.header("etag")), (304, 0, Some(tag)));
    assert_eq!(same.header("content-security-policy"), Some(policy));
    for coding in ["gzip", "zstd"] {
        let accept = format!("Accept-Encoding: {coding}");
        let packed = connection.request("GET", "/avalon/", &[&accept, &known]).expect("a page");
        assert_eq!((packed.status, packed.header("content-encoding")), (200, Some(coding)));
        assert!(packed.len().is_some_and(|len| len <= 15_000), "{:?}", packed.len());
        assert_eq!(packed.header("vary"), Some("accept-encoding"));
    }
    for answer in [&page, &head, &same] {
        for (name, value) in GUARDS.iter().skip(usize::from(answer.status == 304)) {
            assert_eq!(answer.header(name), Some(*value), "{name} of {}", answer.status);
        }
    }
    for target in ["/avalon/songs", "/avalon/songs?limit=x", "/avalon/status", "/avalon/nothing"] {
        let json = connection.request("GET", target, &[]).expect(target);
        assert_eq!(json.header("x-content-type-options"), Some("nosniff"), "{target}");
    }
    drop(connection);
    server.assert_clean_shutdown();
}

#[test]
fn paths_beside_it_lead_to_it_and_methods_are_those_of_all_endpoints() {
    for (request_path, beside) in [
        (
            "/avalon",
            &[("/avalon", "./avalon/"), ("/", "./avalon/"), ("/avalon?list=albums", "./avalon/?list=albums")]
                [..],
        ),
        ("/a/b", &[("/", "./a/b/"), ("/a/b", "./b/")]),
        ("/", &[]),
    ] {
        let server = Setup::with(&collection(1)).flag("--request-path").flag(request_path).start();
        let mut connection = Connection::open(&server.address).expect("a connection");
        let page = format!("{}/", request_path.trim_end_matches('/'));
        assert_eq!(connection.request("GET", &page, &[]).expect("the page").status, 200);
        for (target, location) in beside {
            for method in ["GET", "HEAD"] {
                let answer = connection.request(method, target, &[]).expect(target);
                assert_eq!((answer.status, answer.header("location")), (308, Some(*location)), "{target}");
            }
        }
        // Encoded bytes of the address stay encoded.
        for (target, location) in beside.iter().filter(|(target, _)| !target.contains('?')) {
            let hostile = format!("{target}?%0d%0aX-Injected:%201");
            let answer = connection.request("GET", &hostile, &[]).expect(target);
            let expected = format!("{location}?%0d%0aX-Injected:%201");
            assert_eq!((answer.header("location"), answer.header("x-injected")), (Some(&*expected), None));
        }
        for target in beside.iter().map(|(target, _)| *target).chain([page.as_str()]) {
            let options = connection.request("OPTIONS", target, &[]).expect(target);
            assert_eq!(
                (options.status, options.header("allow")),
                (200, Some("GET, HEAD, OPTIONS")),
                "{target}"
            );
            let post = connection.request("POST", target, &["Content-Length: 0"]).expect(target);
            assert_eq!((post.status, post.header("allow")), (405, Some("GET, HEAD, OPTIONS")), "{target}");
        }
        drop(connection);
        server.assert_clean_shutdown();
    }
}

#[test]
fn without_it_its_paths_are_not_there() {
    let server = Setup::with(&collection(1)).flag("--page=false").start();
    for target in ["/", "/avalon", "/avalon/"] {
        assert_eq!(server.get(target).status, 404, "{target}");
    }
    server.assert_clean_shutdown();
}
