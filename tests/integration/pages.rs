//! The pages of a snapshot are mapped before clients come, when a generation follows another one.

use std::collections::BTreeMap;
use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::eventually;
use crate::harness::http::Connection;
use crate::harness::invariants::{SNAPSHOT, snapshots_of};
use crate::harness::server::{Server, Setup, collection};

/// Enough for a snapshot of two million bytes, of which a start reads a part.
const ARTISTS: u32 = 400;

/// KiB of the snapshots that a process maps, by inode: in all, and of the mapped pages (smaps in proc(5)).
fn mapped(pid: Pid) -> BTreeMap<u64, (u64, u64)> {
    let smaps = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap_or_default();
    let (mut all, mut inode) = (BTreeMap::new(), None);
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        let first = words.next().unwrap_or_default();
        if !first.ends_with(':') {
            inode =
                words.nth(3).filter(|_| line.contains(SNAPSHOT)).and_then(|inode| inode.parse::<u64>().ok());
        } else if let Some(inode) = inode {
            let (len, resident) = all.entry(inode).or_insert((0, 0));
            let kib: u64 = words.next().and_then(|kib| kib.parse().ok()).unwrap_or_default();
            match first {
                "Size:" => *len += kib,
                "Rss:" => *resident += kib,
                _ => {}
            }
        }
    }
    all
}

fn is_whole(&(len, resident): &(u64, u64)) -> bool {
    len > 0 && len == resident
}

#[test]
fn workers_of_a_reload_and_former_ones_map_all_pages() {
    let server = Setup::with(&collection(ARTISTS)).flag("--workers=1").flag("--keep-alive=60").start();
    let former = server.wait_workers(1)[0];
    let first = mapped(former);
    assert!(first.len() == 1 && !first.values().any(is_whole), "a start waits for no page: {first:?}");
    // It keeps the former worker alive.
    let mut kept = Connection::open(&server.address).expect("a connection");
    assert_eq!(kept.get("/avalon/heartbeat").expect("an answer").text(), "OKOKOK");
    server.store(ARTISTS + 1);
    server.reload();
    let new = server.workers().into_iter().find(|pid| *pid != former).expect("a new worker");
    eventually("all pages of the new worker", || mapped(new).values().all(is_whole).then_some(()));
    let inode = *mapped(new).keys().next().expect("a snapshot");
    eventually("the new pages of the former one", || {
        mapped(former).get(&inode).is_some_and(is_whole).then_some(())
    });
    // It answers from them.
    let answer = kept.get("/avalon/artists").expect("an answer");
    assert_eq!((answer.success().len(), answer.header("connection")), (401, Some("close")));
    drop(kept);
    server.wait_workers(1);
    server.assert_clean_shutdown();
}

/// Waits until a worker maps the snapshot of the next generation, and gives the workers of that; `None` if the
/// generation serves already.
fn wait_proof(server: &Server, former: &[Pid]) -> Option<Vec<Pid>> {
    let generations = server.count_log(" serves on ");
    eventually("a proof, or its end", || {
        if server.count_log(" serves on ") > generations {
            return Some(None);
        }
        let is_ahead = former.iter().any(|pid| mapped(*pid).len() == 2);
        let next = || server.workers().into_iter().filter(|pid| !former.contains(pid)).collect();
        is_ahead.then(|| Some(next()))
    })
}

#[test]
fn snapshot_of_a_generation_that_fails_is_let_go() {
    let server = Setup::with(&collection(10)).start();
    // The proof takes a fifth of a second, and the machine may stand still for as long.
    let failed = (11..20).find_map(|artists| {
        let former = server.wait_workers(2);
        server.store(artists);
        let (failures, generations) = (server.count_log("reload failed"), server.count_log(" serves on "));
        server.signal(Signal::SIGHUP);
        let next = wait_proof(&server, &former)?;
        // The next try of the master waits for the rows.
        let held = rusqlite::Connection::open(server.path("avalon.sqlite")).expect("a database");
        held.execute_batch("BEGIN EXCLUSIVE").expect("a lock");
        // One that has ended has lost the race as well.
        next.first().and_then(|pid| kill(*pid, Signal::SIGKILL).ok())?;
        let fails = || server.count_log("reload failed") > failures;
        let ends = || fails() || server.count_log(" serves on ") > generations;
        eventually("the end of the reload", || ends().then_some(()));
        fails().then_some((former, held))
    });
    let (former, held) = failed.expect("a reload that fails");
    let counts = || former.iter().map(|pid| mapped(*pid).len()).collect::<Vec<_>>();
    eventually("one snapshot", || (counts() == [1, 1] && snapshots_of(&server).len() == 1).then_some(()));
    held.execute_batch("COMMIT").expect("unlocked");
    server.wait_log_times(" serves on ", 2);
    eventually("new workers", || server.workers().iter().all(|pid| !former.contains(pid)).then_some(()));
}
