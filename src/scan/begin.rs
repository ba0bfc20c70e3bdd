//! The beginning of a scan: it reads the state of the last scan, and decides where the walk starts.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use slog::{Logger, warn};

use super::error::ScanError;
use super::exclude::Patterns;
use super::guard::Expected;
use super::pool::Limits;
use super::previous::{self, Previous, Rows};
use super::roots;
use super::scope::{self, Scope, Start};
use super::shown::shown;
use super::survey::Ahead;
use crate::database::Session;

/// The state of a scan before it looks into folders.
pub(super) struct Begun {
    pub(super) previous: Previous,
    pub(super) rows: Rows,
    /// All roots.
    pub(super) roots: Vec<PathBuf>,
    /// The roots that cannot be reached. Their songs stay.
    pub(super) absent: Vec<PathBuf>,
    /// The other roots.
    pub(super) present: Vec<PathBuf>,
    pub(super) start: Start,
    /// The folders that were listed while the state was read.
    pub(super) ahead: Option<Ahead>,
}

/// Begins a scan of some paths alone, with the state of the last scan. Its folders stay the roots.
///
/// # Errors
/// If a path lies below none of the roots.
pub(super) fn some_paths(
    scope: &Scope,
    named: Vec<PathBuf>,
    patterns: &Arc<Patterns>,
    (previous, rows): (Previous, Rows),
) -> Result<Begun, ScanError> {
    let roots: Vec<PathBuf> = match previous.is_recorded() {
        true => previous.roots().map(Path::to_owned).collect(),
        false => named,
    };
    let start = scope::parts(scope, &roots, patterns, &previous)?;
    Ok(Begun { previous, rows, present: roots.clone(), roots, absent: Vec::new(), start, ahead: None })
}

/// Begins a scan of everything below the roots. Threads list the folders while this reads the state; a `full`
/// scan needs no stamps of their files.
///
/// # Errors
/// A root that never held songs is missing, all roots are missing, the database cannot be read, or no thread
/// can start.
pub(super) fn everything(
    roots: Vec<PathBuf>,
    full: bool,
    expected: &Expected,
    patterns: &Arc<Patterns>,
    limits: Limits,
    session: &mut Session,
    log: &Logger,
) -> Result<Begun, ScanError> {
    let looks = roots::check_all(&roots, limits.patience, log)?;
    let is_present = |(root, look): (&PathBuf, &Result<(), ScanError>)| look.is_ok().then(|| root.clone());
    let present: Vec<PathBuf> = roots.iter().zip(&looks).filter_map(is_present).collect();
    let start = scope::whole(&present, patterns, !full);
    let (read, ahead) = thread::scope(|scope| {
        let reader = thread::Builder::new().name("state".to_owned());
        let reading = reader.spawn_scoped(scope, || previous::read(session)).map_err(ScanError::Threads)?;
        let ahead = Ahead::walk(&start.folders, &present, limits, log, || reading.is_finished());
        let read = reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok::<_, ScanError>((read, ahead))
    })?;
    let (previous, rows) = read?;
    let absent = absent_roots(&roots, looks, &previous, expected, log)?;
    Ok(Begun { previous, rows, roots, absent, present, start, ahead: Some(ahead?) })
}

/// Returns the roots that cannot be reached although the last scan may have found songs below them. Their
/// songs stay.
fn absent_roots(
    roots: &[PathBuf],
    looks: Vec<Result<(), ScanError>>,
    previous: &Previous,
    expected: &Expected,
    log: &Logger,
) -> Result<Vec<PathBuf>, ScanError> {
    let mut absent = Vec::new();
    let mut reasons = Vec::new();
    for (root, outcome) in roots.iter().zip(looks) {
        let Err(error) = outcome else { continue };
        let may_hold_songs = match previous.is_recorded() {
            true => previous.roots().any(|known| known == root) || previous.songs_below(root) > 0,
            false => !previous.unexplained.is_empty() && roots.len() > 1,
        };
        if matches!(error, ScanError::NotFolder { .. }) || !may_hold_songs {
            return Err(error);
        }
        let reason = match &error {
            ScanError::Missing { .. } => "it does not exist".to_owned(),
            ScanError::Unreadable { source, .. } => source.to_string(),
            other => other.to_string(),
        };
        warn!(log, "Could not reach {}: {reason}", shown(root));
        reasons.push((root.clone(), reason));
        absent.push(root.clone());
    }
    let songs = absent.iter().map(|root| previous.songs_below(root)).sum();
    if absent.len() == roots.len() && songs > 0 && !absent.iter().all(|root| expected.covers(root)) {
        return Err(ScanError::NothingThere { roots: reasons, songs });
    }
    Ok(absent)
}
