//! The times of scans of COLLECTION (`SCAN_EVERY`), and their results.
//!
//! The first scan begins as soon as a generation serves, and each further one `SCAN_EVERY` after the end of
//! the last one, or at once if a reload has changed COLLECTION or EXCLUDE. A master that shares its addresses
//! with another one does not scan, as the other one would not learn of the new rows.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use slog::{Logger, debug, error, info, warn};

use crate::config::Config;
use crate::master::clock::{milliseconds, now_ms};
use crate::master::error::Reason;
use crate::master::generation::generations::Generation;
use crate::master::processes::end::Ended;
use crate::master::processes::fork::FirstSteps;
use crate::master::scans::scanner::{Outcome, Scanned, Scanner};
use crate::scoreboard::Scans as Board;

/// The part of a configuration that names the files of a scan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Scope {
    /// `COLLECTION`.
    folders: Vec<PathBuf>,
    /// `EXCLUDE`.
    exclude: Vec<String>,
}

impl Scope {
    /// The scope in this configuration.
    pub(crate) fn of(config: &Config) -> Self {
        Scope { folders: config.collection.clone(), exclude: config.exclude.clone() }
    }
}

/// The time of the next scan.
#[derive(Debug, Default)]
struct Schedule {
    every: Option<Duration>,
    scope: Scope,
    /// The scope of the last scan that has begun.
    begun: Option<Scope>,
    ended: Option<Instant>,
    due: Option<Instant>,
}

impl Schedule {
    /// Makes a configuration the current one.
    fn configure(&mut self, every: Option<Duration>, scope: Scope, now: Instant) {
        (self.every, self.scope) = (every, scope);
        self.plan(now);
    }

    /// Notes that a scan begins with the current configuration, or tries to.
    fn begins(&mut self) {
        self.begun = Some(self.scope.clone());
    }

    /// Notes that a scan has ended, or could not begin.
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

/// The running scan, and the result of the last one.
#[derive(Default)]
pub(crate) struct Scans {
    schedule: Schedule,
    scanner: Option<Scanner>,
    /// The reason why the last scan failed.
    failure: Option<Reason>,
    /// The text about the last scan in the log, which the master does not log again.
    told: Option<String>,
    /// The first generation that certainly has all stored rows, until it serves.
    owed: Option<u64>,
}

/// A scan that has ended.
pub(crate) struct Ending {
    outcome: Outcome,
    took: Duration,
}

impl Ending {
    /// Whether the scan has stored its findings, or found nothing new.
    pub(crate) fn is_good(&self) -> bool {
        self.outcome.result.is_ok()
    }

    /// The duration of the scan.
    pub(crate) fn took(&self) -> Duration {
        self.took
    }
}

impl Scans {
    /// The reason why the last scan failed, if it did.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.failure.as_ref().map(Reason::as_str)
    }

    /// The time at which a scan begins, unless one runs.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.schedule.due.filter(|_| self.scanner.is_none())
    }

    /// Begins a scan of the COLLECTION of a generation. A scan that cannot begin counts as ended.
    pub(crate) fn begin(&mut self, of: &Generation, board: &Board, log: &Logger) -> Option<Ending> {
        self.schedule.begins();
        board.running_ms.set(now_ms());
        // A scan writes no access log.
        let first = FirstSteps::of(&of.config)
            .on_master_death(Some(Signal::SIGTERM))
            .giving_way(true)
            .keeping_raw(of.logs.log.fd());
        match Scanner::start(&of.config, &of.logs.log, first) {
            Ok(scanner) => {
                debug!(log, "a scan begins"; "pid" => scanner.pid.as_raw());
                self.scanner = Some(scanner);
                self.publish_next(board);
                None
            }
            Err(error) => Some(Ending { outcome: Outcome::not_begun(&error), took: Duration::ZERO }),
        }
    }

    /// Handles the end of a process. If it was the scan, returns its result.
    pub(crate) fn ended(&mut self, pid: Pid, ended: Ended) -> Option<Ending> {
        let scanner = self.scanner.take_if(|scanner| scanner.pid == pid)?;
        let took = scanner.begin.elapsed();
        Some(Ending { outcome: scanner.finish(ended), took })
    }

    /// Writes the result of a scan on the scoreboard.
    pub(crate) fn record(&mut self, ending: &Ending, board: &Board) {
        self.schedule.ended(Instant::now());
        self.failure = ending.outcome.result.as_ref().err().cloned();
        record(&ending.outcome, board);
        self.publish_next(board);
    }

    /// Logs the result of a scan. `next` is the generation that a reload makes now. Says whether that reload
    /// is needed, because the database may hold rows that are not served.
    pub(crate) fn judge(&mut self, ending: &Ending, next: u64, log: &Logger) -> bool {
        self.tell(ending, log);
        if ending.outcome.may_have_written {
            self.owe_rows(next);
        }
        ending.is_good() && self.owed.is_some()
    }

    /// Logs the result of a scan; a lasting fault appears once, not after each interval.
    fn tell(&mut self, Ending { outcome, took }: &Ending, log: &Logger) {
        let scanned = match &outcome.result {
            Ok(scanned) => scanned,
            Err(reason) if self.is_news(Some(reason.as_str())) => {
                return error!(log, "the scan has failed, the served rows stay: {}", reason;
                    "exit_code" => outcome.exit_code);
            }
            Err(_) => return info!(log, "the scan has failed again"; "exit_code" => outcome.exit_code),
        };
        let missing = (scanned.unreachable > 0).then(|| {
            let (places, songs) = (scanned.unreachable, scanned.kept);
            format!("{places} places could not be reached by the scan, {songs} songs stay as they were")
        });
        if self.is_news(missing.as_deref()) {
            missing.iter().for_each(|missing| warn!(log, "{}", missing));
        }
        let seconds = format!("{:.1}", took.as_secs_f32());
        match scanned.is_new {
            true => info!(log, "{}", scanned.text; "seconds" => seconds),
            false => debug!(log, "{}, nothing has changed", scanned.text; "seconds" => seconds),
        }
    }

    /// Notes that generation `number` serves, whose configuration asks for a scan of this scope at this
    /// interval.
    pub(crate) fn schedule(&mut self, number: u64, every: Option<Duration>, scope: Scope, board: &Board) {
        self.schedule.configure(every, scope, Instant::now());
        self.rows_serve(number);
        self.publish_next(board);
    }

    /// Notes that the rows that were read for generation `number` serve, by it or, as they are the same, by the one
    /// before it.
    pub(crate) fn rows_serve(&mut self, number: u64) {
        self.owed.take_if(|owed| *owed <= number);
    }

    /// Whether an earlier generation than `number` was to serve stored rows, and has not: its load has failed.
    pub(crate) fn is_overdue(&self, number: u64) -> bool {
        self.owed.is_some_and(|owed| owed < number)
    }

    /// Notes that the database may hold rows that are not served: a reload follows the next successful scan,
    /// even if that finds nothing new. `next` is the generation that a reload makes now.
    pub(crate) fn owe_rows(&mut self, next: u64) {
        self.owed = Some(next);
    }

    fn publish_next(&self, board: &Board) {
        let due = self.due().map(|due| SystemTime::now() + due.saturating_duration_since(Instant::now()));
        board.next_ms.set(due.map_or(0, milliseconds));
    }

    /// Tells the running scan that the server stops.
    pub(crate) fn interrupt(&mut self) {
        self.scanner.iter_mut().for_each(Scanner::interrupt);
    }

    /// Waits for the end of a running scan, for at most a second.
    pub(crate) fn end(&mut self) {
        self.scanner.take().into_iter().for_each(Scanner::end);
    }

    /// Whether the log does not have this text yet.
    fn is_news(&mut self, text: Option<&str>) -> bool {
        let is_news = self.told.as_deref() != text;
        self.told = text.map(str::to_owned);
        is_news
    }
}

fn record(outcome: &Outcome, board: &Board) {
    board.started_ms.set(board.running_ms.get());
    board.running_ms.set(0);
    board.ended_ms.set(now_ms());
    board.exit_code.set(outcome.exit_code.into());
    let Ok(scanned) = &outcome.result else { return board.failed.add(1) };
    if scanned.unreachable > 0 { &board.partial } else { &board.complete }.add(1);
    let Scanned { songs, added, changed, removed, moved, kept, unreachable, .. } = *scanned;
    for (number, value) in [
        (&board.songs, songs),
        (&board.added, added),
        (&board.changed, changed),
        (&board.removed, removed),
        (&board.moved, moved),
        (&board.kept, kept),
        (&board.unreachable, unreachable),
    ] {
        number.set(value);
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

    fn ending(result: Result<Scanned, Reason>, may_have_written: bool) -> Ending {
        Ending { outcome: Outcome { exit_code: 0, result, may_have_written }, took: MINUTE }
    }

    #[test]
    fn rows_that_may_be_new_are_owed_until_a_generation_has_them() {
        let log = Logger::root(slog::Discard, slog::o!());
        let (mut scans, board) = (Scans::default(), crate::scoreboard::Scoreboard::create().unwrap());
        let board = &board.header().scans;
        assert!(!scans.judge(&ending(Err(Reason::new("cut off")), true), 5, &log), "failed");
        assert!(scans.judge(&ending(Ok(Scanned::default()), false), 6, &log), "owed by the one before");
        scans.schedule(4, None, Scope::default(), board);
        assert_eq!((scans.owed, scans.is_overdue(5), scans.is_overdue(6)), (Some(5), false, true));
        scans.schedule(5, None, Scope::default(), board);
        assert!(!scans.judge(&ending(Ok(Scanned::default()), false), 6, &log) && !scans.is_overdue(6));
        assert!(scans.judge(&ending(Ok(Scanned::default()), true), 6, &log));
        scans.rows_serve(6);
        assert!(!scans.judge(&ending(Ok(Scanned::default()), false), 7, &log), "generation 5 has its rows");
    }

    #[test]
    fn outcome_stands_on_the_scoreboard() {
        let (mut scans, board) = (Scans::default(), crate::scoreboard::Scoreboard::create().unwrap());
        let board = &board.header().scans;
        scans.schedule(1, Some(HOUR), Scope::default(), board);
        scans.schedule.begins();
        board.running_ms.set(7);
        let scanned = Scanned { songs: 3, kept: 2, unreachable: 1, ..Scanned::default() };
        scans.record(&ending(Ok(scanned), true), board);
        let numbers = [&board.started_ms, &board.running_ms, &board.songs, &board.kept, &board.partial];
        assert_eq!(numbers.map(|number| number.get()), [7, 0, 3, 2, 1]);
        assert!(board.next_ms.get() > now_ms() && scans.failure().is_none());
        scans.record(&ending(Err(Reason::new("gone")), false), board);
        assert_eq!((scans.failure(), board.failed.get(), board.songs.get()), (Some("gone"), 1, 3));
    }

    #[test]
    fn fault_that_lasts_is_news_once() {
        let mut scans = Scans::default();
        let news = [Some("a"), Some("a"), Some("b"), None, None, Some("b")].map(|text| scans.is_news(text));
        assert_eq!(news, [true, false, true, true, false, true]);
    }
}
