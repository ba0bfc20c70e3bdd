//! The short-lived child that turns the database into a snapshot, or fetches one that was published. It may start
//! threads, hang, crash or be killed for memory: the master only waits for its report.

use std::error::Error;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::thread;
use std::time::Instant;

use memmap2::Mmap;
use nix::errno::Errno;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use slog::{error, info, warn};

use crate::cli::chain;
use crate::config::{Config, SnapshotUrl};
use crate::control::Contents;
use crate::database::{self, DatabaseError};
use crate::master::error::{MasterError, Outlook, Reason};
use crate::master::exit::ExitCode;
use crate::master::generation::before::{Before, Origin};
use crate::master::processes::end::Ended;
use crate::master::processes::fork::{FirstSteps, fork};
use crate::master::processes::report::{Awaited, ReportTo, report, short};
use crate::model::Owner;
use crate::publication::{self, Fetched, Pointer, PublicationError};
use crate::snapshot::storage::{self, Draft};
use crate::snapshot::{self, Kind, Snapshot, VERSION, Verify};
use crate::telemetry::{Log, sentry};
use crate::title;

/// A loader at work.
pub(crate) struct Loader {
    pub(crate) pid: Pid,
    pub(crate) generation: u64,
    pub(crate) begin: Instant,
    material: Material,
    report: Awaited,
}

/// The material of a loader.
enum Material {
    /// To be filled from the source, of which this is served so far.
    Draft(Draft, Before),
    /// To be verified.
    Kept(Kept),
}

impl Material {
    /// The descriptors that the loader keeps.
    fn fds(&self) -> Vec<RawFd> {
        match self {
            Material::Draft(draft, _) => draft.fds().to_vec(),
            Material::Kept(kept) => vec![kept.snapshot().as_raw_fd()],
        }
    }
}

/// A snapshot of a former master.
pub(crate) enum Kept {
    /// It was in systemd's descriptor store.
    Stored(OwnedFd),
    /// It was saved at `SNAPSHOT_PATH`.
    Saved(OwnedFd),
}

/// Where a snapshot comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// Made of the rows of the database, or fetched from the store of snapshots.
    Origin,
    /// Made by a former master, so that the database may know better.
    Stored,
    /// The same, in a file.
    Saved,
    /// Made of the rows of the database, because the store of snapshots has none that is of use.
    Substitute,
}

impl Kept {
    fn snapshot(&self) -> &OwnedFd {
        match self {
            Kept::Stored(snapshot) | Kept::Saved(snapshot) => snapshot,
        }
    }
}

/// The product of a loader.
pub(crate) struct Loaded {
    /// The sealed and fully verified snapshot.
    pub(crate) snapshot: OwnedFd,
    /// Its contents.
    pub(crate) contents: Contents,
    /// What the loader has done for it.
    pub(crate) work: Work,
    /// Where the rows are from.
    pub(crate) origin: Origin,
}

/// What a loader has done.
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

/// The report of a loader.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Report {
    /// The snapshot is sealed and verified.
    Loaded(Made),
    /// There is none.
    Failed(Failed),
}

/// What a loader has made.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Made {
    contents: Contents,
    work: Work,
    origin: Origin,
}

impl Made {
    /// Of the rows of the database; `counter` is that of the pointer in the store which they are served instead of.
    fn of_database(contents: Contents, work: Work, counter: Option<u64>) -> Made {
        Made { origin: Origin { rows: contents.revision, counter }, contents, work }
    }

    /// Of what this pointer names.
    fn of_store(contents: Contents, work: Work, pointer: &Pointer) -> Made {
        Made { origin: Origin { rows: pointer.revision, counter: Some(pointer.counter) }, contents, work }
    }
}

/// Why there is no snapshot.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Failed {
    reason: String,
    outlook: Outlook,
    /// Whether all rows had been read before.
    pub(crate) was_read: bool,
}

impl Failed {
    fn new(reason: Reason, was_read: bool) -> Self {
        Failed { outlook: reason.outlook(), reason: short(reason.as_str()), was_read }
    }

    /// The words, with the outlook.
    pub(crate) fn reason(&self) -> Reason {
        Reason::new(self.reason.as_str()).with(self.outlook)
    }
}

impl Loader {
    /// Forks a loader for `generation`; `before` says what is served of its source.
    pub(crate) fn start(
        generation: u64,
        config: &Config,
        log: &Log,
        first: FirstSteps<'_>,
        before: Before,
    ) -> io::Result<Loader> {
        let draft = Draft::create(config.snapshot_dir.as_deref())?;
        Loader::fork(generation, config, log, first, Material::Draft(draft, before))
    }

    /// Forks a loader that only verifies a snapshot that was kept from a former master.
    pub(crate) fn verify(
        generation: u64,
        config: &Config,
        log: &Log,
        first: FirstSteps<'_>,
        kept: Kept,
    ) -> io::Result<Loader> {
        Loader::fork(generation, config, log, first, Material::Kept(kept))
    }

    fn fork(
        generation: u64,
        config: &Config,
        log: &Log,
        first: FirstSteps<'_>,
        material: Material,
    ) -> io::Result<Loader> {
        let (report, report_to) = report()?;
        let first = first.keeping([report_to.as_fd()]).keeping_raw(material.fds());
        let begin = Instant::now();
        let pid = fork(&first, || load(generation, config, log, &material, report_to))?;
        Ok(Loader { pid, generation, begin, material, report })
    }

    /// Where its snapshot comes from.
    pub(crate) fn source(&self) -> Source {
        match self.material {
            Material::Draft(..) => Source::Origin,
            Material::Kept(Kept::Stored(_)) => Source::Stored,
            Material::Kept(Kept::Saved(_)) => Source::Saved,
        }
    }

    /// Its product, once it has ended.
    ///
    /// # Errors
    /// The reason that the loader gives, or that it has ended without one.
    pub(crate) fn finish(self, ended: Ended) -> Result<Loaded, Failed> {
        match (ended, self.report.receive()) {
            (Ended::Code(0), Some(Report::Loaded(Made { contents, work, origin }))) => {
                let snapshot = match self.material {
                    Material::Draft(draft, _) => draft.finish(),
                    Material::Kept(Kept::Stored(snapshot) | Kept::Saved(snapshot)) => snapshot,
                };
                Ok(Loaded { snapshot, contents, work, origin })
            }
            (_, Some(Report::Failed(failed))) => Err(failed),
            (ended, _) => {
                // A kill, also for memory, is no fault of the loader's; another exit is.
                let outlook = match ended {
                    Ended::Signal(_) => Outlook::Unreachable,
                    _ => Outlook::Lasting,
                };
                let reason = Reason::new(format!("the loader ended without a result ({ended})"));
                Err(Failed::new(reason.with(outlook), false))
            }
        }
    }
}

/// The life of the child.
fn load(generation: u64, config: &Config, log: &Log, material: &Material, report_to: ReportTo) -> ExitCode {
    title::set(&format!("avalon: loader [gen {generation}]"));
    let log = log.for_process("loader");
    let _sentry = sentry::start(&config.sentry, "loader", Some(generation), None, sentry::Lookup::Own);
    let made = match material {
        Material::Draft(draft, before) => make(config, &log, draft, *before),
        Material::Kept(kept) => verify_kept(kept.snapshot())
            .map(|contents| Made { contents, work: Work::Made, origin: Origin::default() })
            .map_err(|error| Failed::new(error.into(), false)),
    };
    let has_rows = made.iter().filter(|made| made.work != Work::Same);
    has_rows.for_each(|made| tell(&made.contents, &log));
    let (report, code) = match made {
        Ok(made) => (Report::Loaded(made), ExitCode::Stopped),
        Err(failed) => (Report::Failed(failed), ExitCode::Snapshot),
    };
    match report_to.send(&report) {
        Ok(()) => code,
        Err(error) => {
            error!(log.logger(), "the loader cannot report"; "error" => %error);
            ExitCode::Snapshot
        }
    }
}

/// Fetches a snapshot, or makes one of the database.
fn make(config: &Config, log: &Log, draft: &Draft, before: Before) -> Result<Made, Failed> {
    let Some(url) = &config.snapshot_url else {
        return read(config, log, draft, before)
            .map(|contents| Made::of_database(contents, Work::Made, None));
    };
    let may_substitute = config.is_database_set && (!before.serves || before.is_patience_over);
    let (reason, counter) = match fetch(url, config, log, draft, before) {
        Ok(made) if made.work != Work::Same || !may_substitute || !has_newer(config, made.origin) => {
            return Ok(made);
        }
        // What serves already is better than other rows.
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
    before: Before,
) -> Result<Made, Failed> {
    let begin = Instant::now();
    let fetched = publication::fetch(url, before.had, draft.writer()).map_err(|error| {
        let reason = match error.local() {
            Some(error) => unwritten(error, config.snapshot_dir.as_deref()).into(),
            None => Reason::new(format!("{url}: {error}")).with(outlook_of_store(&error)),
        };
        Failed::new(reason, false)
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
    let sealed = || {
        draft
            .seal()
            .map_err(|source| MasterError::System { what: "the snapshot cannot be sealed", source })?;
        contents(&map(draft.reader())?, Verify::Full)
    };
    let contents = sealed().map_err(|error| {
        let reason = format!("{url}: the published snapshot is of no use: {}", Reason::from(error));
        Failed::new(Reason::new(reason).with(Outlook::Interrupted), true)
    })?;
    info!(log.logger(), "snapshot fetched"; "url" => %url, "counter" => pointer.counter,
        "format" => VERSION, "seconds" => format!("{:.3}", begin.elapsed().as_secs_f32()));
    let contents = Contents { revision: Some(pointer.counter), ..contents };
    Ok(Made::of_store(contents, Work::Made, &pointer))
}

/// What the error of a store lets hope for: a publisher may repair all of it at any moment.
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
fn read(config: &Config, log: &Log, draft: &Draft, before: Before) -> Result<Contents, Failed> {
    let begin = Instant::now();
    let load = if before.had_rows { database::load_again } else { database::load };
    let loaded = load(&config.database_url)
        .map_err(|error| Failed::new(Reason::new(chain(&error)).with(outlook(&error)), false))?;
    build(config, log, draft, loaded, begin).map_err(|error| Failed::new(error.into(), true))
}

/// What the error of a load lets hope for.
fn outlook(error: &DatabaseError) -> Outlook {
    match error {
        DatabaseError::Failed { .. } => Outlook::Lasting,
        DatabaseError::Unreachable { .. } => Outlook::Unreachable,
        DatabaseError::Interrupted { .. }
        | DatabaseError::Incomplete { .. }
        | DatabaseError::Locked { .. }
        | DatabaseError::ScanRunning { .. }
        | DatabaseError::Overtaken { .. } => Outlook::Interrupted,
    }
}

/// Turns rows that were read since `begin` into a sealed snapshot.
fn build(
    config: &Config,
    log: &Log,
    draft: &Draft,
    loaded: database::Loaded,
    begin: Instant,
) -> Result<Contents, MasterError> {
    let read = begin.elapsed();
    if !loaded.left_out.is_empty() {
        warn!(log.logger(), "rows were left out: {}", loaded.left_out; "database" => %config.database_url);
    }
    let built = snapshot::build(&loaded.collection, draft.writer());
    built.map_err(|error| unwritten(&error, config.snapshot_dir.as_deref()))?;
    let (revision, mark) = (loaded.revision, loaded.mark);
    drop(loaded.collection);
    draft.seal().map_err(|source| MasterError::System { what: "the snapshot cannot be sealed", source })?;
    let contents = Contents { revision, mark, ..contents(&map(draft.reader())?, Verify::Full)? };
    info!(log.logger(), "collection loaded"; "database" => %config.database_url,
        "read_s" => format!("{:.3}", read.as_secs_f32()),
        "build_s" => format!("{:.3}", (begin.elapsed() - read).as_secs_f32()));
    Ok(contents)
}

fn failed(error: &(dyn Error + 'static)) -> MasterError {
    MasterError::Failed(chain(error))
}

/// An error of a build, with a remedy where that is not plain. A full disk may have room again.
fn unwritten(error: &(dyn Error + 'static), folder: Option<&Path>) -> MasterError {
    let mut causes = std::iter::successors(Some(error), |&error| error.source());
    let errno = causes.find_map(|error| error.downcast_ref::<io::Error>()?.raw_os_error());
    match errno.map(Errno::from_raw) {
        Some(Errno::EFBIG) => MasterError::Failed(format!(
            "{}: a snapshot is a file, and RLIMIT_FSIZE allows none of its size (ulimit -f, LimitFSIZE=)",
            chain(error)
        )),
        Some(Errno::ENOSPC) => {
            let place =
                folder.map_or("memory".to_owned(), |folder| format!("SNAPSHOT_DIR {}", folder.display()));
            let message =
                format!("{place}: {}: make room there, or name another folder in SNAPSHOT_DIR", chain(error));
            MasterError::Passing(Outlook::Unreachable, message)
        }
        Some(_) => MasterError::Passing(Outlook::Unreachable, chain(error)),
        None => failed(error),
    }
}

/// The lines of the original, for readers who look for them.
fn tell(contents: &Contents, log: &Log) {
    let Contents { albums, artists, bytes, genres, songs, .. } = contents;
    for (count, name) in [(songs, "tracks"), (albums, "albums"), (artists, "artists"), (genres, "genres")] {
        info!(log.logger(), "Loaded {} {}", count, name);
    }
    info!(log.logger(), "Using {} bytes of index", bytes);
}

/// Verifies a snapshot of a former master, while nothing is served: a second thread maps the pages ahead of
/// the hash, as page faults take a third of the time.
fn verify_kept(sealed: &OwnedFd) -> Result<Contents, MasterError> {
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

#[cfg(test)]
mod tests {
    use nix::sys::signal::Signal;

    use super::*;

    /// A loader that has reported and ended.
    fn finished(said: Option<&Report>, ended: Ended) -> Result<Contents, Reason> {
        let (awaited, report_to) = report().unwrap();
        said.map_or(Ok(()), |said| report_to.send(said)).unwrap();
        let kept = Kept::Saved(tempfile::tempfile().unwrap().into());
        let loader = Loader {
            pid: Pid::from_raw(1),
            generation: 1,
            begin: Instant::now(),
            material: Material::Kept(kept),
            report: awaited,
        };
        assert_eq!(loader.source(), Source::Saved);
        loader.finish(ended).map(|loaded| loaded.contents).map_err(|failed| failed.reason())
    }

    #[test]
    fn report_counts_only_with_an_orderly_end() {
        let contents = Contents { songs: 3, hash: "00ff".to_owned(), ..Contents::default() };
        let loaded = Report::Loaded(Made::of_database(contents.clone(), Work::Made, None));
        assert_eq!(finished(Some(&loaded), Ended::Code(0)), Ok(contents));
        let killed = Ended::Signal(Signal::SIGKILL);
        let without = Reason::new("the loader ended without a result (killed by SIGKILL)");
        let without = without.with(Outlook::Unreachable);
        assert_eq!(finished(Some(&loaded), killed), Err(without.clone()));
        assert_eq!(finished(None, killed), Err(without));
        let wrong = Reason::new("the loader ended without a result (exit code 70)");
        assert_eq!(finished(None, Ended::Code(70)), Err(wrong));
    }

    #[test]
    fn reason_of_a_loader_is_told_whatever_its_end() {
        for outlook in [Outlook::Lasting, Outlook::Interrupted, Outlook::Unreachable] {
            let reason = Reason::new("no \"database\"").with(outlook);
            let failed = Report::Failed(Failed::new(reason.clone(), false));
            for ended in [Ended::Code(4), Ended::Code(0), Ended::Signal(Signal::SIGKILL)] {
                assert_eq!(finished(Some(&failed), ended), Err(reason.clone()));
            }
        }
    }

    #[test]
    fn file_beyond_the_limit_comes_with_a_remedy() {
        let limit = io::Error::from_raw_os_error(Errno::EFBIG as i32);
        let limit = Reason::from(unwritten(&limit, None));
        assert!(limit.as_str().contains("LimitFSIZE=") && limit.outlook() == Outlook::Lasting);
        assert_eq!(Reason::from(unwritten(&io::Error::other("torn"), None)), Reason::new("torn"));
        let full = io::Error::from_raw_os_error(Errno::ENOSPC as i32);
        assert_eq!(Reason::from(unwritten(&full, None)).outlook(), Outlook::Unreachable);
    }
}
