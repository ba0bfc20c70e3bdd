//! The one load generator: many connections, and every answer is checked. It counts losses by kind,
//! and measures the times of answers.
//!
//! The product does not name the worker that answers. The served rows identify the generation (see
//! [`artists`]), and `avalonctl status` gives the numbers of requests and connections of each
//! worker.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::eventually;
use super::http::{Answer, Connection};

/// How long a connect, and each read of an answer, may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The outcome of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    Ok,
    Refused,
    ConnectTimeout,
    ResetBeforeResponse,
    ResetMidBody,
    ResponseTimeout,
    WrongBody,
    /// Of a generation whose end was announced before this connection was made, or older than the
    /// same client's last answer by more than the generation that drains: another lies between.
    Stale,
    /// A kept connection was closed before its time was up, and no answer had announced it.
    UnannouncedClose,
    /// A kept connection was closed as its time was up: not lost.
    Expired,
}

/// Whether a request was the first of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum On {
    Fresh,
    Reused,
}

/// The version of the collection that an answer shows, if it shows one, or the fault of the answer.
pub(crate) type Verdict = Result<Option<u64>, String>;
type Check = Arc<dyn Fn(&Answer) -> Verdict + Send + Sync>;

/// The plan of a load on a server.
#[derive(Clone)]
pub(crate) struct Plan {
    /// As in [`super::server::Server::address`].
    pub(crate) address: String,
    /// Each client asks for the next of these every time.
    pub(crate) targets: Vec<String>,
    /// Connections that are kept, and the time from each of their requests to the next.
    pub(crate) kept: usize,
    pub(crate) kept_pause: Duration,
    /// Clients that connect for each request, and theirs.
    pub(crate) fresh: usize,
    pub(crate) fresh_pause: Duration,
    /// KEEPALIVE of the server.
    pub(crate) keepalive: Duration,
    pub(crate) check: Check,
}

impl Plan {
    /// 20 connections with 200 requests/s in all, and 50 new connections/s.
    pub(crate) fn standard(
        address: &str,
        targets: &[&str],
        check: impl Fn(&Answer) -> Verdict + Send + Sync + 'static,
    ) -> Self {
        Plan {
            address: address.to_owned(),
            targets: targets.iter().map(|&target| target.to_owned()).collect(),
            kept: 20,
            kept_pause: Duration::from_millis(100),
            fresh: 5,
            fresh_pause: Duration::from_millis(100),
            keepalive: Duration::from_secs(5),
            check: Arc::new(check),
        }
    }

    /// The same with so many connections that are kept, so many clients that connect for each
    /// request, and this pause for all.
    pub(crate) fn clients(self, kept: usize, fresh: usize, pause: Duration) -> Self {
        Plan { kept, kept_pause: pause, fresh, fresh_pause: pause, ..self }
    }

    /// The standard load of the list whose length tells the version, see [`artists`].
    pub(crate) fn of_artists(address: &str) -> Self {
        Plan::standard(address, &[ARTISTS], artists)
    }
}

/// The list that [`artists`] judges.
pub(crate) const ARTISTS: &str = "/avalon/artists";

/// A list of all artists of a [`super::server::collection`]: its version is their number.
pub(crate) fn artists(answer: &Answer) -> Verdict {
    status_200(answer)?;
    let json: serde_json::Value = serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
    let artists = json["success"].as_array().ok_or("no list")?;
    let names: BTreeSet<&str> = artists.iter().filter_map(|artist| artist["name"].as_str()).collect();
    let wanted: Vec<String> = (0..artists.len()).map(|at| format!("Artist {at:04}")).collect();
    if names.is_empty() || !names.iter().copied().eq(wanted.iter().map(String::as_str)) {
        return Err(format!("a list of {} artists", artists.len()));
    }
    Ok(Some(artists.len() as u64))
}

/// Accepts any status 200.
pub(crate) fn status_200(answer: &Answer) -> Verdict {
    match answer.status {
        200 => Ok(None),
        status => Err(format!("status {status}")),
    }
}

/// The results of a load.
#[derive(Default)]
pub(crate) struct Report {
    counts: BTreeMap<(On, Outcome), u64>,
    /// The faults of bodies, and their numbers.
    wrong: BTreeMap<String, u64>,
    /// Versions seen.
    pub(crate) versions: BTreeSet<u64>,
    /// Closes that an answer had announced.
    pub(crate) announced: u64,
    /// How long right answers took, from the connect if there was one.
    took: BTreeMap<On, Vec<Duration>>,
    /// Answers of a version from before one that the client has seen.
    behind: Vec<(On, u64, u64)>,
}

impl Report {
    pub(crate) fn count(&self, outcome: Outcome) -> u64 {
        self.counts.iter().filter(|((_, other), _)| *other == outcome).map(|(_, count)| count).sum()
    }

    /// Outcomes that lose a request, and how often.
    pub(crate) fn lost(&self) -> impl Iterator<Item = (Outcome, u64)> {
        let lost = |outcome: &Outcome| !matches!(outcome, Outcome::Ok | Outcome::Expired);
        self.counts.iter().filter(move |((_, outcome), _)| lost(outcome)).map(|((_, out), n)| (*out, *n))
    }

    /// Shows the distribution, which belongs to the machine, and asserts the counts, which do not.
    ///
    /// # Panics
    /// If anything but right answers came, or too few of them.
    pub(crate) fn assert_nothing_lost(&self, at_least: u64) {
        println!("{self:?}");
        assert_eq!(self.lost().count(), 0, "{self:?}");
        assert!(self.count(Outcome::Ok) >= at_least, "{self:?}");
    }

    /// The time in which this share of all right answers came; 1 for the slowest.
    pub(crate) fn took(&self, share: f64) -> Duration {
        let mut all: Vec<Duration> = self.took.values().flatten().copied().collect();
        all.sort_unstable();
        at(&all, share)
    }

    fn merge(&mut self, other: Report) {
        for (key, count) in other.counts {
            *self.counts.entry(key).or_default() += count;
        }
        for (key, count) in other.wrong {
            *self.wrong.entry(key).or_default() += count;
        }
        self.versions.extend(other.versions);
        self.announced += other.announced;
        for (on, took) in other.took {
            self.took.entry(on).or_default().extend(took);
        }
        self.behind.extend(other.behind);
    }

    /// Finds those that were behind by more than a generation, now that all versions are known. Reloads
    /// that came together are one, and leave versions out.
    fn find_stale(&mut self) {
        for (on, version, newest) in std::mem::take(&mut self.behind) {
            if self.versions.range(version + 1..newest).next().is_some() {
                *self.counts.entry((on, Outcome::Ok)).or_default() -= 1;
                *self.counts.entry((on, Outcome::Stale)).or_default() += 1;
            }
        }
    }
}

fn at(sorted: &[Duration], share: f64) -> Duration {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * share).round() as usize).copied().unwrap_or_default()
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((on, outcome), count) in &self.counts {
            write!(f, "{on:?} {outcome:?}: {count}; ")?;
        }
        for (on, took) in &self.took {
            let mut sorted = took.clone();
            sorted.sort_unstable();
            let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| at(&sorted, share));
            write!(f, "{on:?} p50 {p50:.1?}, p99 {p99:.1?}, max {max:.1?}; ")?;
        }
        write!(f, "{} closes announced; versions {:?}", self.announced, self.versions)?;
        if !self.wrong.is_empty() {
            write!(f, "; wrong: {:?}", self.wrong)?;
        }
        Ok(())
    }
}

/// The state that the clients of a load share.
#[derive(Default)]
struct Shared {
    stopped: Mutex<bool>,
    stop: Condvar,
    answered: AtomicU64,
    /// The oldest version that a new connection may meet.
    oldest: AtomicU64,
}

impl Shared {
    /// Waits for the time of the next request; false at the end of the load.
    fn goes_on_at(&self, next: Instant) -> bool {
        let wait = next.saturating_duration_since(Instant::now());
        let stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.stop.wait_timeout_while(stopped, wait, |stopped| !*stopped);
        !*waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Clients at work.
pub(crate) struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Report>>,
}

impl Load {
    pub(crate) fn start(plan: &Plan) -> Self {
        let shared = Arc::new(Shared::default());
        let begin = Instant::now();
        let spawn = |number: usize| {
            let keeps = number < plan.kept;
            let (shared, plan) = (Arc::clone(&shared), plan.clone());
            let (pause, of, at) = match keeps {
                true => (plan.kept_pause, plan.kept, number),
                false => (plan.fresh_pause, plan.fresh, number - plan.kept),
            };
            // Spread evenly over the pause, not all at once.
            let first = begin + pause * at as u32 / of as u32;
            let client =
                Client { plan, keeps, asked: number, newest: 0, kept: None, report: Report::default() };
            thread::spawn(move || client.run(&shared, first, pause))
        };
        let threads = (0..plan.kept + plan.fresh).map(spawn).collect();
        Load { shared, threads }
    }

    /// How many requests have been answered rightly.
    pub(crate) fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// Waits until so many more requests have been answered.
    pub(crate) fn wait_answers(&self, count: u64) {
        let until = self.answered() + count;
        eventually("answers", || (self.answered() >= until).then_some(()));
    }

    /// From now on a new connection that meets an older version is a loss.
    pub(crate) fn announce(&self, version: u64) {
        self.shared.oldest.store(version, Ordering::SeqCst);
    }

    /// Lets current requests end.
    pub(crate) fn stop(self) -> Report {
        *self.shared.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.stop.notify_all();
        let mut report = Report::default();
        for thread in self.threads {
            report.merge(thread.join().expect("a client"));
        }
        report.find_stale();
        report
    }

    /// Ends it, and asserts that nothing was lost.
    pub(crate) fn assert_nothing_lost(self) {
        self.stop().assert_nothing_lost(1);
    }
}

struct Client {
    plan: Plan,
    keeps: bool,
    /// Where in the targets it is.
    asked: usize,
    /// The newest version it has seen.
    newest: u64,
    /// Its connection, since when that has been idle, and the oldest version it may meet.
    kept: Option<(Connection, Instant, u64)>,
    report: Report,
}

impl Client {
    fn run(mut self, shared: &Shared, first: Instant, pause: Duration) -> Report {
        let mut next = first;
        while shared.goes_on_at(next) {
            let (on, outcome, took) = self.request(shared);
            *self.report.counts.entry((on, outcome)).or_default() += 1;
            if outcome == Outcome::Ok {
                self.report.took.entry(on).or_default().push(took);
                shared.answered.fetch_add(1, Ordering::Relaxed);
            }
            // The rate does not make up for missed requests.
            next = (next + pause).max(Instant::now());
        }
        self.report
    }

    fn request(&mut self, shared: &Shared) -> (On, Outcome, Duration) {
        let begin = Instant::now();
        let (on, idle, oldest, connection) = match self.kept.take() {
            Some((connection, since, oldest)) => (On::Reused, since.elapsed(), oldest, Ok(connection)),
            None => {
                let oldest = shared.oldest.load(Ordering::SeqCst);
                (On::Fresh, Duration::ZERO, oldest, connect(&self.plan.address))
            }
        };
        self.asked += 1;
        let target = &self.plan.targets[self.asked % self.plan.targets.len()];
        let exchanged = connection.and_then(|mut connection| {
            let answer = exchange(&mut connection, target, self.keeps)?;
            Ok((connection, answer))
        });
        let took = begin.elapsed();
        let outcome = match exchanged {
            Ok((connection, answer)) => {
                if answer.closes() && self.keeps {
                    self.report.announced += 1;
                } else if self.keeps {
                    self.kept = Some((connection, Instant::now(), oldest));
                }
                self.judge(&answer, on, oldest)
            }
            // A client cannot tell these apart, nor repeat the request without asking.
            Err(Outcome::ResetBeforeResponse) if on == On::Reused => {
                let due = idle + Duration::from_millis(500) >= self.plan.keepalive;
                if due { Outcome::Expired } else { Outcome::UnannouncedClose }
            }
            Err(outcome) => outcome,
        };
        (on, outcome, took)
    }

    fn judge(&mut self, answer: &Answer, on: On, oldest: u64) -> Outcome {
        match (self.plan.check)(answer) {
            Err(wrong) => {
                *self.report.wrong.entry(wrong).or_default() += 1;
                Outcome::WrongBody
            }
            Ok(None) => Outcome::Ok,
            Ok(Some(version)) => {
                self.report.versions.insert(version);
                if version < oldest {
                    return Outcome::Stale;
                }
                if version < self.newest {
                    self.report.behind.push((on, version, self.newest));
                }
                self.newest = self.newest.max(version);
                Outcome::Ok
            }
        }
    }
}

fn connect(address: &str) -> Result<Connection, Outcome> {
    Connection::open_within(address, PATIENCE).map_err(|error| match error.kind() {
        // A Unix socket whose path is gone refuses as a closed port does.
        ErrorKind::ConnectionRefused | ErrorKind::NotFound => Outcome::Refused,
        ErrorKind::TimedOut | ErrorKind::WouldBlock => Outcome::ConnectTimeout,
        _ => Outcome::ResetBeforeResponse,
    })
}

/// One request and its answer.
fn exchange(connection: &mut Connection, target: &str, keeps: bool) -> Result<Answer, Outcome> {
    let close = if keeps { "" } else { "Connection: close\r\n" };
    let request = format!("GET {target} HTTP/1.1\r\nHost: load\r\n{close}\r\n");
    let begun = connection.send(request.as_bytes()).and_then(|()| connection.first_byte());
    begun.map_err(|error| lost(&error, Outcome::ResetBeforeResponse))?;
    connection.answer("GET").map_err(|error| lost(&error, Outcome::ResetMidBody))
}

fn lost(error: &io::Error, reset: Outcome) -> Outcome {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Outcome::ResponseTimeout,
        // The bytes are not an answer.
        ErrorKind::Other => Outcome::WrongBody,
        _ => reset,
    }
}
