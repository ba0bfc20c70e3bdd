//! `avalonctl`: tells how a running `avalon-master` is, and steers it.

use std::io::Cursor;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use avalon::cli::{chain, print};
use avalon::config::{self, DatabaseUrl, Overrides};
use avalon::control::{self, Command, ControlError};
use avalon::database;
use avalon::snapshot::{self, inspect};
use clap::{Parser, Subcommand};
use serde_json::Value;

/// Tells how a running avalon-master is, and steers it.
#[derive(Parser)]
#[command(name = "avalonctl", version, args_override_self = true, after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    /// Socket of the master; without it CONTROL of the configuration
    #[arg(short, long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Configuration file [env: AVALON_CONFIG]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Show how the server and each worker are
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
    /// Have so many workers
    Workers {
        /// How many
        count: usize,
    },
    /// Check a snapshot, and show what is in it
    ///
    /// Shows what a snapshot consists of, checks every byte of it, and times typical queries.
    Inspect {
        /// File of a snapshot; without it the one at SNAPSHOT_PATH, or else one that is made of the
        /// database
        snapshot: Option<PathBuf>,
        /// Make a snapshot of this database (DATABASE_URL without a value)
        #[arg(short, long, value_name = "URL", num_args = 0..=1, default_missing_value = "", conflicts_with = "snapshot")]
        database: Option<String>,
    },
}

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 the master refuses, the reload has failed or the snapshot is of no use (the \
reason is printed), 2 wrong command line or configuration, 3 no master answers.";

/// Longest wait for an answer that a master gives at once.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut overrides = Overrides::default();
    if let Some(path) = arguments.config {
        overrides.set_file(path);
    }
    if let Action::Inspect { snapshot, database } = arguments.action {
        return match inspect(&overrides, snapshot, database) {
            Ok(text) => show(&text),
            Err((code, message)) => {
                eprintln!("avalonctl: {message}");
                ExitCode::from(code)
            }
        };
    }
    let Some(socket) = arguments.socket.or_else(|| config::control_socket(&overrides)) else {
        eprintln!(
            "avalonctl: the configuration names no control socket (CONTROL, XDG_RUNTIME_DIR); use --socket"
        );
        return ExitCode::from(3);
    };
    let (command, patience) = match arguments.action {
        Action::Status { .. } => (Command::Status, Some(PATIENCE)),
        Action::Reload { wait } => (Command::Reload { wait }, (!wait).then_some(PATIENCE)),
        Action::Stop { wait } => (Command::Stop { wait }, (!wait).then_some(PATIENCE)),
        Action::Upgrade => (Command::Upgrade, None),
        Action::Workers { count } => (Command::Workers(count), Some(PATIENCE)),
        Action::Inspect { .. } => return ExitCode::FAILURE,
    };
    match control::call(&socket, command, patience) {
        Ok(answer) => match arguments.action {
            Action::Status { json: true } => show(&format!("{answer:#}\n")),
            Action::Status { json: false } => show(&table(&answer)),
            _ => ExitCode::SUCCESS,
        },
        Err(error) => {
            eprintln!("avalonctl: {}", chain(&error));
            ExitCode::from(if matches!(error, ControlError::Refused(_)) { 1 } else { 3 })
        }
    }
}

/// A report on the snapshot in a file, or on one that is made of a database.
fn inspect(
    overrides: &Overrides,
    snapshot: Option<PathBuf>,
    database: Option<String>,
) -> Result<String, (u8, String)> {
    let config = || config::load(overrides).map_err(|error| (2, chain(&error)));
    let file = match (snapshot, &database) {
        (None, None) => config()?.snapshot_path.filter(|path| path.exists()),
        (file, _) => file,
    };
    if let Some(path) = file {
        let bytes = std::fs::read(&path).map_err(|error| (1, format!("{}: {error}", path.display())))?;
        return inspect::report(&bytes)
            .map_err(|error| (1, format!("{}: {}", path.display(), chain(&error))));
    }
    let url = match database.filter(|url| !url.is_empty()) {
        Some(url) => DatabaseUrl::parse(&url).map_err(|error| (2, chain(&error)))?,
        None => config()?.database_url,
    };
    let begin = Instant::now();
    let loaded = database::load(&url).map_err(|error| (1, chain(&error)))?;
    let read = begin.elapsed();
    let mut bytes = Cursor::new(Vec::new());
    snapshot::build(&loaded.collection, &mut bytes).map_err(|error| (1, chain(&error)))?;
    let built = begin.elapsed() - read;
    drop(loaded);
    let report = inspect::report(bytes.get_ref()).map_err(|error| (1, chain(&error)))?;
    let (read, built) = (read.as_secs_f64(), built.as_secs_f64());
    Ok(format!("{url}: read in {read:.3} s, snapshot built in {built:.3} s\n{report}"))
}

fn show(text: &str) -> ExitCode {
    match print(text) {
        Err(error) => {
            eprintln!("avalonctl: {error}");
            ExitCode::FAILURE
        }
        Ok(()) => ExitCode::SUCCESS,
    }
}

/// What the status says of scans, for a person.
fn scan(scan: &Value) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    let last = &scan["last"];
    let mut lines = String::new();
    if let (Some(started), Some(ended)) = (last["started"].as_f64(), last["ended"].as_f64()) {
        let ago = (now - ended).max(0.0);
        lines += &match last["error"].as_str() {
            Some(error) => {
                format!("last scan failed {ago:.0} s ago with exit code {}: {error}\n", last["exit_code"])
            }
            None => format!(
                "last scan {ago:.0} s ago, in {:.1} s: {} songs, {} added, {} changed, {} removed, {} moved\n",
                (ended - started).max(0.0),
                last["songs"],
                last["added"],
                last["changed"],
                last["removed"],
                last["moved"],
            ),
        };
    }
    if last["unreachable"].as_u64().is_some_and(|count| count > 0) {
        let (places, songs) = (&last["unreachable"], &last["kept"]);
        lines += &format!("{places} places could not be reached, {songs} songs stay as they were\n");
    }
    if let Some(since) = scan["running_since"].as_f64() {
        lines += &format!("a scan has been running for {:.0} s\n", (now - since).max(0.0));
    }
    if let Some(next) = scan["next"].as_f64() {
        lines += &format!("next scan in {:.0} s\n", (next - now).max(0.0));
    }
    lines
}

/// The status for a person.
fn table(status: &Value) -> String {
    let number = |value: &Value| value.as_f64().unwrap_or_default();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let snapshot = &status["snapshot"];
    let mut lines = format!(
        "avalon-master {} pid {} {} for {:.0} s, generation {}, {} requests\n",
        text(&status["version"]),
        status["pid"],
        text(&status["state"]),
        number(&status["uptime"]),
        status["generation"],
        status["requests"],
    );
    if snapshot.is_object() {
        lines += &format!(
            "snapshot {} of {:.1} MB, {:.0} s old: {} songs, {} albums, {} artists, {} genres\n",
            text(&snapshot["hash"]),
            number(&snapshot["bytes"]) / 1e6,
            number(&snapshot["age"]),
            snapshot["songs"],
            snapshot["albums"],
            snapshot["artists"],
            snapshot["genres"],
        );
    }
    if let Some(error) = status["last_reload"]["error"].as_str() {
        lines += &format!("last reload failed: {error}\n");
    }
    if snapshot["stale"] == true {
        lines += "stale data: kept from a former start, as the database could not be read since\n";
    }
    if snapshot["empty"] == true {
        lines += "the collection is empty: nothing has been scanned yet\n";
    }
    lines += &scan(&status["scan"]);
    if let Some(trouble) = status["trouble"].as_str() {
        lines += &format!("trouble: {trouble}\n");
    }
    for (cause, count) in status["restarts"].as_object().into_iter().flatten() {
        lines += &format!("workers replaced: {count} ({cause})\n");
    }
    lines += &format!(
        "{:>4} {:>8} {:>4} {:<8} {:>8} {:>10} {:>8} {:>6} {:>8} {:>8} {:>10} {:>10}\n",
        "slot",
        "pid",
        "gen",
        "state",
        "age s",
        "requests",
        "req/s",
        "conns",
        "p50 ms",
        "p99 ms",
        "private MB",
        "shared MB",
    );
    for worker in status["workers"].as_array().into_iter().flatten() {
        lines += &format!(
            "{:>4} {:>8} {:>4} {:<8} {:>8.0} {:>10} {:>8.1} {:>6} {:>8.3} {:>8.3} {:>10.1} {:>10.1}\n",
            worker["slot"].to_string(),
            worker["pid"].to_string(),
            worker["generation"].to_string(),
            text(&worker["state"]),
            number(&worker["age"]),
            worker["requests"].to_string(),
            number(&worker["requests_per_second"]),
            worker["connections"].to_string(),
            number(&worker["p50"]) * 1e3,
            number(&worker["p99"]) * 1e3,
            number(&worker["memory_private"]) / 1e6,
            number(&worker["memory_shared"]) / 1e6,
        );
    }
    lines
}
