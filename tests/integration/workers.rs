//! Workers that die, hang or are told to go, and masters that die.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::http::{self, Connection};
use crate::harness::invariants::wait_gone;
use crate::harness::server::{Server, Setup, collection};
use crate::harness::{before_deadline, eventually};

/// Waits until these processes are gone and as many others are there.
fn wait_replaced(server: &Server, gone: &[Pid], count: usize) -> Vec<Pid> {
    eventually("replaced workers", || {
        let workers = server.workers();
        (workers.len() == count && workers.iter().all(|pid| !gone.contains(pid))).then_some(workers)
    })
}

#[test]
fn killed_workers_are_replaced() {
    let server = Setup::with(&collection(2)).start();
    let workers = server.wait_workers(2);
    kill(workers[0], Signal::SIGKILL).expect("a worker");
    wait_replaced(&server, &workers[..1], 2);
    assert_eq!(server.get("/avalon/songs").success().len(), 20);
    server.wait_log("worker ended: killed by SIGKILL");

    let workers = server.wait_workers(2);
    for worker in &workers {
        kill(*worker, Signal::SIGKILL).expect("a worker");
    }
    // Their accepted connections are lost with them.
    workers.iter().copied().for_each(wait_gone);
    // A connection made now waits in the queue, which outlives all workers.
    assert_eq!(server.get("/avalon/songs").success().len(), 20);
    wait_replaced(&server, &workers, 2);
}

/// Kills each worker as soon as it serves, until there is none for good.
fn kill_all(server: &mut Server) -> (i32, usize) {
    let mut killed = Vec::new();
    let code = eventually("the end of the master", || {
        for worker in server.workers() {
            if !killed.contains(&worker) && kill(worker, Signal::SIGKILL).is_ok() {
                killed.push(worker);
            }
        }
        server.try_exit()
    });
    (code, killed.len())
}

#[test]
fn workers_that_never_live_end_the_server_with_3() {
    let mut server = Setup::with(&collection(1)).variable("AVALON_MAX_FAILURES", "4").start();
    let (code, killed) = kill_all(&mut server);
    let log = server.log();
    assert_eq!(code, 3, "{log}");
    assert!(
        log.contains("CRITICAL") && log.contains("killed by SIGKILL; giving up after 4 times within 60s")
    );
    // Two at the start, two at once after the first incident, then with waits.
    assert!((4..=8).contains(&killed), "{killed} workers: {log}");
}

#[test]
fn status_tells_of_workers_that_die_again_and_again() {
    let server = Setup::with(&collection(1)).flag("--workers=1").start();
    for gone in 1..=4 {
        let worker = server.wait_workers(1);
        kill(worker[0], Signal::SIGKILL).expect("a worker");
        server.wait_log_times("worker ended: killed by SIGKILL", gone);
    }
    let trouble = server.status()["trouble"].as_str().unwrap_or_default().to_owned();
    assert!(trouble.contains("4 times in a row, the last: killed by SIGKILL"), "{trouble}");
    server.wait_workers(1);
    assert_eq!(server.get("/avalon/songs").success().len(), 10);
}

/// A control group with a limit of memory; gone with the test.
struct MemoryGroup {
    folder: PathBuf,
    limit: &'static str,
    used: &'static str,
}

impl MemoryGroup {
    /// Under whichever hierarchy controls memory here, if one does and we may use it.
    fn create() -> Option<Self> {
        let name = format!("avalon-test-{}", std::process::id());
        let hierarchies = [
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
            ("/sys/fs/cgroup", "memory.max", "memory.current"),
        ];
        hierarchies.into_iter().find_map(|(root, limit, used)| {
            let folder = Path::new(root).join(&name);
            fs::create_dir(&folder).ok()?;
            let group = MemoryGroup { folder, limit, used };
            fs::exists(group.folder.join(limit)).ok()?.then_some(group)
        })
    }

    fn used(&self) -> u64 {
        let used = fs::read_to_string(self.folder.join(self.used)).expect("a number");
        used.trim().parse().expect("a number")
    }

    fn limit(&self, bytes: &str) {
        // Refused while more than this is in use and cannot be taken back.
        let _ = fs::write(self.folder.join(self.limit), bytes);
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // Processes leave a moment after they have ended.
        let _ = before_deadline(|| fs::remove_dir(&self.folder).ok());
    }
}

#[test]
fn worker_that_the_kernel_kills_for_memory_is_replaced() {
    let Some(group) = MemoryGroup::create() else {
        return crate::harness::skip("this takes root and a memory controller");
    };
    let enter = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", group.folder.display());
    let server = Setup::with(&collection(1000)).wrapped(&["sh", "-c", &enter, "sh"]).start();
    let (victim, master) = (server.wait_workers(2)[0], server.pid());
    fs::write(format!("/proc/{victim}/oom_score_adj"), "1000").expect("a victim");
    group.limit(&(group.used() + 512 * 1024).to_string());
    // Answers that no client reads take memory.
    let mut unread = Vec::new();
    eventually("a killed worker", || {
        for mut connection in (0..10).filter_map(|_| Connection::open(&server.address).ok()) {
            let _ = connection.send(b"GET /avalon/songs?query=a&order=year HTTP/1.1\r\nHost: x\r\n\r\n");
            unread.push(connection);
        }
        (!server.workers().contains(&victim)).then_some(())
    });
    drop(unread);
    // One of them is this hierarchy's word for none.
    group.limit("-1");
    group.limit("max");
    server.wait_log("worker ended: killed by SIGKILL");
    server.wait_workers(2);
    assert_eq!((server.pid(), server.get("/avalon/songs?limit=1").success().len()), (master, 1));
    // Before its group.
    drop(server);
}

#[test]
fn worker_that_is_terminated_drains_and_is_replaced_without_alarm() {
    let server = Setup::with(&collection(2)).start();
    let workers = server.wait_workers(2);
    kill(workers[1], Signal::SIGTERM).expect("a worker");
    wait_replaced(&server, &workers[1..], 2);
    server.assert_clean_shutdown();
}

#[test]
fn silent_worker_is_killed_and_replaced_while_others_serve() {
    let server = Setup::with(&collection(2)).flag("--timeout=2").start();
    let workers = server.wait_workers(2);
    kill(workers[0], Signal::SIGSTOP).expect("a worker");
    wait_replaced(&server, &workers[..1], 2);
    server.wait_log("worker is silent for longer than TIMEOUT and is killed");
    assert_eq!(server.get("/avalon/heartbeat").text(), "OKOKOK");
    assert!(server.workers().contains(&workers[1]));
}

#[test]
fn workers_come_and_go_by_signal() {
    let server = Setup::with(&collection(2)).start();
    server.wait_workers(2);
    server.signal(Signal::SIGTTIN);
    server.wait_workers(3);
    server.signal(Signal::SIGTTIN);
    let four = server.wait_workers(4);
    server.reload();
    // Kept over a reload, though the configuration says two.
    wait_replaced(&server, &four, 4);
    for left in [3, 2, 1] {
        server.signal(Signal::SIGTTOU);
        server.wait_workers(left);
    }
    server.signal(Signal::SIGTTOU);
    server.wait_log("workers are the limit");
    assert_eq!(server.get("/avalon/songs").success().len(), 20);
    assert_eq!(server.wait_workers(1).len(), 1);
    server.assert_clean_shutdown();
}

#[test]
fn killed_master_takes_its_workers_along_and_leaves_room_for_the_next() {
    let setup = Setup::with(&collection(2));
    let pidfile = setup.path("pid").display().to_string();
    let socket = format!("unix:{}", setup.path("socket").display());
    let flags = [format!("--pid={pidfile}"), format!("--bind={socket}")];
    let database_url = setup.database_url().to_owned();
    let mut server = flags.iter().fold(setup.without_flags(), |setup, flag| setup.flag(flag)).start();
    let workers = server.workers();
    server.signal(Signal::SIGKILL);
    server.wait_exit();
    workers.into_iter().for_each(wait_gone);
    assert!(fs::exists(&pidfile).expect("a folder"), "a killed master leaves its pid file");

    let next =
        flags.iter().fold(Setup::new(&database_url).without_flags(), |setup, flag| setup.flag(flag)).start();
    assert_eq!(http::get(&socket, "/avalon/heartbeat").text(), "OKOKOK");
    assert_eq!(fs::read_to_string(&pidfile).expect("a pid file").trim(), next.pid().to_string());
    next.assert_clean_shutdown();
    assert!(!fs::exists(&pidfile).expect("a folder"));
}

#[test]
fn graceful_stop_answers_all_that_was_accepted_and_all_that_waits() {
    // One connection at a time, so that the others wait in the queue of the kernel.
    let mut server =
        Setup::with(&collection(2000)).flag("--workers=1").flag("--worker-connections=1").start();
    let mut first = Connection::open(&server.address).expect("a connection");
    first.send(b"GET /avalon/songs HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    let mut waiting: Vec<Connection> = (0..10)
        .map(|_| {
            let mut connection = Connection::open(&server.address).expect("a place in the queue");
            connection.send(b"GET /avalon/albums?limit=7 HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
            connection
        })
        .collect();
    server.signal(Signal::SIGTERM);
    server.wait_log("stopping gracefully");
    let answer = first.answer("GET").expect("the whole answer");
    assert_eq!(answer.success().len(), 20_000);
    drop(first);
    for connection in &mut waiting {
        let answer = connection.answer("GET").expect("an answer to who waited");
        assert_eq!(answer.success().len(), 7);
        assert!(answer.closes());
    }
    assert_eq!(server.wait_exit(), 0, "{}", server.log());
    assert!(Connection::open(&server.address).is_err(), "the address is gone");
}

#[test]
fn termination_of_the_whole_group_is_a_graceful_stop() {
    let mut server = Setup::with(&collection(2)).start();
    let mut connection = Connection::open(&server.address).expect("a connection");
    connection.get("/avalon/heartbeat").expect("an answer");
    for worker in server.wait_workers(2) {
        kill(worker, Signal::SIGTERM).expect("a worker");
    }
    server.signal(Signal::SIGTERM);
    // An idle connection is left open until it is used, and its next answer ends it.
    eventually("the announced end", || {
        let answer = connection.get("/avalon/songs").expect("an answer");
        assert_eq!(answer.success().len(), 20);
        answer.closes().then_some(())
    });
    assert_eq!(server.wait_exit(), 0);
    assert_eq!(server.count_log("[ERROR]"), 0, "{}", server.log());
}

#[test]
fn request_that_outlasts_graceful_timeout_is_cut_and_counted() {
    let mut server = Setup::with(&collection(3000)).flag("--graceful-timeout=1").start();
    let mut never_reads = Connection::open(&server.address).expect("a connection");
    never_reads.send(b"GET /avalon/songs HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    never_reads.first_byte().expect("the answer has begun");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_exit(), 0);
    assert!(server.log().contains("GRACEFUL_TIMEOUT"), "{}", server.log());
}

#[test]
fn retired_workers_are_replaced_without_loss() {
    let server =
        Setup::with(&collection(2)).flag("--max-requests=20").flag("--max-requests-jitter=5").start();
    let first = server.wait_workers(2);
    let mut connection = Connection::open(&server.address).expect("a connection");
    eventually("two retired workers", || {
        // The one connection follows the announcements of its end.
        let answer = connection.get("/avalon/heartbeat").expect("an answer");
        if answer.closes() {
            connection = Connection::open(&server.address).expect("a connection");
        }
        server.get("/avalon/songs").success();
        let workers = server.workers();
        first.iter().all(|pid| !workers.contains(pid)).then_some(())
    });
    assert_eq!(server.count_log("[ERROR]"), 0, "{}", server.log());
}
