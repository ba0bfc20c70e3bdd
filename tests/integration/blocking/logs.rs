//! Logs on a file system that hangs: requests are answered, workers replaced, and the server stops.
//! Afterwards the lines written meanwhile are in the log, or counted.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};

use super::{assert_replaces, assert_shows_life};
use crate::harness::http::Connection;
use crate::harness::hung_mount::HungMount;
use crate::harness::notify::Notified;
use crate::harness::server::{Server, Setup, collection};
use crate::harness::{alone, eventually};

/// Longest time that an answer may take while the logs hang.
const ANSWER_MAX: Duration = Duration::from_millis(500);
/// Connections that ask at the same time, and requests on each: in lines more than is kept for a log.
const CLIENTS: usize = 2;
const REQUESTS: usize = 6000;

/// A server whose logs are on mounts of their own.
///
/// The mounts are dropped first, as the folder of the server cannot be removed before.
struct Hanging {
    log: HungMount,
    access_log: HungMount,
    server: Server,
    notified: Notified,
}

impl Hanging {
    /// `None` where FUSE may not be used.
    fn start() -> Option<Hanging> {
        let setup = Setup::with(&collection(2)).without_bind();
        let mount = |name: &str| HungMount::at(&setup.path(name), "");
        let Some((log, access_log)) = mount("log").zip(mount("access")) else {
            eprintln!("not tested: FUSE may not be used here");
            return None;
        };
        let path = |folder: &str| setup.path(folder).join("file").display().to_string();
        let (log_path, access_path) = (path("log"), path("access"));
        let socket = format!("unix:{}", setup.path("socket").display());
        let setup = setup.flag(&format!("--bind={socket}")).flag(&format!("--access-logfile={access_path}"));
        let setup = setup.flag("--access-logformat=%(q)s").flag("--limit-request-line=8190");
        let notify = setup.path("notify");
        let notified = Notified::bind(&notify);
        let setup = setup.variable("NOTIFY_SOCKET", notify.to_str().expect("UTF-8"));
        let setup = setup.variable("WATCHDOG_USEC", "1000000").variable("AVALON_LOG_PATH", &log_path);
        let mut server = setup.spawn();
        server.address = socket;
        notified.until_ready();
        Some(Hanging { log, access_log, server, notified })
    }

    fn hang(&self) {
        self.log.hang();
        self.access_log.hang();
    }

    fn go_on(&self) {
        self.log.go_on();
        self.access_log.go_on();
    }

    /// Asks on one connection, and says how long the slowest answer took.
    fn ask(&self, client: usize) -> Duration {
        let mut connection = Connection::open(&self.server.address).expect("a connection");
        let filling = "x".repeat(1000);
        let mut slowest = Duration::ZERO;
        for number in 0..REQUESTS {
            let begin = Instant::now();
            let answer = connection.get(&format!("/avalon/heartbeat?{client}.{number}.{filling}"));
            assert_eq!(answer.expect("an answer").text(), "OKOKOK");
            slowest = slowest.max(begin.elapsed());
        }
        slowest
    }

    fn ask_much(&self) {
        let slowest = thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS).map(|client| scope.spawn(move || self.ask(client))).collect();
            clients.into_iter().map(|client| client.join().expect("a client")).max()
        });
        assert!(slowest.is_some_and(|slowest| slowest <= ANSWER_MAX), "{slowest:?}");
    }

    /// Numbers of requests in the access log, by client.
    fn logged(&self) -> Vec<Vec<usize>> {
        let mut logged = vec![Vec::new(); CLIENTS];
        let text = self.access_log.text();
        // The last line may be on its way.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        for line in whole.lines() {
            let mut words = line.splitn(3, '.');
            let mut number = || words.next().and_then(|word| word.parse::<usize>().ok()).expect("a number");
            let (client, request) = (number(), number());
            logged[client].push(request);
            assert_eq!(words.next().map(str::len), Some(1000), "a line in pieces");
        }
        logged
    }

    /// Lines of the access log that were lost, by the log.
    fn lost(&self) -> usize {
        let log = self.log.text();
        let told =
            log.lines().filter_map(|line| line.split("lines of the access log were lost count=").nth(1));
        told.map(|count| count.trim().parse::<usize>().expect("a count")).sum()
    }
}

#[test]
fn logs_that_hang_stop_nothing_and_count_lost_lines() {
    let _alone = alone();
    let Some(mut hanging) = Hanging::start() else { return };
    hanging.hang();
    assert_replaces(&hanging.server);
    assert_shows_life(&hanging.notified);
    hanging.ask_much();
    // The signal of logrotate is not waited for either.
    hanging.server.signal(Signal::SIGUSR1);
    assert_shows_life(&hanging.notified);
    let workers = hanging.server.wait_workers(2);
    hanging.go_on();
    let all = CLIENTS * REQUESTS;
    let (logged, lost) = eventually("every line, or that it was lost", || {
        let (logged, lost) = (hanging.logged(), hanging.lost());
        (logged.iter().map(Vec::len).sum::<usize>() + lost >= all).then_some((logged, lost))
    });
    assert_eq!(logged.iter().map(Vec::len).sum::<usize>() + lost, all);
    assert!(lost > 0, "as many lines as are asked for fit into memory");
    assert!(logged.iter().all(|of| !of.is_empty() && of.is_sorted()), "out of order");
    assert_eq!(hanging.server.workers(), workers);
    // The log goes on, and ends as ever.
    hanging.server.signal(Signal::SIGTERM);
    assert_eq!(hanging.server.wait_exit(), 0);
    let log = hanging.log.text();
    assert!(log.contains("worker ended: killed by SIGKILL"), "{log}");
    assert!(log.ends_with("stopped exit_code=0\n"), "{log}");
}

#[test]
fn a_server_whose_logs_hang_can_be_stopped() {
    let _alone = alone();
    let Some(mut hanging) = Hanging::start() else { return };
    hanging.hang();
    hanging.server.get("/avalon/songs");
    let begin = Instant::now();
    hanging.server.signal(Signal::SIGTERM);
    assert_eq!(hanging.server.wait_exit(), 0);
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    assert!(hanging.server.log().contains("does not answer; its last lines may be missing"));
}

/// A process that writes a log may be killed like any other; the next one writes the waiting lines.
#[test]
fn a_process_that_writes_a_log_is_replaced() {
    let setup = Setup::with(&collection(1)).flag("--access-logformat=%(q)s");
    let paths: [PathBuf; 2] = [setup.path("log"), setup.path("access")];
    let socket = format!("unix:{}", setup.path("socket").display());
    let setup = setup.flag(&format!("--access-logfile={}", paths[1].display())).without_bind();
    let setup = setup.flag(&format!("--bind={socket}"));
    let mut server = setup.variable("AVALON_LOG_PATH", &paths[0].display().to_string()).spawn();
    server.address = socket;
    let text = |path: &PathBuf| std::fs::read_to_string(path).unwrap_or_default();
    eventually("a server that serves", || text(&paths[0]).contains(" serves on ").then_some(()));
    let writers = server.log_writers();
    assert_eq!(writers.len(), 2);
    for writer in &writers {
        kill(*writer, Signal::SIGSTOP).expect("a process");
    }
    for number in 0..100 {
        server.get(&format!("/avalon/heartbeat?{number}"));
    }
    for writer in &writers {
        kill(*writer, Signal::SIGKILL).expect("a process");
    }
    let expected: String = (0..100).map(|number| format!("{number}\n")).collect();
    let sorted = |text: String| {
        let mut numbers: Vec<u32> = text.lines().filter_map(|line| line.parse().ok()).collect();
        numbers.sort_unstable();
        numbers.iter().map(|number| format!("{number}\n")).collect::<String>()
    };
    eventually("all lines", || (sorted(text(&paths[1])) == expected).then_some(()));
    assert_eq!(server.log_writers().len(), 2);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_exit(), 0);
    assert!(text(&paths[0]).ends_with("stopped exit_code=0\n"), "{}", text(&paths[0]));
}
