//! `avalon-scan`: reads the tags of a music collection and stores them.

use std::error::Error;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use avalon::config::{self, Config, Overrides};
use avalon::scan::{self, Empty, Exit, Expected, Interrupt, Job, Progress};
use avalon::telemetry::Log;
use clap::Parser;
use slog::{Level, Logger, error, info, warn};

const SHORT: &str = "\
Exit codes: 0 stored, 1 database or log failed, 2 wrong command line or configuration, \
3 nothing to read. More: --help.";

const AFTER_HELP: &str = "\
Exit codes:
  0    the collection was stored, or nothing had changed
  1    the database or the log failed, or another scan runs; the old collection is still there
  2    the command line or the configuration is wrong, no folder is named at all, or PATH lies
       inside a folder of COLLECTION
  3    a PATH does not exist, is no folder or cannot be listed, or no audio was found
       anywhere; the old collection is still there
  4    too many songs would disappear, as when a disk is not mounted; the old collection is
       still there (--force or --expect-loss stores it all the same)
  5    the collection was stored, but parts could not be reached; their songs stay as they were
  130  interrupted by SIGINT (143: SIGTERM, 129: SIGHUP); the old collection is still there

A song leaves the collection only if its name is missing from a folder that could be listed to
its end, on a disk that is mounted. What cannot be reached keeps its old rows. The collection is
changed in one transaction at the very end, so a scan may be interrupted at any time. A file that
holds damaged tags is a song with the names that could be read; each loss is named in the log.

Folders of trash, snapshots and thumbnails (@eaDir, #recycle, $RECYCLE.BIN, lost+found, ...) are
passed over; EXCLUDE in the configuration and files named .avalonignore name more.";

/// Read the tags of all music below PATH and store them in the database, in place of
/// everything that was there.
#[derive(Debug, Parser)]
#[command(name = "avalon-scan", version, args_override_self = true, after_help = SHORT, after_long_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// Folders that hold the music; none: those of COLLECTION in the configuration
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Database to store in, as SQLAlchemy writes it [env: AVALON_DATABASE_URL]
    #[arg(short, long, visible_alias = "database-url", value_name = "URL")]
    database: Option<String>,
    /// Configuration file [env: AVALON_CONFIG]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Show nothing but errors
    #[arg(short, long)]
    quiet: bool,
    /// Store an empty collection if no audio is found
    ///
    /// Else that is refused, as a disk that is not mounted looks the same.
    #[arg(long)]
    allow_empty: bool,
    /// Look at PATH alone; all other songs stay
    ///
    /// It lies below the folders of the collection.
    #[arg(long, requires = "paths")]
    only: bool,
    /// Tell what would be stored, and store nothing
    #[arg(long)]
    dry_run: bool,
    /// Read all files again, also those that are as the last scan left them
    #[arg(long, hide_short_help = true)]
    full: bool,
    /// Store what is found, however many songs disappear
    ///
    /// Those that cannot be reached disappear as well.
    #[arg(long)]
    force: bool,
    /// Let songs below this path disappear; may be repeated
    #[arg(long, value_name = "PATH", hide_short_help = true)]
    expect_loss: Vec<PathBuf>,
    /// Store the songs of PATH alone although it lies inside a folder of COLLECTION
    #[arg(long, hide_short_help = true)]
    replace: bool,
    /// Pass over files and folders that match, as .gitignore writes it; may be repeated
    /// [env: AVALON_EXCLUDE]
    #[arg(long, value_name = "PATTERN", hide_short_help = true)]
    exclude: Vec<String>,
    /// Seconds after which a file that gives no answer counts as unreachable
    /// [env: AVALON_FILE_TIMEOUT]
    #[arg(long, value_name = "SECONDS", hide_short_help = true)]
    file_timeout: Option<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Before any other thread is there, so that all of them leave the signals to one.
    match Interrupt::listen() {
        Ok(interrupt) => ExitCode::from(run(arguments, &interrupt) as u8),
        Err(error) => ExitCode::from(say(Exit::Failed, &error) as u8),
    }
}

fn run(arguments: Arguments, interrupt: &Interrupt) -> Exit {
    let mut config = match config::load(&overrides(&arguments)) {
        Ok(config) => config,
        Err(error) => return say(Exit::Usage, &error),
    };
    let job = job(&arguments, &config);
    if job.folders.is_empty() && job.only.is_none() {
        return say(Exit::Usage, &NoFolder);
    }
    if arguments.quiet {
        config.log.level = Level::Error;
    }
    let log = match Log::start_patient(&config.log, "avalon-scan", "avalon.scan") {
        Ok(log) => log,
        Err(error) => return say(Exit::Failed, &error),
    };
    for warning in &config.warnings {
        warn!(log.logger(), "{warning}");
    }
    // A log that goes to a file is not what the user looks at.
    let is_logged_elsewhere = config.log.path.is_some();
    let started = Instant::now();
    let (progress, logger) = progress(arguments.quiet, log.logger());
    let interrupted = logger.clone();
    interrupt.set_tell(move |text| {
        error!(interrupted, "{text}");
        if is_logged_elsewhere {
            eprintln!("{text}");
        }
    });
    match scan::run(&job, &progress, interrupt, &logger) {
        Ok(report) => {
            let unchanged = if report.is_written { "" } else { ", nothing has changed" };
            info!(logger, "{report}, {:.1} seconds{unchanged}", started.elapsed().as_secs_f64());
            Exit::from(&report)
        }
        Err(error) => {
            let exit = Exit::from(&error);
            error!(logger, "avalon-scan: {}", chain(&error));
            if is_logged_elsewhere { say(exit, &error) } else { exit }
        }
    }
}

fn overrides(arguments: &Arguments) -> Overrides {
    let mut overrides = Overrides::default();
    if let Some(url) = &arguments.database {
        overrides.set("DATABASE_URL", url.clone());
    }
    if let Some(file) = &arguments.config {
        overrides.set_file(file.clone());
    }
    if let Some(seconds) = &arguments.file_timeout {
        overrides.set("FILE_TIMEOUT", seconds.clone());
    }
    overrides
}

fn job(arguments: &Arguments, config: &Config) -> Job {
    let is_named = !arguments.paths.is_empty() && !arguments.only;
    let folders = if is_named { &arguments.paths } else { &config.collection };
    let guarded = is_named && !arguments.replace;
    Job {
        database: config.database_url.clone(),
        folders: folders.clone(),
        collection: if guarded { config.collection.clone() } else { Vec::new() },
        empty: if arguments.allow_empty { Empty::Allowed } else { Empty::Refused },
        expected: Expected { all: arguments.force, below: arguments.expect_loss.clone() },
        exclude: config.exclude.iter().chain(&arguments.exclude).cloned().collect(),
        only: arguments.only.then(|| arguments.paths.clone()),
        dry_run: arguments.dry_run,
        full: arguments.full,
        file_timeout: config.file_timeout,
    }
}

/// A bar where somebody watches, log lines elsewhere.
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

/// Tells an error on stderr.
fn say(exit: Exit, error: &dyn Error) -> Exit {
    eprintln!("avalon-scan: {}", chain(error));
    exit
}

/// An error and its causes in one line.
fn chain(error: &dyn Error) -> String {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn arguments_are_well_defined() {
        Arguments::command().debug_assert();
    }
}
