//! The world around: log files that are moved, clients that dawdle, and being process 1.

use std::fs;
use std::path::Path;
use std::process::Command;

use avalon::control;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};

use crate::harness::http::Connection;
use crate::harness::invariants::{Baseline, processes_in};
use crate::harness::load::{Load, Plan};
use crate::harness::server::{Setup, collection, workers_of};
use crate::harness::{alone, before_deadline, eventually};

/// The processes of a folder that have a file open, by their titles.
fn holders(folder: &Path, file: &Path) -> Vec<String> {
    let holds = |pid: &Pid| {
        let mut fds = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        fds.any(|fd| fs::read_link(fd.path()).is_ok_and(|link| link == file))
    };
    let title = |pid| fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let pids = processes_in(folder).into_iter().filter(holds);
    pids.map(|pid| format!("{pid} {}", title(pid).trim_end_matches('\0'))).collect()
}

#[test]
fn s28_rotated_log_loses_no_line() {
    let setup = Setup::with(&collection(3));
    let log = setup.path("log");
    let mut server = setup.flag(&format!("--log-file={}", log.display())).spawn();
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    let line = eventually("the start", || {
        read(&log).lines().find(|line| line.contains(" serves on ")).map(str::to_owned)
    });
    let address = line.split(" serves on ").nth(1).and_then(|rest| rest.split(" workers=").next());
    let load = Load::start(&Plan::of_artists(address.expect("an address")));
    let mut files = Vec::new();
    let mut said = 0;
    for round in 0..5 {
        let moved = server.path(&format!("log.{round}"));
        for at in 0..40 {
            if at == 20 {
                fs::rename(&log, &moved).expect("renamed");
            }
            if at == 30 {
                server.signal(Signal::SIGUSR1);
            }
            if at == 10 && round % 2 == 1 {
                // Workers of the next generation must not keep the file of the former one either.
                server.reload();
            }
            // Each makes one line.
            let count = 2 + said % 2;
            let command = control::Command::Workers { count };
            control::call(&server.path("control"), command, None).expect("scaled");
            said += 1;
        }
        // After that logrotate may compress it.
        let folder = server.path("");
        let mut left = Vec::new();
        let closed = before_deadline(|| {
            left = holders(&folder, &moved);
            (log.exists() && left.is_empty()).then_some(())
        });
        assert!(closed.is_some(), "{left:?} hold {moved:?}; log: {}", read(&log));
        files.push(moved);
        load.wait_answers(50);
    }
    load.assert_nothing_lost();
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_exit(), 0);
    files.push(log);
    let lines: Vec<String> =
        files.iter().flat_map(|file| read(file).lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    assert!(lines.iter().all(|line| line.starts_with('[') && line.matches("] [").count() == 2), "{lines:#?}");
    assert_eq!(lines.iter().filter(|line| line.contains("workers are wanted")).count(), said);
}

#[test]
fn s31_half_open_connections_hold_no_client_up() {
    const HALF_OPEN: usize = 2_000;
    let limits = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, limits.1, limits.1).expect("as many descriptors as allowed");
    let _machine = alone();
    let server = Setup::with(&collection(3)).variable("AVALON_HEADER_TIMEOUT", "3").start();
    let baseline = Baseline::of(&server, 2);
    let load = Load::start(&Plan::of_artists(&server.address));
    let half_open = |at: usize| {
        let mut connection = Connection::open(&server.address).expect("a connection");
        connection.send(&b"GET /avalon/heartbeat HTTP/1.1\r\nHost: x\r\n"[..at % 40]).expect("sent");
        connection
    };
    let mut half_open: Vec<Connection> = (0..HALF_OPEN).map(half_open).collect();
    load.wait_answers(200);
    for connection in &mut half_open {
        assert_eq!(connection.rest().expect("the end"), b"");
    }
    load.wait_answers(100);
    load.stop().assert_nothing_lost(300);
    baseline.assert_holds(&server);
    server.assert_clean_shutdown();
}

#[test]
fn s35_process_1_buries_strangers() {
    if !Uid::effective().is_root() {
        return crate::harness::skip("only root can make a namespace");
    }
    let setup = Setup::with(&collection(1));
    let namespaces = Command::new("unshare").args(["--pid", "--fork", "--mount-proc", "true"]).status();
    if !namespaces.is_ok_and(|status| status.success()) {
        return crate::harness::skip("no namespace can be made here");
    }
    let mut server = setup.wrapped(&["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]).start();
    let master = server.wait_workers(1)[0];
    let children = || workers_of(master).len();
    eventually("two workers", || (children() == 2).then_some(()));
    // Each leaves a child behind, which becomes the master's and ends badly.
    for end in ["exit 3", "kill -9 $$", "exit 0", "exit 3"] {
        let script = format!("sh -c '{end}' & exit 0");
        let target = master.to_string();
        let status = Command::new("nsenter").args(["-p", "-t", &target, "sh", "-c", &script]).status();
        assert!(status.expect("nsenter").success());
    }
    assert_eq!(server.get("/avalon/songs").success().len(), 10);
    eventually("strangers buried", || (children() == 2).then_some(()));
    assert_eq!(server.status()["restarts"]["died"], serde_json::Value::Null);
    kill(master, Signal::SIGTERM).expect("the master");
    assert_eq!(server.wait_exit(), 0, "{}", server.log());
}
