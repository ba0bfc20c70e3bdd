//! The short-lived child that turns the database into a snapshot. It may start threads,
//! hang, crash or be killed for memory: the master only waits for its report.

use std::error::Error;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::thread;
use std::time::Instant;

use memmap2::Mmap;
use nix::errno::Errno;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use slog::{error, info, warn};

use crate::cli::chain;
use crate::config::Config;
use crate::control::Contents;
use crate::database;
use crate::master::error::{MasterError, Reason};
use crate::master::exit::ExitCode;
use crate::master::processes::end::Ended;
use crate::master::processes::fork::{FirstSteps, fork};
use crate::master::processes::report::{Awaited, ReportTo, report, short};
use crate::model::Owner;
use crate::snapshot::storage::{self, Draft};
use crate::snapshot::{self, Kind, Snapshot, Verify};
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
    /// To be filled from the database.
    Draft(Draft),
    /// To be verified.
    Kept(Kept),
}

impl Material {
    /// The descriptors that the loader keeps.
    fn fds(&self) -> Vec<RawFd> {
        match self {
            Material::Draft(draft) => draft.fds().to_vec(),
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
    /// Made of the rows of the database.
    Database,
    /// Made by a former master, so that the database may know better.
    Stored,
    /// The same, in a file.
    Saved,
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
}

/// The report of a loader.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Report {
    /// The snapshot is sealed and verified.
    Loaded(Contents),
    /// There is none; the text says why.
    Failed(String),
}

impl Loader {
    /// Forks a loader for `generation`.
    pub(crate) fn start(
        generation: u64,
        config: &Config,
        log: &Log,
        first: FirstSteps<'_>,
    ) -> io::Result<Loader> {
        let draft = Draft::create(config.snapshot_dir.as_deref())?;
        Loader::fork(generation, config, log, first, Material::Draft(draft))
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
            Material::Draft(_) => Source::Database,
            Material::Kept(Kept::Stored(_)) => Source::Stored,
            Material::Kept(Kept::Saved(_)) => Source::Saved,
        }
    }

    /// Its product, once it has ended.
    ///
    /// # Errors
    /// The reason that the loader gives, or that it has ended without one.
    pub(crate) fn finish(self, ended: Ended) -> Result<Loaded, MasterError> {
        match (ended, self.report.receive()) {
            (Ended::Code(0), Some(Report::Loaded(contents))) => {
                let snapshot = match self.material {
                    Material::Draft(draft) => draft.finish(),
                    Material::Kept(Kept::Stored(snapshot) | Kept::Saved(snapshot)) => snapshot,
                };
                Ok(Loaded { snapshot, contents })
            }
            (_, Some(Report::Failed(reason))) => Err(MasterError::Failed(reason)),
            (ended, _) => Err(MasterError::Failed(format!("the loader ended without a result ({ended})"))),
        }
    }
}

/// The life of the child.
fn load(generation: u64, config: &Config, log: &Log, material: &Material, report_to: ReportTo) -> ExitCode {
    title::set(&format!("avalon: loader [gen {generation}]"));
    let log = log.for_process("loader");
    let _sentry = sentry::start(&config.sentry, "loader", Some(generation), None, sentry::Lookup::Own);
    let made = match material {
        Material::Draft(draft) => make(config, &log, draft),
        Material::Kept(kept) => verify_kept(kept.snapshot()),
    };
    made.iter().for_each(|contents| tell(contents, &log));
    let (report, code) = match made {
        Ok(contents) => (Report::Loaded(contents), ExitCode::Stopped),
        Err(error) => (Report::Failed(short(Reason::from(error).as_str())), ExitCode::Snapshot),
    };
    match report_to.send(&report) {
        Ok(()) => code,
        Err(error) => {
            error!(log.logger(), "the loader cannot report"; "error" => %error);
            ExitCode::Snapshot
        }
    }
}

fn make(config: &Config, log: &Log, draft: &Draft) -> Result<Contents, MasterError> {
    let begin = Instant::now();
    let loaded = database::load(&config.database_url).map_err(|error| failed(&error))?;
    let read = begin.elapsed();
    if !loaded.left_out.is_empty() {
        warn!(log.logger(), "rows were left out: {}", loaded.left_out; "database" => %config.database_url);
    }
    snapshot::build(&loaded.collection, draft.writer())
        .map_err(|error| MasterError::Failed(with_remedy(&error)))?;
    let revision = loaded.revision;
    drop(loaded);
    draft.seal().map_err(|source| MasterError::System { what: "the snapshot cannot be sealed", source })?;
    let contents = Contents { revision, ..contents(&map(draft.reader())?, Verify::Full)? };
    info!(log.logger(), "collection loaded"; "database" => %config.database_url,
        "read_s" => format!("{:.3}", read.as_secs_f32()),
        "build_s" => format!("{:.3}", (begin.elapsed() - read).as_secs_f32()));
    Ok(contents)
}

fn failed(error: &(dyn Error + 'static)) -> MasterError {
    MasterError::Failed(chain(error))
}

/// An error with a file, with a remedy where that is not plain.
fn with_remedy(error: &(dyn Error + 'static)) -> String {
    let mut causes = std::iter::successors(Some(error), |&error| error.source());
    let is_limit = causes.any(|error| {
        error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) == Some(Errno::EFBIG as i32)
    });
    match is_limit {
        true => format!(
            "{}: a snapshot is a file, and RLIMIT_FSIZE allows none of its size (ulimit -f, LimitFSIZE=)",
            chain(error)
        ),
        false => chain(error),
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
    })
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::Signal;

    use super::*;

    /// A loader that has reported and ended.
    fn finished(said: Option<&Report>, ended: Ended) -> Result<Contents, String> {
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
        loader.finish(ended).map(|loaded| loaded.contents).map_err(|error| error.to_string())
    }

    #[test]
    fn report_counts_only_with_an_orderly_end() {
        let contents = Contents { songs: 3, hash: "00ff".to_owned(), ..Contents::default() };
        let loaded = Report::Loaded(contents.clone());
        assert_eq!(finished(Some(&loaded), Ended::Code(0)), Ok(contents));
        let killed = Ended::Signal(Signal::SIGKILL);
        let without = "the loader ended without a result (killed by SIGKILL)";
        assert_eq!(finished(Some(&loaded), killed), Err(without.to_owned()));
        assert_eq!(finished(None, killed), Err(without.to_owned()));
    }

    #[test]
    fn reason_of_a_loader_is_told_whatever_its_end() {
        let failed = Report::Failed("no \"database\"".to_owned());
        for ended in [Ended::Code(4), Ended::Code(0), Ended::Signal(Signal::SIGKILL)] {
            assert_eq!(finished(Some(&failed), ended), Err("no \"database\"".to_owned()));
        }
    }

    #[test]
    fn file_beyond_the_limit_comes_with_a_remedy() {
        let limit = io::Error::from_raw_os_error(Errno::EFBIG as i32);
        assert!(with_remedy(&limit).contains("LimitFSIZE="));
        assert_eq!(with_remedy(&io::Error::other("torn")), "torn");
    }
}
