//! Workers: how work and memory are shared, and how they are replaced.

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::{MIB, download};
use crate::harness::http::Connection;
use crate::harness::invariants::{Baseline, SNAPSHOT};
use crate::harness::load::{Load, Outcome, Plan};
use crate::harness::server::{Server, Setup, collection, heavy_collection};
use crate::harness::{alone, eventually};

/// Waits until so many workers serve and none of these is among them.
fn wait_serving(server: &Server, count: usize, gone: &[Pid]) -> Duration {
    let begin = Instant::now();
    eventually("replacements", || {
        let status = server.status();
        let serving = workers(&status).filter(|worker| worker["state"] == "serving");
        let pids: Vec<Pid> = serving.map(pid).collect();
        (pids.len() == count && !pids.iter().any(|pid| gone.contains(pid))).then_some(())
    });
    begin.elapsed()
}

fn workers(status: &Value) -> impl Iterator<Item = &Value> {
    status["workers"].as_array().expect("workers").iter()
}

fn pid(worker: &Value) -> Pid {
    Pid::from_raw(worker["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).expect("a pid"))
}

#[test]
fn s16_killed_workers_cost_their_own_connections_only() {
    let _machine = alone();
    let server = Setup::with(&heavy_collection(7, 20 * MIB)).flag("--workers=4").start();
    let baseline = Baseline::of(&server, 4).expecting("worker ended: killed by SIGKILL");
    let plan = Plan::of_artists(&server.address);
    let clients = (plan.kept + plan.fresh) as u64;
    let load = Load::start(&plan);
    load.wait_answers(100);
    let murder = |victims: &[Pid]| {
        victims.iter().for_each(|victim| kill(*victim, Signal::SIGKILL).expect("a worker"));
        println!("{} replaced after {:?}", victims.len(), wait_serving(&server, 4, victims));
        load.wait_answers(100);
    };
    murder(&server.wait_workers(4)[..1]);
    murder(&server.wait_workers(4));
    // During a drain, which a slow request holds open.
    let address = server.address.clone();
    let slow = thread::spawn(move || download(&address, "/avalon/songs", 5 * MIB));
    load.wait_answers(20);
    server.reload();
    let status = server.status();
    let serving = workers(&status).find(|worker| worker["state"] == "serving").expect("a worker");
    murder(&[pid(serving)]);
    slow.join().expect("an undisturbed download");
    let report = load.stop();
    println!("{report:?}");
    // Each client has one request or connection at a time.
    let lost: u64 = report.lost().map(|(_, count)| count).sum();
    assert!(lost <= clients * 3, "{report:?}");
    let of_connections = [Outcome::ResetBeforeResponse, Outcome::ResetMidBody, Outcome::UnannouncedClose];
    assert!(report.lost().all(|(outcome, _)| of_connections.contains(&outcome)), "{report:?}");
    assert_eq!(server.count_log("worker ended: killed by SIGKILL"), 6);
    baseline.assert_holds(&server);
}

#[test]
fn s18_scaling_loses_nothing() {
    let server = Setup::with(&collection(3)).start();
    let baseline = Baseline::of(&server, 2);
    let load = Load::start(&Plan::of_artists(&server.address));
    let scale = |count: usize| {
        let command = avalon::control::Command::Workers { count };
        avalon::control::call(&server.path("control"), command, None).expect("scaled");
        wait_serving(&server, count, &[]);
    };
    for _ in 0..20 {
        scale(8);
        scale(2);
    }
    load.assert_nothing_lost();
    baseline.assert_holds(&server);
    server.assert_clean_shutdown();
}

/// Time that passed while the master could not look does not count against its workers.
#[test]
fn s20_suspended_master_kills_no_worker() {
    let server = Setup::with(&collection(3)).flag("--timeout=1").start();
    let baseline = Baseline::of(&server, 2);
    let before = server.wait_workers(2);
    let load = Load::start(&Plan::of_artists(&server.address));
    server.signal(Signal::SIGSTOP);
    // Three times TIMEOUT, at 250 requests/s.
    load.wait_answers(750);
    server.signal(Signal::SIGCONT);
    load.wait_answers(500);
    load.assert_nothing_lost();
    assert_eq!(server.wait_workers(2), before);
    baseline.assert_holds(&server);
    server.assert_clean_shutdown();
}

/// Bytes of a line of smaps(5), of the snapshot's mapping or of all.
fn mapped(pid: Pid, field: &str, of_snapshot: bool) -> usize {
    let smaps = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap_or_default();
    let mut counts = false;
    let mut sum = 0;
    for line in smaps.lines() {
        let first = line.split_whitespace().next().unwrap_or_default();
        if !first.ends_with(':') {
            counts = !of_snapshot || line.contains(SNAPSHOT);
        } else if counts && first.trim_end_matches(':') == field {
            let number = line.split_whitespace().nth(1).and_then(|number| number.parse::<usize>().ok());
            sum += number.unwrap_or_default() * 1024;
        }
    }
    sum
}

/// Every worker reads the whole list, and with it most of the snapshot.
fn read_all(server: &Server, rounds: usize) {
    let mut left: Vec<Pid> = server.workers();
    for _ in 0..rounds {
        assert_eq!(server.get("/avalon/songs").status, 200);
        left.retain(|worker| mapped(*worker, "Rss", true) < 32 * MIB);
        if left.is_empty() {
            return;
        }
    }
    panic!("{left:?} have read nothing");
}

#[test]
fn s23_all_share_one_snapshot() {
    let _machine = alone();
    let server = Setup::with(&heavy_collection(10, 64 * MIB)).flag("--workers=8").start();
    let baseline = Baseline::of(&server, 8);
    let len = mapped(server.wait_workers(8)[0], "Size", true);
    assert!((128 * MIB..256 * MIB).contains(&len), "{len}");
    read_all(&server, 64);
    assert_shared(&server);
    // The file is overwritten and cut under all that read: no process has it mapped.
    let database = server.path("avalon.sqlite");
    let good = fs::read(&database).expect("a database");
    fs::write(&database, vec![0xa5; good.len() / 2]).expect("overwritten");
    fs::File::options().write(true).open(&database).and_then(|file| file.set_len(0)).expect("cut");
    read_all(&server, 64);
    fs::write(&database, good).expect("a database");

    let mut most = 0;
    thread::scope(|scope| {
        let reload = scope.spawn(|| server.reload());
        while !reload.is_finished() {
            most = most.max(server_snapshots(&server));
            thread::sleep(Duration::from_millis(20));
        }
    });
    println!("during a reload {} MiB of snapshots", most / MIB);
    assert!(most <= (2.1 * len as f64) as usize, "{most} of {len}");
    baseline.assert_holds(&server);
    read_all(&server, 64);
    assert_shared(&server);
    server.assert_clean_shutdown();
}

/// All processes together hold the pages of the snapshot that were read once, and little besides.
fn assert_shared(server: &Server) {
    let workers = server.workers();
    let all: usize = workers.iter().chain([&server.pid()]).map(|pid| mapped(*pid, "Pss", false)).sum();
    let read = workers.iter().map(|worker| mapped(*worker, "Rss", true)).max().expect("workers");
    println!("read {} MiB of the snapshot, all processes have {} MiB", read / MIB, all / MIB);
    assert!(all <= (1.05 * read as f64) as usize + 8 * 15 * MIB, "{all} of {read}");
    for worker in workers {
        assert_eq!(mapped(worker, "Private_Dirty", true), 0, "pages of the snapshot written to");
    }
}

/// The size of the snapshots of all generations, also those that no process has mapped.
fn server_snapshots(server: &Server) -> usize {
    let pids = server.workers().into_iter().chain([server.pid()]);
    let mut by_inode = BTreeMap::new();
    for pid in pids {
        for fd in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            let named = fs::read_link(fd.path()).is_ok_and(|link| link.to_string_lossy().contains(SNAPSHOT));
            if let (true, Ok(metadata)) = (named, fs::metadata(fd.path())) {
                use std::os::unix::fs::MetadataExt;
                by_inode.insert(metadata.ino(), metadata.blocks() as usize * 512);
            }
        }
    }
    by_inode.values().sum()
}

/// How often the accept threads of all workers have been woken, or have waited for anything.
fn wakes(server: &Server) -> u64 {
    let mut sum = 0;
    for worker in server.workers() {
        for task in fs::read_dir(format!("/proc/{worker}/task")).expect("a worker").flatten() {
            let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
            let switches = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            if name.trim() == "accept" {
                sum += switches.and_then(|text| text.trim().parse::<u64>().ok()).expect("a number");
            }
        }
    }
    sum
}

/// Connections of each worker once all are counted.
fn shares(server: &Server, all: u64) -> Vec<u64> {
    eventually("all connections", || {
        let status = server.status();
        let shares: Vec<u64> = workers(&status).filter_map(|worker| worker["connections"].as_u64()).collect();
        (shares.iter().sum::<u64>() == all).then_some(shares)
    })
}

/// Beside other processes a worker that has just been woken may wait for a processor, and the next
/// connection goes to another one; so the best of three counts. A server that wakes all workers, or
/// always the same, never comes near.
fn assert_balanced(workers: usize, connections: u64, ratio: f64) {
    let balances = (0..3).map(|_| balance(workers, connections));
    // One wake-up for the connection, and one when the runtime has taken it: before that the thread does
    // not accept the next. If they were woken together, there would be one for each worker.
    let is_good = |(uneven, woken): &(f64, f64)| *uneven <= ratio && *woken <= 2.2;
    let mut seen = Vec::new();
    assert!(balances.inspect(|balance| seen.push(*balance)).any(|balance| is_good(&balance)), "{seen:?}");
}

/// By how much the worker with the most connections has more than the one with the fewest, and how
/// many wake-ups there were for each connection.
fn balance(workers: usize, connections: u64) -> (f64, f64) {
    let setup = Setup::with(&collection(1)).flag(&format!("--workers={workers}"));
    let server = setup.flag("--keep-alive=60").start();
    let baseline = Baseline::of(&server, workers);
    let before = wakes(&server);
    let mut kept = Vec::new();
    for at in 0..connections {
        let mut connection = Connection::open(&server.address).expect("a connection");
        if at % 10 == 0 {
            assert_eq!(connection.get("/avalon/heartbeat").expect("an answer").status, 200);
        }
        kept.push(connection);
        // 200 in a second.
        thread::sleep(Duration::from_millis(5));
    }
    let shares = shares(&server, connections);
    let (most, least) = (shares.iter().max().expect("workers"), shares.iter().min().expect("workers"));
    let woken = (wakes(&server) - before) as f64 / connections as f64;
    println!("{shares:?}, {woken:.2} wake-ups per connection");
    let uneven = *most as f64 / *least as f64;
    drop(kept);
    baseline.assert_holds(&server);
    server.assert_clean_shutdown();
    (uneven, woken)
}

#[test]
fn s24_connections_are_shared_out_evenly() {
    let _machine = alone();
    assert_balanced(4, 200, 1.3);
    assert_balanced(16, 1_000, 1.6);
}

/// A stopped worker keeps at most the one connection that its accept thread had taken already.
#[test]
fn s24_saturated_worker_holds_no_client_up() {
    let _machine = alone();
    let server = Setup::with(&collection(1)).flag("--workers=4").flag("--timeout=60").start();
    let baseline = Baseline::of(&server, 4);
    let victim = server.wait_workers(4)[0];
    kill(victim, Signal::SIGSTOP).expect("a worker");
    let mut stuck = Vec::new();
    let mut quick = Vec::new();
    for _ in 0..100 {
        let begin = Instant::now();
        let mut connection = Connection::open_within(&server.address, Duration::from_secs(1)).expect("open");
        match connection.get("/avalon/heartbeat") {
            Ok(_) => quick.push(begin.elapsed()),
            Err(_) => stuck.push(connection),
        }
    }
    quick.sort_unstable();
    println!(
        "p50 {:?}, p99 {:?}, {} held back",
        quick[quick.len() / 2],
        quick[quick.len() * 99 / 100],
        stuck.len()
    );
    assert!(stuck.len() <= 1, "{} connections are held back", stuck.len());
    kill(victim, Signal::SIGCONT).expect("a worker");
    for connection in &mut stuck {
        assert_eq!(connection.answer("GET").expect("an answer in the end").status, 200);
    }
    drop(stuck);
    baseline.assert_holds(&server);
    server.assert_clean_shutdown();
}

#[test]
fn s25_recycled_workers_are_replaced_before_they_go() {
    let setup = Setup::with(&collection(3)).flag("--workers=4");
    let server = setup.flag("--max-requests=90").flag("--max-requests-jitter=20").start();
    let baseline = Baseline::of(&server, 4);
    let load = Load::start(&Plan::of_artists(&server.address));
    let (mut fewest, mut most, mut recycled) = (usize::MAX, 0, 0);
    while recycled < 8 {
        let status = server.status();
        let serving = workers(&status).filter(|worker| worker["state"] == "serving").count();
        let booting = workers(&status).filter(|worker| worker["state"] == "booting").count();
        (fewest, most) = (fewest.min(serving), most.max(serving + booting));
        recycled = status["restarts"]["max_requests"].as_u64().unwrap_or(0);
        assert!(load.answered() < 20_000, "no worker is recycled: {status}");
        thread::sleep(Duration::from_millis(2));
    }
    let report = load.stop();
    report.assert_nothing_lost(720);
    println!("{recycled} recycled; {fewest} to {most} workers");
    assert!(fewest >= 4 && most <= 5, "{fewest} to {most} workers");
    // Those of workers that are gone count on.
    let requests = server.status()["requests"].as_u64().expect("a number");
    assert_eq!(requests, report.count(Outcome::Ok));
    baseline.assert_holds(&server);
    server.assert_clean_shutdown();
}

#[test]
fn s25_workers_with_too_much_memory_are_replaced_before_they_go() {
    let _machine = alone();
    // Less than any worker has, so that each wishes to go after a second.
    let setup = Setup::with(&collection(3)).flag("--workers=2").variable("AVALON_MAX_RSS", "64K");
    let server = setup.start();
    let load = Load::start(&Plan::of_artists(&server.address));
    let (mut fewest, mut recycled) = (usize::MAX, 0);
    while recycled < 3 {
        let status = server.status();
        fewest = fewest.min(workers(&status).filter(|worker| worker["state"] == "serving").count());
        recycled = status["restarts"]["max_rss"].as_u64().unwrap_or(0);
        assert!(load.answered() < 20_000, "no worker is recycled: {status}");
        thread::sleep(Duration::from_millis(2));
    }
    load.stop().assert_nothing_lost(100);
    assert_eq!(fewest, 2);
    server.assert_clean_shutdown();
}

#[test]
fn s08_new_worker_that_dies_fails_the_reload() {
    let _machine = alone();
    let server = Setup::with(&collection(3)).flag("--workers=4").start();
    let old = server.wait_workers(4);
    for (at, signal) in [Signal::SIGKILL, Signal::SIGABRT].into_iter().enumerate() {
        server.signal(Signal::SIGHUP);
        let is_new = |pid: &Pid| {
            let title = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            !old.contains(pid) && title.starts_with("avalon: worker")
        };
        let new = eventually("a new worker", || server.workers().into_iter().find(is_new));
        kill(new, signal).expect("a worker");
        server.wait_log_times(
            "reload failed, generation 1 goes on serving: a new worker did not come up",
            at + 1,
        );
        eventually("the old workers alone", || (server.workers() == old).then_some(()));
        assert_eq!(server.get("/avalon/artists").success().len(), 3);
    }
    server.reload();
    wait_serving(&server, 4, &old);
}
