//! Ends and restarts: a client that has got through is answered.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use xxhash_rust::xxh3::xxh3_128;

use super::{MIB, assert_answered_or_refused, download};
use crate::harness::http::Connection;
use crate::harness::invariants::{Baseline, processes_in};
use crate::harness::load::{Load, Plan};
use crate::harness::notify::Notified;
use crate::harness::server::{Server, Setup, collection, heavy_collection};
use crate::harness::{alone, eventually};

#[test]
fn s10_queue_is_served_before_the_end() {
    let _machine = alone();
    let setup = Setup::with(&heavy_collection(7, 20 * MIB)).flag("--workers=4");
    let mut server = setup.flag("--worker-connections=1").start();
    let baseline = Baseline::of(&server, 4);
    let whole = xxh3_128(&server.get("/avalon/songs").body);
    // Half a second each, four at a time.
    let clients: Vec<_> = (0..20)
        .map(|_| {
            let address = server.address.clone();
            thread::spawn(move || download(&address, "/avalon/songs", 40 * MIB))
        })
        .collect();
    let connected = || {
        let workers = server.status()["workers"].as_array().expect("workers").clone();
        workers.iter().all(|worker| worker["connections"] == 1).then_some(())
    };
    eventually("four connections", connected);
    let begin = Instant::now();
    server.signal(Signal::SIGTERM);
    for client in clients {
        let (digest, _) = client.join().expect("an answer to who waited");
        assert_eq!(digest, whole);
    }
    assert_eq!(server.wait_exit(), 0, "{}", server.log());
    println!("20 answers and the end after {:?}", begin.elapsed());
    let refused = Connection::open(&server.address).err().expect("no listener");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    baseline.assert_log(&server.log());
    assert!(processes_in(&server.path("")).is_empty());
}

/// Stops a server under load by `stop`: clients that got through are answered, the others are refused.
fn stop_under_load(stop: impl Fn(&Server)) {
    let mut server = Setup::with(&collection(3)).flag("--workers=4").flag("--keep-alive=2").start();
    let baseline = Baseline::of(&server, 4);
    let plan = Plan { keepalive: Duration::from_secs(2), ..Plan::of_artists(&server.address) };
    let load = Load::start(&plan);
    load.wait_answers(200);
    let begin = Instant::now();
    stop(&server);
    assert_eq!(server.wait_exit(), 0, "{}", server.log());
    println!("the end after {:?}", begin.elapsed());
    eventually("refusals", || Connection::open(&server.address).is_err().then_some(()));
    assert_answered_or_refused(&load.stop());
    baseline.assert_log(&server.log());
    assert!(processes_in(&server.path("")).is_empty());
}

#[test]
fn s11_stop_under_load_answers_or_refuses() {
    stop_under_load(|server| server.signal(Signal::SIGTERM));
}

/// Workers whose turn has not come hold copies of the listeners, too.
#[test]
fn s11_stop_during_a_reload_is_the_same() {
    stop_under_load(|server| {
        server.signal(Signal::SIGHUP);
        // Their turn comes a fifth of a second after the last of them is ready.
        server.wait_worker_of(2);
        server.signal(Signal::SIGTERM);
    });
}

#[test]
fn s30_stop_of_the_whole_group_is_the_same() {
    stop_under_load(|server| {
        let workers = server.wait_workers(4);
        workers.iter().for_each(|worker| kill(*worker, Signal::SIGTERM).expect("a worker"));
        server.signal(Signal::SIGTERM);
    });
}

/// A signal to the group may reach workers first: they go on for a second, so that no connection is
/// left in a queue that their master is about to close.
#[test]
fn s30_workers_that_are_told_before_their_master_go_on_accepting() {
    const PATIENCE: Duration = Duration::from_secs(1);
    let went_on = || {
        let mut server = Setup::with(&collection(2)).flag("--workers=1").start();
        server.signal(Signal::SIGSTOP);
        let told = Instant::now();
        kill(server.workers()[0], Signal::SIGTERM).expect("a worker");
        let get = || Connection::open_within(&server.address, PATIENCE)?.get("/avalon/artists");
        let mut answers_that_close = 0;
        while answers_that_close < 20 {
            match get() {
                Ok(answer) => answers_that_close += usize::from(answer.closes()),
                // Processors were so short that it was right to end.
                Err(_) if told.elapsed() > 2 * PATIENCE => break,
                Err(error) => panic!("{error} after {answers_that_close} answers"),
            }
        }
        server.signal(Signal::SIGTERM);
        server.signal(Signal::SIGCONT);
        assert_eq!(server.wait_exit(), 0, "{}", server.log());
        (answers_that_close == 20).then_some(())
    };
    eventually("a server that is told and goes on", went_on);
}

#[test]
fn s21_workers_of_a_killed_master_answer_and_go() {
    let setup = Setup::with(&collection(3)).flag("--workers=4").flag("--keep-alive=2");
    let (socket, pidfile) = (setup.path("socket"), setup.path("pid"));
    let address = format!("unix:{}", socket.display());
    let flags = [format!("--bind={address}"), format!("--pid={}", pidfile.display())];
    let mut server = flags.iter().fold(setup.without_flags(), |setup, flag| setup.flag(flag)).start();
    let baseline = Baseline::of(&server, 3).expecting("the master is gone, draining");
    let load = Load::start(&Plan::of_artists(&address));
    load.wait_answers(200);
    let begin = Instant::now();
    server.signal(Signal::SIGKILL);
    server.wait_exit();
    eventually("the end of all workers", || processes_in(&server.path("")).is_empty().then_some(()));
    println!("workers gone after {:?}", begin.elapsed());
    assert_answered_or_refused(&load.stop());
    baseline.assert_log(&server.log());
    let next = Setup::new(server.database_url()).without_flags();
    let next = flags.iter().fold(next, |setup, flag| setup.flag(flag)).start();
    println!("another master serves after {:?}", begin.elapsed());
    assert_eq!(std::fs::read_to_string(&pidfile).expect("a pid file").trim(), next.pid().to_string());
    next.assert_clean_shutdown();
}

/// Listeners that outlive the server, as systemd has them; in the last start its snapshot too.
#[test]
fn s12_full_stops_and_starts_lose_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let rows = Setup::with(&collection(3));
    let start = |more: Option<OwnedFd>| {
        let begin = Instant::now();
        let socket = OwnedFd::from(listener.try_clone().expect("a copy"));
        let mut passed = vec![("web", socket)];
        passed.extend(more.map(|snapshot| ("snapshot", snapshot)));
        let setup = Setup::new(rows.database_url()).flag("--workers=4").flag("--keep-alive=1");
        let notified = Notified::bind(&setup.path("notify"));
        let path = setup.path("notify").display().to_string();
        let server = setup.variable("NOTIFY_SOCKET", &path).passing(passed).start();
        (server, notified, begin.elapsed())
    };
    let (mut server, mut notified, _) = start(None);
    let plan = Plan { keepalive: Duration::from_secs(1), ..Plan::of_artists(&address) };
    let load = Load::start(&plan);
    let mut longest = Duration::ZERO;
    for at in 1..=4 {
        load.wait_answers(100);
        let stored = notified.until_stored();
        let begin = Instant::now();
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait_exit(), 0, "{}", server.log());
        let stopped = begin.elapsed();
        let (next, heard, took) = start((at > 3).then_some(stored));
        println!("stop {at}: {stopped:?}; start, snapshot kept: {}: {took:?}", at > 3);
        longest = longest.max(begin.elapsed());
        (server, notified) = (next, heard);
    }
    load.wait_answers(100);
    let report = load.stop();
    report.assert_nothing_lost(400);
    // No client has waited longer than for the next server, but for the machine's noise.
    let slowest = report.took(1.0);
    assert!(slowest < longest + Duration::from_secs(3), "{slowest:?} of {longest:?}");
    server.assert_clean_shutdown();
}
