//! Clients that take their time.

use std::fs;
use std::time::{Duration, Instant};

use nix::unistd::Pid;

use super::{HEARTBEAT, Watched};
use crate::harness::http::Connection;
use crate::harness::server::{Setup, collection};
use crate::harness::{DEADLINE, eventually};

/// The time-outs are one second, and are looked at every quarter of a second.
const EARLIEST: Duration = Duration::from_millis(700);

fn short_of_patience(artists: u32) -> Watched {
    let setup = Setup::with(&collection(artists)).variable("AVALON_HEADER_TIMEOUT", "1");
    Watched::new(setup.variable("AVALON_WRITE_TIMEOUT", "1").start())
}

/// Memory of a worker's own, in bytes: not the snapshot, which all share.
fn own_memory(worker: Pid) -> u64 {
    let status = fs::read_to_string(format!("/proc/{worker}/status")).expect("the worker is there");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("RssAnon");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

fn sockets(worker: Pid) -> usize {
    let fds = fs::read_dir(format!("/proc/{worker}/fd")).expect("the worker is there").flatten();
    fds.filter(|fd| fs::read_link(fd.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:")))
        .count()
}

#[test]
fn a_head_that_trickles_in_is_cut_while_others_are_served() {
    let watched = short_of_patience(1);
    for first in ["", "GET /avalon/heartbeat HTTP/1.1\r\nHost: x\r\n\r\n"] {
        let mut slow = watched.connect();
        if !first.is_empty() {
            slow.send(first.as_bytes()).expect("sent");
            assert_eq!(slow.answer("GET").expect("an answer").text(), "OKOKOK");
        }
        slow.send(b"GET /avalon/heartbeat HTTP/1.1\r\nHost: x\r\nX: ").expect("sent");
        let begin = Instant::now();
        let mut other = watched.connect();
        // One byte for each answer to another client.
        while slow.send(b"x").is_ok() {
            assert_eq!(other.get(HEARTBEAT).expect("an answer").text(), "OKOKOK");
            assert!(begin.elapsed() < DEADLINE, "it is never cut");
        }
        assert!(begin.elapsed() >= EARLIEST, "{:?}", begin.elapsed());
        assert_eq!(slow.rest().expect("the end"), b"");
    }
    watched.assert_unharmed();
}

#[test]
fn a_client_that_says_nothing_is_cut() {
    let watched = short_of_patience(1);
    let mut silent = watched.connect();
    let begin = Instant::now();
    assert_eq!(silent.rest().expect("the end"), b"");
    assert!(begin.elapsed() >= EARLIEST, "{:?}", begin.elapsed());
    watched.assert_unharmed();
}

/// Some ask for all songs several times, some for many short lists; none reads anything.
#[test]
fn clients_that_never_read_are_cut_and_cost_little_memory() {
    let watched = short_of_patience(1_000);
    let ask = |target: &str| format!("GET /avalon/{target} HTTP/1.1\r\nHost: x\r\n\r\n");
    // Both workers have answered everything once, so that their memory has settled.
    let whole = watched.server.get("/avalon/songs").body.len();
    assert!(whole > 2_000_000, "{whole}");
    eventually("workers that have no connection left", || {
        let _ = watched.server.get("/avalon/songs?order=year");
        watched.workers.iter().all(|worker| own_memory(*worker) > 0).then_some(())
    });
    let measure =
        |what: fn(Pid) -> u64| watched.workers.iter().map(|worker| what(*worker)).max().expect("workers");
    let listening = measure(|worker| sockets(worker) as u64);
    let memory = measure(own_memory);

    let begin = Instant::now();
    let requests = [ask("songs").repeat(20), ask("songs?limit=250").repeat(500)];
    let mut greedy: Vec<Connection> = Vec::new();
    for request in requests.iter().cycle().take(30) {
        let mut connection = Connection::open_narrow(&watched.server.address).expect("a connection");
        connection.send(request.as_bytes()).expect("sent");
        greedy.push(connection);
    }
    let mut most = 0;
    eventually("the end of all that do not read", || {
        most = most.max(measure(own_memory));
        watched.assert_serves();
        (measure(|worker| sockets(worker) as u64) == listening).then_some(())
    });
    assert!(begin.elapsed() >= EARLIEST, "{:?}", begin.elapsed());
    // 30 clients have asked for a thousand megabytes.
    let grown = most.saturating_sub(memory);
    assert!(grown < 24 << 20, "the workers' memory has grown by {grown} bytes");
    for connection in &mut greedy {
        assert!(connection.rest().expect("the end").len() < 20 * whole);
    }
    watched.assert_unharmed();
}

#[test]
fn half_open_connections_hold_no_client_up() {
    let watched = Watched::new(Setup::with(&collection(1)).start());
    let half_open = |at: usize| {
        let mut connection = watched.connect();
        connection.send(&b"GET /avalon/heartbeat HTTP/1.1\r\nHost: x\r\n"[..at % 40]).expect("sent");
        connection
    };
    let half_open: Vec<Connection> = (0..500).map(half_open).collect();
    for _ in 0..100 {
        watched.assert_serves();
    }
    drop(half_open);
    watched.assert_unharmed();
}
