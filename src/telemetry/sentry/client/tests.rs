//! Client and panic hook belong to the process, so each test that starts a client runs itself again
//! as a child process. Without `DSN` in the environment it is the parent, with it the child.

use super::*;
use crate::telemetry::sentry::REPORTED;
use crate::telemetry::{Log, LogFormat, LogSettings, Statsd};
use serde_json::Value;
use slog::{crit, error, info, o};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

fn settings(dsn: Option<&str>) -> SentrySettings {
    SentrySettings { dsn: dsn.map(str::to_owned), environment: "testing".to_owned() }
}

const DSN: &str = "AVALON_TEST_SENTRY_DSN";
const LOG: &str = "AVALON_TEST_SENTRY_LOG";
const KEY: &str = "0123456789abcdefkey";

/// The DSN in the child; `None` in the parent.
fn dsn() -> Option<String> {
    std::env::var(DSN).ok()
}

/// Runs a test of this module as a child and returns its output and log, in which the key must not
/// appear.
fn run_child(test: &str, dsn: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let output = Command::new(std::env::current_exe().unwrap())
        .args([&format!("{}::{test}", module_path!().split_once("::").unwrap().1), "--exact", "--nocapture"])
        .arg("--test-threads=1")
        .env(DSN, dsn)
        .env(LOG, &path)
        .env("NO_PROXY", "127.0.0.1,sentry.test")
        .output()
        .unwrap();
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said += &String::from_utf8_lossy(&output.stderr);
    said += &std::fs::read_to_string(&path).unwrap_or_default();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("1 passed") && !said.contains(KEY), "{said}");
    said
}

fn child_log() -> Log {
    let path = Some(std::env::var_os(LOG).unwrap().into());
    let format = LogFormat::parse("%(levelname)s %(message)s").unwrap();
    let settings = LogSettings { format, date_format: String::new(), level: slog::Level::Info, path };
    Log::start(&settings, "worker 3", "avalon").unwrap()
}

/// Plays Sentry: answers every request and passes its body on.
fn ingest() -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let dsn = format!("http://{KEY}@{}/42", listener.local_addr().unwrap());
    let (sender, bodies) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            if sender.send(answer(stream.unwrap())).is_err() {
                break;
            }
        }
    });
    (dsn, bodies)
}

fn answer(stream: TcpStream) -> String {
    let mut reader = BufReader::new(&stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut head).unwrap(), 0, "{head}");
    }
    assert!(head.starts_with("POST /api/42/envelope/ HTTP/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("sentry_key={KEY}")), "{head}");
    let length =
        head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap()];
    reader.read_exact(&mut body).unwrap();
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
    (&stream).write_all(answer).unwrap();
    String::from_utf8(body).unwrap()
}

/// The event in the next envelope: a line for the envelope, one for the item, the event.
fn event(bodies: &Receiver<String>) -> Value {
    let body = bodies.recv_timeout(Duration::from_secs(20)).unwrap();
    let mut lines = body.lines();
    let _envelope: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    let item: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    assert_eq!(item["type"], "event");
    serde_json::from_str(lines.next().unwrap()).unwrap()
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

#[test]
fn error_records_arrive_with_their_tags_and_values() {
    if let Some(dsn) = dsn() {
        let _guard = start(&settings(Some(&dsn)), "worker", Some(7), Some(3), Lookup::Own);
        let log = child_log().logger().new(o!("slot" => 3));
        info!(log, "worker ready"; "pid" => 4711);
        error!(log, "cannot read {}", "this"; "reason" => "no such file");
        error!(log, #REPORTED, "request panicked");
        crit!(log, "giving up");
        error!(log, "worker killed"; "gen" => 8, "worker" => 1, "request" => "GET /avalon/songs?key=x");
        return;
    }
    let (dsn, bodies) = ingest();
    let said = run_child("error_records_arrive_with_their_tags_and_values", &dsn);
    assert!(said.contains("ERROR cannot read this slot=3 reason=\"no such file\"\n"), "{said}");

    let first = event(&bodies);
    assert_eq!(first["message"], "cannot read this");
    assert_eq!(first.get("level"), None, "error is the default and left out");
    assert_eq!(first["tags"], serde_json::json!({"process": "worker", "generation": "7", "worker": "3"}));
    assert_eq!(first["extra"], serde_json::json!({"slot": "3", "reason": "no such file"}));
    assert_eq!(first["logger"], module_path!());
    assert_eq!(first["release"], concat!("avalon-music-server@", env!("CARGO_PKG_VERSION")));
    assert_eq!(first["environment"], "testing");
    assert!(first["server_name"].as_str().is_some_and(|name| !name.is_empty()));
    let crumbs = &first["breadcrumbs"]["values"];
    assert_eq!(crumbs[0]["message"], "worker ready");
    assert_eq!(crumbs[0]["data"], serde_json::json!({"slot": "3", "pid": "4711"}));

    let second = event(&bodies);
    assert_eq!((&second["message"], &second["level"]), (&"giving up".into(), &"fatal".into()));
    let third = event(&bodies);
    // The tags of the process take precedence over those of a record.
    let tags = serde_json::json!({"process": "worker", "generation": "7", "worker": "3"});
    assert_eq!((&third["message"], &third["tags"]), (&"worker killed".into(), &tags));
    assert_eq!(third["request"]["url"], "http://localhost/avalon/songs?key=[Filtered]");
}

/// An event waits for the address of its host, which another process looks up.
#[test]
fn events_find_hosts_that_are_made_known_later() {
    if let Some(dsn) = dsn() {
        let settings = settings(Some(&dsn));
        let wanted = hosts(&settings).remove(0);
        assert_eq!(wanted.host, "sentry.test");
        let _guard = start(&settings, "worker", None, None, Lookup::Known);
        error!(child_log().logger(), "somewhere");
        let address = ([127, 0, 0, 1], wanted.port).into();
        assert!(wanted.learn(vec![address]));
        return;
    }
    let (dsn, bodies) = ingest();
    run_child("events_find_hosts_that_are_made_known_later", &dsn.replace("127.0.0.1", "sentry.test"));
    assert_eq!(event(&bodies)["message"], "somewhere");
    assert!(hosts(&settings(None)).is_empty());
}

#[test]
fn a_process_without_a_thread_lays_events_aside_for_a_child() {
    if let Some(dsn) = dsn() {
        let settings = settings(Some(&dsn));
        start_aside(&settings);
        let before = threads();
        let log = child_log();
        (0..60).for_each(|at| info!(log.logger(), "line {}", at));
        error!(log.logger(), "worker ended"; "worker" => 2, "gen" => 5);
        assert!(std::panic::catch_unwind(|| panic!("the master is broken")).is_err());
        (0..20).for_each(|at| error!(log.logger(), "error {}", at));
        assert_eq!(threads(), before);
        let laid = take_laid();
        assert_eq!((laid.count(), laid.dropped), (16, 6));
        assert_eq!((take_laid().count(), take_laid().dropped), (0, 0));
        error!(log.logger(), "remains the master's own");
        let _guard = start(&settings, "master", None, None, Lookup::Own);
        laid.send();
        return;
    }
    let (dsn, bodies) = ingest();
    run_child("a_process_without_a_thread_lays_events_aside_for_a_child", &dsn);
    let first = event(&bodies);
    assert_eq!(first["message"], "worker ended");
    assert_eq!(first["tags"], serde_json::json!({"process": "master", "generation": "5", "worker": "2"}));
    let crumbs = first["breadcrumbs"]["values"].as_array().unwrap();
    assert_eq!(
        (crumbs.len(), &crumbs[0]["message"], &crumbs[49]["message"]),
        (50, &"line 10".into(), &"line 59".into())
    );
    assert_eq!(event(&bodies)["exception"]["values"][0]["value"], "the master is broken");
    (0..14).for_each(|at| assert_eq!(event(&bodies)["message"], format!("error {at}")));
}

#[test]
fn a_panic_in_a_request_arrives_with_the_request() {
    if let Some(dsn) = dsn() {
        let _guard = start(&settings(Some(&dsn)), "worker", Some(1), Some(0), Lookup::Own);
        let describe = || {
            let tags = vec![("request_id", "r-7".to_owned())];
            Description::new("GET", "/avalon/songs?query=x&password=geheim", &hyper::HeaderMap::new(), tags)
        };
        assert!(catch(|| panic!("broken"), describe).is_err());
        assert_eq!(catch(|| 5, describe).ok(), Some(5));
        return;
    }
    let (dsn, bodies) = ingest();
    run_child("a_panic_in_a_request_arrives_with_the_request", &dsn);
    let event = event(&bodies);
    assert_eq!(event["exception"]["values"][0]["value"], "broken");
    assert_eq!(event["tags"]["request_id"], "r-7");
    assert_eq!(event["request"]["method"], "GET");
    assert_eq!(event["request"]["url"], "http://localhost/avalon/songs?query=x&password=[Filtered]");
    assert!(!event.to_string().contains("geheim"));
}

#[test]
fn a_panic_that_is_caught_arrives() {
    if let Some(dsn) = dsn() {
        let _guard = start(&settings(Some(&dsn)), "worker", Some(1), Some(0), Lookup::Own);
        let request = std::panic::catch_unwind(|| panic!("index {} out of bounds", 5));
        assert!(request.is_err());
        return;
    }
    let (dsn, bodies) = ingest();
    let said = run_child("a_panic_that_is_caught_arrives", &dsn);
    assert!(said.contains("index 5 out of bounds"), "the hook before ours prints it: {said}");
    let event = event(&bodies);
    let panic = &event["exception"]["values"][0];
    assert_eq!((&panic["type"], &panic["value"]), (&"panic".into(), &"index 5 out of bounds".into()));
    assert_eq!(event["level"], "fatal");
    assert_eq!(event["tags"]["worker"], "0");
    assert!(panic["stacktrace"]["frames"].as_array().is_some_and(|frames| !frames.is_empty()));
}

#[test]
fn a_panic_that_ends_the_process_arrives_because_it_drops_the_guard() {
    if let Some(dsn) = dsn() {
        let ended = thread::spawn(move || {
            let _guard = start(&settings(Some(&dsn)), "loader", None, None, Lookup::Own);
            panic!("the loader is broken");
        });
        assert!(ended.join().is_err());
        return;
    }
    let (dsn, bodies) = ingest();
    run_child("a_panic_that_ends_the_process_arrives_because_it_drops_the_guard", &dsn);
    let event = event(&bodies);
    assert_eq!(event["exception"]["values"][0]["value"], "the loader is broken");
    assert_eq!(event["tags"], serde_json::json!({"process": "loader"}));
}

#[test]
fn an_endpoint_that_hangs_delays_nothing_but_the_end() {
    if let Some(dsn) = dsn() {
        let guard = start(&settings(Some(&dsn)), "worker", None, None, Lookup::Own);
        let log = child_log();
        let started = Instant::now();
        // More events than the transport's queue holds.
        (0..200).for_each(|i| error!(log.logger(), "error {i}"));
        assert!(std::panic::catch_unwind(|| panic!("caught")).is_err());
        // Waiting for the endpoint even once would take SEND_MAX, and a flush FLUSH_MAX.
        let reporting = started.elapsed();
        drop(guard);
        let ending = started.elapsed() - reporting;
        assert!(ending < FLUSH_MAX + Duration::from_secs(3), "{ending:?}");
        assert!(reporting < SEND_MAX, "{reporting:?}");
        error!(log.logger(), "after the end");
        return;
    }
    // The kernel accepts the connection, and no program answers it.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let dsn = format!("http://{KEY}@{}/42", listener.local_addr().unwrap());
    let said = run_child("an_endpoint_that_hangs_delays_nothing_but_the_end", &dsn);
    assert!(said.ends_with("ERROR error 199\nERROR after the end\n"), "{said}");
}

#[test]
fn an_https_endpoint_is_spoken_to_in_tls() {
    if let Some(dsn) = dsn() {
        let _guard = start(&settings(Some(&dsn)), "worker", None, None, Lookup::Own);
        error!(child_log().logger(), "secret");
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let dsn = format!("https://{KEY}@{}/42", listener.local_addr().unwrap());
    let greeting = thread::spawn(move || {
        let mut bytes = [0; 3];
        listener.accept().unwrap().0.read_exact(&mut bytes).unwrap();
        bytes
    });
    run_child("an_https_endpoint_is_spoken_to_in_tls", &dsn);
    // The start of a handshake record of TLS.
    assert_eq!(greeting.join().unwrap()[..2], [0x16, 0x03]);
}

#[test]
fn without_a_dsn_nothing_starts() {
    if dsn().is_some() {
        let before = threads();
        let log = child_log();
        let statsd = Statsd::start("127.0.0.1", 8125, "avalon");
        let guard = start(&settings(None), "worker", Some(1), Some(1), Lookup::Own);
        assert!(!ENABLED.load(Ordering::Acquire));
        error!(log.logger(), "not reported");
        statsd.request("songs", Duration::from_millis(1));
        statsd.flush();
        assert_eq!(threads(), before);
        drop(guard);
        // A request that the count above would have seen.
        let _guard = start(
            &settings(Some(&format!("http://{KEY}@127.0.0.1:9/42"))),
            "worker",
            None,
            None,
            Lookup::Own,
        );
        assert!(ENABLED.load(Ordering::Acquire) && threads() > before);
        return;
    }
    run_child("without_a_dsn_nothing_starts", "none");
}

#[test]
fn a_bad_dsn_is_refused_without_showing_it() {
    for (dsn, expected) in [
        ("", SentryDsnError::Url),
        (KEY, SentryDsnError::Url),
        ("https://0123456789abcdefkey@/42", SentryDsnError::Url),
        ("ftp://0123456789abcdefkey@host/42", SentryDsnError::Scheme),
        ("https://host/0123456789abcdefkey", SentryDsnError::Key),
        ("https://0123456789abcdefkey@host/", SentryDsnError::Project),
        ("https://0123456789abcdefkey@host", SentryDsnError::Project),
    ] {
        let error = check_dsn(dsn).unwrap_err();
        assert_eq!(error, expected, "{dsn}");
        assert!(!error.to_string().contains(KEY) && !format!("{error:?}").contains(KEY));
    }
    for dsn in ["https://key@host/42", "http://key:secret@[::1]:9000/path/42"] {
        assert_eq!(check_dsn(dsn), Ok(()));
    }
}
