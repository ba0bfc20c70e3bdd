//! The log of a real server, in the form and the place that the configuration says.

use std::fs;
use std::net::TcpListener;

use crate::harness::eventually;
use crate::harness::http::{self, Connection};
use crate::harness::server::{Server, Setup, collection};

const HEARTBEAT: &str = "/avalon/heartbeat";

/// A server on a Unix socket, for when its log does not tell the address.
fn start(setup: Setup) -> (Server, String) {
    let socket = format!("unix:{}", setup.path("socket").display());
    let server = setup.without_flags().variable("AVALON_BIND", &socket).spawn();
    eventually("an answer", || Connection::open(&socket).and_then(|mut it| it.get(HEARTBEAT)).ok());
    (server, socket)
}

#[test]
fn the_file_is_appended_to_in_the_configured_form() {
    let setup = Setup::with(&collection(1));
    let path = setup.path("log");
    fs::write(&path, "before\n").expect("a file");
    let setup = setup.variable("AVALON_LOG_PATH", &path.display().to_string());
    let setup = setup.variable("AVALON_LOG_DATE_FORMAT", "<%Y>");
    let form = "%(levelname)-8s|%(asctime)s|%(name)s|%(processName)10s|%(process)d|%(message)s";
    let (server, _) = start(setup.variable("AVALON_LOG_FORMAT", form));
    let log = eventually("a generation that serves", || {
        let log = fs::read_to_string(&path).expect("a log");
        log.contains("|generation 1 serves on ").then_some(log)
    });
    let mut lines = log.lines();
    assert_eq!(lines.next(), Some("before"));
    let lines: Vec<Vec<&str>> = lines.map(|line| line.splitn(6, '|').collect()).collect();
    for fields in &lines {
        assert_eq!((fields.len(), fields[0], fields[1].len()), (6, "INFO    ", "<2000>".len()), "{log}");
        assert!(fields[1].starts_with("<2") && fields[2].starts_with("avalon"), "{log}");
    }
    let pid = server.pid().to_string();
    let served = lines.iter().find(|fields| fields[5].starts_with("generation 1 serves on "));
    assert_eq!(served.map(|fields| &fields[2..5]), Some(&["avalon.master", "    master", &pid][..]), "{log}");
    assert!(lines.iter().any(|fields| fields[3] == "    loader" && fields[4] != pid), "{log}");
    assert_eq!(server.log(), "");
    server.assert_clean_shutdown();
}

#[test]
fn records_below_the_level_are_not_logged() {
    for (level, count) in [("ERROR", 0..=0), ("warn", 0..=0), ("INFO", 3..=20)] {
        let (server, socket) = start(Setup::with(&collection(1)).variable("AVALON_LOG_LEVEL", level));
        assert_eq!(http::get(&socket, HEARTBEAT).text(), "OKOKOK");
        let lines = server.log().lines().count();
        assert!(count.contains(&lines), "{level}: {}", server.log());
        server.assert_clean_shutdown();
    }
}

#[test]
fn a_log_that_cannot_be_written_keeps_the_server_from_starting() {
    let setup = Setup::with(&collection(1)).variable("AVALON_LOG_PATH", "/no/such/folder/log");
    let mut server = setup.spawn();
    assert_eq!(server.wait_exit(), 2);
    let log = server.log();
    assert!(log.starts_with("avalon-master: LOG_PATH: ") && log.contains("/no/such/folder/log"), "{log}");
    assert_eq!(log.lines().count(), 1, "{log}");
}

/// The address of a server that is not there.
fn unused_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").to_string()
}

#[test]
fn secrets_stay_out_of_the_log_when_the_database_is_down() {
    let address = unused_address();
    let setup = Setup::new(&format!("postgresql+psycopg2://me:geheim@{address}/music"));
    let setup = setup.variable("AVALON_SENTRY_DSN", &format!("http://0123456789abcdef@{address}/1"));
    let mut server = setup.variable("AVALON_LOG_LEVEL", "DEBUG").spawn();
    assert_eq!(server.wait_exit(), 4);
    let log = server.log();
    let message = server.wait_log("[CRITICAL]");
    assert!(message.contains(&address) && message.contains("music"), "{message}");
    for secret in ["geheim", "0123456789abcdef"] {
        assert!(!log.contains(secret), "{log}");
    }
}
