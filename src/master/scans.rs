//! When COLLECTION is scanned (`SCAN_EVERY`), and what came of it.
//!
//! The first scan begins as soon as a generation serves, each further one `SCAN_EVERY` after the end of
//! the last, or at once if a reload has changed what is scanned. A master that shares its addresses with another one does not scan: the other one would
//! not learn of the new rows.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use slog::{debug, error, info, warn};

use super::Master;
use super::events::{Event, Wish};
use super::generations::first_steps;
use super::metrics::{milliseconds, now_ms};
use super::process::{Ended, FirstSteps};
use super::scanner::{Outcome, Scanned, Scanner};
use crate::config::Config;

/// What a scan looks at: `COLLECTION`, and `EXCLUDE`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Scope {
    folders: Vec<PathBuf>,
    exclude: Vec<String>,
}

impl Scope {
    fn of(config: &Config) -> Scope {
        Scope { folders: config.collection.clone(), exclude: config.exclude.clone() }
    }
}

/// When the next scan is due.
#[derive(Debug, Default)]
struct Schedule {
    every: Option<Duration>,
    scope: Scope,
    /// What the last scan that has begun looks at.
    begun: Option<Scope>,
    ended: Option<Instant>,
    due: Option<Instant>,
}

impl Schedule {
    /// A configuration counts from now on.
    fn configure(&mut self, every: Option<Duration>, scope: Scope, now: Instant) {
        (self.every, self.scope) = (every, scope);
        self.plan(now);
    }

    /// A scan begins, if it can, by the configuration that counts.
    fn begins(&mut self) {
        self.begun = Some(self.scope.clone());
    }

    /// A scan has ended, or could not begin.
    fn ended(&mut self, now: Instant) {
        self.ended = Some(now);
        self.plan(now);
    }

    fn plan(&mut self, now: Instant) {
        let is_new = self.begun.as_ref() != Some(&self.scope);
        let next = |every| self.ended.filter(|_| !is_new).map_or(now, |ended| ended + every);
        self.due = self.every.map(next);
    }
}

/// The scan at work, and what is known of the last one.
#[derive(Default)]
pub(super) struct Scans {
    schedule: Schedule,
    scanner: Option<Scanner>,
    /// Why the last one has failed.
    failure: Option<String>,
    /// What was told of the last one, which is not told again.
    told: Option<String>,
    /// The first generation that is sure to have all that was stored, until it serves.
    owed: Option<u64>,
}

impl Scans {
    /// Why the last one has failed, if it has.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Tells the scan at work that the server stops.
    pub(super) fn interrupt(&mut self) {
        self.scanner.iter_mut().for_each(Scanner::interrupt);
    }

    /// Waits for the end of a scan at work, a second at most.
    pub(super) fn end(&mut self) {
        self.scanner.take().into_iter().for_each(Scanner::end);
    }

    /// Whether it is told for the first time.
    fn is_news(&mut self, text: Option<&str>) -> bool {
        let is_news = self.told.as_deref() != text;
        self.told = text.map(str::to_owned);
        is_news
    }
}

impl Master {
    /// When a scan is to begin; `None` if none may.
    pub(super) fn scan_due(&self) -> Option<Instant> {
        let alone = self.predecessor.is_none() && self.successor.is_none();
        let may_begin = alone && self.scans.scanner.is_none();
        let serves = ["serving", "reloading"].contains(&self.arbiter.state());
        self.scans.schedule.due.filter(|_| may_begin && serves)
    }

    /// Begins a scan when it is time to.
    pub(super) fn scan(&mut self) {
        if self.scan_due().is_none_or(|due| Instant::now() < due) {
            return;
        }
        let Some(of) = self.arbiter.current().and_then(|current| self.generations.get(&current)) else {
            return;
        };
        let first = FirstSteps {
            keep: of.log.fd().into_iter().collect(),
            gives_way: true,
            ..first_steps(&of.config, Signal::SIGTERM)
        };
        self.scans.schedule.begins();
        self.scoreboard.header().scans.running_ms.set(now_ms());
        match Scanner::start(&of.config, &of.log, first) {
            Ok(scanner) => {
                debug!(self.log.logger(), "a scan begins"; "pid" => scanner.pid.as_raw());
                self.scans.scanner = Some(scanner);
                self.publish_next_scan();
            }
            Err(error) => self.judge_scan(Outcome::not_begun(&error), Duration::ZERO),
        }
    }

    /// The scan of this process, if it was one.
    pub(super) fn take_scanner(&mut self, pid: Pid) -> Option<Scanner> {
        self.scans.scanner.take_if(|scanner| scanner.pid == pid)
    }

    pub(super) fn scan_ended(&mut self, scanner: Scanner, ended: Ended) {
        let took = scanner.begin.elapsed();
        self.judge_scan(scanner.finish(ended), took);
    }

    fn judge_scan(&mut self, outcome: Outcome, took: Duration) {
        self.scans.schedule.ended(Instant::now());
        self.record_scan(&outcome, took);
        self.publish_next_scan();
        self.scans.failure = outcome.result.as_ref().err().cloned();
        if self.arbiter.state() == "stopping" {
            return;
        }
        self.tell_scan(&outcome, took);
        if outcome.may_have_written {
            self.owe_rows();
        }
        // Workers that an operator has drained come back by SIGHUP alone.
        if outcome.result.is_ok() && self.scans.owed.is_some() && self.arbiter.state() != "drained" {
            self.dispatch(Event::Wished(Wish::Reload));
        }
    }

    /// A fault that lasts is told once, not after each interval.
    fn tell_scan(&mut self, outcome: &Outcome, took: Duration) {
        let log = self.log.logger().clone();
        let scanned = match &outcome.result {
            Ok(scanned) => scanned,
            Err(reason) if self.scans.is_news(Some(reason)) => {
                return error!(log, "the scan has failed, what is served stays: {}", reason;
                    "exit_code" => outcome.exit_code);
            }
            Err(_) => return info!(log, "the scan has failed again"; "exit_code" => outcome.exit_code),
        };
        let missing = (scanned.unreachable > 0).then(|| {
            let (places, songs) = (scanned.unreachable, scanned.kept);
            format!("{places} places could not be reached by the scan, {songs} songs stay as they were")
        });
        if self.scans.is_news(missing.as_deref()) {
            missing.iter().for_each(|missing| warn!(log, "{}", missing));
        }
        let seconds = format!("{:.1}", took.as_secs_f32());
        match scanned.is_new {
            true => info!(log, "{}", scanned.text; "seconds" => seconds),
            false => debug!(log, "{}, nothing has changed", scanned.text; "seconds" => seconds),
        }
    }

    /// A generation serves, with its configuration.
    pub(super) fn schedule_scans(&mut self, generation: u64) {
        let Some(of) = self.generations.get(&generation) else { return };
        self.scans.schedule.configure(of.config.scan_every, Scope::of(&of.config), Instant::now());
        self.scans.owed.take_if(|owed| *owed <= generation);
        self.publish_next_scan();
    }

    /// The database may hold what is not served: the next scan that goes well is followed by a reload, also if
    /// it finds nothing new.
    pub(super) fn owe_rows(&mut self) {
        self.scans.owed = Some(self.arbiter.reload_generation());
    }

    fn publish_next_scan(&self) {
        let due = self.scans.schedule.due.filter(|_| self.scans.scanner.is_none());
        let due = due.map(|due| SystemTime::now() + due.saturating_duration_since(Instant::now()));
        self.scoreboard.header().scans.next_ms.set(due.map_or(0, milliseconds));
    }

    /// Writes on the scoreboard what came of a scan.
    fn record_scan(&mut self, outcome: &Outcome, took: Duration) {
        let scans = &self.scoreboard.header().scans;
        scans.started_ms.set(scans.running_ms.get());
        scans.running_ms.set(0);
        scans.ended_ms.set(now_ms());
        scans.exit_code.set(outcome.exit_code.into());
        self.metrics.scanned(outcome.result.is_ok(), took);
        let Ok(scanned) = &outcome.result else { return scans.failed.add(1) };
        if scanned.unreachable > 0 { &scans.partial } else { &scans.complete }.add(1);
        let Scanned { songs, added, changed, removed, moved, kept, unreachable, .. } = *scanned;
        for (number, value) in [
            (&scans.songs, songs),
            (&scans.added, added),
            (&scans.changed, changed),
            (&scans.removed, removed),
            (&scans.moved, moved),
            (&scans.kept, kept),
            (&scans.unreachable, unreachable),
        ] {
            number.set(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn first_scan_is_due_at_once_and_the_next_an_interval_after_its_end() {
        let (mut schedule, now) = (Schedule::default(), Instant::now());
        schedule.configure(None, Scope::default(), now);
        assert_eq!(schedule.due, None);
        schedule.configure(Some(HOUR), Scope::default(), now);
        assert_eq!(schedule.due, Some(now));
        schedule.begins();
        let later = now + 3 * MINUTE;
        schedule.ended(later);
        assert_eq!(schedule.due, Some(later + HOUR));
    }

    #[test]
    fn interval_that_is_changed_counts_from_the_end_of_the_last_scan() {
        let (mut schedule, now) = (Schedule::default(), Instant::now());
        schedule.configure(Some(HOUR), Scope::default(), now);
        schedule.begins();
        schedule.ended(now);
        schedule.configure(Some(MINUTE), Scope::default(), now + 3 * MINUTE);
        assert_eq!(schedule.due, Some(now + MINUTE));
        schedule.configure(None, Scope::default(), now + 3 * MINUTE);
        assert_eq!(schedule.due, None);
        schedule.ended(now + 4 * MINUTE);
        assert_eq!(schedule.due, None);
    }

    #[test]
    fn other_folders_are_scanned_at_once() {
        let (mut schedule, now) = (Schedule::default(), Instant::now());
        let other = || Scope { folders: vec!["/other".into()], exclude: Vec::new() };
        schedule.configure(Some(HOUR), Scope::default(), now);
        schedule.begins();
        // While the scan of the former ones goes on.
        schedule.configure(Some(HOUR), other(), now + MINUTE);
        schedule.ended(now + 2 * MINUTE);
        assert_eq!(schedule.due, Some(now + 2 * MINUTE));
        schedule.begins();
        schedule.ended(now + 3 * MINUTE);
        assert_eq!(schedule.due, Some(now + 3 * MINUTE + HOUR));
        schedule.configure(Some(HOUR), Scope { exclude: vec!["*.x".into()], ..other() }, now + 4 * MINUTE);
        assert_eq!(schedule.due, Some(now + 4 * MINUTE));
    }

    #[test]
    fn fault_that_lasts_is_news_once() {
        let mut scans = Scans::default();
        let news = [Some("a"), Some("a"), Some("b"), None, None, Some("b")].map(|text| scans.is_news(text));
        assert_eq!(news, [true, false, true, true, false, true]);
    }
}
