//! The messages to systemd and the descriptors from it, without systemd.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, kill};
use rusqlite::Connection;

use crate::control::{ctl_ok, status};
use crate::harness::eventually;
use crate::harness::http;
use crate::harness::notify::{Notified, Said, fill};
use crate::harness::server::{Server, Setup, collection};

/// A server that believes in a systemd, with a watchdog of a second.
fn notifying(setup: Setup) -> (Setup, Notified) {
    let path = setup.path("notify");
    let notified = Notified::bind(&path);
    let setup =
        setup.variable("NOTIFY_SOCKET", path.to_str().expect("UTF-8")).variable("WATCHDOG_USEC", "1000000");
    (setup, notified)
}

fn count(heard: &[Said], name: &str) -> usize {
    heard.iter().filter(|said| said.get(name).is_some()).count()
}

fn last(heard: &[Said]) -> &Said {
    heard.last().expect("a message")
}

#[test]
fn ready_is_said_when_all_workers_accept_and_then_once() {
    let (setup, notified) = notifying(Setup::with(&collection(2)));
    let server = setup.start();
    let heard = notified.until_ready();
    assert_eq!(heard.iter().find_map(|said| said.get("STATUS")), Some("loading the collection"));
    assert_eq!(last(&heard).status(), "generation 1: 20 songs, 2 workers");
    let states: Vec<String> = status(&server)["workers"]
        .as_array()
        .expect("workers")
        .iter()
        .map(|worker| worker["state"].to_string())
        .collect();
    assert_eq!(states, ["\"serving\""; 2]);
    notified.until_stored();
    server.signal(Signal::SIGTERM);
    let heard = notified.until("STOPPING=1", |said| said.get("STOPPING") == Some("1"));
    assert_eq!(count(&heard, "READY"), 0);
    server.wait_log("stopped");
    while let Some(said) = notified.next_within(Duration::from_millis(100)) {
        assert_eq!(said.get("STOPPING").or(said.get("READY")), None, "{said:?}");
    }
}

#[test]
fn slow_load_asks_for_time_and_says_nothing_wrong() {
    let (setup, notified) = notifying(Setup::with(&collection(1)));
    let database = Connection::open(setup.path("avalon.sqlite")).expect("a database");
    database.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE").expect("a lock");
    let server = setup.spawn();
    for _ in 0..2 {
        let asks = |said: &Said| said.get("EXTEND_TIMEOUT_USEC").is_some();
        let heard = notified.until("EXTEND_TIMEOUT_USEC", asks);
        assert_eq!(count(&heard, "READY"), 0);
    }
    drop(database);
    let heard = notified.until_ready();
    assert!(count(&heard, "WATCHDOG") < 20, "{heard:?}");
    server.assert_clean_shutdown();
}

#[test]
fn start_that_fails_is_never_ready() {
    let (setup, notified) = notifying(Setup::new("sqlite:////nowhere/at/all"));
    let mut server = setup.spawn();
    assert_eq!(server.wait_exit(), 4);
    let heard: Vec<Said> = std::iter::from_fn(|| notified.next_within(Duration::from_millis(1))).collect();
    assert_eq!(count(&heard, "READY"), 0, "{heard:?}");
    let status = heard.iter().rev().find_map(|said| said.get("STATUS")).expect("a status");
    assert!(status.starts_with("the server cannot start: ") && status.contains("/nowhere"), "{status}");
}

#[test]
fn reload_is_told_from_begin_to_end_and_so_is_its_failure() {
    let (setup, notified) = notifying(Setup::with(&collection(1)));
    let server = setup.start();
    notified.until_ready();
    server.signal(Signal::SIGHUP);
    let heard = notified.until_ready();
    let begins = heard.iter().find(|said| said.get("RELOADING") == Some("1")).expect("RELOADING=1");
    // In the same message, or systemd 253 and newer wait for ever.
    assert!(begins.get("MONOTONIC_USEC").is_some_and(|usec| usec.parse::<u64>().is_ok()), "{begins:?}");
    assert_eq!(last(&heard).status(), "generation 2: 10 songs, 2 workers");
    notified.until_stored();

    fs::write(server.path("avalon.sqlite"), "no database").expect("a file");
    server.signal(Signal::SIGHUP);
    let heard = notified.until_ready();
    assert_eq!(count(&heard, "RELOADING"), 1);
    let line = last(&heard).status();
    assert!(line.starts_with("generation 2: 10 songs, 2 workers, stale data (last read "), "{line}");
    assert!(line.contains(" UTC); reload failed: "), "{line}");
    assert!(line.contains("avalon.sqlite"), "{line}");
}

#[test]
fn systemd_that_does_not_listen_holds_nothing_up() {
    let (setup, notified) = notifying(Setup::with(&collection(2)));
    let mut server = setup.start();
    notified.until_stored();
    fill(&server.path("notify"));
    for artists in 3..6 {
        server.store(artists);
        server.reload();
    }
    let files = fs::read_dir(format!("/proc/{}/fd", server.pid())).expect("a master");
    let targets = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
    let snapshots = targets.filter(|target| target.to_string_lossy().contains("avalon-snapshot")).count();
    assert_eq!(snapshots, 2, "the served snapshot, and the newest one for systemd");
    let victim = server.wait_workers(2)[0];
    kill(victim, Signal::SIGKILL).expect("a worker");
    eventually("another worker", || {
        let workers = server.workers();
        (workers.len() == 2 && !workers.contains(&victim)).then_some(())
    });
    assert_eq!(server.get("/avalon/songs").success().len(), 50);
    // The messages that had no room come in their order, once there is room.
    let heard = notified.until_ready();
    assert_eq!(
        heard.iter().filter(|said| said.get("X").is_none() && said.get("RELOADING").is_some()).count(),
        1
    );
    notified.until("WATCHDOG=1", |said| said.get("WATCHDOG").is_some());
    fill(&server.path("notify"));
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_exit(), 0, "{}", server.log());
}

#[test]
fn signs_of_life_come_in_time_and_end_with_those_of_all_workers() {
    let (setup, notified) = notifying(Setup::with(&collection(1)));
    let server = setup.start();
    notified.until_ready();
    let sign = |said: &Said| said.get("WATCHDOG") == Some("1");
    for _ in 0..4 {
        let begin = Instant::now();
        notified.until("WATCHDOG=1", sign);
        // Half of the allowed time, and a margin for a busy machine.
        assert!(begin.elapsed() < Duration::from_millis(950), "{:?}", begin.elapsed());
    }
    let workers = server.wait_workers(2);
    kill(workers[0], Signal::SIGSTOP).expect("a worker");
    for _ in 0..5 {
        notified.until("WATCHDOG=1 with one worker left", sign);
    }
    kill(workers[1], Signal::SIGSTOP).expect("a worker");
    let stopped = Instant::now();
    let mut last_sign = stopped;
    while let Some(said) = notified.next_within(Duration::from_secs(2)) {
        if sign(&said) {
            last_sign = Instant::now();
        }
        assert!(stopped.elapsed() < Duration::from_secs(10), "signs of life without workers");
    }
    assert!(last_sign - stopped < Duration::from_secs(2), "{:?}", last_sign - stopped);
    workers.iter().for_each(|worker| kill(*worker, Signal::SIGCONT).expect("a worker"));
    notified.until("WATCHDOG=1 again", sign);
}

#[test]
fn passed_sockets_take_the_place_of_bind_and_are_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("passed");
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = tcp.local_addr().expect("an address").to_string();
    let unix = UnixListener::bind(&path).expect("a socket");
    let ours = unix.try_clone().expect("a copy");
    let server = Setup::with(&collection(1))
        .passing(vec![("web", tcp.into()), ("avalon.socket", unix.into())])
        .start();
    let unix_address = format!("unix:{}", path.display());
    assert_eq!(server.addresses, [format!("http://{address}"), unix_address.clone()]);
    for address in [&address, &unix_address] {
        assert_eq!(http::get(address, "/avalon/songs").success().len(), 10);
    }
    server.reload();
    assert_eq!(http::get(&unix_address, "/avalon/heartbeat").text(), "OKOKOK");
    server.assert_clean_shutdown();
    assert!(path.exists());
    // Who comes now waits for the next server: the queue is still there.
    let mut early = UnixStream::connect(&path).expect("a queue");
    early.write_all(b"GET /avalon/heartbeat HTTP/1.0\r\n\r\n").expect("written");
    let next = Setup::with(&collection(1)).passing(vec![("avalon.socket", ours.into())]).start();
    let mut answer = String::new();
    early.read_to_string(&mut answer).expect("an answer");
    assert!(answer.ends_with("OKOKOK"), "{answer}");
    next.assert_clean_shutdown();
}

#[test]
fn wrong_descriptors_are_refused_with_the_reason() {
    let file = || OwnedFd::from(fs::File::open("/dev/null").expect("a file"));
    let check = |setup: Setup, expected: &str| {
        let mut server = setup.spawn();
        assert_eq!(server.wait_exit(), 1, "{}", server.log());
        let log = server.log();
        assert!(log.contains("avalon-master: LISTEN_FD") && log.contains(expected), "{expected}: {log}");
    };
    let setup = || Setup::with(&collection(1));
    check(setup().passing(vec![("web", file())]), "\"web\" is no listening socket");
    let client = UnixStream::pair().expect("sockets").0;
    check(setup().passing(vec![("web", client.into())]), "\"web\" is no listening socket");
    check(setup().passing(vec![("web", file())]).variable("LISTEN_FDS", "many"), "expected a number");
    check(setup().passing(vec![("web", file())]).variable("LISTEN_FDNAMES", "a:b:c"), "3 names for 1");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let more = setup().passing(vec![("web", listener.into())]).variable("LISTEN_FDS", "9");
    check(more.variable("LISTEN_FDNAMES", "web:b:c:d:e:f:g:h:i"), "is no listening socket");
    let none = setup().variable("LISTEN_FDS", "4").variable("LISTEN_FDNAMES", "a:b:c:d");
    let none = none.wrapped(&["/bin/sh", "-c", "export LISTEN_PID=$$; exec \"$0\" \"$@\" 3<&- 4<&- 5<&-"]);
    check(none, "descriptor 3");
}

#[test]
fn descriptors_for_another_process_are_not_taken() {
    let server = Setup::with(&collection(1))
        .variable("LISTEN_FDS", "2")
        .variable("LISTEN_PID", "1")
        .variable("LISTEN_FDNAMES", "a:b")
        .start();
    assert_eq!(server.get("/avalon/heartbeat").text(), "OKOKOK");
    server.assert_clean_shutdown();
}

/// A snapshot of two artists, as a server gave it to systemd.
fn stored_snapshot() -> OwnedFd {
    let (setup, notified) = notifying(Setup::with(&collection(2)));
    let server = setup.start();
    let stored = notified.until_stored();
    server.assert_clean_shutdown();
    stored
}

#[test]
fn stored_snapshot_is_served_at_once_when_the_database_is_gone() {
    let stored = stored_snapshot();
    let (setup, notified) = notifying(Setup::new("sqlite:////nowhere/at/all.sqlite"));
    let server = setup.passing(vec![("snapshot", stored)]).start();
    let heard = notified.until_ready();
    assert_eq!(last(&heard).status(), "generation 1: 20 songs, 2 workers, stale data");
    let failed = notified.until("a failed reload", |said| said.status().contains("reload failed: "));
    assert!(last(&failed).status().contains("stale data"), "{failed:?}");
    assert_eq!(server.get("/avalon/artists").success().len(), 2);
    assert!(status(&server)["last_reload"]["error"].is_string());
}

#[test]
fn stored_snapshot_is_followed_by_the_rows_of_the_database() {
    let (setup, notified) = notifying(Setup::with(&collection(5)));
    let server = setup.passing(vec![("snapshot", stored_snapshot())]).start();
    assert!(last(&notified.until_ready()).status().ends_with("2 workers, stale data"));
    let heard = notified.until("fresh data", |said| {
        said.get("READY").is_some() && said.status() == "generation 2: 50 songs, 2 workers"
    });
    assert_eq!(count(&heard, "RELOADING"), 1);
    // Workers of the generation before may still take waiting connections.
    eventually("new rows", || (server.get("/avalon/artists").success().len() == 5).then_some(()));
    notified.until_stored();
    server.assert_clean_shutdown();
}

#[test]
fn stored_snapshot_of_no_use_is_refused_and_the_database_read() {
    let memfd = |bytes: &[u8]| {
        let fd = memfd_create(c"snapshot", MFdFlags::MFD_ALLOW_SEALING).expect("a memfd");
        let mut file = fs::File::from(fd);
        file.write_all(bytes).expect("written");
        file
    };
    let sealed = |file: fs::File| -> OwnedFd {
        let seals = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).expect("seals");
        file.into()
    };
    let stored = stored_snapshot();
    let good = fs::read(format!("/proc/self/fd/{}", stored.as_raw_fd())).expect("a snapshot");
    let mut torn = good.clone();
    let middle = torn.len() / 2;
    torn[middle] ^= 1;
    let cases: [(OwnedFd, &str); 5] = [
        (sealed(memfd(b"")), "header"),
        (sealed(memfd(b"no snapshot at all")), "snapshot"),
        (sealed(memfd(&torn)), "snapshot"),
        (memfd(&good).into(), "not sealed"),
        (UnixStream::pair().expect("sockets").0.into(), "snapshot"),
    ];
    for (fd, reason) in cases {
        let server = Setup::with(&collection(3)).passing(vec![("snapshot", fd)]).start();
        let line = server.wait_log("the snapshot that was kept is of no use");
        assert!(line.contains("[WARN") && line.contains(reason), "{reason}: {line}");
        assert_eq!(server.get("/avalon/artists").success().len(), 3);
        server.assert_clean_shutdown();
    }
}

/// `avalonctl upgrade`: only one master speaks at a time, and none says that all stops.
#[test]
fn upgrade_hands_the_line_over() {
    let (setup, notified) = notifying(Setup::with(&collection(2)));
    // So long that a sign of life comes only at a change: systemd's timeout runs meanwhile, and its
    // rest may be as short as can be.
    let setup = setup.variable("WATCHDOG_USEC", "3600000000");
    let server = setup.start();
    notified.until_stored();
    ctl_ok(&server, &["upgrade"]);
    let heard = notified.until("MAINPID=", |said| said.get("MAINPID").is_some());
    assert_eq!(count(&heard, "READY") + count(&heard, "FDSTORE") + count(&heard, "STOPPING"), 0, "{heard:?}");
    assert!(last(&heard).get("WATCHDOG").is_some(), "{heard:?}");
    let new = last(&heard).get("MAINPID").expect("a pid").to_owned();
    notified.until("WATCHDOG=1 of the new master", |said| said.get("WATCHDOG").is_some());
    notified.until_stored();
    let heard = notified.until_ready();
    assert_eq!(last(&heard).status(), "generation 1: 20 songs, 2 workers");
    let socket = server.path("control");
    let mut old = server;
    assert_eq!(old.wait_exit(), 0);
    let pid = nix::unistd::Pid::from_raw(new.parse().expect("a pid"));
    assert_eq!(http::get(&old.address, "/avalon/artists").success().len(), 2);
    kill(pid, Signal::SIGTERM).expect("the new master");
    notified.until("STOPPING=1", |said| said.get("STOPPING").is_some());
    eventually("the end of the new master", || (!socket.exists()).then_some(()));
}

/// A new master that was only tried leaves no trace.
#[test]
fn upgrade_that_is_taken_back_is_not_told() {
    let (setup, notified) = notifying(Setup::with(&collection(2)));
    let server: Server = setup.start();
    notified.until_stored();
    server.signal(Signal::SIGUSR2);
    server.wait_log("the new master serves");
    let successor = *server.workers().iter().find(|pid| is_master(**pid)).expect("a new master");
    server.signal(Signal::SIGWINCH);
    server.wait_log("all workers drain");
    for _ in 0..3 {
        let heard = notified.until("WATCHDOG=1 of the old master", |said| said.get("WATCHDOG").is_some());
        assert_eq!(count(&heard, "MAINPID") + count(&heard, "STOPPING") + count(&heard, "READY"), 0);
    }
    server.signal(Signal::SIGHUP);
    assert_eq!(last(&notified.until_ready()).status(), "generation 2: 20 songs, 2 workers");
    kill(successor, Signal::SIGTERM).expect("the new master");
    server.wait_log("the new master has gone again");
    assert_eq!(server.get("/avalon/artists").success().len(), 2);
    server.signal(Signal::SIGTERM);
    let heard = notified.until("STOPPING=1", |said| said.get("STOPPING").is_some());
    assert_eq!(count(&heard, "MAINPID"), 0);
}

pub(crate) fn is_master(pid: nix::unistd::Pid) -> bool {
    let title = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    title.starts_with("avalon: master") || title.contains("avalon-master")
}
