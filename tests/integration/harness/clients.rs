//! Load from many connections, every answer looked at: what is lost, and how, is counted.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::eventually;

/// How long a connect, and each read of an answer, may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    Ok,
    Refused,
    ConnectTimeout,
    ResetBeforeResponse,
    ResetMidBody,
    ResponseTimeout,
    WrongBody,
    /// Older than what the same client has seen, by more than the generation that drains.
    Stale,
    /// A kept connection was closed before its time was up, and no answer had announced it.
    UnannouncedClose,
    /// A kept connection was closed as its time was up.
    Expired,
}

/// Whether a request was the first of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum On {
    Fresh,
    Reused,
}

/// What to do to a server.
#[derive(Clone)]
pub(crate) struct Plan {
    /// As in [`super::server::Server::address`].
    pub(crate) address: String,
    pub(crate) target: &'static str,
    /// Connections that are kept, and the pause after each of their requests.
    pub(crate) kept: usize,
    pub(crate) kept_pause: Duration,
    /// Clients that connect for each request, and their pause.
    pub(crate) fresh: usize,
    pub(crate) fresh_pause: Duration,
    /// KEEPALIVE of the server.
    pub(crate) keepalive: Duration,
    /// The version of the collection that a body shows, if it is a right one.
    pub(crate) check: fn(&[u8]) -> Option<u64>,
}

impl Plan {
    /// 20 connections with 200 requests/s in all, and 50 new connections/s.
    pub(crate) fn standard(address: &str, target: &'static str, check: fn(&[u8]) -> Option<u64>) -> Self {
        Plan {
            address: address.to_owned(),
            target,
            kept: 20,
            kept_pause: Duration::from_millis(100),
            fresh: 5,
            fresh_pause: Duration::from_millis(100),
            keepalive: Duration::from_secs(5),
            check,
        }
    }
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Report {
    counts: BTreeMap<(On, Outcome), u64>,
    /// Versions seen.
    pub(crate) versions: BTreeSet<u64>,
    /// Closes that an answer had announced.
    pub(crate) announced: u64,
    slowest: Duration,
}

impl Report {
    pub(crate) fn count(&self, outcome: Outcome) -> u64 {
        self.counts.iter().filter(|((_, other), _)| *other == outcome).map(|(_, count)| count).sum()
    }

    /// # Panics
    /// If anything but right answers came, or too few of them.
    pub(crate) fn assert_nothing_lost(&self, at_least: u64) {
        let lost = self.counts.keys().any(|(_, outcome)| !matches!(outcome, Outcome::Ok | Outcome::Expired));
        assert!(!lost, "{self:?}");
        assert!(self.count(Outcome::Ok) >= at_least, "{self:?}");
    }

    fn add(&mut self, on: On, outcome: Outcome) {
        *self.counts.entry((on, outcome)).or_default() += 1;
    }

    fn merge(&mut self, other: Report) {
        for (key, count) in other.counts {
            *self.counts.entry(key).or_default() += count;
        }
        self.versions.extend(other.versions);
        self.announced += other.announced;
        self.slowest = self.slowest.max(other.slowest);
    }
}

/// Clients at work.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Report>>,
}

impl Load {
    pub(crate) fn start(plan: &Plan) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let spawn = |keeps: bool| {
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            let client =
                Client { plan: plan.clone(), keeps, newest: 0, kept: None, report: Report::default() };
            thread::spawn(move || client.run(&stop, &answered))
        };
        let kept = (0..plan.kept).map(|_| spawn(true));
        let threads = kept.chain((0..plan.fresh).map(|_| spawn(false))).collect();
        Load { stop, answered, threads }
    }

    /// Waits until so many more requests have been answered.
    pub(crate) fn wait_answers(&self, count: u64) {
        let until = self.answered.load(Ordering::Relaxed) + count;
        eventually("answers", || (self.answered.load(Ordering::Relaxed) >= until).then_some(()));
    }

    /// Lets what is under way come to its end.
    pub(crate) fn stop(self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        let mut report = Report::default();
        for thread in self.threads {
            report.merge(thread.join().expect("a client"));
        }
        report
    }
}

struct Client {
    plan: Plan,
    keeps: bool,
    /// The newest version it has seen.
    newest: u64,
    /// Its connection, and since when that has been idle.
    kept: Option<(TcpStream, Instant)>,
    report: Report,
}

impl Client {
    fn run(mut self, stop: &AtomicBool, answered: &AtomicU64) -> Report {
        let pause = if self.keeps { self.plan.kept_pause } else { self.plan.fresh_pause };
        while !stop.load(Ordering::Relaxed) {
            let (on, outcome) = self.request();
            self.report.add(on, outcome);
            if outcome == Outcome::Ok {
                answered.fetch_add(1, Ordering::Relaxed);
            }
            // In short pieces, for the sake of a quick end.
            let until = Instant::now() + pause;
            while Instant::now() < until && !stop.load(Ordering::Relaxed) {
                thread::sleep(pause.min(Duration::from_millis(50)));
            }
        }
        self.report
    }

    fn request(&mut self) -> (On, Outcome) {
        let begin = Instant::now();
        let (on, idle, stream) = match self.kept.take() {
            Some((stream, since)) => (On::Reused, since.elapsed(), Ok(stream)),
            None => (On::Fresh, Duration::ZERO, connect(&self.plan.address)),
        };
        let exchanged = stream.and_then(|mut stream| {
            let answer = exchange(&mut stream, self.plan.target, self.keeps)?;
            Ok((stream, answer))
        });
        self.report.slowest = self.report.slowest.max(begin.elapsed());
        let outcome = match exchanged {
            Ok((stream, (closes, body))) => {
                if closes && self.keeps {
                    self.report.announced += 1;
                } else if self.keeps {
                    self.kept = Some((stream, Instant::now()));
                }
                self.judge(&body)
            }
            // A client cannot tell these apart, nor repeat the request without asking.
            Err(Outcome::ResetBeforeResponse) if on == On::Reused => {
                let due = idle + Duration::from_millis(500) >= self.plan.keepalive;
                if due { Outcome::Expired } else { Outcome::UnannouncedClose }
            }
            Err(outcome) => outcome,
        };
        (on, outcome)
    }

    fn judge(&mut self, body: &[u8]) -> Outcome {
        let Some(version) = (self.plan.check)(body) else { return Outcome::WrongBody };
        self.report.versions.insert(version);
        let stale = version + 1 < self.newest;
        self.newest = self.newest.max(version);
        if stale { Outcome::Stale } else { Outcome::Ok }
    }
}

fn connect(address: &str) -> Result<TcpStream, Outcome> {
    let address: SocketAddr = address.trim_start_matches("http://").parse().expect("an address");
    let stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(|error| match error.kind() {
        ErrorKind::ConnectionRefused => Outcome::Refused,
        ErrorKind::TimedOut | ErrorKind::WouldBlock => Outcome::ConnectTimeout,
        _ => Outcome::ResetBeforeResponse,
    })?;
    let prepared = stream
        .set_nodelay(true)
        .and_then(|()| stream.set_read_timeout(Some(PATIENCE)))
        .and_then(|()| stream.set_write_timeout(Some(PATIENCE)));
    prepared.map_err(|_| Outcome::ResetBeforeResponse)?;
    Ok(stream)
}

/// One request and its answer: whether that announces a close, and its body.
fn exchange(stream: &mut TcpStream, target: &str, keeps: bool) -> Result<(bool, Vec<u8>), Outcome> {
    let connection = if keeps { "" } else { "Connection: close\r\n" };
    let request = format!("GET {target} HTTP/1.1\r\nHost: load\r\n{connection}\r\n");
    stream.write_all(request.as_bytes()).map_err(|error| lost(&error, false))?;
    let mut received = Vec::new();
    let head_len = loop {
        if let Some(at) = received.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        read_some(stream, &mut received)?;
    };
    let head = String::from_utf8_lossy(&received[..head_len]).to_ascii_lowercase();
    let len = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    let len = len.filter(|_| head.starts_with("http/1.1 200 ")).ok_or(Outcome::WrongBody)?;
    while received.len() < head_len + len {
        read_some(stream, &mut received)?;
    }
    let body = received.split_off(head_len);
    if body.len() > len {
        return Err(Outcome::WrongBody);
    }
    Ok((head.contains("\r\nconnection: close\r\n"), body))
}

fn read_some(stream: &mut TcpStream, received: &mut Vec<u8>) -> Result<(), Outcome> {
    let mut buffer = [0; 16 * 1024];
    match stream.read(&mut buffer) {
        Ok(0) => Err(lost(&ErrorKind::UnexpectedEof.into(), !received.is_empty())),
        Ok(len) => {
            received.extend_from_slice(&buffer[..len]);
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
        Err(error) => Err(lost(&error, !received.is_empty())),
    }
}

fn lost(error: &io::Error, begun: bool) -> Outcome {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Outcome::ResponseTimeout,
        _ if begun => Outcome::ResetMidBody,
        _ => Outcome::ResetBeforeResponse,
    }
}
