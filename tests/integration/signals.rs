//! Signals: those that come while something else is under way, and those that were not sent on purpose.

mod everywhere;
mod files;
mod starts;
mod terminal;

use nix::sys::signal::{Signal, kill};
use rusqlite::Connection as Sqlite;

use crate::harness::http::Connection;
use crate::harness::invariants::wait_gone;
use crate::harness::server::{Server, Setup, collection};

/// Keeps every loader of this server waiting.
fn lock(server: &Server) -> Sqlite {
    let database = Sqlite::open(server.path("avalon.sqlite")).expect("a database");
    database.execute_batch("BEGIN EXCLUSIVE").expect("a lock");
    database
}

#[test]
fn stop_during_a_reload_is_a_stop() {
    for signal in [Signal::SIGTERM, Signal::SIGQUIT] {
        let mut server = Setup::with(&collection(2)).start();
        let _held = lock(&server);
        server.signal(Signal::SIGHUP);
        server.wait_loader();
        let children = server.wait_workers(3);
        server.signal(signal);
        assert_eq!(server.wait_exit(), 0, "{}", server.log());
        assert_eq!(server.count_log("[ERROR]"), 0, "{}", server.log());
        children.into_iter().for_each(wait_gone);
    }
}

#[test]
fn reload_during_the_first_load_comes_after_it() {
    let setup = Setup::with(&collection(2));
    let database = Sqlite::open(setup.path("avalon.sqlite")).expect("a database");
    database.execute_batch("BEGIN EXCLUSIVE").expect("a lock");
    let server = setup.spawn();
    server.wait_workers(1);
    server.signal(Signal::SIGHUP);
    server.wait_log("reload waits");
    database.execute_batch("COMMIT").expect("unlocked");
    server.wait_log("generation 2 serves on ");
    server.assert_clean_shutdown();
}

#[test]
fn impatience_ends_a_graceful_stop() {
    let mut server = Setup::with(&collection(3000)).start();
    let mut never_reads = Connection::open_narrow(&server.address).expect("a connection");
    never_reads.send(b"GET /avalon/songs HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    never_reads.first_byte().expect("the answer has begun");
    server.signal(Signal::SIGTERM);
    server.wait_log("stopping gracefully");
    server.signal(Signal::SIGINT);
    assert_eq!(server.wait_exit(), 0);
    assert!(!server.log().contains("GRACEFUL_TIMEOUT"), "{}", server.log());
}

#[test]
fn workers_asked_for_during_a_reload_are_made() {
    let server = Setup::with(&collection(2)).start();
    let held = lock(&server);
    server.signal(Signal::SIGHUP);
    server.wait_workers(3);
    server.signal(Signal::SIGTTIN);
    server.wait_log("3 workers are wanted");
    held.execute_batch("COMMIT").expect("unlocked");
    server.wait_log("generation 2 serves on ");
    server.wait_workers(3);
    server.assert_clean_shutdown();
}

#[test]
fn worker_killed_during_a_reload_is_replaced_before_its_end() {
    let server = Setup::with(&collection(2)).start();
    let before = server.wait_workers(2);
    let held = lock(&server);
    server.signal(Signal::SIGHUP);
    server.wait_workers(3);
    kill(before[0], Signal::SIGKILL).expect("a worker");
    server.wait_log("worker ended: killed by SIGKILL");
    // Two workers and the loader.
    server.wait_workers(3);
    assert_eq!(server.get("/avalon/songs").success().len(), 20);
    held.execute_batch("COMMIT").expect("unlocked");
    server.wait_log("generation 2 serves on ");
    server.wait_workers(2);
    assert_eq!(server.get("/avalon/songs").success().len(), 20);
}
