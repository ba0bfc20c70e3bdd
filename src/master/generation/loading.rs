//! The work of a loader: it makes a snapshot of the database (`reading.rs`), or fetches a published one.

use std::time::Instant;

use serde::{Deserialize, Serialize};
use slog::{info, warn};

use crate::config::{Config, SnapshotUrl};
use crate::control::Contents;
use crate::database;
use crate::master::error::{Outlook, Reason};
use crate::master::generation::before::{Before, Origin};
use crate::master::generation::drafts::{Drafts, place};
use crate::master::generation::failed::Failed;
use crate::master::generation::reading::{Product, Work, read};
use crate::master::generation::sealed::sealed;
use crate::publication::{self, Fetched, Pointer, PublicationError};
use crate::snapshot::VERSION;
use crate::snapshot::storage::Draft;
use crate::telemetry::Log;

/// The product of a loader.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Made {
    pub(crate) contents: Contents,
    pub(crate) work: Work,
    pub(crate) origin: Origin,
    /// Whether it is in the spare draft.
    pub(super) is_spare: bool,
}

impl Made {
    /// Of the rows of the database; `counter` is that of the pointer in the store which they are served instead of.
    pub(crate) fn of_database(product: Product, counter: Option<u64>) -> Made {
        let Product { contents, work, is_whole } = product;
        let origin = Origin { rows: contents.revision, counter, is_whole };
        Made { origin, contents, work, is_spare: false }
    }

    /// Of the object that this pointer names.
    fn of_store(contents: Contents, work: Work, pointer: &Pointer) -> Made {
        let origin = Origin { rows: pointer.revision, counter: Some(pointer.counter), is_whole: false };
        Made { contents, work, origin, is_spare: false }
    }

    /// Of a snapshot that a former master has left.
    pub(super) fn kept(contents: Contents) -> Made {
        Made { contents, work: Work::Made, origin: Origin::default(), is_spare: false }
    }
}

/// Makes a snapshot in the draft, or in the spare one if the disk is full.
pub(super) fn make_in(config: &Config, log: &Log, drafts: &Drafts, before: &Before) -> Result<Made, Failed> {
    match (make(config, log, &drafts.draft, before), &drafts.spare) {
        (Err(failed), Some(spare)) if failed.is_full => {
            warn!(log.logger(), "the snapshot is made again, in memory: {}", failed.reason);
            // The disk has room again for others; if not, this load needs none of it.
            let _ = drafts.draft.clear();
            make(config, log, spare, before).map(|made| Made { is_spare: true, ..made })
        }
        (outcome, _) => outcome,
    }
}

/// Fetches a snapshot, or makes one of the database.
fn make(config: &Config, log: &Log, draft: &Draft, before: &Before) -> Result<Made, Failed> {
    let Some(url) = &config.snapshot_url else {
        return read(config, log, draft, before).map(|product| Made::of_database(product, None));
    };
    let may_substitute = config.is_database_set && (!before.serves || before.is_patience_over);
    let (reason, counter) = match fetch(url, config, log, draft, before) {
        Ok(made) if made.work != Work::Same || !may_substitute || !has_newer(config, made.origin) => {
            return Ok(made);
        }
        // The served rows are better than other ones.
        Err(failed) if !may_substitute || (before.serves && !has_newer(config, before.origin)) => {
            return Err(failed);
        }
        Ok(made) => ("the database has newer rows than it".to_owned(), made.origin.counter),
        Err(failed) => (failed.reason, before.origin.counter),
    };
    warn!(log.logger(), "no snapshot can be fetched, the database is read instead: {}", reason;
        "url" => %url, "database" => %config.database_url);
    draft.clear().map_err(|error| Failed::new(error.into(), false))?;
    read(config, log, draft, before)
        .map(|product| Made::of_database(Product { work: Work::Substitute, ..product }, counter))
}

/// Whether the database tells a higher revision than that of rows from there.
fn has_newer(config: &Config, origin: Origin) -> bool {
    let has = database::Poll::new(&config.database_url).ask().ok().and_then(|version| version.revision);
    has.is_some_and(|has| origin.rows.is_none_or(|rows| has > rows))
}

/// Fetches a published snapshot, unless it is the served one, and verifies it.
fn fetch(
    url: &SnapshotUrl,
    config: &Config,
    log: &Log,
    draft: &Draft,
    before: &Before,
) -> Result<Made, Failed> {
    let begin = Instant::now();
    let fetched = publication::fetch(url, before.had, draft.writer()).map_err(|error| {
        if let Some(error) = error.local() {
            return Failed::unwritten(error, &place(config), false);
        }
        Failed::new(Reason::new(format!("{url}: {error}")).with(outlook_of_store(&error)), false)
    })?;
    let pointer = match fetched {
        Fetched::Snapshot(pointer) => pointer,
        Fetched::Same(pointer) => {
            info!(log.logger(), "the store names the snapshot that is served"; "url" => %url,
                "counter" => pointer.counter, "format" => VERSION);
            let (hash, revision) = (pointer.object.name(), Some(pointer.counter));
            let contents = Contents { hash, revision, ..Contents::default() };
            return Ok(Made::of_store(contents, Work::Same, &pointer));
        }
    };
    let contents = sealed(draft).map_err(|error| {
        let reason = format!("{url}: the published snapshot is of no use: {}", Reason::from(error));
        Failed::new(Reason::new(reason).with(Outlook::Interrupted), true)
    })?;
    info!(log.logger(), "snapshot fetched"; "url" => %url, "counter" => pointer.counter,
        "format" => VERSION, "seconds" => format!("{:.3}", begin.elapsed().as_secs_f32()));
    let contents = Contents { revision: Some(pointer.counter), ..contents };
    Ok(Made::of_store(contents, Work::Made, &pointer))
}

/// The outlook of a store's error: a publisher may repair all of it at any moment.
fn outlook_of_store(error: &PublicationError) -> Outlook {
    match error {
        PublicationError::ReadOnly => Outlook::Lasting,
        PublicationError::Store(_)
        | PublicationError::Behind { .. }
        | PublicationError::NotRenewed { .. } => Outlook::Unreachable,
        _ => Outlook::Interrupted,
    }
}
