//! The access log of a running server: its lines, when they appear, and their cost.

use std::fs;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::eventually;
use crate::harness::http::Connection;
use crate::harness::server::{Server, Setup, collection, heavy_collection};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Waits until the log has so many lines, and gives them.
fn lines(path: &Path, count: usize) -> Vec<String> {
    eventually("lines of the access log", || {
        let lines: Vec<String> = read(path).lines().map(str::to_owned).collect();
        (lines.len() >= count).then_some(lines)
    })
}

fn with_access_log(setup: Setup) -> (Setup, std::path::PathBuf) {
    let path = setup.path("access.log");
    (setup.flag(&format!("--access-logfile={}", path.display())), path)
}

fn connect(server: &Server) -> Connection {
    Connection::open(&server.address).expect("a connection")
}

#[test]
fn every_request_is_a_line_as_gunicorn_writes_it() {
    let (setup, log) = with_access_log(Setup::with(&collection(2)));
    let mut server = setup.start();
    let mut connection = connect(&server);
    let agent = ["User-Agent: te\"st", "Referer: http://example.com/"];
    let songs = connection.request("GET", "/avalon/songs?query=a", &agent).expect("an answer");
    connection.request("HEAD", "/avalon/albums", &[]).expect("an answer");
    connection.request("POST", "/avalon/songs", &[]).expect("an answer");
    connection.get("/nowhere?x=%0A").expect("an answer");
    let lines = lines(&log, 4);
    let time = time_of(&lines[0]);
    let expected = format!(
        "127.0.0.1 - - {time} \"GET /avalon/songs?query=a HTTP/1.1\" 200 {} \"http://example.com/\" \"te\\\"st\"",
        songs.body.len()
    );
    assert_eq!(lines[0], expected);
    for (line, part) in lines[1..].iter().zip([
        "\"HEAD /avalon/albums HTTP/1.1\" 200 0 \"-\" \"-\"",
        "\"POST /avalon/songs HTTP/1.1\" 405 ",
        "\"GET /nowhere?x=%0A HTTP/1.1\" 404 ",
    ]) {
        assert!(line.contains(part), "{line}");
    }
    // The last answers are written at the end, not with the next tick.
    connect(&server).get("/avalon/version").expect("an answer");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_exit(), 0);
    assert!(read(&log).contains("\"GET /avalon/version HTTP/1.1\" 200 "), "{}", read(&log));
}

/// The part in brackets, as in `[24/Nov/2026:05:46:00 +0000]`.
fn time_of(line: &str) -> &str {
    let time = &line[line.find('[').expect("a time")..=line.find(']').expect("its end")];
    let shape: String = time
        .chars()
        .map(|character| match character {
            '0'..='9' => '9',
            'A'..='Z' | 'a'..='z' => 'a',
            '-' => '+',
            other => other,
        })
        .collect();
    assert_eq!(shape, "[99/aaa/9999:99:99:99 +9999]", "{time}");
    time
}

#[test]
fn json_lines_tell_ids_traces_and_clients() {
    let (setup, log) = with_access_log(Setup::with(&collection(2)));
    let server = setup.flag("--access-logformat=json").start();
    let traceparent = format!("traceparent: 00-{TRACE}-{SPAN}-01");
    let fields =
        ["X-Request-Id: r-7", &traceparent, "X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: https"];
    let mut connection = connect(&server);
    let answer = connection.request("GET", "/avalon/songs?limit=1", &fields).expect("an answer");
    assert_eq!(answer.header("x-request-id"), Some("r-7"));
    let other = connection.get("/avalon/heartbeat").expect("an answer");
    let lines: Vec<Value> =
        lines(&log, 2).iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let first = &lines[0];
    for (key, value) in [
        ("client", "192.0.2.7"),
        ("scheme", "https"),
        ("path", "/avalon/songs"),
        ("query", "limit=1"),
        ("request_id", "r-7"),
        ("trace_id", TRACE),
        ("parent_id", SPAN),
    ] {
        assert_eq!(first[key], value, "{first}");
    }
    assert_eq!(first["bytes"], answer.body.len());
    assert!(first["duration"].as_f64().is_some_and(|seconds| seconds > 0.0 && seconds < 30.0));
    let pids: Vec<i32> = server.workers().iter().map(|pid| pid.as_raw()).collect();
    assert!(pids.contains(&(first["process"].as_i64().expect("a pid") as i32)));
    // Who sends no id is given one.
    assert_eq!(lines[1]["request_id"].as_str(), other.header("x-request-id"));
    assert_eq!((&lines[1]["client"], &lines[1]["scheme"]), (&"127.0.0.1".into(), &"http".into()));
    assert!(lines[1].get("trace_id").is_none());
}

/// Bytes are those that were sent, also when the client goes away in the middle or the server ends.
#[test]
fn cut_answers_are_logged_with_the_bytes_sent() {
    let (setup, log) = with_access_log(Setup::with(&heavy_collection(7, 20 << 20)));
    let mut server = setup.flag("--access-logformat=%(r)s %(B)d").flag("--graceful-timeout=1").start();
    let whole = server.get("/avalon/songs").body.len();
    let mut gone = Connection::open_narrow(&server.address).expect("a connection");
    gone.send(b"GET /avalon/songs?gone HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    gone.first_byte().expect("the beginning");
    drop(gone);
    let mut slow = Connection::open_narrow(&server.address).expect("a connection");
    slow.send(b"GET /avalon/songs?slow HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    slow.first_byte().expect("the beginning");
    lines(&log, 2);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_exit(), 0);
    let lines = lines(&log, 3);
    let sent = |part: &str| -> usize {
        let line =
            lines.iter().find(|line| line.contains(part)).unwrap_or_else(|| panic!("{part}: {lines:?}"));
        line.rsplit(' ').next().and_then(|bytes| bytes.parse().ok()).expect("bytes")
    };
    assert_eq!(sent("/songs HTTP"), whole);
    assert!((1..whole).contains(&sent("gone")) && (1..whole).contains(&sent("slow")), "{lines:?}");
}

#[test]
fn standard_output_is_a_log_as_well() {
    let setup = Setup::with(&collection(1)).flag("--access-logfile=-").flag("--access-logformat=%(m)s %(U)s");
    let out = setup.path("stdout");
    let script = format!("exec \"$0\" \"$@\" > {}", out.display());
    let server = setup.wrapped(&["/bin/sh", "-c", &script]).start();
    for _ in 0..3 {
        server.get("/avalon/heartbeat");
    }
    assert_eq!(lines(&out, 3), ["GET /avalon/heartbeat"; 3]);
}

/// No line is lost or written twice while Debian's logrotate moves the file under load, nor by a reload.
#[test]
fn access_log_is_rotated_and_reloaded_without_a_loss() {
    let (setup, log) = with_access_log(Setup::with(&collection(1)));
    let server = setup.flag("--access-logformat=%(q)s").start();
    let rules = format!("{} {{\n  rotate 9\n  create 0640\n}}\n", log.display());
    let rules_file = server.path("logrotate.conf");
    fs::write(&rules_file, rules).expect("a file");
    let mut asked = 0;
    for round in 0..4 {
        for _ in 0..50 {
            asked += 1;
            server.get(&format!("/avalon/heartbeat?{asked}"));
        }
        match round {
            0 => server.reload(),
            1 => {
                let output = Command::new("/usr/sbin/logrotate")
                    .args(["--force", "--state"])
                    .args([server.path("logrotate.state"), rules_file.clone()])
                    .output()
                    .expect("logrotate: scripts/install-test-deps installs it");
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            }
            2 => {
                fs::rename(&log, server.path("access.log.2")).expect("renamed");
                server.signal(Signal::SIGUSR1);
                eventually("the new log", || log.exists().then_some(()));
            }
            _ => {}
        }
    }
    let files = ["access.log.2", "access.log.1", "access.log"].map(|name| server.path(name));
    let found = eventually("all lines", || {
        let text: String = files.iter().map(|file| read(file)).collect();
        let mut found: Vec<u32> = text.lines().map(|line| line.parse().expect("a number")).collect();
        found.sort_unstable();
        (found.len() >= asked).then_some(found)
    });
    assert_eq!(found, (1..=asked as u32).collect::<Vec<_>>());
}

/// A full disk costs lines and nothing else, and is told once lines can be written again.
#[test]
fn full_disk_costs_nothing_but_the_lines() {
    let setup = Setup::with(&collection(1)).flag("--workers=1");
    let log = setup.path("access.log");
    std::os::unix::fs::symlink("/dev/full", &log).expect("a link");
    let server = setup.flag(&format!("--access-logfile={}", log.display())).start();
    for _ in 0..20 {
        assert_eq!(server.get("/avalon/heartbeat").status, 200);
    }
    // Written, and lost: the next flush finds the new file.
    server.wait_log("serves on");
    fs::remove_file(&log).expect("removed");
    server.signal(Signal::SIGUSR1);
    eventually("lines again", || {
        server.get("/avalon/heartbeat");
        (!read(&log).is_empty()).then_some(())
    });
    assert_eq!(server.count_log("[ERROR]"), 0, "{}", server.log());
}

#[test]
fn log_that_cannot_be_opened_is_a_configuration_error() {
    let setup = Setup::with(&collection(1)).flag("--access-logfile=/nonexistent/access.log");
    let mut server = setup.spawn();
    assert_eq!(server.wait_exit(), 2);
    assert!(server.log().contains("ACCESS_LOGFILE: cannot append to the log file /nonexistent/access.log"));
    let mut server = Setup::with(&collection(1)).flag("--access-logformat=%(z)s").spawn();
    assert_eq!(server.wait_exit(), 2);
    assert!(
        server.log().contains("ACCESS_LOGFORMAT") && server.log().contains("column 1"),
        "{}",
        server.log()
    );
}

/// Its folder is root's, the file is given to the account of the workers.
#[test]
fn workers_of_another_user_write_and_reopen_it() {
    if !nix::unistd::Uid::effective().is_root() {
        return crate::harness::skip("only root can start workers as another user");
    }
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let (setup, log) = with_access_log(Setup::with(&collection(1)));
    fs::set_permissions(setup.path(""), fs::Permissions::from_mode(0o755)).expect("a folder to pass");
    fs::set_permissions(setup.path("avalon.sqlite"), fs::Permissions::from_mode(0o644)).expect("a database");
    let server = setup.flag("--user=65532").flag("--group=65531").start();
    server.get("/avalon/heartbeat");
    lines(&log, 1);
    assert_eq!(fs::metadata(&log).expect("a log").uid(), 65532);
    fs::rename(&log, server.path("access.log.1")).expect("renamed");
    server.signal(Signal::SIGUSR1);
    eventually("lines in the new log", || {
        server.get("/avalon/heartbeat");
        (!read(&log).is_empty()).then_some(())
    });
    assert_eq!(fs::metadata(&log).expect("a log").uid(), 65532);
}
