//! Another master in place of a running one, by signals and by avalonctl.

mod refused;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rusqlite::Connection;
use serde_json::Value;

use crate::control::{ctl, ctl_ok, status};
use crate::harness::eventually;
use crate::harness::http;
use crate::harness::load::{Load, Plan, status_200};
use crate::harness::server::{Server, Setup, collection, run};

/// The master that a server's control socket belongs to now; ended with its workers when dropped.
pub(crate) struct Successor(Pid);

impl Successor {
    /// Waits until the socket is that of another master than `before`.
    pub(crate) fn of(server: &Server, before: Pid) -> Successor {
        let socket = server.path("control");
        let pid = eventually("another master", || master_at(&socket).filter(|pid| *pid != before));
        Successor(pid)
    }

    pub(crate) fn pid(&self) -> Pid {
        self.0
    }

    /// Waits until it is gone.
    pub(crate) fn wait_end(&self) {
        eventually("the end of the new master", || is_gone(self.0).then_some(()));
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGQUIT);
        if !std::thread::panicking() {
            self.wait_end();
        }
    }
}

/// Process 1 reaps its orphans, sooner or later.
fn is_gone(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .is_none_or(|rest| rest.trim_start().is_empty() || rest.trim_start().starts_with('Z'))
}

fn master_at(socket: &Path) -> Option<Pid> {
    let path = socket.to_str().expect("UTF-8");
    let (code, out, _) = run(env!("CARGO_BIN_EXE_avalonctl"), &["--socket", path, "status", "--json"], &[]);
    let status: Value = serde_json::from_str(&out).ok().filter(|_| code == 0)?;
    Some(Pid::from_raw(i32::try_from(status["pid"].as_i64()?).ok()?))
}

fn read_pid(path: &Path) -> Option<Pid> {
    fs::read_to_string(path).ok()?.trim().parse().ok().map(Pid::from_raw)
}

/// The server's KEEPALIVE.
const KEEPALIVE: Duration = Duration::from_secs(1);

fn load(address: &str) -> Load {
    let targets = ["songs", "artists", "heartbeat"].map(|of| format!("/avalon/{of}"));
    let plan = Plan::standard(address, &targets.each_ref().map(String::as_str), status_200);
    Load::start(&Plan { keepalive: KEEPALIVE, ..plan.clients(6, 3, Duration::from_millis(10)) })
}

/// A server that is started by the name `program` in its folder, which can be made another
/// program; with a pid file, and short idle connections.
fn setup() -> Setup {
    let setup = Setup::with(&collection(2));
    install(&setup.path("program"));
    setup.flag("--pid=pid").flag("--keep-alive=1").wrapped(&["/bin/sh", "-c", "exec ./program \"$@\""])
}

/// Makes a link, so that no copy is needed and a former program stays unchanged.
fn install(path: &Path) {
    let _ = fs::remove_file(path);
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_avalon-master"), path).expect("a link");
}

/// Writes a file through a shell: a child that another test forks could hold an open file of this
/// process, and a file that is open for writing cannot be executed.
fn replace(path: &Path, content: &str) {
    const SCRIPT: &str = "rm -f \"$1\" && printf %s \"$2\" >\"$1\" && chmod 755 \"$1\"";
    let status =
        Command::new("/bin/sh").args(["-c", SCRIPT, "sh"]).arg(path).arg(content).status().expect("a shell");
    assert!(status.success());
}

/// Sends SIGUSR2, and gives the new master once it serves.
fn usr2(server: &Server) -> Successor {
    server.signal(Signal::SIGUSR2);
    server.wait_log("the new master serves");
    Successor(read_pid(&server.path("pid.2")).expect("pid.2"))
}

#[test]
fn upgrade_by_hand_goes_step_by_step() {
    let mut server = setup().start();
    let load = load(&server.address);
    let new = usr2(&server);
    assert_eq!(read_pid(&server.path("pid")), Some(server.pid()));
    assert_eq!(master_at(&server.path("control.2")), Some(new.0));
    assert_eq!(master_at(&server.path("control")), Some(server.pid()));
    server.signal(Signal::SIGWINCH);
    assert_eq!(server.wait_workers(1), [new.0]);
    eventually("drained", || (status(&server)["state"] == "drained").then_some(()));
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_exit(), 0);
    eventually("the names taken over", || (read_pid(&server.path("pid")) == Some(new.0)).then_some(()));
    eventually("the socket taken over", || (master_at(&server.path("control")) == Some(new.0)).then_some(()));
    assert!(!server.path("pid.2").exists() && !server.path("control.2").exists());
    load.assert_nothing_lost();
    kill(new.0, Signal::SIGTERM).expect("the new master");
    new.wait_end();
    assert!(!server.path("pid").exists() && !server.path("control").exists());
}

#[test]
fn upgrade_by_hand_is_taken_back() {
    let server = setup().start();
    let load = load(&server.address);
    let new = usr2(&server);
    server.signal(Signal::SIGWINCH);
    server.wait_workers(1);
    server.signal(Signal::SIGHUP);
    server.wait_log("generation 2 serves");
    kill(new.0, Signal::SIGTERM).expect("the new master");
    server.wait_log("the new master has gone again");
    load.assert_nothing_lost();
    assert!(!server.path("pid.2").exists() && !server.path("control.2").exists());
    assert_eq!(read_pid(&server.path("pid")), Some(server.pid()));
    // And once more, from the beginning.
    drop(upgraded_by_ctl(server));
}

/// Upgrades with avalonctl, which ends the old master.
fn upgraded_by_ctl(server: Server) -> (Server, Successor) {
    ctl_ok(&server, &["upgrade"]);
    let before = server.pid();
    let new = Successor::of(&server, before);
    (server, new)
}

#[test]
fn drained_master_serves_again_when_the_new_one_dies() {
    let server = setup().start();
    let new = usr2(&server);
    server.signal(Signal::SIGWINCH);
    server.wait_workers(1);
    kill(new.0, Signal::SIGKILL).expect("the new master");
    server.wait_log("generation 2 serves");
    // The workers of the one that died go when they notice.
    eventually("an answer", || {
        http::Connection::open(&server.address)
            .ok()?
            .get("/avalon/heartbeat")
            .ok()
            .filter(|a| a.status == 200)
    });
    assert_eq!(server.count_log("the new master has gone again"), 1);
}

#[test]
fn upgrades_under_load_lose_nothing() {
    let setup = setup();
    let unix = format!("unix:{}", setup.path("web").display());
    let server = setup.flag(&format!("--bind={unix}")).start();
    let loads = [load(&server.address), load(&unix)];
    let mut masters = vec![Successor(server.pid())];
    for _ in 0..5 {
        let before = masters.last().expect("a master").0;
        ctl_ok(&server, &["upgrade"]);
        masters.push(Successor::of(&server, before));
        eventually("the end of the former master", || is_gone(before).then_some(()));
        assert!(server.path("web").exists());
        assert_eq!(read_pid(&server.path("pid")), masters.last().map(|master| master.0));
    }
    loads.into_iter().for_each(Load::assert_nothing_lost);
    let last = masters.last().expect("a master");
    kill(last.0, Signal::SIGTERM).expect("the last master");
    last.wait_end();
    assert!(!server.path("web").exists());
}

#[test]
fn new_program_that_fails_changes_nothing() {
    let server = setup().start();
    let load = load(&server.address);
    let program = server.path("program");
    for (content, reason) in [
        ("#!/bin/sh\necho 'no such library' >&2\nexit 7\n", "exit code 7"),
        ("#!/bin/sh\nkill -SEGV $$\n", "SIGSEGV"),
        ("#!/nowhere/at/all\n", "cannot be executed"),
        ("\u{7f}garbage", "cannot be executed"),
    ] {
        replace(&program, content);
        let (code, _, err) = ctl(&server, &["upgrade"]);
        assert_eq!(code, 1, "{content:?}");
        assert!(err.contains("upgrade failed: the new master ended"), "{err}");
        assert!(server.log().contains(reason), "{reason}: {}", server.log());
    }
    fs::remove_file(&program).expect("removed");
    let failed = server.count_log("upgrade failed");
    server.signal(Signal::SIGUSR2);
    server.wait_log_times("upgrade failed", failed + 1);
    assert_eq!(status(&server)["generation"], 1);
    assert!(!server.path("pid.2").exists() && !server.path("control.2").exists());
    install(&program);
    let (server, new) = upgraded_by_ctl(server);
    assert_eq!(http::get(&server.address, "/avalon/artists").success().len(), 2);
    load.assert_nothing_lost();
    drop(new);
}

#[test]
fn upgrade_reads_the_configuration_of_now() {
    let setup = setup();
    let file = setup.path("avalon.toml");
    fs::write(&file, "WORKERS = 1\n").expect("a file");
    let server = setup
        .without_flags()
        .flag("--bind=127.0.0.1:0")
        .flag("--config=avalon.toml")
        .flag("--pid=pid")
        .start();
    fs::write(&file, "WORKERS = many\n").expect("a file");
    let (code, _, err) = ctl(&server, &["upgrade"]);
    assert_eq!(code, 1);
    assert!(err.contains("exit code 2"), "{err}");
    assert!(server.log().contains("avalon.toml:1"), "{}", server.log());
    fs::write(&file, "WORKERS = 3\n").expect("a file");
    let (server, new) = upgraded_by_ctl(server);
    assert_eq!(status(&server)["workers"].as_array().map(Vec::len), Some(3));
    drop(new);
}

/// The address for metrics goes over as the others do; the counts begin again with the master.
#[test]
fn metrics_go_on_at_their_address() {
    let mut server = setup().flag("--metrics-bind=127.0.0.2:0").start();
    let address = server.status()["metrics_listeners"][0].as_str().expect("an address").to_owned();
    let scrape = || http::get(&address, "/metrics").text().to_owned();
    let count = "avalon_http_request_duration_seconds_count{endpoint=\"heartbeat\",code=\"200\"} ";
    let begin = |page: &str| {
        let line = page.lines().find_map(|line| line.strip_prefix("process_start_time_seconds "));
        line.and_then(|begin| begin.parse::<f64>().ok()).expect("a time")
    };
    server.get("/avalon/heartbeat");
    let before = scrape();
    assert!(before.contains(&format!("{count}1\n")), "{before}");
    ctl_ok(&server, &["upgrade"]);
    let new = Successor::of(&server, server.pid());
    assert_eq!(server.wait_exit(), 0);
    let after = scrape();
    assert!(!after.contains(count) && begin(&after) > begin(&before), "{after}");
    assert_eq!(server.get("/avalon/metrics").status, 404);
    drop(new);
    assert!(http::Connection::open(&address).is_err());
}

#[test]
fn only_one_upgrade_at_a_time() {
    let server = setup().start();
    let database = Connection::open(server.path("avalon.sqlite")).expect("a database");
    database.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE").expect("a lock");
    std::thread::scope(|scope| {
        let first = scope.spawn(|| ctl(&server, &["upgrade"]));
        server.wait_log("a new master was started");
        let (code, _, err) = ctl(&server, &["upgrade"]);
        assert_eq!(code, 1);
        assert!(err.contains("a new master has been started already"), "{err}");
        server.signal(Signal::SIGUSR2);
        server.wait_log_times("a new master has been started already", 2);
        drop(database);
        assert_eq!(first.join().expect("a thread").0, 0);
    });
    assert_eq!(server.count_log("a new master was started"), 1);
    drop(Successor::of(&server, server.pid()));
}

#[test]
fn stop_by_avalonctl_means_both_masters() {
    let setup = setup();
    let unix = format!("--bind=unix:{}", setup.path("web").display());
    let mut server = setup.flag(&unix).start();
    let new = usr2(&server);
    ctl_ok(&server, &["stop", "--wait"]);
    assert!(is_gone(new.0));
    assert_eq!(server.wait_exit(), 0);
    for name in ["web", "pid", "pid.2", "control", "control.2"] {
        assert!(!server.path(name).exists(), "{name}");
    }
}

#[test]
fn old_master_may_go_before_the_new_one_serves() {
    let setup = setup();
    let unix = format!("unix:{}", setup.path("web").display());
    let mut server = setup.flag(&format!("--bind={unix}")).start();
    let database = Connection::open(server.path("avalon.sqlite")).expect("a database");
    database.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE").expect("a lock");
    server.signal(Signal::SIGUSR2);
    server.wait_log_times("making generation 1", 2);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_exit(), 0);
    let early = [&server.address, &unix].map(|address| {
        let mut early = http::Connection::open(address).expect("a queue");
        early.send(b"GET /avalon/heartbeat HTTP/1.1\r\nHost: test\r\n\r\n").expect("written");
        early
    });
    drop(database);
    for mut early in early {
        assert_eq!(early.answer("GET").expect("an answer").text(), "OKOKOK");
    }
    let new = Successor::of(&server, server.pid());
    assert_eq!(read_pid(&server.path("pid")), Some(new.0));
}
