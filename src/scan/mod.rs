//! The scan: from folders of music to the rows of a database.
//!
//! [`run`] opens the database first (`database::Session`), reads the state of the last scan
//! (`begin`, `previous`), lists the folders and reads new and changed files on several threads
//! (`survey`, with `pool`, `walk`, `exclude`, `stamping` and `read`), decides the fates of the
//! songs of the last scan (`settle`, with `fate`), refuses to lose too much (`guard`), makes rows
//! of the files (`track`, `names`, `facts`, with `genre` and `numbers` for the values in tags), and
//! stores the differences in one transaction (`weave`, `store`). [`watch`] stays and runs it again.
//!
//! One odd file never ends a scan, and a scan never takes an unreachable file for a removed one.

pub mod account;
mod begin;
pub mod command;
mod detail;
mod early;
mod error;
mod exclude;
mod exit;
mod facts;
mod fate;
mod folders;
mod genre;
mod guard;
mod interrupt;
mod job;
pub mod json;
mod keep;
mod loss;
mod mounts;
mod names;
mod numbers;
pub mod path_list;
mod pool;
mod previous;
pub mod progress;
#[allow(
    clippy::cast_possible_truncation,
    reason = "heads are shorter than a window of 16 KB, and a rate that lies only makes a wrong number"
)]
mod read;
pub mod reload;
mod report;
mod roots;
mod row;
mod scope;
mod settle;
mod shown;
mod skipped;
mod spool;
mod stamping;
mod store;
mod survey;
mod suspects;
mod track;
mod walk;
pub mod watch;
mod weave;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use slog::{Logger, warn};

pub use account::Account;
pub use error::ScanError;
pub use exit::Exit;
pub use guard::Expected;
pub use interrupt::Interrupt;
pub use job::{Empty, Job};
pub use loss::Loss;
pub use progress::Progress;
pub use read::{Trial, try_bytes};
pub use report::{Fates, Report};
pub use skipped::{Examples, Reason, Skipped, Skips};

use crate::config::database_url::Backend;
use crate::database::Holder;
use account::Phase;
use begin::Begun;
use early::{Early, open};
use exclude::Patterns;
use keep::Keep;
use pool::{Limits, Patience, Threads};
use scope::Scope;
use settle::Scan;
use shown::shown;
use store::Store;
use survey::Plan;

/// Number of threads at first if they wait for a disk or a network.
const THREADS: usize = 16;
/// After this time the log names a file or folder that does not answer.
const NAMED_AFTER: Duration = Duration::from_secs(20);

/// Reads all music below the folders and stores it. The result depends on the files alone,
/// not on the order of folders, directory entries or threads.
///
/// # Errors
/// The reason why the scan stored nothing; the old collection is intact.
pub fn run(job: &Job, progress: &Progress, interrupt: &Interrupt, log: &Logger) -> Result<Report, ScanError> {
    run_with(job, progress, interrupt, log, &mut Account::default())
}

/// Does the same, and fills in `account` as far as the scan comes.
///
/// # Errors
/// As for [`run`].
pub fn run_with(
    job: &Job,
    progress: &Progress,
    interrupt: &Interrupt,
    log: &Logger,
    account: &mut Account,
) -> Result<Report, ScanError> {
    let missing = match job.database.backend() {
        Backend::Sqlite(path) if job.dry_run && !path.exists() => Some(path),
        _ => None,
    };
    let result = scan(job, None, progress, interrupt, log, account);
    // Opening the database creates an empty file.
    if let Some(path) = missing.filter(|path| path.metadata().is_ok_and(|file| file.len() == 0))
        && let Err(error) = std::fs::remove_file(path)
    {
        warn!(log, "Could not remove the empty {}: {error}", shown(path));
    }
    result
}

/// Scans. A scan of some paths may have begun early.
fn scan(
    job: &Job,
    early: Option<Early>,
    progress: &Progress,
    interrupt: &Interrupt,
    log: &Logger,
    account: &mut Account,
) -> Result<Report, ScanError> {
    let named = roots::absolute_all(&job.folders)?;
    check_inside(&named, &job.collection)?;
    let only = job.only.as_deref().map(Scope::new).transpose()?;
    let expected = absolute_expected(&job.expected)?;
    let patterns = Arc::new(Patterns::everywhere(&job.exclude).map_err(ScanError::Pattern)?);
    // A scan of everything reads the state while it lists folders.
    let (me, mut session, state) = match early.filter(|_| only.is_some()) {
        Some(Early { me, session, state }) => (me, session, Some(state)),
        None => {
            let me = Holder::this_process();
            let session = open(&job.database, &me, log)?;
            (me, session, None)
        }
    };
    account.end_of(Phase::Open);
    let limits = Limits {
        threads: job.jobs.map_or(Threads::Adapting(THREADS), Threads::Fixed),
        patience: Patience { named_after: NAMED_AFTER.min(job.file_timeout / 2), limit: job.file_timeout },
    };
    let begun = match &only {
        Some(scope) => {
            let state = state.map_or_else(|| previous::read(&mut session), Ok)?;
            begin::some_paths(scope, named, &patterns, state)?
        }
        None => begin::everything(named, job.full, &expected, &patterns, limits, &mut session, log)?,
    };
    account.end_of(Phase::Previous);
    let Begun { mut previous, mut rows, roots, absent, present, start, ahead } = begun;
    progress.begin(start.folders.len());
    let texts = session.texts();
    let plan = Plan {
        roots: &present,
        start,
        full: job.full,
        limits,
        progress,
        texts: &texts,
        now: me.started,
        log,
        verbose: job.verbose,
    };
    let mut keep = match job.keep_state && !job.dry_run {
        true => Keep::new(&mut session, &previous, &rows, &me, interrupt, log),
        false => None,
    };
    let survey = survey::survey(&plan, ahead, &mut previous, keep.as_mut())?;
    if let Some(keep) = keep {
        rows.about.last_scan = keep.last_scan();
    }
    account.end_of(Phase::Survey);
    account.take(&survey, &roots, &absent);
    let previous = &previous;
    let scope = only.as_ref();
    let scan = Scan { roots: &roots, absent: &absent, scope, previous, expected: &expected, job, log };
    let settled = scan.settle(&survey)?;
    account.end_of(Phase::Settle);
    account.fates = Some(settled.fates);
    account.moved = detail::moved(&settled);
    if job.verbose {
        detail::tell_new(&survey, &settled, previous, log).map_err(ScanError::Spool)?;
    }
    let report =
        Store { previous, rows, survey, settled, me: &me, interrupt, dry_run: job.dry_run }.store(session)?;
    account.end_of(Phase::Store);
    Ok(report)
}

/// Refuses a path inside a folder of COLLECTION: it would replace the whole collection by a part of
/// it.
fn check_inside(roots: &[PathBuf], collection: &[PathBuf]) -> Result<(), ScanError> {
    for folder in roots::absolute_all(collection)? {
        if let Some(path) = roots.iter().find(|root| **root != folder && root.starts_with(&folder)) {
            return Err(ScanError::InsideCollection { path: path.clone(), folder });
        }
    }
    Ok(())
}

fn absolute_expected(expected: &Expected) -> Result<Expected, ScanError> {
    Ok(Expected { all: expected.all, below: roots::absolute_all(&expected.below)? })
}

#[cfg(test)]
mod tests;
