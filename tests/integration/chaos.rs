//! Everything at once: signals, deaths, outages and changes by chance, under load, with every
//! answer looked at. `scripts/chaos` runs it for longer.
//!
//! The only losses allowed are those of the connections of workers that were killed.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};

use avalon::config::DatabaseUrl;
use avalon::database;

use crate::harness::eventually;
use crate::harness::http::Answer;
use crate::harness::load::{Load, Outcomes, Shape};
use crate::harness::server::{Server, Setup, collection};

/// Artists at the start; there are never fewer, and never more than twice as many.
const ARTISTS: u32 = 10;

/// A small generator (xorshift64*), so that a seed tells the whole story.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) % bound
    }
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

fn check(answer: &Answer) -> Result<(), String> {
    if answer.status != 200 {
        return Err(format!("status {}", answer.status));
    }
    if answer.text() == "OKOKOK" {
        return Ok(());
    }
    let list = answer.success();
    // Ten songs for each artist, in default order, whichever rows they are of.
    let artists = list.len() / 10;
    let right = list.len().is_multiple_of(10) && (ARTISTS as usize..=2 * ARTISTS as usize).contains(&artists);
    let in_order = list.windows(2).all(|pair| pair[0]["name"].as_str() <= pair[1]["name"].as_str());
    if right && in_order { Ok(()) } else { Err(format!("a list of {}", list.len())) }
}

/// Puts a whole file in the place of the database: an empty one would be an empty collection.
fn put(server: &Server, bytes: &[u8]) {
    let beside = server.path("avalon.sqlite.new");
    fs::write(&beside, bytes).expect("a file");
    fs::rename(beside, server.path("avalon.sqlite")).expect("renamed");
}

/// What chance may do. Tells whether connections of a worker are lost by it.
fn strike(server: &Server, good: &[u8], chance: &mut Chance) -> bool {
    let workers = server.workers();
    let hit = |signal, chance: &mut Chance| {
        if !workers.is_empty() {
            // It may just have ended.
            let _ = kill(workers[chance.below(workers.len() as u64) as usize], signal);
        }
    };
    match chance.below(12) {
        0..=3 => server.signal(Signal::SIGHUP),
        4 => server.signal(Signal::SIGTTIN),
        5 => server.signal(Signal::SIGTTOU),
        6 => server.signal(Signal::SIGUSR1),
        7 => hit(Signal::SIGTERM, chance),
        8 => {
            hit(Signal::SIGKILL, chance);
            return true;
        }
        9 => {
            // Silent for longer than TIMEOUT, unless it ends before.
            hit(Signal::SIGSTOP, chance);
            return true;
        }
        10 => {
            // An outage, and a reload during it, which must change nothing.
            put(server, b"this is no database, but long enough to be one");
            server.signal(Signal::SIGHUP);
            put(server, good);
        }
        _ => {
            let url = DatabaseUrl::parse(server.database_url()).expect("a URL");
            let artists = ARTISTS + chance.below(u64::from(ARTISTS) + 1) as u32;
            // A loader that reads at this moment may hold it up; then the rows stay.
            let _ = database::replace(&url, &collection(artists));
            server.signal(Signal::SIGHUP);
        }
    }
    false
}

/// Losses of whoever was connected to a victim: nothing else may go wrong.
fn assert_explained(outcomes: &Outcomes, kills: usize, kept: usize) {
    let broken = ["unexpected end of file", "connection reset", "broken pipe"];
    for (failure, count) in &outcomes.failures {
        let is_loss = broken.iter().any(|kind| failure.contains(kind)) && !failure.starts_with("connecting");
        assert!(is_loss && *count <= kills * (kept + 8), "{outcomes:?} after {kills} kills");
    }
    assert!(outcomes.answered > 100, "{outcomes:?}");
}

#[test]
fn chaos_loses_nothing_but_the_connections_of_killed_workers() {
    let seconds = from_environment("CHAOS_SECONDS").unwrap_or(20);
    let seed = from_environment("CHAOS_SEED").unwrap_or_else(|| {
        Instant::now().elapsed().as_nanos() as u64 ^ u64::from(std::process::id()) << 20 | 1
    });
    println!("CHAOS_SEED={seed}");
    let mut chance = Chance(seed);
    let server = Setup::with(&collection(ARTISTS))
        .flag("--workers=3")
        .flag("--timeout=2")
        .flag("--keep-alive=2")
        .start();
    let good = fs::read(server.path("avalon.sqlite")).expect("a database");
    let fds = || fs::read_dir(format!("/proc/{}/fd", server.pid())).expect("a process").count();
    server.reload();
    server.wait_workers(3);
    let fds_before = fds();
    let shape = Shape {
        targets: ["/avalon/songs", "/avalon/heartbeat"].map(str::to_owned).to_vec(),
        kept: 10,
        fresh: 4,
        pause: Duration::from_millis(10),
    };
    let load = Load::start(&server.address, &shape, check);
    let (begin, mut kills) = (Instant::now(), 0);
    while begin.elapsed() < Duration::from_secs(seconds) {
        kills += usize::from(strike(&server, &good, &mut chance));
        // The pace of chance, not a wait for anything.
        std::thread::sleep(Duration::from_millis(chance.below(400)));
    }
    put(&server, &good);
    let outcomes = load.finish();
    println!("{outcomes:?} after {kills} kills");
    assert_explained(&outcomes, kills, shape.kept);

    server.reload();
    assert_eq!(server.get("/avalon/songs").success().len(), ARTISTS as usize * 10);
    // At rest nothing is left over: no process, no zombie, no descriptor, no thread.
    eventually("rest", || {
        let status = avalon::control::call(
            &server.path("control"),
            avalon::control::Command::Status,
            Some(Duration::from_secs(10)),
        )
        .expect("a status");
        let wanted = status["workers_wanted"].as_u64().expect("a number") as usize;
        (server.workers().len() == wanted && fds() <= fds_before).then_some(())
    });
    assert_eq!(fs::read_dir(format!("/proc/{}/task", server.pid())).expect("a process").count(), 1);
    let mut server = server;
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_exit(), 0);
}
