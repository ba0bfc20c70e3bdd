//! Files that are replaced while workers run: the effect is the same with SANDBOX on and off.

use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::host::obstacle;
use crate::harness::server::{Server, Setup, collection};
use crate::harness::{eventually, free_port};

const SANDBOX: &str = "AVALON_SANDBOX";

/// Runs a test with the sandbox and without it, at the same time.
fn with_and_without(test: impl Fn(&str) + Sync) {
    std::thread::scope(|scope| {
        for sandbox in ["true", "false"] {
            scope.spawn(|| test(sandbox));
        }
    });
}

/// Asks until a line about it stands in the access log.
fn assert_logged(server: &Server, log: &Path, target: &str) {
    eventually(&format!("{target} in {}", log.display()), || {
        server.get(target);
        fs::read_to_string(log).is_ok_and(|text| text.contains(target)).then_some(())
    });
}

#[test]
fn a_log_folder_that_is_made_again_gets_the_lines_of_workers() {
    with_and_without(|sandbox| {
        let setup = Setup::with(&collection(1)).flag("--access-logformat=%(U)s").variable(SANDBOX, sandbox);
        let (folder, old) = (setup.path("log"), setup.path("log.old"));
        fs::create_dir(&folder).expect("a folder");
        let (log, access) = (folder.join("avalon.log"), folder.join("access.log"));
        let setup = setup.flag(&format!("--access-logfile={}", access.display()));
        let setup = setup.variable("AVALON_LOG_PATH", log.to_str().expect("UTF-8"));
        let setup = setup.flag("--log-level=DEBUG");
        let mut server = setup.spawn();
        let line = eventually("a server that serves", || {
            let text = fs::read_to_string(&log).ok()?;
            text.lines().find(|line| line.contains(" serves on ")).map(str::to_owned)
        });
        let address = line.split(" serves on ").nth(1).and_then(|rest| rest.split(' ').next());
        server.address = address.expect("an address").trim_end_matches(',').to_owned();
        let workers = server.wait_workers(2);
        assert_logged(&server, &access, "/before");
        for (round, signal) in [None, Some(Signal::SIGUSR1)].into_iter().enumerate() {
            let _ = fs::remove_dir_all(&old);
            fs::rename(&folder, &old).expect("moved");
            fs::create_dir(&folder).expect("a folder");
            if let Some(signal) = signal {
                server.signal(signal);
            }
            assert_logged(&server, &access, &format!("/round{round}"));
            // Both workers have left the old file.
            eventually("no process that writes to the old file", || {
                let len = |path: &Path| fs::metadata(path).map_or(0, |found| found.len());
                let (before, target) = (len(&old.join("access.log")), format!("/later{round}"));
                (0..20).for_each(|_| drop(server.get(&target)));
                assert_logged(&server, &access, &target);
                (len(&old.join("access.log")) == before).then_some(())
            });
        }
        assert_eq!(server.workers(), workers);
        server.assert_clean_shutdown();
    });
}

#[test]
fn a_log_may_be_a_stream_by_its_path() {
    with_and_without(|sandbox| {
        let setup = Setup::with(&collection(1)).variable(SANDBOX, sandbox).flag("--log-level=DEBUG");
        let server = setup.variable("AVALON_LOG_PATH", "/dev/stderr").start();
        if sandbox == "true" {
            // A worker's own words.
            server.wait_log_times("confined", 2);
            assert_eq!(server.count_log("not fully confined"), 0, "{}", server.log());
        }
        server.signal(Signal::SIGUSR1);
        server.reload();
        server.wait_log("generation 2 serves on ");
        server.assert_clean_shutdown();
    });
}

/// Its own view of /etc, in which files can be replaced, and where that is.
fn with_own_etc(setup: Setup) -> (Setup, PathBuf) {
    let etc = setup.path("etc");
    let copied = Command::new("cp").args(["-a", "/etc"]).arg(&etc).status();
    assert!(copied.is_ok_and(|status| status.success()));
    let view = format!("mount --bind {} /etc && exec \"$0\" \"$@\"", etc.display());
    (setup.wrapped(&["unshare", "--mount", "/bin/sh", "-c", &view]), etc)
}

/// Most editors, dhclient and NetworkManager write a new file and rename it.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).expect("a file");
    fs::rename(&new, path).expect("replaced");
}

/// Where metrics for a host are to arrive before its address changes, and after that.
struct Statsd {
    host: &'static str,
    port: u16,
    before: UdpSocket,
    after: UdpSocket,
}

impl Statsd {
    fn bind(host: &'static str, [before, after]: [&str; 2]) -> Statsd {
        let port = free_port();
        let [before, after] = [before, after].map(|address| {
            let socket = UdpSocket::bind((address, port)).expect("a socket");
            socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout");
            socket
        });
        Statsd { host, port, before, after }
    }

    /// Starts a server that sends metrics there, and changes the address by `replace`.
    fn assert_follows(&self, setup: Setup, replace: impl FnOnce()) {
        let setup = setup.variable("AVALON_STATSD_HOST", self.host);
        let server = setup.variable("AVALON_STATSD_PORT", &self.port.to_string()).start();
        let workers = server.wait_workers(2);
        let wait_requests = |socket: &UdpSocket| {
            eventually("a metric of a worker", || {
                (0..4).for_each(|_| drop(server.get("/avalon/albums")));
                let mut datagram = [0; 2048];
                let len = socket.recv(&mut datagram).ok()?;
                String::from_utf8_lossy(&datagram[..len]).contains("request.albums:").then_some(())
            });
        };
        wait_requests(&self.before);
        replace();
        // It is looked up again after a minute.
        wait_requests(&self.after);
        assert_eq!(server.wait_workers(2), workers);
        server.assert_clean_shutdown();
    }
}

#[test]
fn hosts_that_are_replaced_are_found_by_workers_that_run() {
    with_and_without(|sandbox| {
        let statsd = Statsd::bind("statsd.avalon.test", ["127.44.0.1", "127.44.0.2"]);
        let (setup, etc) = with_own_etc(Setup::with(&collection(1)).variable(SANDBOX, sandbox));
        let hosts = |address: &str| replace(&etc.join("hosts"), &format!("{address} {}\n", statsd.host));
        hosts("127.44.0.1");
        statsd.assert_follows(setup, || hosts("127.44.0.2"));
    });
}

/// A name server (RFC 1035) that gives every name this address; it ends with the test.
fn serve_names(at: String, address: [u8; 4]) {
    let socket = UdpSocket::bind((at.as_str(), 53)).expect("a port of name servers");
    thread::spawn(move || {
        let mut bytes = [0; 512];
        while let Ok((len, asker)) = socket.recv_from(&mut bytes) {
            // The name ends with an empty label; behind it stand type and class.
            let Some(end) = bytes[12..len].iter().position(|byte| *byte == 0).map(|at| 12 + at + 5) else {
                continue;
            };
            let is_ipv4 = bytes[end - 3] == 1;
            let mut answer = bytes[..end].to_vec();
            answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, u8::from(is_ipv4), 0, 0, 0, 0]);
            if is_ipv4 {
                // The name of the question, for ten seconds.
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 10, 0, 4]);
                answer.extend(address);
            }
            let _ = socket.send_to(&answer, asker);
        }
    });
}

#[test]
fn name_servers_that_are_replaced_are_asked_for_workers_that_run() {
    if let Some(obstacle) = obstacle() {
        return crate::harness::skip(obstacle);
    }
    with_and_without(|sandbox| {
        let net = if sandbox == "true" { 45 } else { 46 };
        let [before, after] = [1, 2].map(|host| format!("127.{net}.0.{host}"));
        let statsd = Statsd::bind("statsd.avalon.example", [&before, &after]);
        serve_names(format!("127.{net}.1.1"), [127, net, 0, 1]);
        serve_names(format!("127.{net}.1.2"), [127, net, 0, 2]);
        let (setup, etc) = with_own_etc(Setup::with(&collection(1)).variable(SANDBOX, sandbox));
        // Where it is a link, the link is replaced.
        let resolv =
            |host: u8| replace(&etc.join("resolv.conf"), &format!("nameserver 127.{net}.1.{host}\n"));
        replace(&etc.join("nsswitch.conf"), "passwd: files\ngroup: files\nhosts: dns\n");
        resolv(1);
        statsd.assert_follows(setup, || resolv(2));
    });
}
