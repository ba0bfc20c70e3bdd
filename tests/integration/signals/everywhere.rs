//! Every signal to every process of a server, alone and as a group: nothing is lost, stopped or dead but by
//! those that are there to end it.

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::lock;
use crate::harness::eventually;
use crate::harness::load::Load;
use crate::harness::load::Plan;
use crate::harness::server::{Server, Setup, collection};

/// The signals that end a process on purpose, and SIGSTOP, which no process can refuse.
const ENDING: [i32; 6] =
    [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGABRT, libc::SIGKILL, libc::SIGSTOP];
/// The signals with a meaning for a master.
const MEANT: [i32; 6] =
    [libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2, libc::SIGTTIN, libc::SIGTTOU, libc::SIGWINCH];

/// All others; 32 and 33 are the C library's own.
fn harmless() -> impl Iterator<Item = i32> {
    (1..=64).filter(|signal| !ENDING.contains(signal) && ![32, 33].contains(signal))
}

/// By number, as a library has no names for all of them; `to` is a process, or with a minus a group.
fn send(signal: i32, to: i32) {
    let status =
        Command::new("bash").args(["-c", &format!("kill -s {signal} -- {to}")]).status().expect("bash");
    assert!(status.success(), "signal {signal} to {to}");
}

fn state(pid: Pid) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')').next()?.trim_start().chars().next()
}

fn assert_alive(pid: Pid, after: &str) {
    let state = state(pid);
    assert!(matches!(state, Some('S' | 'R' | 'D')), "{pid} after {after}: {state:?}");
}

/// Waits until all of them have had the signals that are pending for them.
fn settle(pids: &[Pid]) {
    let pending = |pid: &Pid| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let of = |name| status.lines().filter_map(move |line| line.strip_prefix(name));
        of("SigPnd:").chain(of("ShdPnd:")).any(|mask| mask.trim().chars().any(|digit| digit != '0'))
    };
    eventually("no pending signal", || (!pids.iter().any(pending)).then_some(()));
}

fn load(server: &Server) -> Load {
    Load::start(&Plan::of_artists(&server.address).clients(4, 2, std::time::Duration::from_millis(10)))
}

#[test]
fn workers_and_loader_ignore_signals_for_others() {
    let server = Setup::with(&collection(2)).in_session().start();
    let held = lock(&server);
    server.signal(Signal::SIGHUP);
    server.wait_loader();
    let children = server.wait_workers(3);
    let load = load(&server);
    for signal in harmless() {
        children.iter().for_each(|child| send(signal, child.as_raw()));
        settle(&children);
        children.iter().for_each(|child| assert_alive(*child, &format!("signal {signal}")));
    }
    assert_eq!(server.workers(), children);
    held.execute_batch("COMMIT").expect("unlocked");
    server.wait_log("generation 2 serves on ");
    load.assert_nothing_lost();
    server.assert_clean_shutdown();
}

#[test]
fn master_ignores_signals_without_a_meaning() {
    let server = Setup::with(&collection(2)).in_session().start();
    let workers = server.wait_workers(2);
    for signal in harmless().filter(|signal| !MEANT.contains(signal)) {
        send(signal, server.pid().as_raw());
        settle(&[server.pid()]);
        assert_alive(server.pid(), &format!("signal {signal}"));
    }
    assert_eq!(server.status()["generation"], 1);
    assert_eq!(server.workers(), workers);
    server.assert_clean_shutdown();
}

#[test]
fn group_is_told_as_its_master_is() {
    let server = Setup::with(&collection(2)).in_session().start();
    let group = -server.pid().as_raw();
    let load = load(&server);
    let workers = server.wait_workers(2);
    for signal in harmless().filter(|signal| !MEANT.contains(signal)).chain([libc::SIGUSR1]) {
        send(signal, group);
    }
    settle(&workers);
    assert_eq!(server.workers(), workers);
    send(libc::SIGTTIN, group);
    let more = server.wait_workers(3);
    assert!(workers.iter().all(|worker| more.contains(worker)));
    send(libc::SIGTTOU, group);
    server.wait_workers(2);
    // While its loader is at work.
    let held = lock(&server);
    send(libc::SIGHUP, group);
    server.wait_loader();
    send(libc::SIGHUP, group);
    server.wait_log("reload waits");
    held.execute_batch("COMMIT").expect("unlocked");
    server.wait_log("generation 3 serves on ");
    send(libc::SIGWINCH, group);
    server.wait_log("all workers drain");
    send(libc::SIGHUP, group);
    server.wait_log("generation 4 serves on ");
    send(libc::SIGUSR2, group);
    let line = server.wait_log("the new master serves");
    let new = line.rsplit("pid=").next().and_then(|pid| pid.trim().parse().ok()).expect("a pid");
    // Both have a master, and none but theirs.
    send(libc::SIGHUP, group);
    server.wait_log("generation 5 serves on ");
    assert_alive(Pid::from_raw(new), "SIGHUP to the group of both");
    load.assert_nothing_lost();
    for cause in ["died", "timeout"] {
        assert_eq!(server.status()["restarts"][cause], serde_json::Value::Null, "{}", server.log());
    }
    kill(Pid::from_raw(new), Signal::SIGTERM).expect("the new master");
    server.wait_log("the new master has gone again");
    server.signal(Signal::SIGTERM);
}

#[test]
fn errand_ends_by_itself_and_not_by_signals() {
    // A Sentry that accepts and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let dsn = format!("http://key@{}/1", silent.local_addr().expect("an address"));
    let server = Setup::with(&collection(2)).variable("AVALON_SENTRY_DSN", &dsn).in_session().start();
    kill(server.wait_workers(2)[0], Signal::SIGKILL).expect("a worker");
    let is_reporter = |pid: &Pid| {
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"avalon: reporter"))
    };
    let reporter = eventually("a reporter", || server.workers().into_iter().find(is_reporter));
    for signal in harmless() {
        send(signal, reporter.as_raw());
    }
    settle(&[reporter]);
    assert_alive(reporter, "all signals");
    eventually("its end", || (!server.workers().contains(&reporter)).then_some(()));
}

#[test]
fn nothing_that_a_parent_has_ignored_or_blocked_matters() {
    let inherited = ["env", "--ignore-signal", "--block-signal"];
    for wrapper in [&inherited[..2], &inherited, &["env", "--ignore-signal=CHLD"]] {
        let server = Setup::with(&collection(2)).wrapped(wrapper).start();
        let workers = server.wait_workers(2);
        kill(workers[0], Signal::SIGKILL).expect("a worker");
        server.wait_log("worker ended: killed by SIGKILL");
        eventually("another worker", || {
            Some(server.workers()).filter(|now| now.len() == 2 && !now.contains(&workers[0]))
        });
        server.signal(Signal::SIGHUP);
        server.wait_log("generation 2 serves on ");
        // A loader and workers end by their own signals.
        let _held = lock(&server);
        server.signal(Signal::SIGHUP);
        server.wait_loader();
        let mut server = server;
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait_exit(), 0, "{}", server.log());
    }
}
