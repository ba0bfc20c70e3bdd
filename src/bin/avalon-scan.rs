//! `avalon-scan`: reads the tags of a music collection and stores them.

use std::error::Error;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use avalon::config::{self, Config, Overrides};
use avalon::database::Holder;
use avalon::scan::json::{self, Reload};
use avalon::scan::path_list::{self, PathListError};
use avalon::scan::reload::{Reloaded, reload};
use avalon::scan::watch::{Watching, watch};
use avalon::scan::{self, Account, Empty, Exit, Expected, Interrupt, Job, Loss, Progress, Report, ScanError};
use avalon::telemetry::Log;
use clap::Parser;
use slog::{Level, Logger, error, info, warn};

const SHORT: &str = "\
Exit codes: 0 stored, 1 database or log failed, 2 wrong command line or configuration, \
3 nothing to read. More: --help.";

const AFTER_HELP: &str = "\
Exit codes:
  0    the collection was stored, or nothing had changed
  1    the database or the log failed, or another scan runs; the old collection is still there.
       With --reload also: the collection was stored, and the server could not load it
  2    the command line or the configuration is wrong, no folder is named at all, or PATH lies
       inside a folder of COLLECTION
  3    a PATH does not exist, is no folder or cannot be listed, or no audio was found
       anywhere; the old collection is still there
  4    too many songs would disappear, as when a disk is not mounted; the old collection is
       still there (--force or --expect-loss stores it all the same)
  5    the collection was stored, but parts could not be reached; their songs stay as they were
  130  interrupted by SIGINT (143: SIGTERM, 129: SIGHUP); the old collection is still there
       (0 with --watch, if no scan was under way)

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
    #[arg(long, hide_short_help = true)]
    allow_empty: bool,
    /// Look at PATH alone; all other songs stay
    ///
    /// It lies below the folders of the collection.
    #[arg(long, requires = "paths")]
    only: bool,
    /// Look at the paths in FILE alone (-: standard input), one in each line, or with a NUL after
    /// each; as --only does
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    files_from: Option<PathBuf>,
    /// Tell what would be stored, and store nothing
    ///
    /// Numbers and exit code are those of a real scan.
    #[arg(long)]
    dry_run: bool,
    /// Number of files that are read at the same time; none: as many as make it fast
    #[arg(short, long, value_name = "N", hide_short_help = true, value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: Option<u8>,
    /// If the collection has changed, ask the running server to load it (CONTROL in the
    /// configuration), and wait until it serves; that no server runs is no error
    #[arg(long, conflicts_with = "dry_run", hide_short_help = true)]
    reload: bool,
    /// Write a report as one JSON object to standard output, also of a scan that fails; the
    /// documentation holds its schema, scan-report.schema.json
    #[arg(long, hide_short_help = true)]
    json: bool,
    /// Tell each file that is left out, and each song that is new, read again, moved or removed
    #[arg(short, long, conflicts_with = "quiet", hide_short_help = true)]
    verbose: bool,
    /// Read all files again, also those that are as the last scan left them
    #[arg(long, hide_short_help = true)]
    full: bool,
    /// Store what is found, however many songs disappear
    ///
    /// Those that cannot be reached disappear as well.
    #[arg(long)]
    force: bool,
    /// Remember files every few seconds while they are read, so that a scan that is interrupted need
    /// not read them again; the collection itself changes at the end only
    #[arg(long, conflicts_with = "dry_run", hide_short_help = true)]
    keep_state: bool,
    /// Stay, and look again at what changes
    ///
    /// The running server then reads the collection again.
    #[arg(long, conflicts_with_all = ["only", "files_from", "dry_run", "full", "force", "expect_loss", "json", "reload"])]
    watch: bool,
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
    let me = Holder::this_process();
    let (mut config, job) = match prepare(&arguments) {
        Ok(prepared) => prepared,
        Err(error) => return refuse(&arguments, &me, None, Exit::Usage, error.as_ref()),
    };
    if arguments.quiet {
        config.log.level = Level::Error;
    }
    let log = match Log::start_patient(&config.log, "avalon-scan", "avalon.scan") {
        Ok(log) => log,
        Err(error) => return refuse(&arguments, &me, Some(&job), Exit::Failed, &error),
    };
    for warning in &config.warnings {
        warn!(log.logger(), "{warning}");
    }
    // A log that goes to a file is not what the user looks at.
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
    let result = scan::run_with(&job, &progress, interrupt, &logger, &mut account);
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

/// What is to be done, from the command line and the configuration.
fn prepare(arguments: &Arguments) -> Result<(Config, Job), Box<dyn Error>> {
    let config = config::load(&overrides(arguments))?;
    let job = job(arguments, &config)?;
    if job.folders.is_empty() && job.only.is_none() {
        return Err(NoFolder.into());
    }
    Ok((config, job))
}

/// Ends before anything is scanned.
fn refuse(arguments: &Arguments, me: &Holder, job: Option<&Job>, exit: Exit, error: &dyn Error) -> Exit {
    say(exit, error);
    if arguments.json { write_report(me, job, None, &End::failed(exit, error)) } else { exit }
}

/// A signal that ends the scan is told in the log, and in the report if one is `wanted`.
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
            let _ = print(&json::object(me, Some(job), None, &end));
        }
    });
}

/// How a scan ended.
struct End<'a> {
    exit: Exit,
    report: Option<&'a Report>,
    losses: &'a [Loss],
    /// Why it failed.
    error: Option<String>,
    reload: Reload,
}

impl End<'_> {
    fn new(exit: Exit) -> Self {
        End { exit, report: None, losses: &[], error: None, reload: Reload::NotAsked }
    }

    fn failed(exit: Exit, error: &dyn Error) -> Self {
        End { error: Some(chain(error)), ..End::new(exit) }
    }

    /// Has the server load the collection, if it has changed.
    fn ask_to_reload(&mut self, socket: Option<&Path>, interrupt: &Interrupt, log: &Logger) {
        self.reload = Reload::NotNeeded;
        if !self.report.is_some_and(|report| report.is_new) {
            return;
        }
        let Some(socket) = socket else {
            warn!(log, "No server was asked to reload: the configuration names no control socket (CONTROL)");
            self.reload = Reload::NoServer;
            return;
        };
        interrupt.begin_to_reload();
        self.reload = match reload(socket) {
            Ok(Reloaded::Serves) => {
                info!(log, "The server serves the new collection");
                Reload::Done
            }
            Ok(Reloaded::NoServer) => {
                info!(log, "No server answers at {}; the next one reads the database", socket.display());
                Reload::NoServer
            }
            Err(error) => {
                (self.exit, self.error) = (Exit::Failed, Some(chain(&error)));
                Reload::Failed
            }
        };
    }
}

/// Writes the report, and gives the exit code.
fn write_report(me: &Holder, job: Option<&Job>, account: Option<&Account>, end: &End<'_>) -> Exit {
    let End { exit, report, losses, ref error, reload } = *end;
    let end = json::End { report, losses, error: error.as_deref(), reload, exit_code: exit as u8 };
    match print(&json::object(me, job, account, &end)) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => say(Exit::Failed, &error),
        _ => exit,
    }
}

fn print(report: &serde_json::Value) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{report}")?;
    stdout.flush()
}

/// Tells why nothing was stored.
fn tell_error(error: &ScanError, log: &Logger, is_logged_elsewhere: bool) -> Exit {
    let exit = Exit::from(error);
    error!(log, "avalon-scan: {}", chain(error));
    if is_logged_elsewhere { say(exit, error) } else { exit }
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

/// What is to be scanned.
///
/// # Errors
/// If the list of paths cannot be read.
fn job(arguments: &Arguments, config: &Config) -> Result<Job, PathListError> {
    let is_named = !arguments.paths.is_empty() && !arguments.only;
    let mut only = arguments.only.then(|| arguments.paths.clone());
    if let Some(file) = &arguments.files_from {
        if is_named {
            return Err(PathListError::WithPaths);
        }
        only.get_or_insert_default().extend(path_list::read(file)?);
    }
    let folders = if is_named { &arguments.paths } else { &config.collection };
    let guarded = is_named && !arguments.replace;
    Ok(Job {
        database: config.database_url.clone(),
        folders: folders.clone(),
        collection: if guarded { config.collection.clone() } else { Vec::new() },
        empty: if arguments.allow_empty { Empty::Allowed } else { Empty::Refused },
        expected: Expected { all: arguments.force, below: arguments.expect_loss.clone() },
        exclude: config.exclude.iter().chain(&arguments.exclude).cloned().collect(),
        only,
        dry_run: arguments.dry_run,
        full: arguments.full,
        jobs: arguments.jobs.map(usize::from),
        verbose: arguments.verbose,
        // A watch that is stopped begins with a scan of all when it starts again.
        keep_state: arguments.keep_state || arguments.watch,
        file_timeout: config.file_timeout,
    })
}

/// A bar on a terminal, log lines elsewhere.
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
