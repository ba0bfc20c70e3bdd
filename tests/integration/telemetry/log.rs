//! The log of a running server: its first lines, files that are moved, readers that do not read.

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::{Pid, Uid, mkfifo};
use serde_json::Value;

use crate::harness::eventually;
use crate::harness::http::{self, Connection};
use crate::harness::server::{Server, Setup, collection};

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// A server that logs to `log` in its folder and serves on the socket beside it.
fn start(setup: Setup) -> Server {
    let (log, socket) = (setup.path("log"), format!("unix:{}", setup.path("socket").display()));
    let setup = setup.without_flags().flag("--workers=2").flag(&format!("--log-file={}", log.display()));
    let server = setup.variable("AVALON_BIND", &socket).spawn();
    eventually("the start", || read(&log).contains(" serves on ").then_some(()));
    server
}

fn open_by(pid: Pid, file: &Path) -> bool {
    let fds = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    fds.filter_map(|fd| fs::read_link(fd.path()).ok()).any(|target| target == file)
}

/// Waits until no process of the server has the file open.
fn wait_closed(server: &Server, file: &Path) {
    for pid in server.log_writers().into_iter().chain(server.wait_workers(2)).chain([server.pid()]) {
        eventually("the old log is closed", || (!open_by(pid, file)).then_some(()));
    }
}

#[test]
fn moved_log_is_reopened_by_all_processes() {
    let mut server = start(Setup::with(&collection(1)));
    let (log, moved) = (server.path("log"), server.path("log.1"));
    fs::rename(&log, &moved).expect("renamed");
    server.signal(Signal::SIGUSR1);
    eventually("the new log", || log.exists().then_some(()));
    wait_closed(&server, &moved);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_exit(), 0);
    assert!(read(&log).contains("stopped") && !read(&moved).contains("stopped"));
}

/// Debian's logrotate as a timer would start it, without a signal to the server: every line is in
/// one of the files, in order, and none in a file that logrotate put out of its way.
#[test]
fn log_is_rotated_by_the_real_logrotate() {
    let mut server = start(Setup::with(&collection(1)));
    let (log, first) = (server.path("log"), server.path("log.1"));
    let rules = format!("{} {{\n  rotate 9\n  create 0640\n}}\n", log.display());
    let rules_file = server.path("logrotate.conf");
    fs::write(&rules_file, rules).expect("a file");
    for round in 1..=3 {
        server.reload();
        let before = read(&log);
        assert!(before.contains(&format!("generation {} serves on ", round + 1)), "{before}");
        let output = Command::new("/usr/sbin/logrotate")
            .args(["--force", "--verbose", "--state"])
            .args([server.path("logrotate.state"), rules_file.clone()])
            .output()
            .expect("logrotate: scripts/install-test-deps installs it");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        wait_closed(&server, &first);
        assert_eq!(log.metadata().expect("a new log").mode() & 0o777, 0o640);
    }
    server.reload();
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_exit(), 0);
    let files = ["log.3", "log.2", "log.1", "log"].map(|name| read(&server.path(name)));
    assert!(files[3].contains("generation 5 serves on ") && files[3].ends_with("stopped exit_code=0\n"));
    let whole = files.concat();
    for generation in 1..=5 {
        let made = format!("making generation {generation}");
        assert_eq!(whole.lines().filter(|line| line.contains(&made)).count(), 1, "{whole}");
    }
    assert!(whole.lines().all(|line| line.starts_with('[')), "{whole}");
    let entries = fs::read_dir(server.path("")).expect("a folder").flatten();
    let logs = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("log")).count();
    assert_eq!(logs, 4 + ["logrotate.conf", "logrotate.state"].len());
}

/// The new file is root's, until the master has given it to the workers' account.
#[test]
fn log_of_another_user_is_rotated_without_a_signal() {
    if !Uid::effective().is_root() {
        return crate::harness::skip("only root can start workers as another user");
    }
    let setup = Setup::with(&collection(1)).flag("--user=65532").flag("--group=65531");
    let (log, moved) = (setup.path("log"), setup.path("log.1"));
    fs::set_permissions(setup.path(""), fs::Permissions::from_mode(0o755)).expect("a folder to pass");
    fs::set_permissions(setup.path("avalon.sqlite"), fs::Permissions::from_mode(0o644)).expect("a database");
    let server = setup.flag(&format!("--log-file={}", log.display())).spawn();
    eventually("the start", || read(&log).contains(" serves on ").then_some(()));
    fs::rename(&log, &moved).expect("renamed");
    File::create(&log)
        .expect("a new log")
        .set_permissions(fs::Permissions::from_mode(0o640))
        .expect("its mode");
    wait_closed(&server, &moved);
    assert_eq!(log.metadata().expect("a log").uid(), 65532);
    for pid in server.log_writers() {
        eventually("the new log is open", || open_by(pid, &log).then_some(()));
    }
    assert!(!(read(&log) + &read(&moved)).contains("could not be reopened"), "{}", read(&log));
}

/// The lines of the original, which those who watch its log look for.
#[test]
fn start_logs_the_lines_of_avalonms() {
    let server = Setup::with(&collection(3)).start();
    let last = server.wait_log(" running with request path ");
    let log = server.log();
    for line in ["Loaded 30 tracks", "Loaded 3 albums", "Loaded 3 artists", "Loaded 2 genres"] {
        assert_eq!(log.lines().filter(|found| found.ends_with(line)).count(), 1, "{line} in:\n{log}");
    }
    let bytes =
        server.wait_log("Using ").split(' ').rev().nth(3).and_then(|number| number.parse::<u64>().ok());
    assert!(bytes.is_some_and(|bytes| bytes > 1000), "{log}");
    let version = server.get("/avalon/version").text().to_owned();
    let user = Command::new("id").arg("-un").output().expect("id").stdout;
    let group = Command::new("id").arg("-gn").output().expect("id").stdout;
    let name = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    let (user, group) = (name(&user), name(&group));
    let running =
        format!("Avalon Music Server {version} running with request path /avalon as {user}:{group} using ");
    let memory = last.split(&running).nth(1).and_then(|rest| rest.strip_suffix(" MB memory"));
    assert!(memory.and_then(|number| number.parse::<f64>().ok()).is_some_and(|mb| mb > 0.5), "{last}");
}

#[test]
fn every_line_is_json_where_that_is_wanted() {
    let server = start(Setup::with(&collection(1)).variable("AVALON_LOG_FORMAT", "json"));
    server.signal(Signal::SIGTTIN);
    server.signal(Signal::SIGHUP);
    let log = server.path("log");
    eventually("a reload", || read(&log).contains("generation 2 serves on").then_some(()));
    let lines: Vec<Value> =
        read(&log).lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    let find =
        |text: &str| lines.iter().find(|line| line["msg"].as_str().is_some_and(|msg| msg.contains(text)));
    let serves = find("generation 1 serves on ").expect("a line");
    assert_eq!((&serves["level"], &serves["workers"]), (&"INFO".into(), &2.into()));
    assert_eq!((&serves["name"], &serves["processName"]), (&"avalon.master".into(), &"master".into()));
    assert_eq!(serves["process"], server.pid().as_raw());
    assert_eq!(find("Loaded 10 tracks").map(|line| &line["processName"]), Some(&"loader".into()));
}

#[test]
fn full_disk_costs_nothing_but_the_lines() {
    let server = Setup::with(&collection(1)).without_flags();
    let socket = format!("unix:{}", server.path("socket").display());
    let server = server.variable("AVALON_LOG_PATH", "/dev/full").variable("AVALON_BIND", &socket).spawn();
    let mut connection = eventually("a connection", || Connection::open(&socket).ok());
    assert_eq!(connection.get("/avalon/heartbeat").expect("an answer").text(), "OKOKOK");
    server.reload();
    assert_eq!(http::get(&socket, "/avalon/heartbeat").text(), "OKOKOK");
    server.assert_clean_shutdown();
}

/// stderr is a pipe whose reader has stopped to read, as a hanging log collector.
#[test]
fn a_reader_that_does_not_read_stops_nothing() {
    let setup = Setup::with(&collection(1));
    let fifo = setup.path("fifo");
    mkfifo(&fifo, Mode::S_IRWXU).expect("a FIFO");
    let mut reader =
        OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(&fifo).expect("a reader");
    fcntl(&reader, FcntlArg::F_SETPIPE_SZ(4096)).expect("a small pipe");
    let socket = format!("unix:{}", setup.path("socket").display());
    let script = format!("exec \"$0\" \"$@\" 2>{}", fifo.display());
    let setup = setup.without_flags().wrapped(&["/bin/sh", "-c", &script]);
    let mut server = setup.variable("AVALON_BIND", &socket).spawn();
    eventually("an answer", || Connection::open(&socket).and_then(|mut it| it.get("/avalon/heartbeat")).ok());
    // Each says more than 400 bytes.
    for _ in 0..12 {
        server.reload();
    }
    assert_eq!(http::get(&socket, "/avalon/heartbeat").text(), "OKOKOK");
    let mut text = drain(&mut reader);
    server.reload();
    eventually("the losses", || {
        text += &drain(&mut reader);
        text.contains("log lines were lost count=").then_some(())
    });
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_exit(), 0);
}

/// Returns the present contents of a pipe.
fn drain(reader: &mut File) -> String {
    let mut bytes = Vec::new();
    // Ends with an error where the pipe is empty but still has writers.
    let _ = reader.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}
