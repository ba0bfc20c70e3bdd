//! `avalon-scan`: reads the tags of a music collection and stores them.

use std::error::Error;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use avalon::config::{self, Overrides};
use avalon::database;
use avalon::scan::progress::{Bar, Lines};
use avalon::scan::{self, Empty, Progress, ScanError, Scanned};
use avalon::telemetry::Log;
use clap::Parser;
use slog::{Level, Logger, error, info, warn};

/// What the process says by ending; the help tells it in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Exit {
    /// The collection was replaced.
    Done = 0,
    /// The database or the log could not be written.
    Failed = 1,
    /// The command line or the configuration is wrong. clap ends with the same number.
    Usage = 2,
    /// There was nothing to read.
    NothingToScan = 3,
}

const SHORT: &str = "\
Exit codes: 0 stored, 1 database or log failed, 2 wrong command line or configuration, \
3 nothing to read. More: --help.";

const AFTER_HELP: &str = "\
Exit codes:
  0  the collection was stored
  1  the database or the log failed; the old collection is still there
  2  the command line or the configuration is wrong, or no folder is named at all
  3  a PATH does not exist, is no folder or cannot be listed, or no audio was found
     anywhere; the old collection is still there

Files that cannot be read are named in the log and counted at the end. They do not
change the exit code. The collection is replaced in one transaction at the very end, so
a scan may be interrupted at any time.";

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
    /// Store an empty collection if no audio is found, instead of refusing it
    #[arg(long)]
    allow_empty: bool,
}

fn main() -> ExitCode {
    ExitCode::from(run(Arguments::parse()) as u8)
}

fn run(arguments: Arguments) -> Exit {
    let mut overrides = Overrides::default();
    if let Some(url) = arguments.database {
        overrides.set("DATABASE_URL", url);
    }
    if let Some(file) = arguments.config {
        overrides.set_file(file);
    }
    let mut config = match config::load(&overrides) {
        Ok(config) => config,
        Err(error) => return say(Exit::Usage, &error),
    };
    let paths = if arguments.paths.is_empty() { &config.collection } else { &arguments.paths };
    if paths.is_empty() {
        return say(Exit::Usage, &NoFolder);
    }
    let paths = paths.clone();
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
    let started = Instant::now();
    let fail = |exit: Exit, error: &dyn Error| {
        error!(log.logger(), "avalon-scan: {}", chain(error));
        // A log that goes to a file is not what the user looks at.
        if config.log.path.is_some() { say(exit, error) } else { exit }
    };
    let empty = if arguments.allow_empty { Empty::Allowed } else { Empty::Refused };
    let scanned = match collect(&paths, empty, arguments.quiet, log.logger()) {
        Ok(scanned) => scanned,
        Err(error) => return fail(Exit::NothingToScan, &error),
    };
    if let Err(error) = database::replace(&config.database_url, &scanned.collection) {
        return fail(Exit::Failed, &error);
    }
    info!(log.logger(), "{scanned}, {:.1} seconds", started.elapsed().as_secs_f64());
    Exit::Done
}

/// Scans with a bar where somebody watches, with log lines elsewhere.
fn collect(paths: &[PathBuf], empty: Empty, quiet: bool, log: &Logger) -> Result<Scanned, ScanError> {
    if quiet || !std::io::stderr().is_terminal() {
        return scan::collect(paths, empty, &Lines::new(log.clone()), log);
    }
    let bar = Bar::new();
    let scanned = scan::collect(paths, empty, &bar, &bar.log(log));
    bar.end();
    scanned
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

    /// Scripts and systemd units rely on these numbers.
    #[test]
    fn exit_codes_stay() {
        let codes = [Exit::Done, Exit::Failed, Exit::Usage, Exit::NothingToScan];
        assert_eq!(codes.map(|exit| exit as u8), [0, 1, 2, 3]);
    }
}
