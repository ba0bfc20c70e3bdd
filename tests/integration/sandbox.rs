//! What is replaced while workers run: the same comes of it with SANDBOX on and off.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;

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
fn a_log_folder_that_is_made_anew_gets_the_lines_of_workers() {
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
            eventually("nobody who writes to the old file", || {
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

/// Most editors, dhclient and NetworkManager write a new file and rename it.
#[test]
fn hosts_that_are_replaced_are_found_by_workers_that_run() {
    with_and_without(|sandbox| {
        let port = free_port();
        let socket = |address: &str| {
            let socket = UdpSocket::bind((address, port)).expect("a socket");
            socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout");
            socket
        };
        let [before, after] = ["127.44.0.1", "127.44.0.2"].map(socket);
        let setup = Setup::with(&collection(1)).variable(SANDBOX, sandbox);
        let etc = setup.path("etc");
        let host = "statsd.avalon.test";
        let hosts = |address: &str| {
            let new = etc.join("hosts.new");
            fs::write(&new, format!("{address} {host}\n")).expect("a file");
            fs::rename(&new, etc.join("hosts")).expect("replaced");
        };
        let copied = std::process::Command::new("cp").args(["-a", "/etc"]).arg(&etc).status();
        assert!(copied.is_ok_and(|status| status.success()));
        hosts("127.44.0.1");
        // Its own view of /etc, in which files can be replaced.
        let view = format!("mount --bind {} /etc && exec \"$0\" \"$@\"", etc.display());
        let setup = setup.wrapped(&["unshare", "--mount", "/bin/sh", "-c", &view]);
        let setup = setup.variable("AVALON_STATSD_HOST", host);
        let server = setup.variable("AVALON_STATSD_PORT", &port.to_string()).start();
        let workers = server.wait_workers(2).len();
        let wait_requests = |socket: &UdpSocket| {
            eventually("a metric of a worker", || {
                (0..4).for_each(|_| drop(server.get("/avalon/albums")));
                let mut datagram = [0; 2048];
                let len = socket.recv(&mut datagram).ok()?;
                String::from_utf8_lossy(&datagram[..len]).contains("request.albums:").then_some(())
            });
        };
        wait_requests(&before);
        hosts("127.44.0.2");
        // It is looked up again after a minute.
        wait_requests(&after);
        assert_eq!(server.wait_workers(workers).len(), workers);
        server.assert_clean_shutdown();
    });
}
