//! `avalonctl`: shows the state of a running `avalon-master`, and controls it.

use std::error::Error;
use std::fmt;
use std::fs::File;
use std::io::{self, Cursor};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use avalon::cli::{chain, exit_codes, print};
use avalon::config::flags::stands_for;
use avalon::config::{self, Config, DatabaseUrl, Overrides, SnapshotUrl};
use avalon::control::{self, Command, ControlError, Reload, Status};
use avalon::database;
use avalon::fleet::{Fleet, NodeUrl};
use avalon::model::Kind;
use avalon::publication::{self, Outcome, Pointer, PublicationError};
use avalon::rows::scratch::Folder;
use avalon::snapshot::storage::Draft;
use avalon::snapshot::{self, Snapshot, VERSION, VERSIONS, Verify, inspect};
use clap::{Parser, Subcommand, ValueEnum, ValueHint};
use serde::Deserialize;

/// Shows the state of a running avalon-master, and controls it.
#[derive(Parser)]
#[command(
    name = "avalonctl",
    version,
    args_override_self = true,
    after_help = "Exit codes: --help",
    after_long_help = exit_codes(|exit: &Exit| *exit as u8),
    mut_arg("socket", stands_for("CONTROL"))
)]
pub(crate) struct Arguments {
    /// Socket of the master; without it CONTROL of the configuration
    #[arg(short, long)]
    socket: Option<PathBuf>,
    /// Configuration file [env: AVALON_CONFIG]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Show the state of the server and of each worker
    Status {
        /// As JSON; times in seconds, memory in bytes
        #[arg(long)]
        json: bool,
    },
    /// Read configuration and collection again, as SIGHUP does
    Reload {
        /// Wait until the new generation serves; fail if it does not
        #[arg(long)]
        wait: bool,
        /// Wait until rows of this revision, or a later one, serve; the database is read once it has them
        #[arg(long, value_name = "N", value_hint = ValueHint::Other, requires = "wait", conflicts_with = "accept_older")]
        revision: Option<u64>,
        /// Seconds that the database may lack this revision, as a replica that lags does
        #[arg(long, value_name = "SECONDS", value_hint = ValueHint::Other, requires = "revision", default_value_t = Reload::TIMEOUT)]
        timeout: u64,
        /// Serve the rows of the database also if their revision is older than that which serves
        #[arg(long)]
        accept_older: bool,
    },
    /// Stop gracefully, as SIGTERM does
    ///
    /// A master that an upgrade has just started stops as well.
    Stop {
        /// Wait for the end of the server
        #[arg(long)]
        wait: bool,
    },
    /// Replace the running program without closing an address
    ///
    /// The program starts beside the one that runs, with the same addresses, and takes over when it serves.
    Upgrade,
    /// Change the number of workers
    Workers {
        /// The new number of workers, from 1 to 256
        #[arg(value_hint = ValueHint::Other)]
        count: usize,
    },
    /// Publish a snapshot to the store that servers fetch from
    ///
    /// Puts a snapshot into the store at SNAPSHOT_URL, compressed, and then points to it. A snapshot that is there
    /// already is not sent again, and of a database only rows that are newer than the last ones are published. Removes
    /// snapshots that are older than seven days and none of the last five.
    #[command(mut_arg("url", stands_for("SNAPSHOT_URL")))]
    Publish {
        /// File of a snapshot; without it the one at SNAPSHOT_PATH
        #[arg(value_hint = ValueHint::FilePath)]
        snapshot: Option<PathBuf>,
        /// Store to publish to
        #[arg(short, long)]
        url: Option<String>,
        /// Make the snapshot of the rows of DATABASE_URL
        #[arg(long, conflicts_with = "snapshot")]
        from_database: bool,
        /// Version of the snapshot format that servers read; may be repeated
        #[arg(long, value_name = "N", value_parser = format_version, default_values_t = [VERSION])]
        format: Vec<u32>,
        /// Publish rows although newer ones were published before
        #[arg(long)]
        accept_older: bool,
        /// Point to a former snapshot again: to the last one, or to the one with this hash
        #[arg(long, value_name = "HASH", value_hint = ValueHint::Other, num_args = 0..=1, default_missing_value = "",
            conflicts_with_all = ["snapshot", "from_database", "accept_older"])]
        rollback: Option<String>,
    },
    /// Compare the collections that several servers serve
    ///
    /// Asks each server for its status over HTTP, so its STATUS_ALLOW must name this machine. Fails unless all answer,
    /// serve the same rows, and know of nothing newer in the database.
    Fleet {
        /// Servers, as HOST:PORT or http(s)://HOST:PORT/REQUEST_PATH (/avalon without a path)
        #[arg(required = true, value_name = "URL", value_hint = ValueHint::Url)]
        servers: Vec<NodeUrl>,
        /// As JSON; times in seconds
        #[arg(long)]
        json: bool,
    },
    /// Check a snapshot, and show its contents
    ///
    /// Shows the sections of a snapshot, checks every byte of it, and shows plans and times of typical queries.
    Inspect {
        /// File of a snapshot; without it the one at SNAPSHOT_PATH, or else one that is made of the
        /// database
        #[arg(value_hint = ValueHint::FilePath)]
        snapshot: Option<PathBuf>,
        /// Make a snapshot of this database (DATABASE_URL without a value)
        #[arg(short, long, value_name = "URL", value_hint = ValueHint::Url, num_args = 0..=1, default_missing_value = "", conflicts_with = "snapshot")]
        database: Option<String>,
    },
}

/// The outcome of the program.
#[derive(Debug, Clone, Copy, ValueEnum)]
#[repr(u8)]
enum Exit {
    /// Done.
    Done = 0,
    /// The master or the store refuses, the reload has failed, the snapshot is of no use or the servers differ (it
    /// says why).
    Failed = 1,
    /// Wrong command line or configuration.
    Usage = 2,
    /// No master, store or database answers.
    NoAnswer = 3,
    /// The database did not have the rows of --revision in time.
    Late = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// Longest wait for an answer that a master gives at once.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn main() -> ExitCode {
    run(Arguments::parse()).into()
}

fn run(arguments: Arguments) -> Exit {
    let mut overrides = Overrides::default();
    if let Some(path) = arguments.config {
        overrides.set_file(path);
    }
    if let Action::Fleet { servers, json } = &arguments.action {
        return fleet(servers, *json);
    }
    let alone = match &arguments.action {
        Action::Inspect { snapshot, database } => {
            Some(inspect(&overrides, snapshot.clone(), database.clone()))
        }
        Action::Publish { snapshot, url, from_database, format, accept_older, rollback } => {
            let (url, snapshot) = (url.as_deref(), snapshot.as_deref());
            Some(match rollback {
                Some(hash) => roll_back(&mut overrides, url, format, hash),
                None => publish(&mut overrides, url, snapshot, *from_database, format, *accept_older),
            })
        }
        _ => None,
    };
    if let Some(done) = alone {
        return match done {
            Ok(text) => show(&text),
            Err((exit, message)) => {
                eprintln!("avalonctl: {message}");
                exit
            }
        };
    }
    let Some(socket) = arguments.socket.or_else(|| config::control_socket(&overrides)) else {
        eprintln!(
            "avalonctl: the configuration names no control socket (CONTROL, XDG_RUNTIME_DIR); use --socket"
        );
        return Exit::NoAnswer;
    };
    let (command, patience) = match arguments.action {
        Action::Status { .. } => (Command::Status, Some(PATIENCE)),
        Action::Reload { wait, revision, timeout, accept_older } => {
            let timeout = revision.map(|_| timeout);
            let reload = Reload { wait, revision, timeout, accept_older };
            (Command::Reload(reload), (!wait).then_some(PATIENCE))
        }
        Action::Stop { wait } => (Command::Stop { wait }, (!wait).then_some(PATIENCE)),
        Action::Upgrade => (Command::Upgrade, None),
        Action::Workers { count } => (Command::Workers { count }, Some(PATIENCE)),
        Action::Fleet { .. } | Action::Inspect { .. } | Action::Publish { .. } => return Exit::Failed,
    };
    match control::call(&socket, command, patience) {
        Ok(answer) => match arguments.action {
            Action::Status { json: true } => show(&format!("{answer:#}\n")),
            Action::Status { json: false } => match Status::deserialize(answer) {
                Ok(status) => show(&status.to_string()),
                Err(error) => {
                    eprintln!(
                        "avalonctl: the status of the master cannot be read, try status --json: {error}"
                    );
                    Exit::Failed
                }
            },
            _ => Exit::Done,
        },
        Err(error) => {
            eprintln!("avalonctl: {}", chain(&error));
            match error {
                ControlError::Refused(_) => Exit::Failed,
                ControlError::Late(_) => Exit::Late,
                ControlError::Connection { .. } => Exit::NoAnswer,
            }
        }
    }
}

/// Returns a report on the snapshot in a file, or on one that this function builds from a database.
fn inspect(
    overrides: &Overrides,
    snapshot: Option<PathBuf>,
    database: Option<String>,
) -> Result<String, (Exit, String)> {
    let config = || config::load(overrides).map_err(|error| (Exit::Usage, chain(&error)));
    let file = match (snapshot, &database) {
        (None, None) => config()?.snapshot_path.clone().filter(|path| path.exists()),
        (file, _) => file,
    };
    if let Some(path) = file {
        let bytes =
            std::fs::read(&path).map_err(|error| (Exit::Failed, format!("{}: {error}", path.display())))?;
        return inspect::report(&bytes)
            .map_err(|error| (Exit::Failed, format!("{}: {}", path.display(), chain(&error))));
    }
    let url = match database.filter(|url| !url.is_empty()) {
        Some(url) => DatabaseUrl::parse(&url).map_err(|error| (Exit::Usage, chain(&error)))?,
        None => config()?.database_url,
    };
    let begin = Instant::now();
    let loaded = database::load(&url, &Folder::default()).map_err(|error| (Exit::Failed, chain(&error)))?;
    let read = begin.elapsed();
    let mut bytes = Cursor::new(Vec::new());
    snapshot::build(&loaded.rows, &mut bytes).map_err(|error| (Exit::Failed, chain(&error)))?;
    let built = begin.elapsed() - read;
    let report = inspect::report(bytes.get_ref()).map_err(|error| (Exit::Failed, chain(&error)))?;
    let (read, built) = (read.as_secs_f64(), built.as_secs_f64());
    Ok(format!("{url}: read in {read:.3} s, snapshot built in {built:.3} s\n{report}"))
}

/// Returns the configuration, and the store: that of `url`, or else of SNAPSHOT_URL.
fn store(overrides: &mut Overrides, url: Option<&str>) -> Result<(Config, SnapshotUrl), (Exit, String)> {
    if let Some(url) = url {
        overrides.set("SNAPSHOT_URL", url.to_owned());
    }
    let config = config::load(overrides).map_err(|error| (Exit::Usage, chain(&error)))?;
    let url = config.snapshot_url.clone();
    let url = url.ok_or_else(|| (Exit::Usage, "name a store with --url or SNAPSHOT_URL".to_owned()))?;
    Ok((config, url))
}

/// Returns the exit and the message for an error of a store.
fn unpublished(url: &SnapshotUrl, error: &PublicationError) -> (Exit, String) {
    let exit = if error.is_unreachable() { Exit::NoAnswer } else { Exit::Failed };
    (exit, format!("{url}: {}", chain(error)))
}

/// Publishes a snapshot in each of these versions of the format, and reports the outcome of each.
fn publish(
    overrides: &mut Overrides,
    url: Option<&str>,
    snapshot: Option<&Path>,
    from_database: bool,
    formats: &[u32],
    accept_older: bool,
) -> Result<String, (Exit, String)> {
    let (config, url) = store(overrides, url)?;
    let failed = |error: &dyn Error| (Exit::Failed, chain(error));
    let draft = || Draft::create(config.snapshot_dir.as_deref()).map_err(|error| failed(&error));
    match (from_database, snapshot.or(config.snapshot_path.as_deref())) {
        (true, _) => {
            let folder = Folder::new(config.snapshot_dir.as_deref());
            let loaded = database::load(&config.database_url, &folder).map_err(|error| {
                let exit = if error.is_unreachable() { Exit::NoAnswer } else { Exit::Failed };
                (exit, chain(&error))
            })?;
            let mut told = String::new();
            for &format in formats {
                let draft = draft()?;
                let built = snapshot::build_as(&loaded.rows, format, draft.writer());
                built.map_err(|error| failed(&error))?;
                told += &publish_draft(&url, draft, format, loaded.revision, accept_older)?;
            }
            Ok(told)
        }
        (false, Some(_)) if *formats != [VERSION] => {
            let message = format!("the file of a snapshot has format {VERSION}; others need --from-database");
            Err((Exit::Usage, message))
        }
        (false, Some(path)) => {
            let draft = draft()?;
            let copied = File::open(path).and_then(|mut file| io::copy(&mut file, &mut draft.writer()));
            copied.map_err(|error| (Exit::Failed, format!("{}: {error}", path.display())))?;
            publish_draft(&url, draft, VERSION, None, accept_older)
        }
        (false, None) => {
            let message = "name the file of a snapshot, set SNAPSHOT_PATH, or publish --from-database";
            Err((Exit::Usage, message.to_owned()))
        }
    }
}

/// Checks a snapshot of this version of the format, publishes it, and reports the outcome.
fn publish_draft(
    url: &SnapshotUrl,
    draft: Draft,
    format: u32,
    revision: Option<u64>,
    accept_older: bool,
) -> Result<String, (Exit, String)> {
    let failed = |error: &dyn Error| (Exit::Failed, chain(error));
    draft.seal().map_err(|error| failed(&error))?;
    let map = snapshot::storage::map(draft.reader()).map_err(|error| failed(&error))?;
    let snapshot = Snapshot::open_as(&map, format, Verify::Full).map_err(|error| failed(&error))?;
    let songs = snapshot.count(Kind::Song);
    let file = File::from(draft.finish());
    let outcome = publication::publish(url, &file, songs.into(), revision, accept_older);
    let publication = outcome.map_err(|error| unpublished(url, &error))?;
    warn_of_conditions(url, publication.keeps_conditions);
    Ok(match publication.outcome {
        Outcome::Published(pointer) => format!("{url}: published {}\n", told(&pointer, format)),
        Outcome::Unchanged(pointer) => format!("{url}: has it already, {}\n", told(&pointer, format)),
        Outcome::Newer(pointer) => format!(
            "{url}: keeps rows that are as new or newer, {} (--accept-older replaces them)\n",
            told(&pointer, format)
        ),
    })
}

/// Warns if a store keeps no conditions.
fn warn_of_conditions(url: &SnapshotUrl, keeps_conditions: bool) {
    if !keeps_conditions {
        eprintln!(
            "avalonctl: {url}: this store keeps no conditions (If-Match, If-None-Match): of several publishers at once \
             the last one wins, also with older rows; have only one"
        );
    }
}

/// Returns to a former publication in each of these versions of the format, and reports which one it is.
fn roll_back(
    overrides: &mut Overrides,
    url: Option<&str>,
    formats: &[u32],
    hash: &str,
) -> Result<String, (Exit, String)> {
    let (_, url) = store(overrides, url)?;
    let hash = match hash {
        "" => None,
        hash => match u128::from_str_radix(hash, 16) {
            Ok(hash) => Some(hash),
            Err(_) => return Err((Exit::Usage, "a hash has 32 hexadecimal digits".to_owned())),
        },
    };
    let mut returned = String::new();
    for &format in formats {
        let returned_to = publication::roll_back(&url, format, hash);
        let (pointer, keeps_conditions) = returned_to.map_err(|error| unpublished(&url, &error))?;
        warn_of_conditions(&url, keeps_conditions);
        returned += &format!("{url}: returned to {}\n", told(&pointer, format));
    }
    Ok(returned)
}

/// A version of the snapshot format that this program does not write.
#[derive(Debug)]
struct UnknownFormat;

impl fmt::Display for UnknownFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = VERSIONS.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
        write!(f, "this program writes format {all}")
    }
}

impl Error for UnknownFormat {}

/// A version of the snapshot format that this program writes.
fn format_version(text: &str) -> Result<u32, UnknownFormat> {
    text.parse().ok().filter(|version| VERSIONS.contains(version)).ok_or(UnknownFormat)
}

/// Describes a pointer in one line.
fn told(pointer: &Pointer, format: u32) -> String {
    let (object, counter) = (&pointer.object, pointer.counter);
    let revision = pointer.revision.map_or_else(String::new, |revision| format!(" revision={revision}"));
    let bytes = object.compressed_length;
    let (hash, songs) = (object.name(), object.songs);
    format!("hash={hash} songs={songs} compressed={bytes} counter={counter}{revision} format={format}")
}

fn fleet(servers: &[NodeUrl], json: bool) -> Exit {
    let fleet = Fleet::ask(servers);
    let shown = match serde_json::to_string_pretty(&fleet) {
        Ok(text) if json => show(&(text + "\n")),
        Err(error) if json => {
            eprintln!("avalonctl: {error}");
            Exit::Failed
        }
        _ => show(&fleet.to_string()),
    };
    match shown {
        Exit::Done if !fleet.is_equal => Exit::Failed,
        shown => shown,
    }
}

fn show(text: &str) -> Exit {
    match print(text) {
        Err(error) => {
            eprintln!("avalonctl: {error}");
            Exit::Failed
        }
        Ok(()) => Exit::Done,
    }
}
