//! What leaves the processes beside answers: metrics, errors, log lines.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};

use nix::sys::signal::Signal;

use crate::harness::server::{Setup, collection};
use crate::harness::{DEADLINE, eventually};

#[test]
fn requests_are_timed_to_statsd() {
    let statsd = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    statsd.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    let port = statsd.local_addr().expect("an address").port();
    let server = Setup::with(&collection(1))
        .variable("AVALON_STATSD_HOST", "127.0.0.1")
        .variable("AVALON_STATSD_PORT", &port.to_string())
        .variable("AVALON_STATSD_PREFIX", "music")
        .start();
    for endpoint in ["songs", "albums", "artists", "genres"] {
        server.get(&format!("/avalon/{endpoint}"));
    }
    let mut lines = Vec::new();
    while lines.len() < 4 {
        let mut datagram = [0; 2048];
        let len = statsd.recv(&mut datagram).expect("a datagram");
        lines.extend(String::from_utf8_lossy(&datagram[..len]).lines().map(str::to_owned));
    }
    for endpoint in ["songs", "albums", "artists", "genres"] {
        let timer =
            |line: &&String| line.starts_with(&format!("music.request.{endpoint}:")) && line.ends_with("|ms");
        assert_eq!(lines.iter().filter(timer).count(), 1, "{lines:?}");
    }
}

#[test]
fn failed_reload_is_reported_to_sentry() {
    let ingest = TcpListener::bind("127.0.0.1:0").expect("a port");
    let dsn = format!("http://sekret@{}/1", ingest.local_addr().expect("an address"));
    let server = Setup::with(&collection(1)).variable("AVALON_SENTRY_DSN", &dsn).start();
    fs::write(server.path("avalon.sqlite"), "this is no database, but long enough to be one")
        .expect("a file");
    server.signal(Signal::SIGHUP);
    let (mut stream, _) = ingest.accept().expect("an event");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    let mut received = Vec::new();
    let mut buffer = [0; 4096];
    while !String::from_utf8_lossy(&received).contains("no SQLite database") {
        let len = stream.read(&mut buffer).expect("an envelope");
        assert!(len > 0, "{}", String::from_utf8_lossy(&received));
        received.extend_from_slice(&buffer[..len]);
    }
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
    server.wait_log("reload failed");
    assert!(!server.log().contains("sekret"));
}

#[test]
fn moved_log_is_reopened_by_all_processes() {
    let setup = Setup::with(&collection(1));
    let (log, moved) = (setup.path("log"), setup.path("log.1"));
    let mut server = setup.flag(&format!("--log-file={}", log.display())).spawn();
    let read = |path: &std::path::Path| fs::read_to_string(path).unwrap_or_default();
    eventually("the start", || read(&log).contains(" serves on ").then_some(()));
    fs::rename(&log, &moved).expect("renamed");
    server.signal(Signal::SIGUSR1);
    eventually("the new log", || log.exists().then_some(()));
    let open_moved = |pid| {
        let fds = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        fds.filter_map(|fd| fs::read_link(fd.path()).ok()).any(|target| target == moved)
    };
    for pid in server.wait_workers(2).into_iter().chain([server.pid()]) {
        eventually("the old log is closed", || (!open_moved(pid)).then_some(()));
    }
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_exit(), 0);
    assert!(read(&log).contains("stopped") && !read(&moved).contains("stopped"));
}
