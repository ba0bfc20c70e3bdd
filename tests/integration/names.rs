//! Names of a running server that a cleaner removes, or that another program takes.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;

use nix::sys::signal::{Signal, kill};

use crate::harness::eventually;
use crate::harness::http;
use crate::harness::load::{Load, Plan};
use crate::harness::server::{Server, Setup, collection};

fn setup() -> (Setup, String) {
    let setup = Setup::with(&collection(2)).flag("--pid=pid");
    let unix = format!("unix:{}", setup.path("web").display());
    let flag = format!("--bind={unix}");
    (setup.flag(&flag), unix)
}

fn pid_in(path: &Path) -> Option<i32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn answers(address: &str) -> bool {
    let asked = http::Connection::open(address).and_then(|mut connection| connection.get("/avalon/songs"));
    asked.is_ok_and(|answer| answer.status == 200)
}

fn assert_reached(server: &Server, unix: &str) {
    eventually("the pid file", || (pid_in(&server.path("pid")) == Some(server.pid().as_raw())).then_some(()));
    eventually("an answer on the Unix socket", || answers(unix).then_some(()));
    eventually("the control socket", || server.path("control").exists().then_some(()));
    assert_eq!(server.status()["pid"], server.pid().as_raw());
}

#[test]
fn removed_names_come_back_and_no_client_is_lost() {
    let (setup, unix) = setup();
    let server = setup.start();
    let load = Load::start(&Plan::of_artists(&server.address));
    let before = server.wait_workers(2);
    for round in 1..=2 {
        for name in ["pid", "control", "web"] {
            fs::remove_file(server.path(name)).expect("a name");
        }
        assert_reached(&server, &unix);
        server.wait_log_times("was removed, and is made again", 3 * round);
    }
    // No reload was needed for it.
    eventually("new workers", || {
        let now = server.workers();
        (now.len() == 2 && !now.iter().any(|worker| before.contains(worker))).then_some(())
    });
    assert_eq!(server.status()["generation"], 1);
    load.assert_nothing_lost();
    let mut server = server;
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_exit(), 0, "{}", server.log());
    assert!(["pid", "control", "web"].iter().all(|name| !server.path(name).exists()));
}

#[test]
fn names_come_back_also_where_the_child_that_looks_at_them_is_killed() {
    let (setup, unix) = setup();
    let server = setup.start();
    for _ in 0..2 {
        let child = eventually("a child that looks", || server.helpers().first().copied());
        kill(child, Signal::SIGKILL).expect("a child");
        for name in ["pid", "control", "web"] {
            fs::remove_file(server.path(name)).expect("a name");
        }
        assert_reached(&server, &unix);
    }
}

#[test]
fn names_of_another_are_told_of_and_stay_until_a_reload_can_have_them() {
    let (setup, unix) = setup();
    let server = setup.start();
    for name in ["pid", "control", "web"] {
        fs::remove_file(server.path(name)).expect("a name");
        fs::write(server.path(name), "another's").expect("a file");
    }
    server.wait_log_times("belongs to another program now", 3);
    server.signal(Signal::SIGHUP);
    server.wait_log("generation 2 serves on ");
    for name in ["pid", "control", "web"] {
        assert_eq!(fs::read_to_string(server.path(name)).expect("a file"), "another's");
        fs::remove_file(server.path(name)).expect("a name");
    }
    // Sockets without a server, and the pid file of a server that has gone.
    for name in ["control", "web"] {
        drop(UnixListener::bind(server.path(name)).expect("a socket"));
    }
    fs::write(server.path("pid"), "99999999\n").expect("a file");
    server.signal(Signal::SIGHUP);
    server.wait_log("generation 3 serves on ");
    assert_reached(&server, &unix);
}

#[test]
fn end_of_a_server_removes_nothing_of_others() {
    let (setup, _) = setup();
    let mut server = setup.start();
    for name in ["pid", "control", "web"] {
        fs::remove_file(server.path(name)).expect("a name");
        fs::write(server.path(name), "another's").expect("a file");
    }
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_exit(), 0, "{}", server.log());
    for name in ["pid", "control", "web"] {
        assert_eq!(fs::read_to_string(server.path(name)).expect("a file"), "another's");
    }
}

#[test]
fn pid_file_destroys_nothing() {
    let setup = Setup::with(&collection(2)).flag("--pid=link");
    fs::write(setup.path("target"), "1\n").expect("a file");
    std::os::unix::fs::symlink("target", setup.path("link")).expect("a link");
    let mut server = setup.spawn();
    assert_eq!(server.wait_exit(), 1, "{}", server.log());
    assert!(server.log().contains("a link is there"), "{}", server.log());
    assert_eq!(fs::read_to_string(server.path("target")).expect("a file"), "1\n");
    let setup = Setup::with(&collection(2)).flag("--pid=avalon.sqlite");
    let before = fs::read(setup.path("avalon.sqlite")).expect("a database");
    let mut server = setup.spawn();
    assert_eq!(server.wait_exit(), 1, "{}", server.log());
    assert!(server.log().contains("something else than a process id"), "{}", server.log());
    assert_eq!(fs::read(server.path("avalon.sqlite")).expect("a database"), before);
}
