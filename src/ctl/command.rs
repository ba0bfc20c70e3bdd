//! The command line of `avalonctl`.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueHint};

use super::exit::Exit;
use crate::cli::exit_codes;
use crate::config::flags::stands_for;
use crate::control::Reload;
use crate::fleet::NodeUrl;
use crate::snapshot::{VERSION, VERSIONS};

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
pub struct Arguments {
    /// Socket of the master; without it CONTROL of the configuration
    #[arg(short, long)]
    pub(super) socket: Option<PathBuf>,
    /// Configuration file [env: AVALON_CONFIG]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) config: Option<PathBuf>,
    #[command(subcommand)]
    pub(super) action: Action,
}

#[derive(Subcommand)]
pub(super) enum Action {
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
    Publish(Publish),
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

/// What to publish, and where to.
#[derive(clap::Args)]
pub(super) struct Publish {
    /// File of a snapshot; without it the one at SNAPSHOT_PATH
    #[arg(value_hint = ValueHint::FilePath)]
    pub(super) snapshot: Option<PathBuf>,
    /// Store to publish to
    #[arg(short, long)]
    pub(super) url: Option<String>,
    /// Make the snapshot of the rows of DATABASE_URL
    #[arg(long, conflicts_with = "snapshot")]
    pub(super) from_database: bool,
    /// Version of the snapshot format that servers read; may be repeated
    #[arg(long, value_name = "N", value_parser = format_version, default_values_t = [VERSION])]
    pub(super) format: Vec<u32>,
    /// Publish rows although newer ones were published before
    #[arg(long)]
    pub(super) accept_older: bool,
    /// Point to a former snapshot again: to the last one, or to the one with this hash
    #[arg(long, value_name = "HASH", value_hint = ValueHint::Other, num_args = 0..=1, default_missing_value = "",
        conflicts_with_all = ["snapshot", "from_database", "accept_older"])]
    pub(super) rollback: Option<String>,
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
