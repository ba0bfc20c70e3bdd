//! Time in which the server does not run: a freezer, SIGSTOP, a machine that moves. Clients know
//! nothing of it, so no connection may end for it.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::cgroup::Group;
use crate::harness::eventually;
use crate::harness::http::Connection;
use crate::harness::server::{Server, Setup, heavy_collection};

const HEARTBEAT: &[u8] = b"GET /avalon/heartbeat HTTP/1.1\r\nHost: x\r\n\r\n";
/// Bytes of the list of all songs: more than buffers of sockets hold.
const DOWNLOAD: usize = 16 << 20;
/// Milliseconds without the server: less than its time-outs, more, and twice as much.
const ABSENCES: [u64; 3] = [500, 1_100, 2_000];

fn is_stopped(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process is there");
    stat.rsplit(')').next().expect("a state").trim_start().starts_with('T')
}

/// How processes are stopped.
enum Means<'a> {
    /// SIGSTOP to each.
    Signals(&'a [Pid]),
    /// The freezer of a control group, as `docker pause` does.
    Freezer(&'a Group),
}

impl Means<'_> {
    /// Stops the processes for so long; `meanwhile` is done while they stand still.
    fn absent(&self, absence: Duration, meanwhile: impl FnOnce()) {
        match self {
            Means::Signals(pids) => {
                pids.iter().for_each(|pid| kill(*pid, Signal::SIGSTOP).expect("the process is there"));
                eventually("processes that stand still", || {
                    pids.iter().all(|pid| is_stopped(*pid)).then_some(())
                });
            }
            Means::Freezer(group) => group.freeze(),
        }
        meanwhile();
        thread::sleep(absence);
        match self {
            Means::Signals(pids) => {
                pids.iter().for_each(|pid| kill(*pid, Signal::SIGCONT).expect("the process is there"));
            }
            Means::Freezer(group) => group.thaw(),
        }
    }
}

/// A server all of whose time-outs are a second.
fn start_impatient() -> Server {
    let mut setup = Setup::with(&heavy_collection(100, DOWNLOAD)).flag("--timeout=1").flag("--keep-alive=1");
    for name in ["AVALON_HEADER_TIMEOUT", "AVALON_WRITE_TIMEOUT"] {
        setup = setup.variable(name, "1");
    }
    setup.start()
}

/// A connection in each state. All must get whole answers.
fn assert_no_client_suffers(server: &Server, means: &Means<'_>, absence: Duration) {
    let connect = || Connection::open(&server.address).expect("a connection");
    let mut fresh = connect();
    let mut half = connect();
    half.send(&HEARTBEAT[..20]).expect("sent");
    let mut idle = connect();
    assert_eq!(idle.get("/avalon/heartbeat").expect("an answer").text(), "OKOKOK");
    let mut narrow = Connection::open_narrow(&server.address).expect("a connection");
    narrow.send(b"GET /avalon/songs HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    let mut download = narrow.head().expect("a head");
    let len = download.len().expect("a length");
    assert!(len >= DOWNLOAD);
    let reading = thread::spawn(move || {
        while download.body.len() < len {
            // Faster than nothing, and slow enough to be under way all the time.
            let piece = narrow.read(64 << 10).expect("a piece");
            assert!(!piece.is_empty(), "cut after {} of {len} bytes", download.body.len());
            download.body.extend(piece);
        }
    });
    let mut late = None;
    means.absent(absence, || {
        fresh.send(HEARTBEAT).expect("sent");
        half.send(&HEARTBEAT[20..]).expect("sent");
        idle.send(HEARTBEAT).expect("sent");
        let mut connection = connect();
        connection.send(HEARTBEAT).expect("sent");
        late = Some(connection);
    });
    let mut late = late.expect("a connection");
    for (state, connection) in
        [("fresh", &mut fresh), ("half", &mut half), ("idle", &mut idle), ("late", &mut late)]
    {
        let answer = connection.answer("GET").unwrap_or_else(|error| panic!("{state}: {error}"));
        assert_eq!(answer.text(), "OKOKOK", "{state}");
    }
    reading.join().expect("the whole list");
}

#[test]
fn an_absence_ends_no_connection() {
    let server = start_impatient();
    let workers = server.wait_workers(2);
    let all: Vec<Pid> = [server.pid()].into_iter().chain(workers.clone()).collect();
    for absence in ABSENCES {
        assert_no_client_suffers(&server, &Means::Signals(&all), Duration::from_millis(absence));
    }
    assert_eq!(server.workers(), workers, "a worker was replaced: {}", server.log());
    server.assert_clean_shutdown();
}

/// No process is told of it: the signals that a stop leaves behind are not there.
#[test]
fn an_absence_in_a_freezer_ends_no_connection() {
    let groups = Group::that_freeze();
    if groups.is_empty() {
        return crate::harness::skip("no control group with a freezer can be made here");
    }
    for group in groups {
        let server = start_impatient();
        let workers = server.wait_workers(2);
        eventually("the child that looks at names", || (!server.helpers().is_empty()).then_some(()));
        group.take(&[vec![server.pid()], workers.clone(), server.helpers()].concat());
        for absence in ABSENCES {
            assert_no_client_suffers(&server, &Means::Freezer(&group), Duration::from_millis(absence));
        }
        assert_eq!(server.workers(), workers, "a worker was replaced: {}", server.log());
        server.assert_clean_shutdown();
    }
}

/// Requests under way have GRACEFUL_TIMEOUT of the server's own time.
#[test]
fn an_absence_while_it_drains_cuts_no_answer() {
    let setup = Setup::with(&heavy_collection(100, DOWNLOAD)).flag("--graceful-timeout=3");
    let mut server = setup.start();
    let all: Vec<Pid> = [server.pid()].into_iter().chain(server.wait_workers(2)).collect();
    let downloads: Vec<(Connection, usize)> = (0..4)
        .map(|_| {
            let mut download = Connection::open(&server.address).expect("a connection");
            download.send(b"GET /avalon/songs HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
            let len = download.head().expect("a head").len().expect("a length");
            (download, len)
        })
        .collect();
    server.signal(Signal::SIGTERM);
    // At once, so that the absence begins while the master still performs the stop.
    let begin = Instant::now();
    while server.count_log("stopping") == 0 {
        assert!(begin.elapsed() < Duration::from_secs(10), "{}", server.log());
    }
    // More than the timeout and the time that the master adds before it kills.
    Means::Signals(&all).absent(Duration::from_secs(6), || {});
    let reading: Vec<_> = downloads
        .into_iter()
        .map(|(mut download, len)| {
            thread::spawn(move || assert_eq!(download.rest().expect("the rest").len(), len))
        })
        .collect();
    reading.into_iter().for_each(|reading| reading.join().expect("the whole list"));
    assert_eq!(server.wait_exit(), 0);
    assert_eq!(server.count_log("cut off") + server.count_log("killed"), 0, "{}", server.log());
}
