//! The exact descriptors of each process of a server, for every way of starting it and after all
//! events.

use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rusqlite::Connection as Sqlite;

use crate::harness::http::Connection;
use crate::harness::server::{Server, Setup, collection};
use crate::harness::{before_deadline, eventually};

/// Two that belong to the process that starts the server.
const STRAY: &str = "exec 7</etc/passwd 9>/dev/zero; exec \"$@\"";

/// The descriptors of a worker: standard input, output and error; its listener, the snapshot, the
/// pipe to its master, and its end of the socket on which the master hands over logs and names; and
/// its own: for its runtime, with a pair of sockets for signals of which it has one side twice, and
/// two for sending metrics.
const WORKER: [&str; 15] = [
    "/dev/null",
    "/dev/null",
    "/memfd:avalon-snapshot (deleted)",
    "anon_inode:[eventfd]",
    "anon_inode:[eventpoll]",
    "anon_inode:[eventpoll]",
    "pipe",
    "socket",
    "socket",
    "socket",
    "socket",
    "socket",
    "socket",
    "socket",
    "stderr",
];

/// The descriptors of the loader of a reload: the snapshot that it fills, for writing and for reading, the served one,
/// with which it merges, its database, and the pipe for its report. If the database is locked it has that twice: once to find
/// out whether the file system has locks at all.
const LOADER: [&str; 9] = [
    "/dev/null",
    "/dev/null",
    "/memfd:avalon-snapshot (deleted)",
    "/memfd:avalon-snapshot (deleted)",
    "/memfd:avalon-snapshot (deleted)",
    "database",
    "database",
    "pipe",
    "stderr",
];

/// The descriptors of a reporter, with the connection to Sentry.
const REPORTER: [&str; 4] = ["/dev/null", "/dev/null", "socket", "stderr"];

/// The kinds of a process's descriptors, in order.
fn kinds(server: &Server, pid: Pid) -> Vec<String> {
    let stderr = server.path("stderr");
    let database = server.path("avalon.sqlite");
    let kind = |entry: std::io::Result<fs::DirEntry>| {
        let path = fs::read_link(entry.ok()?.path()).ok()?;
        let name = path.to_string_lossy().into_owned();
        Some(match name.split_once(":[") {
            _ if path == stderr => "stderr".to_owned(),
            _ if path == database => "database".to_owned(),
            Some((kind @ ("pipe" | "socket"), _)) => kind.to_owned(),
            _ => name,
        })
    };
    // A process that has ended holds none.
    let listed = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
    let mut kinds: Vec<String> = listed.filter_map(kind).collect();
    kinds.sort();
    kinds
}

/// Waits until a process has exactly these: a worker opens some only after its fork.
fn assert_has(server: &Server, pid: Pid, expected: &[&str]) {
    let mut last = Vec::new();
    let found = before_deadline(|| {
        let now = kinds(server, pid);
        let ended = now.is_empty();
        if !ended {
            last = now;
        }
        (ended || last == expected).then_some(())
    });
    assert!(found.is_some() && last == expected, "{pid}: {last:#?} instead of {expected:#?}");
}

fn assert_workers(server: &Server, master: Pid) {
    let children = fs::read_to_string(format!("/proc/{master}/task/{master}/children")).expect("a master");
    let is_worker = |pid: &Pid| {
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"avalon: worker"))
    };
    let children = children.split_whitespace().map(|pid| Pid::from_raw(pid.parse().expect("a pid")));
    let workers: Vec<Pid> = children.filter(is_worker).collect();
    assert_eq!(workers.len(), 2);
    workers.into_iter().for_each(|worker| assert_has(server, worker, &WORKER));
}

#[test]
fn children_hold_the_descriptors_they_need_and_no_others() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let dsn = format!("http://key@{}/1", silent.local_addr().expect("an address"));
    let setup = Setup::with(&collection(2)).variable("AVALON_SENTRY_DSN", &dsn).flag("--pid=pid");
    let server = setup.wrapped(&["sh", "-c", STRAY, "sh"]).start();
    assert_workers(&server, server.pid());
    let database = Sqlite::open(server.path("avalon.sqlite")).expect("a database");
    database.execute_batch("BEGIN EXCLUSIVE").expect("a lock");
    server.signal(Signal::SIGHUP);
    let started_with = |title: &'static [u8]| {
        let is =
            |pid: &Pid| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(title));
        eventually("a child", || server.workers().into_iter().find(is))
    };
    assert_has(&server, server.wait_loader(), &LOADER);
    database.execute_batch("COMMIT").expect("unlocked");
    server.wait_log("generation 2 serves on ");
    server.wait_workers(2);
    assert_workers(&server, server.pid());
    kill(server.workers()[0], Signal::SIGKILL).expect("a worker");
    assert_has(&server, started_with(b"avalon: reporter"), &REPORTER);
    server.signal(Signal::SIGUSR2);
    let line = server.wait_log("the new master serves");
    let new =
        Pid::from_raw(line.rsplit("pid=").next().and_then(|pid| pid.trim().parse().ok()).expect("a pid"));
    assert_workers(&server, new);
    kill(new, Signal::SIGTERM).expect("the new master");
    server.wait_log("the new master has gone again");
}

/// The last process that has a snapshot frees it, which takes time.
#[test]
fn master_leaves_a_former_snapshot_to_its_workers() {
    let server = Setup::with(&collection(2000)).start();
    let snapshots = |pid| kinds(&server, pid).iter().filter(|kind| kind.contains("avalon-snapshot")).count();
    let mut slow = Connection::open(&server.address).expect("a connection");
    slow.send(b"GET /avalon/songs HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    slow.first_byte().expect("the answer has begun");
    let former = server.wait_workers(2);
    Sqlite::open(server.path("avalon.sqlite"))
        .and_then(|database| database.execute("UPDATE tracks SET track = track + 1", []))
        .expect("a change");
    server.reload();
    let drains = eventually("one worker drains", || {
        let workers = server.workers();
        let mut drain = former.iter().filter(|worker| workers.contains(worker));
        drain.next().copied().filter(|_| drain.next().is_none())
    });
    assert_eq!([server.pid(), drains].map(snapshots), [1, 1]);
    slow.answer("GET").expect("the whole answer");
    server.wait_workers(2);
}

#[test]
fn workers_of_an_activated_server_hold_one_listener() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let server = Setup::with(&collection(2)).passing(vec![("web", OwnedFd::from(listener))]).start();
    assert_workers(&server, server.pid());
    server.reload();
    server.wait_workers(2);
    assert_workers(&server, server.pid());
}
