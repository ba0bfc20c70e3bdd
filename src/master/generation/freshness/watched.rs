//! The watcher's view of the source, beside the served rows.

use std::time::{Duration, Instant};

use crate::database::{POLL_TIMEOUT, Version};
use crate::master::wait::Wait;

/// The longest waits between loads after which the source and the rows that serve still differ: a load and the watcher
/// may ask two servers.
const WAIT_FIRST: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(60);
/// The number of polls in a row that may fail.
const MISSED_MAX: u32 = 3;
/// How late a poll may be on a busy machine.
const SLACK: Duration = Duration::from_secs(1);

/// The relation of the source to the served rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    /// One of them has no version.
    Unknown,
    Same,
    /// The source has a lower revision.
    Older,
    /// A higher one, or other rows.
    Other,
}

/// The reason for a load of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// It has other rows.
    Change,
    /// A load has not found them.
    Again,
    /// It has had older rows for so long that the master accepts them.
    Acceptance,
}

/// The source as the watcher sees it.
#[derive(Debug)]
pub(super) struct Watched {
    /// The version that serves; `None` if a former master has read it.
    served: Option<Version>,
    /// The last version that the watcher has seen.
    seen: Option<Version>,
    /// The version for which the last load began.
    tried: Option<Version>,
    /// Time between two polls, while there is a watcher.
    every: Option<Duration>,
    /// The time of the last answer to a poll, or of the begin of the watch.
    answered: Option<Instant>,
    /// Why the last poll was not.
    missed: Option<String>,
    /// Whether answers are missing for too long.
    is_late: bool,
    /// The time of the next load of the source, and its reason.
    due: Option<(Instant, Cause)>,
    wait: Wait,
    behind: Option<Behind>,
    /// The two revisions of which the log tells.
    told: Option<(u64, u64)>,
    accept_after: Option<Duration>,
    /// Its kind, as messages name it.
    noun: &'static str,
    /// The first generation of which an operator accepts any revision.
    accepted: Option<u64>,
}

/// A source with a lower revision than that which serves.
#[derive(Debug)]
struct Behind {
    since: Instant,
    has: u64,
    serves: u64,
}

impl Watched {
    pub(super) fn new() -> Self {
        Watched {
            served: None,
            seen: None,
            tried: None,
            every: None,
            answered: None,
            missed: None,
            is_late: false,
            due: None,
            wait: Wait::new(WAIT_FIRST, WAIT_MAX),
            behind: None,
            told: None,
            accept_after: None,
            noun: "database",
            accepted: None,
        }
    }

    /// A watcher polls this often from now on, or there is none. Answers whether a watch begins or ends.
    pub(super) fn watch(&mut self, every: Option<Duration>, now: Instant) -> bool {
        let changes = self.every.is_some() != every.is_some();
        if changes {
            (self.seen, self.tried, self.missed, self.due) = (None, None, None, None);
            (self.answered, self.is_late) = (every.map(|_| now), false);
        }
        self.every = every;
        changes
    }

    /// Sets the time after which the master accepts an older revision.
    pub(super) fn accept_older_after(&mut self, time: Option<Duration>) {
        self.accept_after = time;
    }

    /// The kind of the source, as messages name it.
    pub(super) fn name(&mut self, noun: &'static str) {
        self.noun = noun;
    }

    /// The same.
    pub(super) fn noun(&self) -> &'static str {
        self.noun
    }

    /// The source is another one: nothing is known of it.
    pub(super) fn forget(&mut self, now: Instant) {
        let (every, accept_after, noun) = (self.every, self.accept_after, self.noun);
        *self = Watched { every, accept_after, noun, answered: every.map(|_| now), ..Watched::new() };
    }

    /// Rows of this version serve.
    pub(super) fn serves(&mut self, version: Version) {
        if self.served.as_ref() != Some(&version) {
            self.told = None;
        }
        self.served = Some(version);
        match self.relation() {
            Relation::Same => self.settled(),
            Relation::Other | Relation::Unknown => self.behind = None,
            Relation::Older => {}
        }
    }

    /// The watcher has seen this version. If it is news and other rows serve, a load is due after `delay`, if there is
    /// to be one. Answers whether it is the version that serves.
    pub(super) fn seen(&mut self, version: Version, now: Instant, delay: Option<Duration>) -> bool {
        let is_news = self.tried.as_ref() != Some(&version);
        self.seen = Some(version);
        (self.answered, self.missed, self.is_late) = (Some(now), None, false);
        let relation = self.relation();
        match relation {
            Relation::Same => self.settled(),
            Relation::Unknown => {}
            Relation::Older => {
                let (has, serves) = self.revisions().unwrap_or_default();
                self.fell_behind(has, serves, now);
                let acceptance = self.acceptance().filter(|at| delay.is_some() && (is_news || now < *at));
                self.due = self.due.filter(|(_, cause)| *cause == Cause::Acceptance);
                self.due = self.due.or(acceptance.map(|at| (at, Cause::Acceptance)));
            }
            Relation::Other => {
                self.behind = None;
                self.due = match (self.due, delay.filter(|_| is_news)) {
                    // Chance draws once: the earliest of several draws would be no chance any more.
                    (Some((due, Cause::Change)), Some(delay)) if !delay.is_zero() => {
                        Some((due, Cause::Change))
                    }
                    (_, Some(delay)) => Some((now + delay, Cause::Change)),
                    (due, None) => due.filter(|(_, cause)| *cause != Cause::Acceptance),
                };
            }
        }
        relation == Relation::Same
    }

    /// Takes the next sight for news, although a load began for it before.
    pub(super) fn forget_tries(&mut self) {
        self.tried = None;
        self.wait.reset();
    }

    /// The watcher has had no answer.
    pub(super) fn missed(&mut self, reason: &str) {
        self.missed = Some(reason.to_owned());
    }

    /// Whether the last poll had no answer.
    pub(super) fn is_missing(&self) -> bool {
        self.missed.is_some() || self.is_late
    }

    /// Time has passed. Answers whether answers are missing for too long since this moment.
    pub(super) fn tick(&mut self, now: Instant) -> bool {
        let was_late = self.is_late;
        let until = self.every.zip(self.answered).map(|(every, at)| at + MISSED_MAX * every + SLACK);
        self.is_late = until.is_some_and(|until| now >= until);
        self.is_late && !was_late
    }

    fn settled(&mut self) {
        self.due = None;
        self.behind = None;
        self.tried = None;
        self.wait.reset();
    }

    /// Returns the time of the next load of the source.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due.map(|(due, _)| due)
    }

    /// A load begins.
    pub(super) fn tries(&mut self) {
        self.tried.clone_from(&self.seen);
        self.due = None;
    }

    /// Records that the load has succeeded. If the source still differs, another load follows after a `share` of the
    /// wait.
    pub(super) fn loaded(&mut self, now: Instant, share: f64) {
        self.accepted = None;
        if self.tried.is_some() && self.relation() == Relation::Other && self.seen == self.tried {
            self.wait.failed(now, 0);
            let longest = self.wait.until().map(|until| until.saturating_duration_since(now));
            let wait = longest.map(|longest| longest.mul_f64(share.clamp(0.0, 1.0)));
            self.due = wait.map(|wait| (now + wait, Cause::Again));
        }
    }

    /// Why rows that were loaded for `generation` are not to be served: those that serve are newer.
    pub(super) fn refusal(&mut self, loaded: &Version, generation: u64, now: Instant) -> Option<String> {
        let served = self.served.as_ref().filter(|served| served.is_comparable(loaded))?;
        let (has, serves) = loaded.revision.zip(served.revision).filter(|(has, serves)| has < serves)?;
        self.fell_behind(has, serves, now);
        let is_accepted = self.accepts_older(generation) || self.acceptance().is_some_and(|at| now >= at);
        if is_accepted { None } else { self.behind_in_words() }
    }

    /// An operator accepts an older revision, from this generation on until one serves.
    pub(super) fn accept_older(&mut self, generation: u64) {
        self.accepted = Some(generation);
    }

    /// Whether an operator does so for this generation.
    pub(super) fn accepts_older(&self, generation: u64) -> bool {
        self.accepted.is_some_and(|accepted| accepted <= generation)
    }

    fn fell_behind(&mut self, has: u64, serves: u64, now: Instant) {
        let new = Behind { since: now, has, serves };
        let behind = self.behind.get_or_insert(new);
        (behind.has, behind.serves) = (has, serves);
    }

    /// That the source is behind: once for two revisions, as one server of it may be behind and another not.
    pub(super) fn news(&mut self) -> Option<String> {
        let found = self.behind.as_ref().map(|behind| (behind.has, behind.serves))?;
        (self.told.replace(found) != Some(found)).then(|| self.behind_in_words()).flatten()
    }

    fn behind_in_words(&self) -> Option<String> {
        let Behind { has, serves, .. } = self.behind.as_ref()?;
        let after =
            self.accept_after.map(|after| format!(" after {} s (ACCEPT_OLDER_AFTER), or", after.as_secs()));
        Some(format!(
            "the source is behind: it has revision {has}, and revision {serves} is served; the older one is accepted{} \
             with `avalonctl reload --accept-older`",
            after.unwrap_or_default()
        ))
    }

    /// Whether the source has a lower revision than that which serves.
    pub(super) fn is_behind(&self) -> bool {
        self.behind.is_some()
    }

    /// Whether the master would refuse the rows of a load: the watcher sees an older revision, whose time has not come.
    pub(super) fn would_refuse(&self, now: Instant) -> bool {
        let is_older = self.every.is_some() && self.relation() == Relation::Older;
        is_older && self.acceptance().is_none_or(|at| now < at)
    }

    /// Returns the time at which the master accepts the older revision that the source has now.
    fn acceptance(&self) -> Option<Instant> {
        Some(self.behind.as_ref()?.since + self.accept_after?)
    }

    /// The version that serves.
    pub(super) fn served(&self) -> Option<&Version> {
        self.served.as_ref()
    }

    /// The revision that the watcher has seen last.
    pub(super) fn revision(&self) -> Option<u64> {
        self.seen.as_ref()?.revision
    }

    /// Why clients may get other rows than the source holds, if they may.
    pub(super) fn reason(&self) -> Option<String> {
        let noun = self.noun;
        if self.is_late {
            let limit = MISSED_MAX * self.every.unwrap_or_default() + SLACK;
            let silent =
                || format!("the {noun} has given no answer for {} s", limit.max(POLL_TIMEOUT).as_secs());
            return Some(self.missed.clone().unwrap_or_else(silent));
        }
        if self.behind.is_some() {
            return self.behind_in_words();
        }
        (self.relation() == Relation::Other).then(|| match self.revisions() {
            Some((has, serves)) if has > serves => {
                format!("the {noun} has revision {has}, and revision {serves} is served")
            }
            _ => format!("the {noun} holds other rows than are served"),
        })
    }

    /// Why rows of this revision do not serve.
    pub(super) fn why_not(&self, wanted: u64) -> String {
        let noun = self.noun;
        match &self.seen {
            _ if self.is_missing() => {
                self.missed.clone().unwrap_or_else(|| format!("the {noun} gives no answer"))
            }
            None => format!("the {noun} has given no answer yet"),
            Some(Version { revision: None, .. }) => {
                "the database does not report its revision (see table avalon_revision in docs/machines.md)"
                    .to_owned()
            }
            Some(Version { revision: Some(has), .. }) if *has < wanted => match noun {
                "store" => format!("the pointer in the store has counter {has}"),
                _ => format!("the database that this server reads has revision {has}; a replica may lag"),
            },
            Some(_) if self.behind.is_some() => self.behind_in_words().unwrap_or_default(),
            Some(_) => "no load of it has ended well".to_owned(),
        }
    }

    /// Returns the revisions of the source and of the served rows, if these can be compared.
    fn revisions(&self) -> Option<(u64, u64)> {
        let (seen, served) = self.seen.as_ref().zip(self.served.as_ref())?;
        seen.revision.zip(served.revision).filter(|_| seen.is_comparable(served))
    }

    fn relation(&self) -> Relation {
        match (&self.seen, &self.served) {
            (Some(seen), Some(_)) if !seen.is_known() => Relation::Unknown,
            (Some(seen), Some(served)) if seen == served => Relation::Same,
            (Some(_), Some(_)) if self.revisions().is_some_and(|(has, serves)| has < serves) => {
                Relation::Older
            }
            (Some(_), Some(_)) => Relation::Other,
            _ => Relation::Unknown,
        }
    }
}

#[cfg(test)]
mod tests;
