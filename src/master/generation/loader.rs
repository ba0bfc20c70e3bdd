//! The short-lived child that turns the database into a snapshot, or fetches one that was published (`loading.rs`). It
//! may start threads, hang, crash or be killed for memory: the master only waits for its report.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::Instant;

use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use slog::{error, info};

use crate::config::Config;
use crate::control::Contents;
use crate::master::error::{Outlook, Reason};
use crate::master::exit::ExitCode;
use crate::master::generation::before::{Before, Origin};
use crate::master::generation::drafts::Drafts;
use crate::master::generation::failed::Failed;
use crate::master::generation::loading::{Made, make_in};
use crate::master::generation::reading::Work;
use crate::master::generation::sealed::verify_kept;
use crate::master::processes::end::Ended;
use crate::master::processes::fork::{FirstSteps, fork};
use crate::master::processes::report::{Awaited, ReportTo, report};
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
    /// Empty, for the rows of the source; the rows that serve so far are beside it.
    Drafts(Drafts, Before),
    /// To be verified.
    Kept(Kept),
}

impl Material {
    /// The descriptors that the loader keeps.
    fn fds(&self) -> Vec<RawFd> {
        match self {
            Material::Drafts(drafts, before) => {
                let served = before.snapshot.iter().map(AsRawFd::as_raw_fd);
                let watcher = before.watcher.iter().map(|watcher| watcher.as_fd().as_raw_fd());
                drafts.fds().into_iter().chain(served).chain(watcher).collect()
            }
            Material::Kept(kept) => vec![kept.snapshot().as_raw_fd()],
        }
    }
}

/// A snapshot of a former master.
pub(crate) enum Kept {
    /// A descriptor from systemd's store.
    Stored(OwnedFd),
    /// The file at `SNAPSHOT_PATH`.
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
    /// The work of the loader.
    pub(crate) work: Work,
    /// Where the rows are from.
    pub(crate) origin: Origin,
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

impl Loader {
    /// Forks a loader for `generation`; `before` describes the served rows of its source.
    pub(crate) fn start(
        generation: u64,
        config: &Config,
        log: &Log,
        first: FirstSteps<'_>,
        before: Before,
    ) -> io::Result<Loader> {
        let drafts = Drafts::create(config)?;
        Loader::fork(generation, config, log, first, Material::Drafts(drafts, before))
    }

    /// Forks a loader that only verifies a snapshot of a former master.
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
            Material::Drafts(..) => Source::Origin,
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
            (Ended::Code(0), Some(Report::Loaded(Made { contents, work, origin, is_spare }))) => {
                let snapshot = match self.material {
                    Material::Drafts(drafts, _) => drafts.finish(is_spare),
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
        Material::Drafts(drafts, before) => make_in(config, &log, drafts, before),
        Material::Kept(kept) => {
            verify_kept(kept.snapshot()).map(Made::kept).map_err(|error| Failed::new(error.into(), false))
        }
    };
    // Of a snapshot that the store names again only the hash is known.
    let has_rows = made.iter().filter(|made| made.contents.bytes > 0);
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

/// The lines of the original, for readers who look for them.
fn tell(contents: &Contents, log: &Log) {
    let Contents { albums, artists, bytes, genres, songs, .. } = contents;
    for (count, name) in [(songs, "tracks"), (albums, "albums"), (artists, "artists"), (genres, "genres")] {
        info!(log.logger(), "Loaded {} {}", count, name);
    }
    info!(log.logger(), "Using {} bytes of index", bytes);
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
        let loaded = Report::Loaded(Made::kept(contents.clone()));
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
}
