//! A snapshot of the rows of the database: of all of them, or of those that have changed and the served one.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use slog::{info, warn};

use crate::cli::chain;
use crate::config::Config;
use crate::control::Contents;
use crate::database::{self, DatabaseError, Found, Loaded, Version};
use crate::master::error::{Outlook, Reason};
use crate::master::generation::before::Before;
use crate::master::generation::drafts::place;
use crate::master::generation::failed::Failed;
use crate::master::generation::merging::{self, Outcome, Way};
use crate::master::generation::sealed::{contents, map, sealed};
use crate::rows::scratch::Folder;
use crate::snapshot::Verify;
use crate::snapshot::build::BuildError;
use crate::snapshot::storage::Draft;
use crate::telemetry::Log;

/// The work of a loader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Work {
    /// It has made or fetched a snapshot, or verified one of a former master.
    Made,
    /// It has made a snapshot of the database, because the store of snapshots has no usable one.
    Substitute,
    /// It has found the served rows in the database, or their hash in the store, and has left the draft empty.
    Same,
}

/// The snapshot of a database.
pub(crate) struct Product {
    pub(crate) contents: Contents,
    pub(crate) work: Work,
    /// Whether each row is in it, and as it is.
    pub(crate) is_whole: bool,
}

/// The parts that a load needs.
struct Load<'a> {
    config: &'a Config,
    log: &'a Log,
    draft: &'a Draft,
    before: &'a Before,
    folder: Folder,
    begin: Instant,
}

/// Reads the database, and makes a sealed snapshot in the draft unless the served one has the same rows.
pub(super) fn read(config: &Config, log: &Log, draft: &Draft, before: &Before) -> Result<Product, Failed> {
    let folder = Folder::new(config.snapshot_dir.as_deref());
    let load = Load { config, log, draft, before, folder, begin: Instant::now() };
    match load.changes()? {
        Some(product) => Ok(product),
        None => load.all(),
    }
}

impl Load<'_> {
    /// Reads the rows that have changed, if the log of changes tells which; all rows in the same transaction if not.
    /// `None` if they do not make the next snapshot.
    fn changes(&self) -> Result<Option<Product>, Failed> {
        let Some(since) = &self.before.since else { return Ok(None) };
        let (found, reader) = match self.before.watcher.as_ref().and_then(|watcher| watcher.changes(since)) {
            Some(changed) => (Found::Changes(changed), ", read by the watcher"),
            None => {
                let found = database::load_changes(&self.config.database_url, &self.folder, since);
                (found.map_err(unread)?, "")
            }
        };
        let changed = match found {
            Found::Changes(changed) => changed,
            Found::Rows(loaded, unlogged) => {
                self.tell_all(&unlogged);
                return self.build(loaded).map(Some);
            }
        };
        let (read, version) = (self.begin.elapsed(), changed.version.clone());
        let outcome = merging::write_changes(changed, self.before, &self.folder, self.draft);
        match outcome.map_err(|error| self.unwritten(&error))? {
            Outcome::Merged(way) => {
                let revision = since.version.revision.unwrap_or_default();
                let rows = format!("changed since revision {revision}{reader}");
                self.finish(&way, version, true, &rows, read).map(Some)
            }
            Outcome::NeedsAll(reason) => {
                self.tell_all(reason);
                Ok(None)
            }
        }
    }

    /// Reads all rows.
    fn all(&self) -> Result<Product, Failed> {
        let load = if self.before.had_rows { database::load_again } else { database::load };
        let loaded = load(&self.config.database_url, &self.folder).map_err(unread)?;
        self.build(loaded)
    }

    /// Logs why a load of changes is one of all rows.
    fn tell_all(&self, reason: &str) {
        info!(self.log.logger(), "the load reads all rows, {}", reason; "database" => %self.config.database_url);
    }

    /// Turns all rows into a snapshot.
    fn build(&self, loaded: Loaded) -> Result<Product, Failed> {
        let read = self.begin.elapsed();
        let Loaded { rows, left_out, revision, mark } = loaded;
        if !left_out.is_empty() {
            warn!(self.log.logger(), "rows were left out: {}", left_out;
                "database" => %self.config.database_url);
        }
        let way = merging::write(&rows, self.before, self.draft).map_err(|error| self.unwritten(&error))?;
        self.finish(&way, Version { revision, mark }, left_out.is_empty(), "all", read)
    }

    /// Seals and verifies the snapshot, if there is a new one.
    fn finish(
        &self,
        way: &Way,
        version: Version,
        is_whole: bool,
        rows: &str,
        read: Duration,
    ) -> Result<Product, Failed> {
        let (contents, work) = match (way, &self.before.snapshot) {
            (Way::Unchanged, Some(served)) => {
                (map(served).and_then(|map| contents(&map, Verify::Structure)), Work::Same)
            }
            _ => (sealed(self.draft), Work::Made),
        };
        let contents = contents.map_err(|error| Failed::new(error.into(), true))?;
        let contents = Contents { revision: version.revision, mark: version.mark, ..contents };
        info!(self.log.logger(), "collection loaded"; "database" => %self.config.database_url,
            "read_s" => format!("{:.3}", read.as_secs_f32()),
            "build_s" => format!("{:.3}", (self.begin.elapsed() - read).as_secs_f32()),
            "rows" => rows, "made" => %way);
        Ok(Product { contents, work, is_whole })
    }

    fn unwritten(&self, error: &BuildError) -> Failed {
        Failed::unwritten(error, &place(self.config), true)
    }
}

/// Turns an error of the database into that of a load.
fn unread(error: DatabaseError) -> Failed {
    Failed::new(Reason::new(chain(&error)).with(outlook(&error)), false)
}

/// The outlook of a load's error.
fn outlook(error: &DatabaseError) -> Outlook {
    match error {
        DatabaseError::Failed { .. } => Outlook::Lasting,
        DatabaseError::Unreachable { .. } => Outlook::Unreachable,
        DatabaseError::Interrupted { .. }
        | DatabaseError::Incomplete { .. }
        | DatabaseError::Locked { .. }
        | DatabaseError::ScanRunning { .. }
        | DatabaseError::Overtaken { .. } => Outlook::Interrupted,
        // A full disk may have room again.
        DatabaseError::Unkept { .. } => Outlook::Unreachable,
    }
}
