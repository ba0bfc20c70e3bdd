//! Reloads under load: the generations that each client sees, one after the other.

use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use xxhash_rust::xxh3::xxh3_128;

use super::{MIB, download};
use crate::harness::alone;
use crate::harness::http::Connection;
use crate::harness::invariants::Baseline;
use crate::harness::load::{ARTISTS, Load, Plan};
use crate::harness::server::{Server, Setup, collection, heavy_collection};

/// Twenty reloads half a second apart, each with one artist more.
fn twenty_reloads(setup: Setup) {
    let server = setup.flag("--workers=4").start();
    let baseline = Baseline::of(&server, 4);
    let load = Load::start(&Plan::of_artists(&server.address));
    load.wait_answers(100);
    let begin = Instant::now();
    for at in 1..=20 {
        server.store(1 + at);
        server.signal(Signal::SIGHUP);
        // The pace of the scenario, not a wait for anything.
        thread::sleep((begin + at * Duration::from_millis(500)).saturating_duration_since(Instant::now()));
    }
    // Signals that came together may have become one; the rows that the last one found are served.
    baseline.wait_quiet(&server);
    load.announce(21);
    load.wait_answers(100);
    let report = load.stop();
    report.assert_nothing_lost(1_000);
    assert!(report.announced > 0, "{report:?}");
    assert_eq!(report.versions.last(), Some(&21), "{report:?}");
    let generation = server.status()["generation"].as_u64().expect("a number");
    assert!((2..=21).contains(&generation), "{generation}");
    baseline.assert_holds(&server);
    server.assert_clean_shutdown();
}

#[test]
fn s01_twenty_reloads_lose_nothing() {
    twenty_reloads(Setup::with(&collection(1)));
}

#[test]
fn s02_twenty_reloads_lose_nothing_with_reuse_port() {
    twenty_reloads(Setup::with(&collection(1)).flag("--reuse-port"));
}

/// Three hundred clients that mostly wait: every close is announced, or comes when it is due.
#[test]
fn s03_idle_clients_are_not_surprised_by_reloads() {
    let server = Setup::with(&collection(1)).flag("--keep-alive=4").start();
    let baseline = Baseline::of(&server, 2);
    let plan = Plan {
        kept: 300,
        kept_pause: Duration::from_millis(1500),
        fresh: 0,
        keepalive: Duration::from_secs(4),
        ..Plan::of_artists(&server.address)
    };
    let load = Load::start(&plan);
    load.wait_answers(300);
    for artists in 2..=6 {
        server.store(artists);
        server.reload();
        load.announce(u64::from(artists));
        load.wait_answers(300);
    }
    let report = load.stop();
    report.assert_nothing_lost(1_800);
    assert!(report.announced >= 300, "{report:?}");
    baseline.assert_holds(&server);
    server.assert_clean_shutdown();
}

#[test]
fn s04_slow_downloads_are_whole_and_hold_no_client_up() {
    let _machine = alone();
    let server = Setup::with(&heavy_collection(7, 20 * MIB)).flag("--workers=4").start();
    let baseline = Baseline::of(&server, 4);
    let whole = xxh3_128(&server.get("/avalon/songs").body);
    let load = Load::start(&Plan::of_artists(&server.address));
    let downloads: Vec<_> = (0..10)
        .map(|_| {
            let address = server.address.clone();
            thread::spawn(move || download(&address, "/avalon/songs", 5 * MIB))
        })
        .collect();
    load.wait_answers(50);
    let begin = Instant::now();
    for artists in 8..=9 {
        server.store(artists);
        server.reload();
        // A client that connects now meets the new rows.
        load.announce(u64::from(artists));
        assert_eq!(server.get(ARTISTS).success().len(), artists as usize);
        println!("generation of {artists} artists serves after {:?}", begin.elapsed());
        load.wait_answers(100);
    }
    let mut last = begin;
    for download in downloads {
        let (digest, end) = download.join().expect("a download");
        assert_eq!(digest, whole);
        last = last.max(end);
    }
    load.stop().assert_nothing_lost(200);
    server.wait_workers(4);
    println!("last body after {:?}, old workers gone {:?} later", last - begin, last.elapsed());
    baseline.assert_holds(&server);
    server.assert_clean_shutdown();
}

#[test]
fn s05_no_answer_of_the_old_generation_once_the_reload_is_made() {
    let server = Setup::with(&collection(1)).flag("--workers=4").start();
    let baseline = Baseline::of(&server, 4);
    let load = Load::start(&Plan::of_artists(&server.address));
    for artists in 2..=6 {
        server.store(artists);
        let begin = Instant::now();
        server.reload();
        load.announce(u64::from(artists));
        println!("a reload took {:?}", begin.elapsed());
        load.wait_answers(100);
    }
    let report = load.stop();
    report.assert_nothing_lost(500);
    assert_eq!(report.versions.last(), Some(&6));
    baseline.assert_holds(&server);
    server.assert_clean_shutdown();
}

/// While a request of a former generation goes on, everything else is done at once.
#[test]
fn s17_long_request_holds_no_signal_up() {
    let server = Setup::with(&heavy_collection(7, 20 * MIB)).start();
    let baseline = Baseline::of(&server, 2);
    let mut slow = Connection::open(&server.address).expect("a connection");
    slow.send(b"GET /avalon/songs HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    slow.first_byte().expect("the answer has begun");
    server.reload();
    let timed = |what: &str, act: &dyn Fn()| {
        let begin = Instant::now();
        act();
        println!("{what}: {:?}", begin.elapsed());
    };
    timed("TTIN", &|| {
        server.signal(Signal::SIGTTIN);
        server.wait_log("3 workers are wanted");
    });
    timed("USR1", &|| server.signal(Signal::SIGUSR1));
    timed("status", &|| assert_eq!(server.status()["generation"], 2));
    timed("HUP", &|| {
        server.signal(Signal::SIGHUP);
        server.wait_log("making generation 3");
    });
    (0..3).for_each(|_| server.signal(Signal::SIGHUP));
    let answer = slow.answer("GET").expect("the whole answer");
    assert_eq!(answer.success().len(), 70);
    drop(slow);
    let baseline = baseline.with_workers(3);
    baseline.assert_holds(&server);
    let made = server.count_log("making generation");
    assert!(made <= 5, "{made} generations: signals that come together wait as one");
    server.assert_clean_shutdown();
}

/// Private and shared memory of the master, in KiB. Pages of the program's file do not count: the kernel maps them by
/// sixteen as code first runs, and may take them back.
fn resident(server: &Server) -> i64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("a process");
    let of = |field: &str| -> i64 {
        let line = status.lines().find_map(|line| line.strip_prefix(field)).expect(field);
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    };
    of("RssAnon:") + of("RssShmem:")
}

#[test]
fn s27_hundred_reloads_leave_the_master_as_it_was() {
    let server = Setup::with(&collection(1)).start();
    let baseline = Baseline::of(&server, 2);
    let reload = |times: u32| (0..times).for_each(|_| server.reload());
    // One-time allocations have been made then.
    reload(20);
    baseline.wait_quiet(&server);
    let before = resident(&server);
    reload(80);
    baseline.assert_holds(&server);
    let grown = resident(&server) - before;
    println!("the master's memory: {before} KiB, grown by {grown} KiB");
    assert!(grown <= 256, "grown by {grown} KiB");
    assert_eq!(server.status()["generation"], 101);
    server.assert_clean_shutdown();
}
