//! Reloads that come to nothing: the same workers go on, the log says why, and the next
//! good one works.

use std::fs;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::{ARTISTS, configure, fill, wait_artists, with_config};
use crate::harness::eventually;
use crate::harness::postgres::Postgres;
use crate::harness::server::{Server, Setup, collection};

const GOOD: &str = "BIND = [\"127.0.0.1:0\"]\nWORKERS = 2\n";

fn sorted(mut pids: Vec<Pid>) -> Vec<Pid> {
    pids.sort();
    pids
}

/// Sends a SIGHUP, and looks whether it comes to nothing for a reason with these words.
fn assert_reload_fails(server: &Server, artists: usize, words: &[&str]) {
    let before = sorted(server.wait_workers(2));
    let failed = server.count_log("reload failed");
    server.signal(Signal::SIGHUP);
    let line = server.wait_log_times("reload failed", failed + 1);
    assert!(line.contains("[ERROR]"), "{line}");
    for word in words {
        assert!(line.contains(word), "{word:?} in {line}");
    }
    assert_eq!(sorted(server.wait_workers(2)), before);
    assert_eq!(server.get(ARTISTS).success().len(), artists);
}

#[test]
fn broken_configuration_changes_nothing() {
    let server = with_config(2, GOOD).start();
    for (config, words) in [
        ("WORKERS = \n", &["avalon.toml", "1"][..]),
        ("WORKRES = 3\n", &["WORKRES", "WORKERS"]),
        ("WORKERS = 0\n", &["WORKERS", "256"]),
        ("WORKERS = \"many\"\n", &["WORKERS", "many"]),
    ] {
        configure(&server, config);
        assert_reload_fails(&server, 2, words);
    }
    fs::remove_file(server.path("avalon.toml")).expect("a file");
    assert_reload_fails(&server, 2, &["avalon.toml"]);
    configure(&server, GOOD);
    fill(&server, 3);
    server.reload();
    wait_artists(&server.address, 3);
}

#[test]
fn broken_sqlite_file_changes_nothing() {
    let server = Setup::with(&collection(2)).start();
    let path = server.path("avalon.sqlite");
    let good = fs::read(&path).expect("a database");
    let mut corrupt = good.clone();
    corrupt[4096..].fill(0x5a);
    let text = "this is no database, but long enough to be one".repeat(100).into_bytes();
    for broken in [good[..good.len() / 2].to_vec(), corrupt, text] {
        fs::write(&path, &broken).expect("a file");
        assert_reload_fails(&server, 2, &["avalon.sqlite"]);
    }
    fs::write(&path, &good).expect("a file");
    fill(&server, 3);
    server.reload();
    wait_artists(&server.address, 3);
}

#[test]
fn dead_postgresql_changes_nothing() {
    let cluster = Postgres::start();
    let database = cluster.create_database();
    let url = database.url();
    let parsed = avalon::config::DatabaseUrl::parse(&url).expect("a URL");
    avalon::database::replace(&parsed, &collection(2)).expect("rows");
    let server = Setup::new(&url.replacen("avalon@", "avalon:geheim@", 1)).start();
    assert_eq!(server.get(ARTISTS).success().len(), 2);
    cluster.kill();
    assert_reload_fails(&server, 2, &["127.0.0.1", &cluster.port().to_string(), &database.name]);
    assert_reload_fails(&server, 2, &["127.0.0.1"]);
    assert!(!server.log().contains("geheim"), "{}", server.log());
}

#[test]
fn corrupt_rows_are_left_out_with_a_warning_and_the_rest_is_served() {
    let server = Setup::with(&collection(2)).start();
    let rows = rusqlite::Connection::open(server.path("avalon.sqlite")).expect("a database");
    let changed = rows.execute("UPDATE tracks SET id = 'no id' WHERE name = 'Song 00003'", []);
    assert_eq!(changed.expect("an update"), 1);
    server.reload();
    eventually("the rest", || (server.get("/avalon/songs").success().len() == 19).then_some(()));
    assert!(server.wait_log("rows were left out").contains("[WARNING]"));
    server.assert_clean_shutdown();
}

#[test]
fn busy_address_changes_nothing() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let busy = holder.local_addr().expect("an address").to_string();
    let server = with_config(2, GOOD).start();
    configure(&server, &format!("BIND = [\"127.0.0.1:0\", \"{busy}\"]\nWORKERS = 2\n"));
    assert_reload_fails(&server, 2, &[&busy, "in use"]);
    drop(holder);
    server.reload();
    wait_artists(&busy, 2);
}
