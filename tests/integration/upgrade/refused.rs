//! Upgrades that would end the server, as its parent watches the one process that it knows.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::control::{ctl, status};
use crate::harness::eventually;
use crate::harness::server::{Server, Setup, collection};

/// An upgrade by avalonctl and one by signal are refused for this reason, and change nothing.
fn assert_refused(server: &Server, master: Pid, reason: &str) {
    let before = status(server)["workers"].as_array().expect("workers").len();
    let (code, _, error) = ctl(server, &["upgrade"]);
    assert_eq!(code, 1, "{error}");
    assert!(error.contains(reason), "{error}");
    kill(master, Signal::SIGUSR2).expect("the master");
    let line = server.wait_log_times("upgrade failed: ", 2);
    assert!(line.contains(reason), "{line}");
    assert_eq!(status(server)["workers"].as_array().expect("workers").len(), before);
    assert_eq!(server.get("/avalon/songs").success().len(), 20);
}

/// The only child of a process.
fn child(of: Pid) -> Pid {
    eventually("a child", || {
        let children = fs::read_to_string(format!("/proc/{of}/task/{of}/children")).ok()?;
        children.split_whitespace().next()?.parse().ok().map(Pid::from_raw)
    })
}

#[test]
fn process_1_of_a_container_stays() {
    if let Some(obstacle) = crate::harness::host::obstacle() {
        return eprintln!("not tested: {obstacle}");
    }
    let container = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let server = Setup::with(&collection(2)).wrapped(&container).start();
    assert_eq!(status(&server)["pid"], 1);
    let master = child(server.pid());
    assert_refused(&server, master, "process 1 of its container");
    // A resize that `docker run` passes on from a terminal of its own.
    kill(master, Signal::SIGWINCH).expect("the master");
    server.wait_log("SIGWINCH is ignored");
    assert_eq!(status(&server)["state"], "serving");
}

#[test]
fn child_of_a_process_1_that_ends_with_it_stays() {
    if let Some(obstacle) = crate::harness::host::obstacle() {
        return eprintln!("not tested: {obstacle}");
    }
    let container = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c"];
    let server = Setup::with(&collection(2)).wrapped(&[&container[..], &["\"$0\" \"$@\"; exit $?"]].concat());
    let server = server.start();
    assert_refused(&server, child(child(server.pid())), "process 1 (sh) is this master's parent");
}

#[test]
fn child_of_a_supervisor_stays() {
    let setup = Setup::with(&collection(2));
    let supervisor = setup.path("runsv");
    fs::copy("/bin/sh", &supervisor).expect("a copy");
    let supervisor = supervisor.to_str().expect("UTF-8").to_owned();
    let server = setup.wrapped(&[&supervisor, "-c", "\"$0\" \"$@\"; exit $?"]).start();
    assert_refused(&server, child(server.pid()), "the supervisor runsv");
}

#[test]
fn main_process_of_a_unit_that_is_not_told_of_another_stays() {
    let script = "export SYSTEMD_EXEC_PID=$$; exec \"$0\" \"$@\"";
    let server = Setup::with(&collection(2)).wrapped(&["sh", "-c", script]).start();
    assert_refused(&server, server.pid(), "Type=notify");
}
