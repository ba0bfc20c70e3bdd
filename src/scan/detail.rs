//! What a scan tells of single songs, when it is asked to.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use slog::{Logger, info};

use super::account::MovedSong;
use super::fate::{Fate, Judged};
use super::previous::Previous;
use super::report::shown;
use super::settle::Settled;
use super::survey::Survey;
use crate::ids;
use crate::model::library::Outcome;

/// Tells what became of a song of the last scan.
pub(super) fn tell_fate(judged: &Judged, is_kept: bool, log: &Logger) {
    let path = shown(&judged.path);
    match &judged.fate {
        Fate::Stays => {}
        Fate::Changed => info!(log, "Read again {path}"),
        Fate::Unreachable(place) if is_kept => info!(log, "Kept {path}: {} cannot be reached", shown(place)),
        Fate::Unreachable(_) => info!(log, "Removed {path}: it cannot be reached, and this loss is expected"),
        Fate::Gone => info!(log, "Removed {path}: the file is gone"),
        Fate::Spoiled => info!(log, "Removed {path}: the file is no song any more"),
        Fate::Excluded => info!(log, "Removed {path}: it is excluded"),
        Fate::GivenUp => info!(log, "Removed {path}: its folder is no longer named"),
        Fate::Moved(to) => {
            info!(log, "Moved {path} to {}, id {} to {}", shown(to), ids::song(&judged.path), ids::song(to))
        }
    }
}

/// Tells which songs are new.
///
/// # Errors
/// If what was read cannot be had back from where it is kept.
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

/// The songs that have moved, with their ids.
pub(super) fn moved(settled: &Settled) -> Vec<MovedSong> {
    let with_id = |path: &PathBuf| (ids::song(path), path.clone());
    settled.moved.iter().map(|(_, from, to)| MovedSong { old: with_id(from), new: with_id(to) }).collect()
}
