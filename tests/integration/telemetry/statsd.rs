//! Metrics at the real statsd of npm, which prints the metrics that it receives.

use std::fs::{self, File};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};

use crate::harness::server::{Server, Setup, collection};
use crate::harness::{DEADLINE, eventually};

/// statsd with its console backend, in a folder of its own.
struct Statsd {
    folder: tempfile::TempDir,
    child: Child,
    port: u16,
}

impl Statsd {
    fn start() -> Statsd {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers/node_modules/statsd/stats.js");
        assert!(program.exists(), "{} is missing: scripts/install-test-deps", program.display());
        let folder = tempfile::tempdir().expect("a folder");
        // Free at this moment; a process that takes it meanwhile makes the start fail, not the test lie.
        let port =
            UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
        // An address of its own for the management, whose port cannot be left to the kernel.
        let [high, low] = port.to_be_bytes();
        let config = format!(
            "{{ address: '127.0.0.1', port: {port}, mgmt_address: '127.88.{high}.{low}', mgmt_port: {port}, \
             backends: ['./backends/console'], flushInterval: 300, deleteCounters: true, deleteTimers: true }}"
        );
        let file = folder.path().join("config.js");
        fs::write(&file, config).expect("a file");
        let output = File::create(folder.path().join("output")).expect("a file");
        let child = Command::new("node")
            .args([program, file])
            .stdin(Stdio::null())
            .stderr(output.try_clone().expect("a file"))
            .stdout(output)
            .spawn()
            .expect("node starts");
        let statsd = Statsd { folder, child, port };
        eventually("statsd is up", || statsd.output().contains("Flushing stats").then_some(()));
        statsd
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("output")
    }

    fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.path()).unwrap_or_default()).into_owned()
    }

    /// Returns the values printed for a name in the counters, timers or gauges of all flushes: a
    /// number, or numbers in brackets.
    fn values(&self, section: &str, name: &str) -> Vec<f64> {
        let (output, begin, name) = (self.output(), format!("\n  {section}: {{"), format!("'{name}': "));
        let sections = output.split(&begin).skip(1).map(|rest| {
            // The next section has the same indentation.
            let next =
                rest.match_indices("\n  ").find(|(at, _)| rest[at + 3..].starts_with(char::is_alphabetic));
            &rest[..next.map_or(rest.len(), |(at, _)| at)]
        });
        let values = sections.filter_map(|section| section.split(&name).nth(1));
        let numbers = values.flat_map(|value| match value.strip_prefix('[') {
            Some(list) => list.split(']').next().unwrap_or_default().split(',').collect(),
            None => vec![value.split([',', ' ', '\n']).next().unwrap_or_default()],
        });
        numbers.filter_map(|number| number.trim().parse().ok()).collect()
    }

    fn wait_sum(&self, counter: &str, sum: f64) {
        eventually(&format!("{counter} {sum}"), || (self.sum(counter) == sum).then_some(()));
    }

    fn sum(&self, counter: &str) -> f64 {
        self.values("counters", counter).iter().sum()
    }

    fn wait_gauge(&self, gauge: &str, value: f64) {
        eventually(&format!("{gauge} {value}"), || {
            (self.values("gauges", gauge).last() == Some(&value)).then_some(())
        });
    }
}

impl Drop for Statsd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("statsd printed:\n{}", self.output());
        }
    }
}

fn sending_to(port: u16) -> Setup {
    Setup::with(&collection(2))
        .variable("AVALON_STATSD_HOST", "127.0.0.1")
        .variable("AVALON_STATSD_PORT", &port.to_string())
        .variable("AVALON_STATSD_PREFIX", "music.test")
}

fn break_database(server: &Server) {
    fs::write(server.path("avalon.sqlite"), "this is no database, but long enough to be one")
        .expect("a file");
}

#[test]
fn the_real_statsd_gets_timers_counters_and_gauges() {
    let statsd = Statsd::start();
    let server = sending_to(statsd.port).start();
    for endpoint in ["songs", "albums", "albums", "artists", "genres", "heartbeat"] {
        assert_eq!(server.get(&format!("/avalon/{endpoint}")).status, 200);
    }
    assert_eq!(server.get("/avalon/nothing").status, 404);
    assert_eq!(server.get("/avalon/songs?limit=x").status, 400);
    for (status, count) in [(200, 6.0), (404, 1.0), (400, 1.0)] {
        statsd.wait_sum(&format!("music.test.response.{status}"), count);
    }
    for (endpoint, count) in [("songs", 2), ("albums", 2), ("artists", 1), ("genres", 1)] {
        let times = statsd.values("timers", &format!("music.test.request.{endpoint}"));
        assert_eq!(times.len(), count, "{endpoint} in\n{}", statsd.output());
    }
    statsd.wait_gauge("music.test.workers", 2.0);
    statsd.wait_gauge("music.test.songs", 20.0);
    statsd.wait_gauge("music.test.generation", 1.0);

    server.reload();
    statsd.wait_gauge("music.test.generation", 2.0);
    let durations = eventually("a duration", || {
        Some(statsd.values("timers", "music.test.reload.duration")).filter(|times| !times.is_empty())
    });
    assert!(durations.len() == 1 && durations[0] > 0.0, "{durations:?}");

    let victim = server.wait_workers(2)[0];
    kill(victim, Signal::SIGKILL).expect("a worker");
    statsd.wait_sum("music.test.worker.restart.died", 1.0);
    break_database(&server);
    server.signal(Signal::SIGHUP);
    // The server tries again after at most a second, and fails again.
    eventually("failures", || (statsd.sum("music.test.reload.failed") >= 1.0).then_some(()));

    let bad = statsd.values("counters", "statsd.bad_lines_seen");
    assert!(!bad.is_empty() && bad.iter().all(|count| *count == 0.0), "{}", statsd.output());
}

#[test]
fn a_missing_listener_costs_nothing() {
    let port = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
    let server = sending_to(port).start();
    for _ in 0..50 {
        assert_eq!(server.get("/avalon/albums").status, 200);
    }
    server.reload();
    server.assert_clean_shutdown();
}

/// The server serves for every behaviour of a name server.
#[test]
fn host_that_cannot_be_found_holds_up_nothing() {
    let server = Setup::with(&collection(1)).variable("AVALON_STATSD_HOST", "statsd.invalid").start();
    assert_eq!(server.get("/avalon/songs").status, 200);
    let line = server.wait_log("nothing is sent to a host until it is found");
    assert!(line.contains("statsd.invalid:8125"), "{line}");
    server.reload();
    // The master has a child looking, now and then.
    server.wait_workers(2);
    server.assert_clean_shutdown();
}

/// A host that is no address to us, but to the C library, so that no name server is needed: found by a
/// child of the master, for the master and its workers.
#[test]
fn host_by_name_is_looked_up_by_master_and_workers() {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a timeout");
    let port = socket.local_addr().expect("an address").port();
    let server = sending_to(port).variable("AVALON_STATSD_HOST", "127.1").start();
    let begin = std::time::Instant::now();
    let mut lines = String::new();
    while !(lines.contains("music.test.response.200:") && lines.contains("music.test.generation:1|g")) {
        assert!(begin.elapsed() < DEADLINE, "{lines}");
        server.get("/avalon/heartbeat");
        let mut datagram = [0; 2048];
        if let Ok(len) = socket.recv(&mut datagram) {
            assert!(len <= 1400);
            lines += &String::from_utf8_lossy(&datagram[..len]);
        }
    }
    server.assert_clean_shutdown();
}
