//! Whether clients get the rows that the source (the database, or the store of snapshots) holds, and the time of the
//! next question to the source.
//!
//! This is the one place that decides about retries: of a reload that has failed, and of the first look at the
//! source while a snapshot of a former master serves (`restored.rs`), and, with a watcher (`watcher.rs`), of a source
//! that holds other rows than are served (`freshness/watched.rs`). It reads no clock and draws no random number:
//! callers pass both in.

mod watched;

use std::time::{Duration, Instant, SystemTime};

use crate::database::Version;
use crate::master::error::{Outlook, Reason};
use crate::master::wait::Wait;
use watched::Watched;

/// The longest wait before the first retry. It doubles with each failure in a row.
const WAIT_FIRST: Duration = Duration::from_secs(1);
/// The longest wait while the source does not answer: a fleet must not overrun a source that comes back.
const WAIT_UNREACHABLE: Duration = Duration::from_secs(60);
/// The longest wait where the source answers but a load was cut short: it is most likely to succeed next time.
const WAIT_INTERRUPTED: Duration = Duration::from_secs(8);

/// The state of the source, as far as loads and the watcher have shown it.
#[derive(Debug)]
pub(crate) struct Freshness {
    watched: Watched,
    failure: Option<Failure>,
    /// A snapshot of a former master serves that no load has confirmed.
    is_kept: bool,
    /// Rows of the database serve in place of those of the store.
    is_substitute: bool,
    patience: Option<Patience>,
    wait: Wait,
    /// The time of the next question to the source.
    due: Option<Instant>,
    /// The generation that serves only to ask the source.
    asking: Option<u64>,
    /// A reload that an operator or a signal had wished has failed: its generation is still owed, also if the
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

/// How long a store may name nothing new before the master asks the database beside it.
#[derive(Debug)]
struct Patience {
    time: Duration,
    /// When the store named another snapshot, or this began.
    renewed: Instant,
    /// The time of the question to the database.
    due: Instant,
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
            watched: Watched::new(),
            failure: None,
            is_kept: false,
            is_substitute: false,
            patience: None,
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

    /// Another generation serves; `is_kept` as in [`Freshness::reload_ended`].
    pub(crate) fn keeps(&mut self, is_kept: bool) {
        self.is_kept = is_kept;
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
            Ok(()) => {
                self.succeeded(generation, now);
                self.watched.loaded(now, share);
            }
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
        self.confirm(generation);
    }

    /// The rows of this generation serve, or are those that serve.
    pub(crate) fn confirm(&mut self, generation: u64) {
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
            // The watcher says when it is worth a load.
            _ if self.watched.would_refuse(now) => None,
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

    /// Returns the time of the next question to the source; `None` if there is none.
    pub(crate) fn due(&self) -> Option<Instant> {
        let patience = self.patience.as_ref().map(|patience| patience.due);
        self.due.into_iter().chain(self.watched.due()).chain(patience).min()
    }

    /// Whether it is time to ask the source, which is said once. `next` is the generation that a reload makes now.
    pub(crate) fn asks(&mut self, next: u64, now: Instant) -> bool {
        let is_due = self.due().is_some_and(|due| now >= due);
        if is_due {
            self.due = None;
            for patience in self.patience.iter_mut().filter(|patience| now >= patience.due) {
                patience.due = now + patience.time;
            }
            self.watched.tries();
            self.asking = Some(next);
        }
        is_due
    }

    /// Records that a scan has stored rows, and that generation `next` begins for them now.
    pub(crate) fn rows_are_stored(&mut self, next: u64) {
        self.asking = Some(next);
    }

    /// Whether this generation only asks whether the source still has the served rows.
    pub(crate) fn only_asks(&self, generation: u64) -> bool {
        self.asking == Some(generation) && !self.owes_generation
    }

    /// Whether clients may get other rows than the source holds.
    pub(crate) fn is_stale(&self) -> bool {
        self.reason().is_some()
    }

    /// Why they may.
    pub(crate) fn reason(&self) -> Option<String> {
        let failure = self.failure.as_ref().map(|failure| failure.reason.to_string());
        failure.or_else(|| self.watched.reason()).or_else(|| {
            self.is_kept.then(|| {
                if self.is_substitute {
                    return "the store has nothing new, and rows of the database are served".to_owned();
                }
                let noun = self.watched.noun();
                format!("the snapshot was kept from a former start, and the {noun} has not been read since")
            })
        })
    }

    /// The store may name nothing new for this time before the database is asked; `None` where there are not both.
    pub(crate) fn be_patient(&mut self, time: Option<Duration>, now: Instant) {
        if self.patience.as_ref().map(|patience| patience.time) != time {
            self.patience = time.map(|time| Patience { time, renewed: now, due: now + time });
        }
    }

    /// Whether the database has to be asked now, as the store has named nothing new for so long.
    pub(crate) fn is_patience_over(&self, now: Instant) -> bool {
        self.patience.as_ref().is_some_and(|patience| now >= patience.renewed + patience.time)
    }

    fn renewed(&mut self, now: Instant) {
        if let Some(patience) = &mut self.patience {
            (patience.renewed, patience.due) = (now, now + patience.time);
        }
    }

    /// Whether rows of the database serve in place of those of the store.
    pub(crate) fn substitutes(&mut self, is_substitute: bool) {
        self.is_substitute = is_substitute;
    }

    /// The kind of the source, as messages name it.
    pub(crate) fn name_source(&mut self, noun: &'static str) {
        self.watched.name(noun);
    }

    /// A watcher asks the source this often, or there is none. An older revision is accepted after this time. Answers
    /// whether a watch begins or ends.
    pub(crate) fn watch(
        &mut self,
        every: Option<Duration>,
        accept_older_after: Option<Duration>,
        now: Instant,
    ) -> bool {
        self.watched.accept_older_after(accept_older_after);
        self.watched.watch(every, now)
    }

    /// A client waits for rows: a load that has failed before is no reason not to make one.
    pub(crate) fn forget_tries(&mut self) {
        self.watched.forget_tries();
    }

    /// The watcher has seen this version at the moment `when`. If it is news and other rows serve, a load is due after
    /// `delay`, if there is to be one. Answers whether the rows that serve are these.
    pub(crate) fn seen(
        &mut self,
        version: Version,
        when: SystemTime,
        now: Instant,
        delay: Option<Duration>,
    ) -> bool {
        let is_back = self.watched.is_missing();
        self.is_up = Some(true);
        if self.watched.revision().is_some_and(|seen| version.revision > Some(seen)) {
            self.renewed(now);
        }
        let is_same = self.watched.seen(version, now, delay) && !self.is_substitute;
        if is_same {
            self.confirmed = Some(when);
        }
        if let (true, Some(delay)) = (is_back, delay) {
            self.due = self.due.map(|due| due.min(now + delay));
        }
        is_same
    }

    /// The watcher has had no answer, for this reason.
    pub(crate) fn missed(&mut self, reason: &str) {
        self.is_up = Some(false);
        self.watched.missed(reason);
    }

    /// Time has passed. Answers whether answers of the watcher are missing for too long since this moment.
    pub(crate) fn tick(&mut self, now: Instant) -> bool {
        let is_late = self.watched.tick(now);
        if is_late {
            self.is_up = Some(false);
        }
        is_late
    }

    /// Rows of this version serve.
    pub(crate) fn serves(&mut self, version: Version, now: Instant) {
        if self.watched.served() != Some(&version) {
            self.renewed(now);
        }
        self.watched.serves(version);
    }

    /// The source is another one from now on.
    pub(crate) fn forget_source(&mut self, now: Instant) {
        self.renewed(now);
        self.watched.forget(now);
    }

    /// Why rows of this version, which were loaded for `generation`, are not to be served: those that serve are newer.
    pub(crate) fn refusal(&mut self, loaded: &Version, generation: u64, now: Instant) -> Option<Reason> {
        let refusal = self.watched.refusal(loaded, generation, now)?;
        Some(Reason::new(refusal).with(Outlook::Unreachable))
    }

    /// An operator accepts an older revision, from this generation on until one serves.
    pub(crate) fn accept_older(&mut self, generation: u64) {
        self.watched.accept_older(generation);
    }

    /// Whether this generation may have an older revision.
    pub(crate) fn accepts_older(&self, generation: u64) -> bool {
        self.watched.accepts_older(generation)
    }

    /// That the source is behind, once.
    pub(crate) fn news_of_behind(&mut self) -> Option<String> {
        self.watched.news()
    }

    /// Whether the source has a lower revision than that which serves.
    pub(crate) fn is_behind(&self) -> bool {
        self.watched.is_behind()
    }

    /// The revision that the watcher has seen last.
    pub(crate) fn source_revision(&self) -> Option<u64> {
        self.watched.revision()
    }

    /// Why rows of this revision do not serve.
    pub(crate) fn why_not(&self, wanted: u64) -> String {
        let failure = self.failure.as_ref().filter(|_| self.watched.revision() >= Some(wanted));
        failure.map_or_else(|| self.watched.why_not(wanted), |failure| failure.reason.to_string())
    }

    /// Whether the last load or poll that has asked the source could read it; `None` before the first.
    pub(crate) fn is_up(&self) -> Option<bool> {
        self.is_up
    }

    /// When the rows that serve were last read from the source, or seen to be those that it holds; `None` if this
    /// master has done neither.
    pub(crate) fn confirmed(&self) -> Option<SystemTime> {
        self.confirmed
    }
}

#[cfg(test)]
mod tests;
