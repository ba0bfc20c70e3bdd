//! What became of each file of the last scan. Only a name that is missing from a folder
//! which was listed to its end, in a root and on a mount that are present, is gone. All
//! else is out of reach, and its row stays.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::previous::Previous;
use super::roots::holds;
use super::survey::{Reach, Seen, Survey};
use crate::model::library::{File, Outcome};

/// What became of one file of the last scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// It was read, and is a song if it was one.
    Stays,
    /// It was read, and is no song any more.
    Spoiled,
    /// It is not where it was.
    Gone,
    /// It is not where it was, and a new file has its content.
    Moved(PathBuf),
    /// It, or a folder above it, cannot be reached: where.
    Unreachable(PathBuf),
    /// The scan is told to pass it over.
    Excluded,
    /// It lies below a root that is no longer named.
    GivenUp,
}

/// A file of the last scan and its fate.
#[derive(Debug)]
pub(super) struct Judged<'a> {
    pub(super) path: PathBuf,
    pub(super) file: &'a File,
    pub(super) fate: Fate,
}

impl Judged<'_> {
    /// Whether the last scan found a song in the file.
    pub(super) fn was_song(&self) -> bool {
        self.file.outcome == Outcome::Song
    }
}

/// Decides about the files of the last scan.
pub(super) struct Judge<'a, 's> {
    previous: &'a Previous,
    survey: &'s Survey,
    roots: &'s [PathBuf],
    /// Roots that are missing, or cannot be listed.
    absent: &'s [PathBuf],
    seen: HashMap<&'s Path, &'s Seen>,
    /// New files by what makes a file the same under another path.
    newcomers: HashMap<Content, Vec<&'s Path>>,
}

/// What stays when a file moves.
type Content = (i64, i64);

impl<'a, 's> Judge<'a, 's> {
    /// A judge over the files of `previous`. `absent` are those of `roots` that could not
    /// be visited.
    pub(super) fn new(
        previous: &'a Previous,
        survey: &'s Survey,
        roots: &'s [PathBuf],
        absent: &'s [PathBuf],
    ) -> Judge<'a, 's> {
        let mut newcomers: HashMap<Content, Vec<&Path>> = HashMap::new();
        for seen in survey.files.iter().rev().filter(|seen| seen.outcome == Outcome::Song) {
            let known = seen
                .path
                .parent()
                .zip(seen.path.file_name())
                .is_some_and(|(folder, name)| previous.file(folder, name).is_some());
            if !known {
                newcomers.entry((seen.stamps.size, seen.stamps.mtime_ns)).or_default().push(&seen.path);
            }
        }
        let seen = survey.files.iter().map(|seen| (seen.path.as_path(), seen)).collect();
        Judge { previous, survey, roots, absent, seen, newcomers }
    }

    /// The fate of every file of the last scan, in the order of the paths.
    pub(super) fn judge(mut self) -> Vec<Judged<'a>> {
        let mut files: Vec<(PathBuf, &File)> = self.previous.files().collect();
        // In order, so that among equal files the same ones count as moved each time.
        files.sort_by(|(a, _), (b, _)| a.cmp(b));
        files.into_iter().map(|(path, file)| Judged { fate: self.fate(&path, file), path, file }).collect()
    }

    fn fate(&mut self, path: &Path, file: &File) -> Fate {
        if let Some(seen) = self.seen.get(path) {
            let spoiled = file.outcome == Outcome::Song && seen.outcome != Outcome::Song;
            return if spoiled { Fate::Spoiled } else { Fate::Stays };
        }
        if !self.roots.iter().any(|root| holds(root, path)) {
            return Fate::GivenUp;
        }
        if self.survey.unreachable.contains_key(path) || self.survey.broken_links.contains(path) {
            return Fate::Unreachable(path.to_owned());
        }
        match self.nearest(path) {
            Nearest::Excluded => Fate::Excluded,
            Nearest::Unreachable(place) => Fate::Unreachable(place.to_owned()),
            Nearest::Listed => match self.newcomer(file) {
                Some(path) => Fate::Moved(path),
                None => Fate::Gone,
            },
        }
    }

    /// What the folders above `path` say, from the inside out.
    fn nearest<'p>(&self, path: &'p Path) -> Nearest<'p> {
        let mut listed = None;
        for place in path.ancestors() {
            if self.survey.excluded.contains(place) {
                return Nearest::Excluded;
            }
            if self.absent.iter().any(|root| root == place) {
                return Nearest::Unreachable(place);
            }
            let visited = self.survey.folders.get(place);
            let was_mount = self.previous.folder(place).is_some_and(|folder| folder.is_mount);
            if was_mount && !visited.is_some_and(|visited| visited.is_mount) {
                return Nearest::Unreachable(place);
            }
            if let Some(visited) = visited
                && listed.is_none()
            {
                if visited.reach != Reach::Listed {
                    return Nearest::Unreachable(place);
                }
                listed = Some(place);
            }
            if self.roots.iter().any(|root| root == place) {
                if visited.is_some_and(|visited| visited.is_empty) {
                    return Nearest::Unreachable(place);
                }
                if !self.roots.iter().any(|root| root != place && holds(root, place)) {
                    break;
                }
            }
        }
        Nearest::Listed
    }

    /// A new song with the content of `file`, which then is not given to another.
    fn newcomer(&mut self, file: &File) -> Option<PathBuf> {
        if file.outcome != Outcome::Song {
            return None;
        }
        let content = (file.stamps.size, file.stamps.mtime_ns);
        self.newcomers.get_mut(&content)?.pop().map(Path::to_owned)
    }
}

/// What the folders above a path say of it.
enum Nearest<'p> {
    Listed,
    Excluded,
    Unreachable(&'p Path),
}
