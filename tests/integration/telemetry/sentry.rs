//! Errors of a running server at Sentry, from whichever process they come.

use std::fs;
use std::net::TcpListener;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::ingest::{Ingest, KEY};
use crate::harness::eventually;
use crate::harness::server::{Server, Setup, collection};

fn setup(ingest: &Ingest) -> Setup {
    let setup = Setup::with(&collection(1)).variable("AVALON_SENTRY_DSN", &ingest.dsn);
    setup.variable("AVALON_SENTRY_ENVIRONMENT", "testing")
}

/// Checks the fields of every event.
fn assert_complete(event: &Value, process: &str) {
    assert_eq!(event["release"], concat!("avalon-music-server@", env!("CARGO_PKG_VERSION")));
    assert_eq!(event["environment"], "testing");
    assert!(event["server_name"].as_str().is_some_and(|name| !name.is_empty()), "{event:#}");
    assert_eq!(event["tags"]["process"], process);
}

fn breadcrumbs(event: &Value) -> Vec<&str> {
    let crumbs = event["breadcrumbs"]["values"].as_array().expect("breadcrumbs");
    crumbs.iter().filter_map(|crumb| crumb["message"].as_str()).collect()
}

#[test]
fn failed_reload_is_reported() {
    let ingest = Ingest::start();
    let server = setup(&ingest).start();
    // A cause that does not pass by itself; others are warnings.
    let database = rusqlite::Connection::open(server.path("avalon.sqlite")).expect("a database");
    database.execute_batch("ALTER TABLE tracks RENAME COLUMN length TO seconds").expect("another schema");
    server.signal(Signal::SIGHUP);
    let event = ingest.wait("reload failed");
    assert!(event["message"].as_str().is_some_and(|message| message.contains("no such column")), "{event:#}");
    assert_complete(&event, "master");
    assert!(breadcrumbs(&event).contains(&"making generation 2"), "{event:#}");
    server.wait_log("reload failed");
    assert!(!server.log().contains(KEY));
    // One failure is one event.
    server.signal(Signal::SIGTERM);
    let mut server = server;
    assert_eq!((server.wait_exit(), ingest.count()), (0, 0));
}

#[test]
fn killed_worker_is_reported_by_a_master_that_stays_alone() {
    let ingest = Ingest::start();
    let server = setup(&ingest).start();
    let victim = server.wait_workers(2)[0];
    kill(victim, Signal::SIGKILL).expect("a worker");
    let event = ingest.wait("worker ended: killed by SIGKILL");
    assert_complete(&event, "master");
    assert_eq!(event["tags"]["generation"], "1");
    assert!(["0", "1"].map(Value::from).contains(&event["tags"]["worker"]), "{event:#}");
    assert_eq!(event["extra"]["pid"], victim.to_string());
    assert!(breadcrumbs(&event).iter().any(|line| line.starts_with("generation 1 serves on ")));
    let threads = fs::read_dir(format!("/proc/{}/task", server.pid())).expect("a master").count();
    assert_eq!(threads, 1);
    // The reporter goes by itself.
    server.wait_workers(2);
}

#[test]
fn failed_start_is_reported() {
    let ingest = Ingest::start();
    let setup = setup(&ingest);
    fs::write(setup.path("avalon.sqlite"), "this is no database, but long enough to be one").expect("a file");
    let mut server = setup.spawn();
    assert_eq!(server.wait_exit(), 4);
    let event = ingest.wait("the server cannot start");
    assert_complete(&event, "master");
    assert_eq!(event["level"], "fatal");
}

#[test]
fn start_that_fails_before_there_is_a_master_is_reported() {
    let ingest = Ingest::start();
    let holder = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = holder.local_addr().expect("an address").to_string();
    let setup = setup(&ingest).without_flags().flag(&format!("--bind={address}"));
    let mut server = setup.spawn();
    assert_eq!(server.wait_exit(), 1);
    let event = ingest.wait("the server cannot start");
    assert!(event["message"].as_str().is_some_and(|message| message.contains(&address)), "{event:#}");
}

#[test]
fn more_errors_than_reporters_are_all_told() {
    let ingest = Ingest::start();
    let server = setup(&ingest).start();
    let mut killed: Vec<Pid> = Vec::new();
    for _ in 0..2 {
        let victims = eventually("two other workers", || {
            // Not just any children: reporters are some too.
            let serving = serving(&server);
            (serving.len() == 2 && serving.iter().all(|pid| !killed.contains(pid))).then_some(serving)
        });
        victims.iter().for_each(|victim| kill(*victim, Signal::SIGKILL).expect("a worker"));
        killed.extend(victims);
    }
    let mut told: Vec<String> = Vec::new();
    for _ in &killed {
        let event = ingest.wait("worker ended: killed by SIGKILL");
        told.extend(event["extra"]["pid"].as_str().map(str::to_owned));
    }
    told.sort();
    let mut killed: Vec<String> = killed.iter().map(Pid::to_string).collect();
    killed.sort();
    assert_eq!(told, killed);
}

fn serving(server: &Server) -> Vec<Pid> {
    let status = server.status();
    let workers = status["workers"].as_array().expect("workers").iter();
    let serving = workers.filter(|worker| worker["state"] == "serving");
    serving.map(|worker| Pid::from_raw(worker["pid"].as_i64().expect("a pid") as i32)).collect()
}

/// The kernel accepts connections, and no program answers them.
#[test]
fn sentry_that_hangs_holds_up_neither_requests_nor_reloads() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let dsn = format!("http://{KEY}@{}/1", silent.local_addr().expect("an address"));
    let setup = Setup::with(&collection(1)).variable("AVALON_SENTRY_DSN", &dsn);
    let mut server = setup.start();
    let mut slowest = std::time::Duration::ZERO;
    for round in 0..6 {
        let victim = server.workers().into_iter().next().expect("a worker");
        // A reporter, perhaps, which is as good.
        let _ = kill(victim, Signal::SIGKILL);
        server.reload();
        let begin = Instant::now();
        assert_eq!(server.get("/avalon/heartbeat").text(), "OKOKOK", "round {round}");
        slowest = slowest.max(begin.elapsed());
    }
    println!("slowest answer: {slowest:?}");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_exit(), 0);
    assert!(!server.log().contains(KEY));
}

#[test]
fn nothing_is_sent_without_a_dsn() {
    let server = Setup::with(&collection(1)).start();
    let victim = server.wait_workers(2)[0];
    kill(victim, Signal::SIGKILL).expect("a worker");
    server.wait_log("worker ended: killed by SIGKILL");
    for pid in server.wait_workers(2) {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("a worker").flatten();
        let names = threads.map(|thread| fs::read_to_string(thread.path().join("comm")).unwrap_or_default());
        assert!(names.into_iter().all(|name| !name.contains("sentry")));
    }
}
