//! Everything at once: signals, deaths, outages and changes by chance, under load, with every
//! answer looked at. `scripts/chaos` runs it for longer.
//!
//! The only losses allowed are those of the connections of workers that were killed.

use std::fs;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use avalon::config::DatabaseUrl;
use avalon::control::{Command, call};
use avalon::database;
use nix::sys::signal::{Signal, kill};

use crate::harness::chance::{Chance, from_environment};
use crate::harness::http::Answer;
use crate::harness::invariants::Baseline;
use crate::harness::load::{Load, Outcome, Plan, Report, Verdict, status_200};
use crate::harness::server::{Server, Setup, collection};
use crate::harness::{DEADLINE, alone};

/// Artists at the start; there are never fewer, and never more than twice as many.
const ARTISTS: u32 = 10;

/// Ten songs for each artist, in default order; whichever number of artists there ever was.
fn check(answer: &Answer) -> Verdict {
    status_200(answer)?;
    if answer.text() == "OKOKOK" {
        return Ok(None);
    }
    let list = answer.success();
    let right = list.iter().enumerate().all(|(at, song)| {
        let artist = format!("Artist {:04}", at / 10);
        song["name"] == format!("Song {at:05}") && song["artist"] == artist && song["track"] == at % 10 + 1
    });
    let artists = ARTISTS as usize..=2 * ARTISTS as usize;
    match right && list.len().is_multiple_of(10) && artists.contains(&(list.len() / 10)) {
        true => Ok(None),
        false => Err(format!("a list of {}", list.len())),
    }
}

/// A server, and the random events that it went through.
struct Chaos {
    server: Server,
    chance: Chance,
    good: Vec<u8>,
    /// Whether the database is broken for now.
    outage: bool,
    /// Workers whose connections are lost.
    kills: u64,
    /// How often each thing was done.
    done: std::collections::BTreeMap<&'static str, u32>,
}

impl Chaos {
    /// Puts a whole file in the place of the database: an empty one would be an empty collection.
    fn put(&self, bytes: &[u8]) {
        let beside = self.server.path("avalon.sqlite.new");
        fs::write(&beside, bytes).expect("a file");
        fs::rename(beside, self.server.path("avalon.sqlite")).expect("renamed");
    }

    fn mend(&mut self) {
        self.put(&self.good);
        self.outage = false;
    }

    /// Hits a child, if there is one; it may be booting, serving or ending, or just have ended, and
    /// it may be a loader.
    fn hit(&mut self, signal: Signal) {
        let workers = self.server.workers();
        if !workers.is_empty() {
            let _ = kill(workers[self.chance.below(workers.len() as u64) as usize], signal);
        }
    }

    /// Causes one random event, and returns its name.
    fn strike(&mut self) -> &'static str {
        match self.chance.below(14) {
            0..=3 => self.server.signal(Signal::SIGHUP),
            4 => self.server.signal(Signal::SIGTTIN),
            5 => self.server.signal(Signal::SIGTTOU),
            6 => self.server.signal(Signal::SIGUSR1),
            7 => {
                self.hit(Signal::SIGTERM);
                return "worker terminated";
            }
            8 => {
                self.kills += 1;
                self.hit(Signal::SIGKILL);
                return "worker killed";
            }
            9 => {
                // Silent for longer than TIMEOUT, or than it may take to boot or to load.
                self.kills += 1;
                self.hit(Signal::SIGSTOP);
                return "worker stopped";
            }
            10 => {
                // Reloads meet it until it is over.
                self.put(b"this is no database, but long enough to be one");
                self.outage = true;
                self.server.signal(Signal::SIGHUP);
                return "outage";
            }
            11 => {
                self.mend();
                self.server.signal(Signal::SIGHUP);
                return "outage over";
            }
            12 => {
                let command = Command::Workers { count: 1 + self.chance.below(6) as usize };
                call(&self.server.path("control"), command, Some(DEADLINE)).expect("scaled");
                return "scaled";
            }
            _ => {
                let artists = ARTISTS + self.chance.below(u64::from(ARTISTS) + 1) as u32;
                if self.outage {
                    self.mend();
                }
                // A loader that reads at this moment may hold it up; then the rows stay.
                let url = DatabaseUrl::parse(self.server.database_url()).expect("a URL");
                let _ = database::replace(&url, &collection(artists));
                self.server.signal(Signal::SIGHUP);
                return "rows changed";
            }
        }
        "signal"
    }
}

/// Losses of clients that were connected to a victim: nothing else may go wrong.
fn assert_explained(report: &Report, kills: u64, clients: u64) {
    let of_connections = [Outcome::ResetBeforeResponse, Outcome::ResetMidBody, Outcome::UnannouncedClose];
    assert!(report.lost().all(|(outcome, _)| of_connections.contains(&outcome)), "{report:?}");
    // Each client has one connection.
    let lost: u64 = report.lost().map(|(_, count)| count).sum();
    assert!(lost <= kills * clients, "{lost} lost by {kills} kills: {report:?}");
    assert!(report.count(Outcome::Ok) > 100, "{report:?}");
}

/// Log lines that are allowed during such events.
const EXPECTED: [&str; 9] = [
    "workers die soon after their start",
    "reload failed, generation",
    "worker ended: ",
    "worker is silent for longer than TIMEOUT",
    // Stopped, and then told to end.
    "worker did not end in time and is killed",
    "worker did not come up within BOOT_TIMEOUT and is killed",
    "workers are the limit",
    "reload waits",
    "GRACEFUL_TIMEOUT",
];

#[test]
fn chaos_loses_nothing_but_the_connections_of_killed_workers() {
    let _machine = alone();
    let seconds = from_environment("CHAOS_SECONDS").unwrap_or(20);
    let seed = from_environment("CHAOS_SEED").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time after 1970");
        now.as_nanos() as u64 ^ u64::from(std::process::id()) << 32 | 1
    });
    println!("CHAOS_SEED={seed}");
    let server = Setup::with(&collection(ARTISTS))
        .flag("--workers=3")
        .flag("--timeout=2")
        .flag("--keep-alive=2")
        .variable("AVALON_BOOT_TIMEOUT", "3")
        .variable("AVALON_LOAD_TIMEOUT", "5")
        .start();
    let baseline = EXPECTED.iter().fold(Baseline::of(&server, 3), |baseline, text| baseline.expecting(text));
    let good = fs::read(server.path("avalon.sqlite")).expect("a database");
    let plan = Plan::standard(&server.address, &["/avalon/songs", "/avalon/heartbeat"], check);
    let plan = Plan { keepalive: Duration::from_secs(2), ..plan.clients(10, 4, Duration::from_millis(10)) };
    let load = Load::start(&plan);
    let mut chaos =
        Chaos { server, chance: Chance::new(seed), good, outage: false, kills: 0, done: Default::default() };
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(seconds) {
        let what = chaos.strike();
        *chaos.done.entry(what).or_default() += 1;
        // The pace of chance, not a wait for anything.
        thread::sleep(Duration::from_millis(chaos.chance.below(400)));
    }
    chaos.mend();
    let report = load.stop();
    println!("{:?}\n{report:?}", chaos.done);
    assert_explained(&report, chaos.kills, (plan.kept + plan.fresh) as u64);

    let Chaos { mut server, .. } = chaos;
    server.reload();
    assert_eq!(server.get("/avalon/songs").success().len(), ARTISTS as usize * 10);
    // At rest nothing is left over: no process, no zombie, no descriptor, no snapshot, no thread.
    let wanted = server.status()["workers_wanted"].as_u64().expect("a number") as usize;
    baseline.with_workers(wanted).assert_holds(&server);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_exit(), 0, "{}", server.log());
}
