//! Clients that keep a server busy and look at every answer: some on connections that they
//! keep, some with a connection per request.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::http::{Answer, Connection};

/// What to ask, and how often.
pub(crate) struct Shape {
    pub(crate) targets: Vec<String>,
    /// Connections that are kept, each with a request per `pause`.
    pub(crate) kept: usize,
    /// Clients that connect anew for each request, one per `pause`.
    pub(crate) fresh: usize,
    pub(crate) pause: Duration,
}

/// A load under way.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Outcomes>>,
}

/// What became of the requests.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    pub(crate) answered: usize,
    /// What was wrong, and how often.
    pub(crate) failures: BTreeMap<String, usize>,
}

impl Outcomes {
    fn add(&mut self, other: Outcomes) {
        self.answered += other.answered;
        for (failure, count) in other.failures {
            *self.failures.entry(failure).or_default() += count;
        }
    }

    fn fail(&mut self, failure: String) {
        *self.failures.entry(failure).or_default() += 1;
    }
}

type Check = Arc<dyn Fn(&Answer) -> Result<(), String> + Send + Sync>;

impl Load {
    /// Begins to ask `address`; `check` says what is wrong with an answer.
    pub(crate) fn start(
        address: &str,
        shape: &Shape,
        check: impl Fn(&Answer) -> Result<(), String> + Send + Sync + 'static,
    ) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let check: Check = Arc::new(check);
        let clients = (0..shape.kept + shape.fresh).map(|number| {
            let client = Client {
                address: address.to_owned(),
                target: shape.targets[number % shape.targets.len()].clone(),
                keeps: number < shape.kept,
                pause: shape.pause,
                stop: Arc::clone(&stop),
                check: Arc::clone(&check),
            };
            thread::spawn(move || client.run())
        });
        Load { clients: clients.collect(), stop }
    }

    /// Ends it, and says how it went.
    pub(crate) fn finish(self) -> Outcomes {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Outcomes::default();
        for client in self.clients {
            all.add(client.join().expect("a client"));
        }
        all
    }

    /// Ends it, and asserts that nothing was lost.
    pub(crate) fn assert_nothing_lost(self) {
        let outcomes = self.finish();
        assert!(outcomes.failures.is_empty(), "{outcomes:?}");
        assert!(outcomes.answered > 0);
    }
}

struct Client {
    address: String,
    target: String,
    keeps: bool,
    pause: Duration,
    stop: Arc<AtomicBool>,
    check: Check,
}

impl Client {
    fn run(self) -> Outcomes {
        let mut outcomes = Outcomes::default();
        let mut kept = None;
        while !self.stop.load(Ordering::Relaxed) {
            let reused = kept.is_some();
            match self.ask(&mut kept) {
                Ok(answer) => match (self.check)(&answer) {
                    Ok(()) => outcomes.answered += 1,
                    Err(wrong) => outcomes.fail(format!("wrong answer: {wrong}")),
                },
                Err((when, error)) => {
                    let connection = if reused { "a kept" } else { "a fresh" };
                    outcomes.fail(format!("{when} on {connection} connection: {}", error.kind()));
                    kept = None;
                }
            }
            thread::sleep(self.pause);
        }
        outcomes
    }

    /// One request, on the connection that was kept if there is one.
    fn ask(&self, kept: &mut Option<Connection>) -> Result<Answer, (&'static str, io::Error)> {
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => Connection::open(&self.address).map_err(|error| ("connecting", error))?,
        };
        let headers: &[&str] = if self.keeps { &[] } else { &["Connection: close"] };
        let answer = connection.request("GET", &self.target, headers).map_err(|error| ("request", error))?;
        if self.keeps && !answer.closes() {
            *kept = Some(connection);
        }
        Ok(answer)
    }
}
