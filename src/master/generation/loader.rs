//! The short-lived child that turns the database into a snapshot. It may start threads,
//! hang, crash or be killed for memory: the master only waits for its report.

use std::error::Error;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::thread;
use std::time::Instant;

use memmap2::Mmap;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::{Pid, pipe2};
use serde_json::{Map, Value, json};
use slog::{error, info, warn};

use crate::cli::chain;
use crate::config::Config;
use crate::database;
use crate::master::exit::ExitCode;
use crate::master::processes::process::{self, Ended, FirstSteps};
use crate::snapshot::storage::{self, Draft};
use crate::snapshot::{self, Kind, Snapshot, Verify};
use crate::telemetry::{Log, sentry};
use crate::title;

/// Bytes of a report, which must fit into a pipe that nobody reads yet.
const REPORT_MAX: usize = 64 * 1024;
/// Characters of a reason; each takes at most twelve bytes of JSON.
const REASON_MAX: usize = 2000;

/// A loader at work.
pub(crate) struct Loader {
    pub(crate) pid: Pid,
    pub(crate) generation: u64,
    pub(crate) begin: Instant,
    material: Material,
    report: OwnedFd,
}

/// What a loader works on.
enum Material {
    /// To be filled from the database.
    Draft(Draft),
    /// To be verified.
    Kept(Kept),
}

impl Material {
    /// What the loader needs of it.
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
    /// Made of what is in the database.
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

/// What a loader has made.
pub(crate) struct Loaded {
    /// The sealed and fully verified snapshot.
    pub(crate) snapshot: OwnedFd,
    /// What is in it: `songs`, `albums`, `artists`, `genres`, `bytes` and `hash`.
    pub(crate) summary: Summary,
}

/// What is known of a snapshot without looking into it.
pub(crate) type Summary = Map<String, Value>;

/// A summary in words.
pub(crate) fn in_words(summary: &Summary) -> String {
    let words = summary.iter().map(|(key, value)| match value.as_str() {
        Some(text) => format!("{key}={text}"),
        None => format!("{key}={value}"),
    });
    words.collect::<Vec<_>>().join(" ")
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
        mut first: FirstSteps<'_>,
        material: Material,
    ) -> io::Result<Loader> {
        let (report, report_to) = pipe2(OFlag::O_CLOEXEC)?;
        first.keep.push(report_to.as_raw_fd());
        first.keep.extend(material.fds());
        let begin = Instant::now();
        let body = || load(generation, config, log, &material, File::from(report_to));
        let pid = process::fork(&first, body)?;
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

    /// What came of it, once it has ended.
    pub(crate) fn finish(self, ended: Ended) -> Result<Loaded, String> {
        let mut report = String::new();
        let read = File::from(self.report).take(REPORT_MAX as u64).read_to_string(&mut report);
        let mut report: Value =
            read.ok().and_then(|_| serde_json::from_str(&report).ok()).unwrap_or_default();
        match (ended, report["loaded"].take(), report["failed"].take()) {
            (Ended::Code(0), Value::Object(summary), _) => {
                let snapshot = match self.material {
                    Material::Draft(draft) => draft.finish(),
                    Material::Kept(Kept::Stored(snapshot) | Kept::Saved(snapshot)) => snapshot,
                };
                Ok(Loaded { snapshot, summary })
            }
            (_, _, Value::String(reason)) => Err(reason),
            (ended, ..) => Err(format!("the loader ended without a result ({ended})")),
        }
    }
}

/// The life of the child.
fn load(generation: u64, config: &Config, log: &Log, material: &Material, mut report: File) -> ExitCode {
    title::set(&format!("avalon: loader [gen {generation}]"));
    let log = log.for_process("loader");
    let _sentry = sentry::start(&config.sentry, "loader", Some(generation), None, sentry::Lookup::Own);
    let made = match material {
        Material::Draft(draft) => make(config, &log, draft),
        Material::Kept(kept) => verify_kept(kept.snapshot()),
    };
    made.iter().for_each(|summary| tell(summary, &log));
    let (line, code) = match made {
        Ok(summary) => (json!({ "loaded": summary }), ExitCode::Stopped),
        Err(reason) => {
            let reason: String = reason.chars().take(REASON_MAX).collect();
            (json!({ "failed": reason }), ExitCode::Snapshot)
        }
    };
    match report.write_all(line.to_string().as_bytes()) {
        Ok(()) => code,
        Err(error) => {
            error!(log.logger(), "the loader cannot report"; "error" => %error);
            ExitCode::Snapshot
        }
    }
}

fn make(config: &Config, log: &Log, draft: &Draft) -> Result<Value, String> {
    let begin = Instant::now();
    let loaded = database::load(&config.database_url).map_err(|error| chain(&error))?;
    let read = begin.elapsed();
    if !loaded.left_out.is_empty() {
        warn!(log.logger(), "rows were left out: {}", loaded.left_out; "database" => %config.database_url);
    }
    snapshot::build(&loaded.collection, draft.writer()).map_err(|error| with_remedy(&error))?;
    drop(loaded);
    draft.seal().map_err(|error| format!("the snapshot cannot be sealed: {error}"))?;
    let summary = verify(draft.reader(), Verify::Full)?;
    info!(log.logger(), "collection loaded"; "database" => %config.database_url,
        "read_s" => format!("{:.3}", read.as_secs_f32()),
        "build_s" => format!("{:.3}", (begin.elapsed() - read).as_secs_f32()));
    Ok(summary)
}

/// What went wrong with a file, and what can be done about it where that is not plain.
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

/// The lines of the original, for those who look for them.
fn tell(summary: &Value, log: &Log) {
    for (kind, name) in
        [("songs", "tracks"), ("albums", "albums"), ("artists", "artists"), ("genres", "genres")]
    {
        info!(log.logger(), "Loaded {} {}", summary[kind], name);
    }
    info!(log.logger(), "Using {} bytes of index", summary["bytes"]);
}

/// Checks a snapshot that cannot change any more, and tells what is in it.
fn verify(sealed: &OwnedFd, verify: Verify) -> Result<Value, String> {
    summary(&map(sealed)?, verify)
}

/// The same for what a former master kept, while nothing is served: a second thread maps the pages ahead of
/// the hash, as page faults take a third of the time.
fn verify_kept(sealed: &OwnedFd) -> Result<Value, String> {
    let map = map(sealed)?;
    thread::scope(|scope| {
        // Without it they are mapped as they are read.
        let _ = thread::Builder::new().spawn_scoped(scope, || storage::populate(&map));
        summary(&map, Verify::Hash)
    })
}

fn map(sealed: &OwnedFd) -> Result<Mmap, String> {
    storage::map(sealed).map_err(|error| format!("the snapshot cannot be mapped: {error}"))
}

fn summary(bytes: &[u8], verify: Verify) -> Result<Value, String> {
    let snapshot = Snapshot::open(bytes, verify).map_err(|error| chain(&error))?;
    Ok(json!({
        "songs": snapshot.count(Kind::Song),
        "albums": snapshot.count(Kind::Album),
        "artists": snapshot.count(Kind::Artist),
        "genres": snapshot.count(Kind::Genre),
        "bytes": snapshot.size(),
        "hash": format!("{:032x}", snapshot.hash()),
    }))
}
