//! Clients behind proxies: header fields and HAProxy's PROXY protocol, and clients that pretend.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::harness::eventually;
use crate::harness::http::Connection;
use crate::harness::server::{Server, Setup, collection};

/// A server whose access log tells the clients.
fn setup() -> (Setup, PathBuf) {
    let setup = Setup::with(&collection(1)).flag("--access-logformat=%(h)s %(U)s").flag("--workers=1");
    let log = setup.path("access.log");
    (setup.flag(&format!("--access-logfile={}", log.display())), log)
}

/// The client of the request to `path`.
fn client_of(log: &Path, path: &str) -> String {
    eventually("a line of the access log", || {
        let text = fs::read_to_string(log).ok()?;
        text.lines().find_map(|line| line.strip_suffix(&format!(" {path}")).map(str::to_owned))
    })
}

fn ask(server: &Server, path: &str, fields: &[&str]) -> u16 {
    let mut connection = Connection::open(&server.address).expect("a connection");
    connection.request("GET", path, fields).expect("an answer").status
}

#[test]
fn header_fields_of_trusted_proxies_name_the_client() {
    let (setup, log) = setup();
    let server = setup.start();
    ask(&server, "/one", &["X-Forwarded-For: 1.1.1.1, 192.0.2.7"]);
    assert_eq!(client_of(&log, "/one"), "192.0.2.7");
    ask(&server, "/two", &["Forwarded: for=1.1.1.1"]);
    assert_eq!(client_of(&log, "/two"), "127.0.0.1");
    // Only the end of such a list is the proxy's; its client may have sent the rest.
    ask(&server, "/three", &["X-Forwarded-For: \u{e9}, 192.0.2.7"]);
    assert_eq!(client_of(&log, "/three"), "192.0.2.7");
    // The status is for clients that ask for themselves; a proxy cannot change that.
    assert_eq!(ask(&server, "/avalon/status", &["X-Forwarded-For: 127.0.0.1"]), 404);
    assert_eq!(ask(&server, "/avalon/status", &[]), 200);
}

#[test]
fn header_fields_of_others_are_not_believed() {
    let (setup, log) = setup();
    let server = setup.flag("--forwarded-allow-ips=192.0.2.0/24,::1").start();
    ask(&server, "/one", &["X-Forwarded-For: 1.1.1.1"]);
    assert_eq!(client_of(&log, "/one"), "127.0.0.1");
}

#[test]
fn proxies_on_unix_sockets_are_believed() {
    let (setup, log) = setup();
    let socket = format!("unix:{}", setup.path("socket").display());
    let setup = setup.without_flags().flag("--workers=1").flag("--access-logformat=%(h)s %(U)s");
    let setup = setup.flag(&format!("--access-logfile={}", log.display())).flag(&format!("--bind={socket}"));
    let server = setup.variable("AVALON_FORWARDED_HEADERS", "forwarded").start();
    ask(&server, "/one", &["Forwarded: for=\"[2001:db8::7]:80\";proto=https", "X-Forwarded-For: 1.1.1.1"]);
    assert_eq!(client_of(&log, "/one"), "2001:db8::7");
    ask(&server, "/two", &[]);
    assert_eq!(client_of(&log, "/two"), "-");
    ask(&server, "/three", &["Forwarded: for=1.1.1.1;x=\", for=192.0.2.7"]);
    assert_eq!(client_of(&log, "/three"), "192.0.2.7");
}

/// Sends bytes on a connection of its own, and gives all that comes back.
fn raw(server: &Server, bytes: &[u8]) -> String {
    let mut connection = Connection::open(&server.address).expect("a connection");
    connection.send(bytes).expect("sent");
    let _ = connection.end_sending();
    String::from_utf8_lossy(&connection.rest().unwrap_or_default()).into_owned()
}

#[test]
fn proxy_headers_are_believed_of_those_who_must_send_them() {
    let (setup, log) = setup();
    let server = setup.flag("--proxy-protocol").start();
    let header = "PROXY TCP4 192.0.2.7 127.0.0.1 4660 8000\r\n";
    let request = "GET /avalon/heartbeat HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let status = "GET /avalon/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    assert!(raw(&server, format!("{header}{request}").as_bytes()).starts_with("HTTP/1.1 200 "));
    assert_eq!(client_of(&log, "/avalon/heartbeat"), "192.0.2.7");
    // The client of a proxy on this machine is not of this machine.
    assert!(raw(&server, format!("{header}{status}").as_bytes()).starts_with("HTTP/1.1 404 "));
    // A proxy that passes on bytes of its client cannot be mistaken for that client.
    assert_eq!(raw(&server, request.as_bytes()), "");
    for wrong in ["PROXY TCP4 x y 1 2\r\n", "PROXY ", "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x01x", ""] {
        assert_eq!(raw(&server, format!("{wrong}{request}").as_bytes()), "", "{wrong:?}");
    }
    // A second one is no HTTP.
    assert!(raw(&server, format!("{header}{header}{request}").as_bytes()).starts_with("HTTP/1.1 400 "));
    // Requests after it in the same packet, in pieces, and pipelined, are served.
    let twice = format!("{header}GET /avalon/version HTTP/1.1\r\nHost: x\r\n\r\n{request}");
    let (first, rest) = twice.as_bytes().split_at(20);
    let mut connection = Connection::open(&server.address).expect("a connection");
    connection.send(first).expect("sent");
    connection.send(rest).expect("sent");
    assert_eq!(connection.answer("GET").expect("an answer").text(), env!("CARGO_PKG_VERSION"));
    assert_eq!(connection.answer("GET").expect("an answer").text(), "OKOKOK");
}

#[test]
fn proxy_headers_of_others_are_no_http() {
    let (setup, log) = setup();
    let server = setup.flag("--proxy-protocol").flag("--proxy-allow-from=192.0.2.1").start();
    let header = "PROXY TCP4 192.0.2.7 127.0.0.1 4660 8000\r\n";
    let request = "GET /one HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    assert!(raw(&server, format!("{header}{request}").as_bytes()).starts_with("HTTP/1.1 400 "));
    assert!(raw(&server, request.as_bytes()).starts_with("HTTP/1.1 404 "));
    assert_eq!(client_of(&log, "/one"), "127.0.0.1");
}

/// A slow header is cut like a slow head.
#[test]
fn proxies_that_say_nothing_are_cut() {
    let (setup, _) = setup();
    let server = setup.flag("--proxy-protocol").variable("AVALON_HEADER_TIMEOUT", "1").start();
    let mut connection = Connection::open(&server.address).expect("a connection");
    connection.send(b"PROXY TCP4 ").expect("sent");
    assert_eq!(connection.rest().unwrap_or_default(), b"");
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Debian's HAProxy in front of a server, with both versions, and its health checks.
#[test]
fn the_real_haproxy_names_its_clients() {
    for option in ["send-proxy", "send-proxy-v2"] {
        let (setup, log) = setup();
        let server = setup.flag("--proxy-protocol").start();
        let address = server.address.trim_start_matches("http://");
        let front = server.path("haproxy.sock");
        // It takes over the client's address from the one that speaks to its socket.
        let config = format!(
            "defaults\n  mode http\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n\
             frontend front\n  bind unix@{0} accept-proxy\n  default_backend avalon\n\
             backend avalon\n  option httpchk GET /avalon/heartbeat\n\
             \x20 server one {address} {option} check inter 100ms\n",
            front.display()
        );
        let file = server.path("haproxy.cfg");
        fs::write(&file, config).expect("a file");
        let haproxy = Command::new("/usr/sbin/haproxy")
            .args(["-db", "-f"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("haproxy: scripts/install-test-deps installs it");
        let _haproxy = Killed(haproxy);
        let request =
            "PROXY TCP4 192.0.2.9 192.0.2.1 4660 80\r\nGET /avalon/version HTTP/1.1\r\nHost: x\r\n\r\n";
        let answer = eventually("an answer through HAProxy", || {
            let mut connection = Connection::open(&format!("unix:{}", front.display())).ok()?;
            connection.send(request.as_bytes()).ok()?;
            connection.answer("GET").ok().filter(|answer| answer.status == 200)
        });
        assert_eq!(answer.text(), env!("CARGO_PKG_VERSION"), "{option}");
        assert_eq!(client_of(&log, "/avalon/version"), "192.0.2.9", "{option}");
        // Its checks are its own.
        assert_eq!(client_of(&log, "/avalon/heartbeat"), "127.0.0.1", "{option}");
    }
}

#[test]
fn request_ids_are_kept_or_made_and_server_timing_is_on_demand() {
    let server = Setup::with(&collection(1)).variable("AVALON_DEBUG_HEADERS", "true").start();
    let mut connection = Connection::open(&server.address).expect("a connection");
    let mut ids = Vec::new();
    for (sent, kept) in [("abc-1", true), ("a b", false), ("", false)] {
        let field = format!("X-Request-Id: {sent}");
        let answer = connection.request("GET", "/avalon/songs", &[&field]).expect("an answer");
        let id = answer.header("x-request-id").expect("an id").to_owned();
        assert_eq!(id == sent, kept, "{id}");
        ids.push(id);
        let timing = answer.header("server-timing").expect("a timing");
        assert!(timing.starts_with("query;dur=") && timing.contains(", render;dur="), "{timing}");
    }
    // Errors have one as well, and no two requests the same.
    let error = connection.get("/avalon/nothing").expect("an answer");
    ids.push(error.header("x-request-id").expect("an id").to_owned());
    let unique: std::collections::HashSet<&String> = ids.iter().collect();
    assert_eq!(unique.len(), ids.len());

    let server = Setup::with(&collection(1)).variable("AVALON_REQUEST_ID_HEADER", "").start();
    let answer = server.get("/avalon/songs");
    assert_eq!((answer.header("x-request-id"), answer.header("server-timing")), (None, None));
    let server = Setup::with(&collection(1)).variable("AVALON_REQUEST_ID_HEADER", "X-Correlation-Id").start();
    assert!(server.get("/avalon/songs").header("x-correlation-id").is_some());
}

#[test]
fn wrong_settings_are_refused() {
    for (key, value, part) in [
        ("FORWARDED_ALLOW_IPS", "localhost", "expected an IP address"),
        ("FORWARDED_HEADERS", "via", "x-forwarded"),
        ("PROXY_ALLOW_IPS", "10.0.0.0/64", "expected an IP address"),
        ("REQUEST_ID_HEADER", "X Request", "header field"),
        ("PROXY_PROTOCOL", "v2", "true or false"),
    ] {
        let mut server = Setup::with(&collection(1)).variable(&format!("AVALON_{key}"), value).spawn();
        assert_eq!(server.wait_exit(), 2, "{key}");
        let log = server.log();
        assert!(log.contains(key) && log.contains(part), "{log}");
    }
}
