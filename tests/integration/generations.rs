//! Generations that follow each other: what each client sees of them, request by request,
//! and what they leave behind.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use avalon::config::DatabaseUrl;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::harness::clients::{Load, Outcome, Plan};
use crate::harness::eventually;
use crate::harness::http::{self, Connection};
use crate::harness::server::{Server, Setup, collection};

/// A server that reads `config`, which a test may change, besides its database.
fn with_config(artists: u32, config: &str) -> Setup {
    let setup = Setup::with(&collection(artists));
    let path = setup.path("avalon.toml");
    fs::write(&path, config).expect("a file");
    setup.without_flags().variable("AVALON_CONFIG", &path.display().to_string())
}

fn configure(server: &Server, config: &str) {
    fs::write(server.path("avalon.toml"), config).expect("a file");
}

/// Makes the database hold so many artists.
fn fill(server: &Server, artists: u32) {
    let url = DatabaseUrl::parse(server.database_url()).expect("a URL");
    avalon::database::replace(&url, &collection(artists)).expect("rows");
}

/// Waits until new connections are answered from a collection of so many artists: for a
/// moment after the new generation serves, workers of the old one still accept.
fn wait_artists(address: &str, count: usize) {
    eventually("the new collection", || {
        let answer = http::get(address, ARTISTS);
        (answer.status == 200 && answer.success().len() == count).then_some(())
    });
}

const ARTISTS: &str = "/avalon/artists";

/// The version of a list of artists is how many there are; each must be one that we made.
fn version_of(body: &[u8]) -> Option<u64> {
    let json: serde_json::Value = serde_json::from_slice(body).ok()?;
    let artists = json["success"].as_array()?;
    let names: BTreeSet<&str> = artists.iter().filter_map(|artist| artist["name"].as_str()).collect();
    let wanted: Vec<String> = (0..artists.len()).map(|at| format!("Artist {at:04}")).collect();
    (names.iter().copied().eq(wanted.iter().map(String::as_str)) && !names.is_empty())
        .then_some(artists.len() as u64)
}

/// What a process has open, without the numbers that differ from time to time.
fn descriptors(pid: Pid) -> Vec<String> {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).expect("a process").flatten();
    let links = links.filter_map(|fd| fs::read_link(fd.path()).ok());
    let mut links: Vec<String> = links
        .map(|link| link.display().to_string().split(":[").next().unwrap_or_default().to_owned())
        .collect();
    links.sort();
    links
}

/// Waits until nothing is under way any more, and the master has open what it had before.
fn wait_quiet(server: &Server, workers: usize, open_before: &[String]) {
    let master = server.pid();
    eventually("a quiet server", || {
        let made = server.count_log("making generation");
        let done = server.count_log(" serves on ") + server.count_log("reload failed");
        let quiet = made == done && server.workers().len() == workers && descriptors(master) == open_before;
        quiet.then_some(())
    });
    let tasks = fs::read_dir(format!("/proc/{master}/task")).expect("a process").count();
    assert_eq!(tasks, 1, "the master has one thread");
    for worker in server.workers() {
        let stat = fs::read_to_string(format!("/proc/{worker}/stat")).expect("a process");
        assert!(!stat.contains(") Z "), "a zombie: {stat}");
        let maps = fs::read_to_string(format!("/proc/{worker}/maps")).expect("a process");
        assert_eq!(maps.lines().filter(|line| line.contains("avalon-snapshot")).count(), 1, "{maps}");
    }
}

fn snapshots(descriptors: &[String]) -> usize {
    descriptors.iter().filter(|link| link.contains("avalon-snapshot")).count()
}

#[test]
fn ten_reloads_under_load_lose_nothing() {
    let server = Setup::with(&collection(1)).flag("--workers=4").start();
    let open = descriptors(server.pid());
    let load = Load::start(&Plan::standard(&server.address, ARTISTS, version_of));
    load.wait_answers(50);
    for artists in 2..=11 {
        fill(&server, artists);
        server.reload();
        load.wait_answers(50);
    }
    let report = load.stop();
    report.assert_nothing_lost(500);
    assert!(report.announced > 0, "{report:?}");
    // A generation may be skipped by a client, but the last one is seen by somebody.
    assert!(report.versions.contains(&11), "{report:?}");
    wait_artists(&server.address, 11);
    wait_quiet(&server, 4, &open);
    assert_eq!(server.get(ARTISTS).success().len(), 11);
    assert_eq!(snapshots(&descriptors(server.pid())), 1);
    server.assert_clean_shutdown();
}

#[test]
fn idle_clients_are_not_surprised_by_reloads() {
    let server = Setup::with(&collection(1)).flag("--keep-alive=3").start();
    let plan = Plan {
        kept: 60,
        kept_pause: Duration::from_millis(1500),
        fresh: 0,
        keepalive: Duration::from_secs(3),
        ..Plan::standard(&server.address, ARTISTS, version_of)
    };
    let load = Load::start(&plan);
    load.wait_answers(60);
    for artists in 2..=4 {
        fill(&server, artists);
        server.reload();
        load.wait_answers(60);
    }
    let report = load.stop();
    report.assert_nothing_lost(240);
    assert_eq!(report.count(Outcome::Expired), 0, "{report:?}");
    assert!(report.announced >= 60, "{report:?}");
    server.assert_clean_shutdown();
}

#[test]
fn signals_that_come_together_make_two_generations_at_most() {
    let server = Setup::with(&collection(2)).start();
    let open = descriptors(server.pid());
    let lock = rusqlite::Connection::open(server.path("avalon.sqlite")).expect("a database");
    lock.execute_batch("BEGIN EXCLUSIVE").expect("a lock");
    server.signal(Signal::SIGHUP);
    server.wait_workers(3);
    for _ in 0..100 {
        server.signal(Signal::SIGHUP);
    }
    server.wait_log("reload waits");
    lock.execute_batch("COMMIT").expect("unlocked");
    server.wait_log_times(" serves on ", 3);
    wait_quiet(&server, 2, &open);
    assert_eq!(server.count_log("making generation"), 3);
    server.assert_clean_shutdown();
}

#[test]
fn moved_log_is_opened_anew() {
    let setup = Setup::with(&collection(1));
    let (log, moved) = (setup.path("log"), setup.path("log.1"));
    let mut server = setup.flag(&format!("--log-file={}", log.display())).spawn();
    let holds = |path: &Path, text: &str| fs::read_to_string(path).is_ok_and(|log| log.contains(text));
    eventually("the start", || holds(&log, " serves on ").then_some(()));
    fs::rename(&log, &moved).expect("renamed");
    server.signal(Signal::SIGHUP);
    eventually("the new log", || holds(&log, "generation 2 serves on ").then_some(()));
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_exit(), 0);
    assert!(holds(&log, "stopped") && !holds(&moved, "stopped"));
}

#[test]
fn the_queue_of_a_removed_address_is_served() {
    let config = |bind: &str| format!("BIND = [\"{bind}\"]\nWORKERS = 1\nWORKER_CONNECTIONS = 1\n");
    let server = with_config(2, &config("127.0.0.1:0")).start();
    let mut first = Connection::open(&server.address).expect("a connection");
    first.get("/avalon/heartbeat").expect("an answer");
    // The one connection that the worker takes is taken.
    let mut waiting: Vec<Connection> = (0..8)
        .map(|_| {
            let mut connection = Connection::open(&server.address).expect("a place in the queue");
            connection.send(b"GET /avalon/artists HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
            connection
        })
        .collect();
    configure(&server, &config(&format!("unix:{}", server.path("socket").display())));
    server.signal(Signal::SIGHUP);
    server.wait_log_times(" serves on ", 2);
    eventually("the announced end", || {
        first.get("/avalon/heartbeat").expect("an answer").closes().then_some(())
    });
    drop(first);
    for connection in &mut waiting {
        assert_eq!(connection.answer("GET").expect("an answer to who waited").success().len(), 2);
    }
    eventually("the end of the old address", || Connection::open(&server.address).is_err().then_some(()));
    server.assert_clean_shutdown();
}
