//! The child that scans COLLECTION, as `avalon-scan` does. It starts threads, may hang on a dead share, may
//! crash or be killed: the master only waits for its report.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use slog::{error, info};

use crate::cli::chain;
use crate::config::Config;
use crate::master::error::Reason;
use crate::master::exit::ExitCode;
use crate::master::processes::end::{Ended, end_within, wait_until};
use crate::master::processes::fork::{FirstSteps, fork};
use crate::master::processes::report::{Awaited, ReportTo, report, short};
use crate::scan::{self, Empty, Exit, Expected, Interrupt, Job, Progress, Report};
use crate::telemetry::{Log, sentry};
use crate::title;

/// Longest time from the order to end until the end of a scan: it ends its transaction within 900 ms.
const END_MAX: Duration = Duration::from_millis(920);
/// Longest wait for the end of a killed scan. A scan that waits for a dead share ends when the share answers.
const KILL_MAX: Duration = Duration::from_millis(80);

/// A scan at work.
pub(crate) struct Scanner {
    pub(crate) pid: Pid,
    pub(crate) begin: Instant,
    report: Awaited,
    told_to_end: Option<Instant>,
}

/// The report of a scan; `exit_code` is that of `avalon-scan`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) exit_code: u8,
    /// The numbers of the scan, or the reason why it stored nothing.
    pub(crate) result: Result<Scanned, Reason>,
    /// Whether the database may hold other rows than before.
    pub(crate) may_have_written: bool,
}

/// The numbers of a scan.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Scanned {
    /// The numbers as a sentence.
    pub(crate) text: String,
    pub(crate) is_new: bool,
    /// Songs of the collection.
    pub(crate) songs: u64,
    pub(crate) added: u64,
    pub(crate) changed: u64,
    pub(crate) removed: u64,
    pub(crate) moved: u64,
    /// Songs that the scan could not reach, and that stay.
    pub(crate) kept: u64,
    /// Files, folders and roots that the scan could not reach.
    pub(crate) unreachable: u64,
}

impl From<&Report> for Scanned {
    fn from(report: &Report) -> Scanned {
        let fates = &report.fates;
        Scanned {
            text: report.to_string(),
            is_new: report.is_new,
            songs: report.songs as u64,
            added: report.added as u64,
            changed: fates.changed as u64,
            removed: (fates.removed + fates.given_up + fates.excluded) as u64,
            moved: fates.moved as u64,
            kept: fates.kept as u64,
            unreachable: report.unreachable as u64,
        }
    }
}

impl Outcome {
    /// The outcome of a scan that did not begin.
    pub(crate) fn not_begun(error: &io::Error) -> Outcome {
        let reason = Reason::new(format!("the scan cannot be started: {error}"));
        Outcome { exit_code: Exit::Failed as u8, result: Err(reason), may_have_written: false }
    }
}

impl Scanner {
    /// Forks a child that scans the COLLECTION of `config`.
    ///
    /// # Errors
    /// The kernel's error for the pipe or the fork.
    pub(crate) fn start(config: &Config, log: &Log, first: FirstSteps<'_>) -> io::Result<Scanner> {
        let (report, report_to) = report()?;
        let begin = Instant::now();
        let pid = fork(&first.keeping([report_to.as_fd()]), || scan(config, log, report_to))?;
        Ok(Scanner { pid, begin, report, told_to_end: None })
    }

    /// Tells the scan to end, once.
    pub(crate) fn interrupt(&mut self) {
        if self.told_to_end.is_none() {
            self.told_to_end = Some(Instant::now());
            // If the scan has ended already, the master will reap it.
            let _ = kill(self.pid, Signal::SIGTERM);
        }
    }

    /// Waits for the end of a scan that has the order to end, and kills it if that takes too long.
    pub(crate) fn end(mut self) {
        self.interrupt();
        let until = self.told_to_end.unwrap_or(self.begin) + END_MAX;
        if !wait_until(self.pid, until) {
            end_within(self.pid, KILL_MAX);
        }
    }

    /// The report of a scan that has ended.
    pub(crate) fn finish(self, ended: Ended) -> Outcome {
        self.report.receive().unwrap_or_else(|| without_report(ended))
    }
}

/// The outcome of a scan that was interrupted or has crashed. It may have stored everything just before.
fn without_report(ended: Ended) -> Outcome {
    let exit_code = match ended {
        Ended::Code(code) => u8::try_from(code).unwrap_or(u8::MAX),
        // The exit code that a shell shows.
        Ended::Signal(signal) => 128 + signal as u8,
    };
    let reason = Reason::new(format!("the scan ended without a result ({ended})"));
    Outcome { exit_code, result: Err(reason), may_have_written: true }
}

/// The life of the child.
fn scan(config: &Config, log: &Log, report_to: ReportTo) -> ExitCode {
    title::set("avalon: scan");
    let log = log.for_process("scan");
    // This comes before another thread exists, so that all of them leave the signals to one. Signals of a
    // terminal are for the master, which knows their meaning.
    let terminals: SigSet = [Signal::SIGINT, Signal::SIGQUIT].into_iter().collect();
    let listening = terminals.thread_block().map_err(io::Error::from);
    let outcome = match listening.and_then(|()| Interrupt::listen_to(&[Signal::SIGTERM])) {
        Ok(interrupt) => {
            let _sentry = sentry::start(&config.sentry, "scan", None, None, sentry::Lookup::Own);
            outcome(config, &log, &interrupt)
        }
        Err(error) => Outcome::not_begun(&error),
    };
    let code = if outcome.result.is_ok() { ExitCode::Stopped } else { ExitCode::Failure };
    match report_to.send(&outcome) {
        Ok(()) => code,
        Err(error) => {
            error!(log.logger(), "the scan cannot report"; "error" => %error);
            ExitCode::Failure
        }
    }
}

fn outcome(config: &Config, log: &Log, interrupt: &Interrupt) -> Outcome {
    let logger = log.logger().clone();
    interrupt.set_tell(move |text, _| info!(logger, "{text}"));
    match scan::run(&job(config), &Progress::lines(log.logger()), interrupt, log.logger()) {
        Ok(report) => Outcome {
            exit_code: Exit::from(&report) as u8,
            may_have_written: report.is_new,
            result: Ok(Scanned::from(&report)),
        },
        Err(error) => {
            let exit = Exit::from(&error);
            let reason = Reason::new(short(&chain(&error)));
            // If a connection breaks during the commit, the rows may be stored or not.
            Outcome { exit_code: exit as u8, result: Err(reason), may_have_written: exit == Exit::Failed }
        }
    }
}

fn job(config: &Config) -> Job {
    Job {
        database: config.database_url.clone(),
        folders: config.collection.clone(),
        collection: Vec::new(),
        empty: Empty::Refused,
        expected: Expected { all: false, below: Vec::new() },
        exclude: config.exclude.clone(),
        only: None,
        dry_run: false,
        full: false,
        jobs: None,
        verbose: false,
        keep_state: false,
        file_timeout: config.file_timeout,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(said: Option<&Outcome>, ended: Ended) -> Outcome {
        let (awaited, report_to) = report().unwrap();
        said.map_or(Ok(()), |said| report_to.send(said)).unwrap();
        let (pid, begin) = (Pid::from_raw(1), Instant::now());
        Scanner { pid, begin, report: awaited, told_to_end: None }.finish(ended)
    }

    #[test]
    fn what_a_child_reports_is_what_its_master_learns() {
        let scanned = Scanned { songs: 3, added: 1, is_new: true, ..Scanned::default() };
        let good = Outcome { exit_code: 5, result: Ok(scanned), may_have_written: true };
        let bad =
            Outcome { exit_code: 4, result: Err(Reason::new("\"too\" much\n")), may_have_written: false };
        for outcome in [good, bad] {
            assert_eq!(finished(Some(&outcome), Ended::Code(0)), outcome);
        }
    }

    #[test]
    fn child_without_a_report_has_a_code_and_may_have_stored_everything() {
        for (ended, code) in [(Ended::Code(143), 143), (Ended::Signal(Signal::SIGKILL), 137)] {
            let outcome = finished(None, ended);
            assert_eq!((outcome.exit_code, outcome.may_have_written), (code, true));
            assert!(outcome.result.unwrap_err().as_str().contains("without a result"));
        }
    }
}
