//! The fate of each file of the last scan. A file is gone only if its name is missing from a folder
//! that was listed to its end, in a root and on a mount that are present. Any other missing file is
//! out of reach, and its row stays.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use slog::{Logger, info};

use super::folders::Reach;
use super::previous::{Index, Known, Mark, Previous};
use super::scope::Scope;
use super::shown::shown;
use super::survey::Survey;
use crate::ids;
use crate::model::library::{Folder, Outcome};

/// The fate of one file of the last scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// The file is unchanged, or lies outside the scope of this scan.
    Stays,
    /// The file was read again; a former song is still a song.
    Changed,
    /// The file was read again, and is no longer a song.
    Spoiled,
    /// The file no longer exists at its path.
    Gone,
    /// The file no longer exists at its path, and a new file has its content.
    Moved(PathBuf),
    /// The file, or the folder above it that this names, cannot be reached.
    Unreachable(PathBuf),
    /// A pattern excludes the file.
    Excluded,
    /// The file lies below a root that is no longer configured.
    GivenUp,
}

/// A file of the last scan and its fate.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) index: Index,
    pub(super) path: PathBuf,
    /// Whether the last scan found a song in the file, and stored it.
    pub(super) was_song: bool,
    pub(super) fate: Fate,
}

impl Judged {
    /// Logs the fate of a song of the last scan.
    pub(super) fn tell(&self, is_kept: bool, log: &Logger) {
        let path = shown(&self.path);
        match &self.fate {
            Fate::Stays => {}
            Fate::Changed => info!(log, "Read again {path}"),
            Fate::Unreachable(place) if is_kept => {
                info!(log, "Kept {path}: {} cannot be reached", shown(place))
            }
            Fate::Unreachable(_) => {
                info!(log, "Removed {path}: it cannot be reached, and this loss is expected")
            }
            Fate::Gone => info!(log, "Removed {path}: the file is gone"),
            Fate::Spoiled => info!(log, "Removed {path}: the file is no song any more"),
            Fate::Excluded => info!(log, "Removed {path}: it is excluded"),
            Fate::GivenUp => info!(log, "Removed {path}: its folder is no longer named"),
            Fate::Moved(to) => {
                info!(log, "Moved {path} to {}, id {} to {}", shown(to), ids::song(&self.path), ids::song(to))
            }
        }
    }
}

/// Decides the fates of the files of the last scan.
pub(super) struct Judge<'a> {
    pub(super) previous: &'a Previous,
    pub(super) survey: &'a Survey<'a>,
    pub(super) roots: &'a [PathBuf],
    /// Roots that are missing, or cannot be listed.
    pub(super) absent: &'a [PathBuf],
    /// The paths that the scan looks at; `None` for everything below the roots.
    pub(super) scope: Option<&'a Scope>,
}

impl Judge<'_> {
    /// Returns the fate of every file of the last scan that has changed, in the order of the paths.
    pub(super) fn judge(&self) -> Vec<Judged> {
        let was_looked_at = |folder: &Folder| self.scope.is_none_or(|scope| scope.reaches_into(&folder.path));
        let folders = self.previous.files_by_folder().filter(|(folder, _)| was_looked_at(folder));
        let mut judged: Vec<Judged> = folders
            .flat_map(|(folder, indexes)| indexes.map(move |index| (folder, index)))
            .filter(|(_, index)| self.previous.file(*index).mark != Mark::Unchanged)
            .map(|(folder, index)| self.judged(folder, index, self.previous.file(index)))
            .filter(|judged| judged.fate != Fate::Stays)
            .collect();
        judged.sort_by(|a, b| a.path.cmp(&b.path));
        self.find_moved(&mut judged);
        judged
    }

    fn judged(&self, folder: &Folder, index: Index, known: &Known) -> Judged {
        let path = self.previous.path(folder, known);
        let fate = self.fate(&path, known);
        // A song that was never stored cannot be lost.
        let is_new =
            matches!(fate, Fate::Gone | Fate::Spoiled | Fate::Changed) && self.previous.is_rowless(&path);
        Judged { index, was_song: known.outcome == Outcome::Song && !is_new, path, fate }
    }

    fn fate(&self, path: &Path, known: &Known) -> Fate {
        match known.mark {
            Mark::Unchanged => return Fate::Stays,
            Mark::Read(outcome) if known.outcome == Outcome::Song && outcome != Outcome::Song => {
                return Fate::Spoiled;
            }
            Mark::Read(_) => return Fate::Changed,
            Mark::Unseen => {}
        }
        if self.scope.is_some_and(|scope| !scope.covers(path)) {
            return Fate::Stays;
        }
        if !self.roots.iter().any(|root| path.starts_with(root)) {
            return Fate::GivenUp;
        }
        if self.survey.unreachable.contains_key(path) || self.survey.broken_links.contains(path) {
            return Fate::Unreachable(path.to_owned());
        }
        match self.nearest(path) {
            Nearest::Excluded => Fate::Excluded,
            Nearest::Unreachable(place) => Fate::Unreachable(place.to_owned()),
            Nearest::Listed => Fate::Gone,
        }
    }

    /// Returns the state of the nearest folder above `path` that decides its fate.
    fn nearest<'p>(&self, path: &'p Path) -> Nearest<'p> {
        let mut is_listed = false;
        for place in path.ancestors() {
            if self.survey.excluded.contains(place) {
                return Nearest::Excluded;
            }
            if self.absent.iter().any(|root| root == place) {
                return Nearest::Unreachable(place);
            }
            let visited = self.survey.visited(place);
            let was_mount = self.previous.folder(place).is_some_and(|folder| folder.is_mount);
            let is_looked_at = visited.is_some() || !is_listed;
            if was_mount && is_looked_at && !visited.is_some_and(|visited| visited.is_mount) {
                return Nearest::Unreachable(place);
            }
            if let Some(visited) = visited
                && !is_listed
            {
                if visited.reach != Reach::Listed {
                    return Nearest::Unreachable(place);
                }
                is_listed = true;
            }
            let is_root = self.roots.iter().any(|root| root == place);
            if is_root && visited.is_some_and(|visited| visited.is_empty) {
                return Nearest::Unreachable(place);
            }
            let is_inside = self.roots.iter().any(|root| root != place && place.starts_with(root));
            if is_root && !is_inside {
                break;
            }
        }
        Nearest::Listed
    }

    /// Matches each song that is gone with a new file of the same content. No two songs share a
    /// file.
    fn find_moved(&self, judged: &mut [Judged]) {
        let mut newcomers: HashMap<(i64, i64), Vec<&PathBuf>> = HashMap::new();
        for (content, paths) in &self.survey.newcomers {
            let mut paths: Vec<&PathBuf> = paths.iter().collect();
            // The first path wins, so that the order of the threads does not matter.
            paths.sort_by(|a, b| b.cmp(a));
            newcomers.insert(*content, paths);
        }
        for song in judged.iter_mut().filter(|judged| judged.was_song && judged.fate == Fate::Gone) {
            let stamps = self.previous.file(song.index).stamps;
            let same = newcomers.get_mut(&(stamps.size, stamps.mtime_ns));
            if let Some(path) = same.and_then(Vec::pop) {
                song.fate = Fate::Moved(path.clone());
            }
        }
    }
}

/// The verdict of the folders above a path.
enum Nearest<'p> {
    Listed,
    Excluded,
    Unreachable(&'p Path),
}
