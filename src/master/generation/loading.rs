//! The work of a loader: it makes a snapshot of the database, fetches one that was published, or verifies one that a
//! former master has left.

use std::os::fd::OwnedFd;
use std::thread;
use std::time::Instant;

use memmap2::Mmap;
use serde::{Deserialize, Serialize};
use slog::{info, warn};

use crate::cli::chain;
use crate::config::{Config, SnapshotUrl};
use crate::control::Contents;
use crate::database::{self, DatabaseError};
use crate::master::error::{MasterError, Outlook, Reason};
use crate::master::generation::before::{Before, Origin};
use crate::master::generation::drafts::Drafts;
use crate::master::generation::failed::{Failed, failed};
use crate::master::generation::merging;
use crate::model::Owner;
use crate::publication::{self, Fetched, Pointer, PublicationError};
use crate::rows::scratch::Folder;
use crate::snapshot::storage::{self, Draft};
use crate::snapshot::{Kind, Snapshot, VERSION, Verify};
use crate::telemetry::Log;

/// The work of a loader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Work {
    /// It has made or fetched a snapshot, or verified one that was kept.
    Made,
    /// It has made one of the database, because the store of snapshots has none that is of use.
    Substitute,
    /// It has found that the store names the rows that are served, and has left the draft empty.
    Same,
}

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
    pub(crate) fn of_database(contents: Contents, work: Work, counter: Option<u64>) -> Made {
        Made { origin: Origin { rows: contents.revision, counter }, contents, work, is_spare: false }
    }

    /// Of the object that this pointer names.
    fn of_store(contents: Contents, work: Work, pointer: &Pointer) -> Made {
        let origin = Origin { rows: pointer.revision, counter: Some(pointer.counter) };
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
        return read(config, log, draft, before)
            .map(|contents| Made::of_database(contents, Work::Made, None));
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
    read(config, log, draft, before).map(|contents| Made::of_database(contents, Work::Substitute, counter))
}

/// Whether the database tells a higher revision than that of rows from there.
fn has_newer(config: &Config, origin: Origin) -> bool {
    let has = database::Poll::new(&config.database_url).ask().ok().and_then(|version| version.revision);
    has.is_some_and(|has| origin.rows.is_none_or(|rows| has > rows))
}

/// Fetches a published snapshot, unless it is the one that is served, and verifies it.
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

/// Reads the database.
fn read(config: &Config, log: &Log, draft: &Draft, before: &Before) -> Result<Contents, Failed> {
    let begin = Instant::now();
    let load = if before.had_rows { database::load_again } else { database::load };
    let folder = Folder::new(config.snapshot_dir.as_deref());
    let loaded = load(&config.database_url, &folder)
        .map_err(|error| Failed::new(Reason::new(chain(&error)).with(outlook(&error)), false))?;
    build(config, log, draft, &loaded, before.snapshot.as_ref(), begin)
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

/// Turns rows that were read since `begin` into a sealed snapshot; `served` serves so far.
fn build(
    config: &Config,
    log: &Log,
    draft: &Draft,
    loaded: &database::Loaded,
    served: Option<&OwnedFd>,
    begin: Instant,
) -> Result<Contents, Failed> {
    let read = begin.elapsed();
    if !loaded.left_out.is_empty() {
        warn!(log.logger(), "rows were left out: {}", loaded.left_out; "database" => %config.database_url);
    }
    let way = merging::write(&loaded.rows, served, draft)
        .map_err(|error| Failed::unwritten(&error, &place(config), true))?;
    let contents = sealed(draft).map_err(|error| Failed::new(error.into(), true))?;
    let contents = Contents { revision: loaded.revision, mark: loaded.mark.clone(), ..contents };
    info!(log.logger(), "collection loaded"; "database" => %config.database_url,
        "read_s" => format!("{:.3}", read.as_secs_f32()),
        "build_s" => format!("{:.3}", (begin.elapsed() - read).as_secs_f32()), "made" => %way);
    Ok(contents)
}

/// Where the draft is, for a message.
fn place(config: &Config) -> String {
    match (&config.snapshot_dir, &config.snapshot_path) {
        (Some(folder), _) => format!("SNAPSHOT_DIR {}", folder.display()),
        (None, Some(path)) => format!("SNAPSHOT_PATH {}", path.display()),
        (None, None) => "memory".to_owned(),
    }
}

/// Seals the draft, and verifies all of it.
fn sealed(draft: &Draft) -> Result<Contents, MasterError> {
    draft.seal().map_err(|source| MasterError::System { what: "the snapshot cannot be sealed", source })?;
    contents(&map(draft.reader())?, Verify::Full)
}

/// Verifies a snapshot of a former master, while nothing is served: a second thread maps the pages ahead of
/// the hash, as page faults take a third of the time.
pub(crate) fn verify_kept(sealed: &OwnedFd) -> Result<Contents, MasterError> {
    let map = map(sealed)?;
    thread::scope(|scope| {
        // Without it they are mapped as they are read.
        let _ = thread::Builder::new().spawn_scoped(scope, || storage::populate(&map));
        contents(&map, Verify::Hash)
    })
}

fn map(sealed: &OwnedFd) -> Result<Mmap, MasterError> {
    storage::map(sealed)
        .map_err(|source| MasterError::System { what: "the snapshot cannot be mapped", source })
}

/// Checks a snapshot that cannot change any more, and lists its contents.
fn contents(bytes: &[u8], verify: Verify) -> Result<Contents, MasterError> {
    let snapshot = Snapshot::open(bytes, verify).map_err(|error| failed(&error))?;
    Ok(Contents {
        albums: snapshot.count(Kind::Of(Owner::Album)).into(),
        artists: snapshot.count(Kind::Of(Owner::Artist)).into(),
        bytes: snapshot.size() as u64,
        genres: snapshot.count(Kind::Of(Owner::Genre)).into(),
        hash: format!("{:032x}", snapshot.hash()),
        songs: snapshot.count(Kind::Song).into(),
        // A snapshot does not tell it.
        revision: None,
        mark: String::new(),
    })
}
