//! Whether clients get what the source (the database) holds, and when the source is asked again.
//!
//! This is the one place that decides about retries: of a reload that has failed, and of the first look at the
//! source while a snapshot of a former master serves (`restored.rs`). It reads no clock and draws no random number:
//! callers pass both in.

use std::time::{Duration, Instant, SystemTime};

use crate::master::error::{Outlook, Reason};
use crate::master::wait::Wait;

/// The longest wait before the first retry. It doubles with each failure in a row.
const WAIT_FIRST: Duration = Duration::from_secs(1);
/// The longest wait while the source does not answer: a fleet must not overrun a source that comes back.
const WAIT_UNREACHABLE: Duration = Duration::from_secs(60);
/// The longest wait where the source answers but a load was cut short: it is most likely to succeed next time.
const WAIT_INTERRUPTED: Duration = Duration::from_secs(8);

/// Why clients may get old rows while no reload has failed.
const KEPT: &str = "the snapshot was kept from a former start, and the database has not been read since";

/// The state of the source, as far as loads have shown it.
#[derive(Debug)]
pub(crate) struct Freshness {
    failure: Option<Failure>,
    /// A snapshot of a former master serves that no load has confirmed.
    is_kept: bool,
    wait: Wait,
    /// When the source is asked again.
    due: Option<Instant>,
    /// The generation that is made only to ask the source.
    asking: Option<u64>,
    /// A reload that an operator, a scan or a signal had wished has failed: its generation is still owed, also if the
    /// rows are the same, as the configuration may have changed.
    owes_generation: bool,
    /// The generation whose loader reads the source.
    reading: Option<u64>,
    /// The last generation whose loader has read the source, and when it had.
    read: Option<(u64, SystemTime)>,
    /// Whether the last loader that has asked the source could read it.
    is_up: Option<bool>,
    /// When the rows that serve were last read from the source.
    confirmed: Option<SystemTime>,
}

/// A reload that has failed.
#[derive(Debug)]
struct Failure {
    generation: u64,
    reason: Reason,
}

impl Freshness {
    /// No load has begun.
    pub(crate) fn new() -> Self {
        Freshness {
            failure: None,
            is_kept: false,
            wait: Wait::new(WAIT_FIRST, WAIT_UNREACHABLE),
            due: None,
            asking: None,
            owes_generation: false,
            reading: None,
            read: None,
            is_up: None,
            confirmed: None,
        }
    }

    /// The loader of this generation has begun to read the source.
    pub(crate) fn load_begun(&mut self, generation: u64) {
        self.reading = Some(generation);
    }

    /// The loader of this generation has read all rows, whatever comes of them.
    pub(crate) fn source_read(&mut self, generation: u64, when: SystemTime) {
        self.reading = None;
        self.read = Some((generation, when));
        self.is_up = Some(true);
    }

    /// An attempt to make a generation has ended. `is_kept` says whether a snapshot of a former master serves now
    /// that no load has confirmed; `share` (0 to 1) is the part of the longest wait before the next try.
    pub(crate) fn reload_ended(
        &mut self,
        generation: u64,
        result: Result<(), &Reason>,
        is_kept: bool,
        now: Instant,
        share: f64,
    ) {
        self.is_kept = is_kept;
        let was_asking = self.asking.take_if(|asking| *asking == generation).is_some();
        match result {
            Ok(()) => self.succeeded(generation, now),
            Err(reason) => self.failed(generation, reason, was_asking, now, share),
        }
    }

    fn succeeded(&mut self, generation: u64, now: Instant) {
        // A generation is announced once the former workers accept no more. The next reload may have failed before.
        if self.failure.as_ref().is_some_and(|failure| failure.generation > generation) {
            return;
        }
        self.failure = None;
        self.owes_generation = false;
        self.wait.reset();
        self.due = self.is_kept.then_some(now);
        if let Some((_, when)) = self.read.filter(|(read, _)| *read == generation) {
            self.confirmed = Some(when);
        }
    }

    fn failed(&mut self, generation: u64, reason: &Reason, was_asking: bool, now: Instant, share: f64) {
        if self.reading.take_if(|reading| *reading == generation).is_some() {
            self.is_up = Some(false);
        }
        if !was_asking {
            // An operator who asks for a reload knows of a change: the waits begin again.
            self.wait.reset();
            self.owes_generation = true;
        }
        let max = match reason.outlook() {
            Outlook::Lasting => None,
            Outlook::Interrupted => Some(WAIT_INTERRUPTED),
            Outlook::Unreachable => Some(WAIT_UNREACHABLE),
        };
        self.wait.failed(now, 0);
        let longest = self.wait.until().map(|until| until.saturating_duration_since(now));
        self.due =
            max.zip(longest).map(|(max, longest)| now + longest.min(max).mul_f64(share.clamp(0.0, 1.0)));
        self.failure = Some(Failure { generation, reason: reason.clone() });
    }

    /// When the source is to be asked again; `None` if it is not.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether it is time to ask the source, which is said once. `next` is the generation that a reload makes now.
    pub(crate) fn asks(&mut self, next: u64, now: Instant) -> bool {
        let is_due = self.due.take_if(|due| now >= *due).is_some();
        if is_due {
            self.asking = Some(next);
        }
        is_due
    }

    /// Whether this generation is made only to learn whether the source still has the rows that serve.
    pub(crate) fn only_asks(&self, generation: u64) -> bool {
        self.asking == Some(generation) && !self.owes_generation
    }

    /// Whether clients may get other rows than the source holds.
    pub(crate) fn is_stale(&self) -> bool {
        self.is_kept || self.failure.is_some()
    }

    /// Why they may.
    pub(crate) fn reason(&self) -> Option<&str> {
        let failure = self.failure.as_ref().map(|failure| failure.reason.as_str());
        failure.or(self.is_kept.then_some(KEPT))
    }

    /// Whether the last load that has asked the source could read it; `None` before the first.
    pub(crate) fn is_up(&self) -> Option<bool> {
        self.is_up
    }

    /// When the rows that serve were last read from the source; `None` if this master never has.
    pub(crate) fn confirmed(&self) -> Option<SystemTime> {
        self.confirmed
    }
}

#[cfg(test)]
mod tests;
