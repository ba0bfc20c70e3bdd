//! Generations that follow each other, and their remains. The acceptance scenarios cover the view
//! of clients.

use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;

use crate::harness::eventually;
use crate::harness::http::Connection;
use crate::harness::invariants::Baseline;
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

#[test]
fn signals_that_come_together_make_two_generations_at_most() {
    let server = Setup::with(&collection(2)).start();
    let baseline = Baseline::of(&server, 2);
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
    baseline.assert_holds(&server);
    assert_eq!(server.count_log("making generation"), 3);
    server.assert_clean_shutdown();
}

#[test]
fn moved_log_is_opened_again() {
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
