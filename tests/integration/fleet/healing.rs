//! A reload that fails for a cause that may pass is repeated, and until then the data are stale.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::source::{Mode, Source, assert_heals, assert_stale};
use crate::harness::eventually;
use crate::harness::postgres::Postgres;
use crate::harness::server::{Setup, collection};

const FAILED: &str = "reload failed, generation 1 goes on serving: ";

/// The value of a metric.
fn metric(page: &str, name: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[test]
fn database_that_is_down_during_a_reload_is_read_when_it_is_back() {
    let cluster = Postgres::start();
    let source = Source::new(&cluster, 3);
    let server = Setup::new(&source.0.url()).start();
    let metrics = || server.get("/avalon/metrics").text().to_owned();
    let checked = metric(&metrics(), "avalon_source_checked_timestamp_seconds").expect("a time");
    assert_eq!(metric(&metrics(), "avalon_snapshot_stale"), Some(0.0));
    source.remove_artist();
    cluster.stop();
    server.signal(Signal::SIGHUP);
    let line = server.wait_log(FAILED);
    assert_stale(&server, &line, "cannot reach PostgreSQL");
    let page = metrics();
    assert_eq!(metric(&page, "avalon_snapshot_stale"), Some(1.0));
    assert_eq!(metric(&page, "avalon_source_up"), Some(0.0));
    assert_eq!(metric(&page, "avalon_source_checked_timestamp_seconds"), Some(checked));
    // A worker tells the same.
    let shown = server.get("/avalon/status").json();
    assert_eq!((&shown["source"]["stale"], &shown["source"]["up"]), (&true.into(), &false.into()));
    let reason = shown["source"]["reason"].as_str().expect("a reason");
    assert!(reason.contains("cannot reach PostgreSQL"), "{reason}");
    // The server heals by itself, and serves its clients meanwhile.
    server.wait_log_times(FAILED, 2);
    assert_eq!(server.get("/avalon/songs?limit=100").success().len(), 30);
    cluster.start_again();
    assert_heals(&server, 20, Instant::now());
    let page = metrics();
    assert_eq!(metric(&page, "avalon_snapshot_stale"), Some(0.0));
    assert_eq!(metric(&page, "avalon_source_up"), Some(1.0));
    assert!(metric(&page, "avalon_source_checked_timestamp_seconds") > Some(checked));
    server.assert_clean_shutdown();
}

#[test]
fn rows_come_in_small_portions_if_workers_serve() {
    let source = Source::new(Postgres::shared(), 100);
    source.set(Mode::HangsAt(50));
    let server = Setup::new(&source.0.url()).spawn();
    assert_eq!(source.wait_hanging(), "FETCH 10000 FROM tracks");
    source.set(Mode::Works);
    source.end_session();
    server.wait_log("terminating connection due to administrator command");

    let server = Setup::new(&source.0.url()).start();
    source.remove_artist();
    source.set(Mode::HangsAt(50));
    server.signal(Signal::SIGHUP);
    // The first one: a busy machine has larger ones later.
    assert_eq!(source.wait_hanging(), "FETCH 100 FROM tracks");
    source.set(Mode::Works);
    source.end_session();
    let line = server.wait_log(FAILED);
    assert_stale(&server, &line, "terminating connection due to administrator command");
    assert_heals(&server, 990, Instant::now());
    let other = Setup::new(&source.0.url()).start();
    assert_eq!(server.status()["snapshot"]["hash"], other.status()["snapshot"]["hash"]);
    server.assert_clean_shutdown();
    other.assert_clean_shutdown();
}

#[test]
fn session_that_is_ended_in_each_of_ten_loads_costs_one_warning_each() {
    let source = Source::new(Postgres::shared(), 3);
    let server = Setup::new(&source.0.url()).start();
    source.set(Mode::Hangs);
    source.remove_artist();
    server.signal(Signal::SIGHUP);
    for load in 1..=10 {
        source.wait_hanging();
        if load == 10 {
            source.set(Mode::Works);
        }
        source.end_session();
        let line = server.wait_log_times(FAILED, load);
        assert_stale(&server, &line, "terminating connection due to administrator command");
        // The first ones are repeated by the server; then an operator asks as well, who need not wait.
        if (4..10).contains(&load) {
            server.signal(Signal::SIGHUP);
        }
    }
    assert_heals(&server, 20, Instant::now());
    let log = server.log();
    let warnings = log.lines().filter(|line| line.contains("[WARNING]") || line.contains("[ERROR]"));
    assert_eq!((warnings.count(), server.count_log(FAILED)), (10, 10), "{log}");
    server.assert_clean_shutdown();
}

#[test]
fn conflict_with_recovery_is_repeated() {
    let source = Source::new(Postgres::shared(), 2);
    let server = Setup::new(&source.0.url()).start();
    source.set(Mode::Conflicts);
    server.signal(Signal::SIGHUP);
    let line = server.wait_log(FAILED);
    assert_stale(&server, &line, "conflict with recovery");
    source.set(Mode::Works);
    assert_heals(&server, 20, Instant::now());
    server.assert_clean_shutdown();
}

#[test]
fn server_that_says_nothing_is_not_waited_for() {
    let source = Source::new(Postgres::shared(), 2);
    let server = Setup::new(&source.0.url()).start();
    source.set(Mode::Hangs);
    let begin = Instant::now();
    server.signal(Signal::SIGHUP);
    let line = server.wait_log(FAILED);
    assert!(begin.elapsed() <= Duration::from_secs(40), "{:?}", begin.elapsed());
    assert_stale(&server, &line, "no rows and no answer within 30 s");
    source.set(Mode::Works);
    assert_heals(&server, 20, Instant::now());
    server.assert_clean_shutdown();
}

#[test]
fn operator_need_not_wait_for_the_next_try() {
    let source = Source::new(Postgres::shared(), 2);
    let server = Setup::new(&source.0.url()).start();
    source.set(Mode::Conflicts);
    server.signal(Signal::SIGHUP);
    // The wait before the next try is long now.
    server.wait_log_times(FAILED, 4);
    source.set(Mode::Works);
    server.reload();
    let status = server.status();
    assert_eq!((&status["source"]["stale"], &status["source"]["next_try"]), (&false.into(), &().into()));
    assert_eq!(status["last_reload"]["error"], serde_json::Value::Null);
}

#[test]
fn wrong_password_is_not_tried_again() {
    let cluster = Postgres::start();
    let source = Source::new(&cluster, 2);
    source.0.execute(&format!(
        "CREATE ROLE scram LOGIN PASSWORD '{}'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO scram",
        Postgres::PASSWORD
    ));
    let server = Setup::new(&source.0.url_of(&format!("scram:{}", Postgres::PASSWORD), "")).start();
    source.0.execute("ALTER ROLE scram PASSWORD 'another'");
    server.signal(Signal::SIGHUP);
    let line = server.wait_log(FAILED);
    assert!(line.contains("[ERROR]") && line.contains("password authentication failed"), "{line}");
    assert!(line.ends_with("; it is not tried again before the next SIGHUP"), "{line}");
    let source_status = server.status()["source"].clone();
    assert_eq!((&source_status["stale"], &source_status["next_try"]), (&true.into(), &().into()));
    assert_eq!(source_status["up"], false);
    source.0.execute(&format!("ALTER ROLE scram PASSWORD '{}'", Postgres::PASSWORD));
    server.reload();
    assert_eq!(server.status()["source"]["stale"], false);
    // The start, the one that failed, and the one that an operator has asked for.
    assert_eq!((server.count_log("making generation"), server.count_log(FAILED)), (3, 1));
}

#[test]
fn wrong_configuration_is_stale_and_not_tried_again() {
    let setup = Setup::with(&collection(2)).without_flags();
    let file = setup.path("settings.toml");
    let good = "BIND = [\"127.0.0.1:0\"]\nWORKERS = 2\n";
    fs::write(&file, good).expect("settings");
    let server = setup.flag(&format!("--config={}", file.display())).start();
    fs::write(&file, "WORKERS = \"many\"\n").expect("settings");
    server.signal(Signal::SIGHUP);
    let line = server.wait_log(FAILED);
    assert!(line.contains("[ERROR]") && line.contains("; it is not tried again"), "{line}");
    let source = server.status()["source"].clone();
    assert_eq!((&source["stale"], &source["next_try"]), (&true.into(), &().into()));
    assert_eq!(source["up"], true, "the database was not asked");
}

#[test]
fn sqlite_file_that_vanishes_is_not_replaced_by_an_empty_one() {
    let server = Setup::with(&collection(2)).start();
    let (file, away) = (server.path("avalon.sqlite"), server.path("away.sqlite"));
    fs::rename(&file, &away).expect("a file");
    server.signal(Signal::SIGHUP);
    let line = server.wait_log(FAILED);
    assert_stale(&server, &line, "there is no such file");
    assert!(!file.exists(), "an empty database was made");
    assert_eq!(server.get("/avalon/songs?limit=100").success().len(), 20);
    fs::rename(&away, &file).expect("a file");
    server.store(3);
    assert_heals(&server, 30, Instant::now());
    server.assert_clean_shutdown();
}

#[test]
fn sqlite_file_that_is_locked_is_read_when_it_is_free() {
    let server = Setup::with(&collection(2)).start();
    server.store(3);
    let holder = rusqlite::Connection::open(server.path("avalon.sqlite")).expect("a database");
    holder.execute_batch("BEGIN EXCLUSIVE").expect("a lock");
    server.signal(Signal::SIGHUP);
    let line = server.wait_log(FAILED);
    assert_stale(&server, &line, "is locked by another program");
    holder.execute_batch("ROLLBACK").expect("no lock");
    assert_heals(&server, 30, Instant::now());
    server.assert_clean_shutdown();
}

#[test]
fn loader_that_is_killed_or_too_slow_is_followed_by_another() {
    let source = Source::new(Postgres::shared(), 2);
    let server = Setup::new(&source.0.url()).variable("AVALON_LOAD_TIMEOUT", "5").start();
    source.set(Mode::Hangs);
    server.signal(Signal::SIGHUP);
    let loader = server.wait_loader();
    nix::sys::signal::kill(loader, Signal::SIGKILL).expect("a loader");
    let line = server.wait_log(FAILED);
    assert_stale(&server, &line, "killed by SIGKILL");
    let line = server.wait_log_times(FAILED, 2);
    assert_stale(&server, &line, "LOAD_TIMEOUT");
    source.set(Mode::Works);
    // The next load may have begun before, and then hangs for as long as it may.
    eventually("fresh data", || (server.status()["source"]["stale"] == false).then_some(()));
    server.assert_clean_shutdown();
}
