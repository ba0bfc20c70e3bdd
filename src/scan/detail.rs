//! The details of single songs that `--verbose` reports.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use slog::{Logger, info};

use super::account::MovedSong;
use super::previous::Previous;
use super::settle::Settled;
use super::shown::shown;
use super::survey::Survey;
use crate::ids;
use crate::model::library::Outcome;

/// Reports which songs are new.
///
/// # Errors
/// If the spool cannot be read back.
pub(super) fn tell_new(
    survey: &Survey<'_>,
    settled: &Settled,
    previous: &Previous,
    log: &Logger,
) -> io::Result<()> {
    let paths = survey.folders.paths();
    let moved: HashSet<&Path> = settled.moved.iter().map(|(_, _, to)| to.as_path()).collect();
    for record in survey.spool.records() {
        let record = record?;
        let file = record.file::<&str>()?;
        let Some(folder) = paths.get(&file.folder).filter(|_| file.outcome == Outcome::Song) else {
            continue;
        };
        let path = folder.join(&file.name);
        if !previous.knows_song(folder, &file.name) && !moved.contains(path.as_path()) {
            info!(log, "Added {}", shown(&path));
        }
    }
    Ok(())
}

/// Returns the songs that have moved, with their ids.
pub(super) fn moved(settled: &Settled) -> Vec<MovedSong> {
    let with_id = |path: &PathBuf| (ids::song(path), path.clone());
    settled.moved.iter().map(|(_, from, to)| MovedSong { old: with_id(from), new: with_id(to) }).collect()
}
