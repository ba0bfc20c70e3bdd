//! The program `avalon-scan`: its command line, one scan or a watch, and its end.

mod arguments;
mod end;

use std::error::Error;
use std::io::IsTerminal;

use slog::{Level, Logger, error, info, warn};

pub use arguments::Arguments;

use end::{End, print_report, say, write_report};

use crate::cli::chain;
use crate::config::{self, Config};
use crate::database::Holder;
use crate::scan::json::{self, Reload};
use crate::scan::watch::{Watching, watch};
use crate::scan::{Account, Exit, Interrupt, Job, Progress, ScanError, run_with};
use crate::telemetry::Log;

/// Runs the command line. The caller must call it before it starts any other thread, so that all
/// threads leave the signals to one.
pub fn main(arguments: &Arguments) -> Exit {
    match Interrupt::listen() {
        Ok(interrupt) => run(arguments, &interrupt),
        Err(error) => say(Exit::Failed, &error),
    }
}

fn run(arguments: &Arguments, interrupt: &Interrupt) -> Exit {
    let me = Holder::this_process();
    let (mut config, job) = match prepare(arguments) {
        Ok(prepared) => prepared,
        Err(error) => return refuse(arguments, &me, None, Exit::Usage, error.as_ref()),
    };
    if arguments.quiet {
        config.log.level = Level::Error;
    }
    let log = match Log::start_patient(&config.log, "avalon-scan", "avalon.scan") {
        Ok(log) => log,
        Err(error) => return refuse(arguments, &me, Some(&job), Exit::Failed, &error),
    };
    for warning in &config.warnings {
        warn!(log.logger(), "{warning}");
    }
    // The user does not look at a log that goes to a file.
    let is_logged_elsewhere = config.log.path.is_some();
    let (progress, logger) = progress(arguments.quiet, log.logger());
    tell_of_signals(
        interrupt,
        &logger,
        is_logged_elsewhere,
        arguments.json.then(|| (me.clone(), job.clone())),
    );
    if arguments.watch {
        let watching = Watching {
            poll: config.poll,
            control: config.control.clone(),
            log_path: config.log.path.clone(),
        };
        let error = watch(&job, &watching, interrupt, &logger);
        return tell_error(&error, &logger, is_logged_elsewhere);
    }
    let mut account = Account::default();
    let result = run_with(&job, &progress, interrupt, &logger, &mut account);
    let mut end = match &result {
        Ok(report) => {
            let unchanged = if report.is_written { "" } else { ", nothing has changed" };
            info!(logger, "{report}, {:.1} seconds{unchanged}", account.elapsed().as_secs_f64());
            End { report: Some(report), ..End::new(Exit::from(report)) }
        }
        Err(error) => End { losses: json::losses(error), ..End::failed(Exit::from(error), error) },
    };
    if arguments.reload {
        end.ask_to_reload(config.control.as_deref(), interrupt, &logger);
    }
    if let Some(error) = &end.error {
        error!(logger, "avalon-scan: {error}");
        if is_logged_elsewhere {
            eprintln!("avalon-scan: {error}");
        }
    }
    interrupt.close();
    if arguments.json { write_report(&me, Some(&job), Some(&account), &end) } else { end.exit }
}

/// Reads the configuration and describes the scan to run.
fn prepare(arguments: &Arguments) -> Result<(Config, Job), Box<dyn Error>> {
    let config = config::load(&arguments.overrides())?;
    let job = arguments.job(&config)?;
    if job.folders.is_empty() && job.only.is_none() {
        return Err(NoFolder.into());
    }
    Ok((config, job))
}

/// Reports an error that ends the program before the scan begins.
fn refuse(arguments: &Arguments, me: &Holder, job: Option<&Job>, exit: Exit, error: &dyn Error) -> Exit {
    say(exit, error);
    if arguments.json { write_report(me, job, None, &End::failed(exit, error)) } else { exit }
}

/// Reports the signal that ends the scan: in the log, and in the report if one is `wanted`.
fn tell_of_signals(
    interrupt: &Interrupt,
    log: &Logger,
    is_logged_elsewhere: bool,
    wanted: Option<(Holder, Job)>,
) {
    let log = log.clone();
    interrupt.set_tell(move |text, exit_code| {
        error!(log, "{text}");
        if is_logged_elsewhere {
            eprintln!("{text}");
        }
        if let Some((me, job)) = &wanted {
            let end = json::End {
                report: None,
                losses: &[],
                error: Some(text),
                reload: Reload::NotAsked,
                exit_code,
            };
            // The process ends in any case.
            let _ = print_report(&json::object(me, Some(job), None, &end));
        }
    });
}

/// Reports why the scan stored nothing.
fn tell_error(error: &ScanError, log: &Logger, is_logged_elsewhere: bool) -> Exit {
    let exit = Exit::from(error);
    error!(log, "avalon-scan: {}", chain(error));
    if is_logged_elsewhere { say(exit, error) } else { exit }
}

/// Returns a bar on a terminal, log lines elsewhere.
fn progress(quiet: bool, log: &Logger) -> (Progress, Logger) {
    match (quiet, std::io::stderr().is_terminal()) {
        (true, _) => (Progress::silent(), log.clone()),
        (false, true) => Progress::bar(log),
        (false, false) => (Progress::lines(log), log.clone()),
    }
}

/// Neither the command line nor the configuration names a folder.
#[derive(Debug, Clone, Copy)]
struct NoFolder;

impl std::fmt::Display for NoFolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(
            "no PATH is given and COLLECTION names none; expected folders of music, as in: avalon-scan ~/Music",
        )
    }
}

impl Error for NoFolder {}
