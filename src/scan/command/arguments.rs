//! The command line of `avalon-scan`.

use std::path::PathBuf;

use clap::{Parser, ValueHint};

use crate::cli::exit_codes;
use crate::config::flags::stands_for;
use crate::config::{Config, Overrides};
use crate::scan::path_list::{self, PathListError};
use crate::scan::{Empty, Exit, Expected, Job};

const SHORT: &str = "\
Exit codes: 0 stored, 1 database or log failed, 2 wrong command line or configuration, \
3 nothing to read. More: --help.";

/// Returns the text of `--help` that follows the flags.
fn after_help() -> String {
    format!("{}\n{}", exit_codes(|exit: &Exit| exit.code()), AFTER_EXIT_CODES)
}

const AFTER_EXIT_CODES: &str = "  \
130  interrupted by SIGINT (143: SIGTERM, 129: SIGHUP); the old collection is still there
       (0 with --watch, if no scan was under way)

A song leaves the collection only if its name is missing from a folder that could be listed to
its end, on a disk that is mounted. A song that cannot be reached keeps its old row. One transaction
at the very end changes the collection, so a scan may be interrupted at any time. A file with
damaged tags is a song with the names that could be read; the log names each loss.

Folders of trash, snapshots and thumbnails (@eaDir, #recycle, $RECYCLE.BIN, lost+found, ...) are
passed over; EXCLUDE in the configuration and files named .avalonignore name more.";

/// Read the tags of all music below PATH and store them in the database, in place of
/// everything that was there.
#[derive(Debug, Parser)]
#[command(
    name = "avalon-scan",
    version,
    args_override_self = true,
    after_help = SHORT,
    after_long_help = after_help(),
    mut_arg("database", stands_for("DATABASE_URL")),
    mut_arg("exclude", stands_for("EXCLUDE")),
    mut_arg("file_timeout", stands_for("FILE_TIMEOUT"))
)]
pub struct Arguments {
    /// Folders of music; without any, those of COLLECTION in the configuration
    #[arg(value_name = "PATH", value_hint = ValueHint::DirPath)]
    pub(super) paths: Vec<PathBuf>,
    /// Database to store in, as SQLAlchemy writes it
    #[arg(short, long, visible_alias = "database-url")]
    pub(super) database: Option<String>,
    /// Configuration file [env: AVALON_CONFIG]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) config: Option<PathBuf>,
    /// Show only errors
    #[arg(short, long)]
    pub(super) quiet: bool,
    /// Store an empty collection if no audio is found
    ///
    /// Otherwise the scan refuses, as an unmounted disk looks the same.
    #[arg(long, hide_short_help = true)]
    pub(super) allow_empty: bool,
    /// Scan PATH alone; all other songs stay
    ///
    /// It lies below the folders of the collection.
    #[arg(long, requires = "paths")]
    pub(super) only: bool,
    /// Scan the paths in FILE alone (-: standard input), one in each line, or with a NUL after
    /// each; as --only does
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, hide_short_help = true)]
    pub(super) files_from: Option<PathBuf>,
    /// Report the changes, and store nothing
    ///
    /// Numbers and exit code are those of a real scan.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Number of files to read at the same time; without it, as many as make the scan fast
    #[arg(short, long, value_name = "N", value_hint = ValueHint::Other, hide_short_help = true, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(super) jobs: Option<u8>,
    /// If the collection has changed, ask the running server to load it (CONTROL in the
    /// configuration), and wait until it serves; it is no error if no server runs
    #[arg(long, conflicts_with = "dry_run", hide_short_help = true)]
    pub(super) reload: bool,
    /// Write a report as one JSON object to standard output, also for a scan that fails; the
    /// documentation holds its schema, scan-report.schema.json
    #[arg(long, hide_short_help = true)]
    pub(super) json: bool,
    /// Name each file that is left out, and each song that is new, read again, moved or removed
    #[arg(short, long, conflicts_with = "quiet", hide_short_help = true)]
    pub(super) verbose: bool,
    /// Read all files again, also those that are unchanged since the last scan
    #[arg(long, hide_short_help = true)]
    pub(super) full: bool,
    /// Store the new collection, even if many songs disappear
    ///
    /// Unreachable songs disappear as well.
    #[arg(long)]
    pub(super) force: bool,
    /// Remember files every few seconds while the scan reads them, so that after an interruption the next
    /// scan need not read them again; the collection itself changes only at the end
    #[arg(long, conflicts_with = "dry_run", hide_short_help = true)]
    pub(super) keep_state: bool,
    /// Keep running, and scan changed files again
    ///
    /// The running server then reads the collection again.
    #[arg(long, conflicts_with_all = ["only", "files_from", "dry_run", "full", "force", "expect_loss", "json", "reload"])]
    pub(super) watch: bool,
    /// Let songs below this path disappear; may be repeated
    #[arg(long, value_name = "PATH", hide_short_help = true)]
    pub(super) expect_loss: Vec<PathBuf>,
    /// Store the songs of PATH alone although it lies inside a folder of COLLECTION
    #[arg(long, hide_short_help = true)]
    pub(super) replace: bool,
    /// Pass over files and folders that match, as .gitignore writes it; may be repeated
    #[arg(long, hide_short_help = true)]
    pub(super) exclude: Vec<String>,
    /// Time after which a file that does not answer counts as unreachable
    #[arg(long, hide_short_help = true)]
    pub(super) file_timeout: Option<String>,
}

impl Arguments {
    /// Returns the settings that the command line overrides.
    pub(super) fn overrides(&self) -> Overrides {
        let mut overrides = Overrides::default();
        if let Some(url) = &self.database {
            overrides.set("DATABASE_URL", url.clone());
        }
        if let Some(file) = &self.config {
            overrides.set_file(file.clone());
        }
        if let Some(seconds) = &self.file_timeout {
            overrides.set("FILE_TIMEOUT", seconds.clone());
        }
        overrides
    }

    /// Returns the scan that the command line and the configuration describe.
    ///
    /// # Errors
    /// If the list of paths cannot be read.
    pub(super) fn job(&self, config: &Config) -> Result<Job, PathListError> {
        let is_named = !self.paths.is_empty() && !self.only;
        let mut only = self.only.then(|| self.paths.clone());
        if let Some(file) = &self.files_from {
            if is_named {
                return Err(PathListError::WithPaths);
            }
            only.get_or_insert_default().extend(path_list::read(file)?);
        }
        let folders = if is_named { &self.paths } else { &config.collection };
        let guarded = is_named && !self.replace;
        Ok(Job {
            database: config.database_url.clone(),
            folders: folders.clone(),
            collection: if guarded { config.collection.clone() } else { Vec::new() },
            empty: if self.allow_empty { Empty::Allowed } else { Empty::Refused },
            expected: Expected { all: self.force, below: self.expect_loss.clone() },
            exclude: config.exclude.iter().chain(&self.exclude).cloned().collect(),
            only,
            dry_run: self.dry_run,
            full: self.full,
            jobs: self.jobs.map(usize::from),
            verbose: self.verbose,
            // A watch that stops and starts again begins with a scan of everything.
            keep_state: self.keep_state || self.watch,
            file_timeout: config.file_timeout,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn arguments_are_well_defined() {
        Arguments::command().debug_assert();
    }
}
