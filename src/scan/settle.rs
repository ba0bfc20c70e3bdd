//! The consequences of the survey for the songs of the last scan: which stay, which go, whether the
//! loss is too large, and which rows are stored.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use slog::{Logger, info, warn};
use uuid::Uuid;

use super::error::ScanError;
use super::fate::{Fate, Judge, Judged};
use super::folders::Reach;
use super::guard::{self, Expected};
use super::job::{Empty, Job};
use super::previous::{Index, Previous};
use super::report::Fates;
use super::row::Row;
use super::scope::Scope;
use super::shown::shown;
use super::survey::Survey;

/// Most unseen places whose songs stay that the log names one by one.
const PLACES_TOLD_MAX: usize = 20;

/// The state of a scan after the survey.
pub(super) struct Scan<'a> {
    pub(super) roots: &'a [PathBuf],
    /// Roots that cannot be reached.
    pub(super) absent: &'a [PathBuf],
    /// The paths that the scan looks at; `None` for everything below the roots.
    pub(super) scope: Option<&'a Scope>,
    pub(super) previous: &'a Previous,
    pub(super) expected: &'a Expected,
    pub(super) job: &'a Job,
    pub(super) log: &'a Logger,
}

/// The decisions.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// Files whose record goes or is replaced, by number, in order.
    pub(super) replaced: Vec<Index>,
    /// Folders of files that stay though they were not seen.
    pub(super) kept_folders: HashSet<PathBuf>,
    /// Number, old and new path of each song whose file moved.
    pub(super) moved: Vec<(Index, PathBuf, PathBuf)>,
    /// Whether the scan looked at some paths only.
    pub(super) is_partial: bool,
    /// Rows that no file explains and that stay.
    pub(super) kept_rows: Vec<Row>,
    pub(super) fates: Fates,
    /// Files, folders and roots that could not be reached.
    pub(super) unreachable: usize,
}

impl Settled {
    /// Returns those of `indexes` whose record goes or is replaced.
    pub(super) fn replaced_in(&self, indexes: Range<Index>) -> impl Iterator<Item = Index> {
        let start = self.replaced.partition_point(|index| *index < indexes.start);
        self.replaced[start..].iter().copied().take_while(move |index| *index < indexes.end)
    }

    /// Reports whether the record of a file stays unchanged.
    pub(super) fn stays(&self, index: Index) -> bool {
        self.replaced.binary_search(&index).is_err()
    }
}

impl Scan<'_> {
    /// Decides which records and rows stay.
    ///
    /// # Errors
    /// If no song was found, or too much would be lost.
    pub(super) fn settle(&self, survey: &Survey<'_>) -> Result<Settled, ScanError> {
        let Scan { previous, roots, absent, scope, .. } = *self;
        let judged = Judge { previous, survey, roots, absent, scope }.judge();
        let unreachable = self.unreachable(survey, &judged);
        self.refuse_nothing(survey, &judged)?;
        let mut losses = guard::losses(previous, survey, &judged, self.expected);
        let (kept_rows, lost_rows) = self.unexplained(survey, !unreachable.is_empty());
        losses.extend(guard::unexplained(previous, lost_rows, self.expected));
        if !losses.is_empty() {
            return Err(ScanError::TooMuchLost { losses });
        }
        let fates = self.tell(&judged, kept_rows.len(), lost_rows);
        let is_empty = survey.songs + fates.kept == 0 && scope.is_none();
        if is_empty && !(self.job.empty == Empty::Allowed || self.expected.all) {
            return Err(ScanError::NothingReadable { skipped: survey.skips.counts });
        }
        Ok(self.decide(judged, kept_rows, fates, unreachable.len()))
    }

    fn decide(&self, judged: Vec<Judged>, kept_rows: Vec<Row>, fates: Fates, unreachable: usize) -> Settled {
        let is_partial = self.scope.is_some();
        let mut settled = Settled { is_partial, kept_rows, fates, unreachable, ..Settled::default() };
        for judged in judged {
            match judged.fate {
                Fate::Stays => {}
                Fate::Unreachable(_) if !self.expected.covers(&judged.path) => {
                    settled.kept_folders.extend(judged.path.parent().map(Path::to_owned));
                }
                Fate::Changed
                | Fate::Spoiled
                | Fate::Gone
                | Fate::Unreachable(_)
                | Fate::Excluded
                | Fate::GivenUp => {
                    settled.replaced.push(judged.index);
                }
                Fate::Moved(to) => {
                    settled.replaced.push(judged.index);
                    settled.moved.push((judged.index, judged.path, to));
                }
            }
        }
        settled.replaced.sort_unstable();
        settled
    }

    /// Returns the places that could not be reached, each once.
    fn unreachable(&self, survey: &Survey<'_>, judged: &[Judged]) -> BTreeSet<PathBuf> {
        let mut places: BTreeSet<PathBuf> = survey.unreachable.keys().chain(self.absent).cloned().collect();
        let folders = survey.folders.all_visited().filter(|(_, visited)| visited.reach != Reach::Listed);
        places.extend(folders.map(|(path, _)| path.to_owned()));
        places.extend(judged.iter().filter_map(|judged| match &judged.fate {
            Fate::Unreachable(place) => Some(place.clone()),
            _ => None,
        }));
        let is_unknown = !self.previous.is_recorded() && !self.previous.unexplained.is_empty();
        for root in self.roots.iter().filter(|root| survey.visited(root).is_some_and(|root| root.is_empty)) {
            // The rows of another program do not say where their files lay.
            if is_unknown {
                places.insert(root.clone());
            }
            warn!(self.log, "Folder {} is empty; is it mounted?", shown(root));
        }
        places
    }

    /// Refuses to store an empty collection if the last scan found songs.
    fn refuse_nothing(&self, survey: &Survey<'_>, judged: &[Judged]) -> Result<(), ScanError> {
        let empty: Vec<(PathBuf, String)> = self
            .roots
            .iter()
            .filter(|root| survey.visited(root).is_some_and(|visited| visited.is_empty))
            .map(|root| (root.clone(), "it is empty".to_owned()))
            .collect();
        let songs = judged
            .iter()
            .filter(|judged| judged.was_song && self.is_kept(judged))
            .filter(|judged| empty.iter().any(|(root, _)| judged.path.starts_with(root)))
            .count();
        if survey.songs > 0 || songs == 0 || empty.len() + self.absent.len() < self.roots.len() {
            return Ok(());
        }
        Err(ScanError::NothingThere { roots: empty, songs })
    }

    /// Reports whether the record of a file stays though the file could not be reached.
    fn is_kept(&self, judged: &Judged) -> bool {
        matches!(judged.fate, Fate::Unreachable(_)) && !self.expected.covers(&judged.path)
    }

    /// Returns the rows that no file explains and that stay because a place could not be reached,
    /// and the number of those that go.
    fn unexplained(&self, survey: &Survey<'_>, is_partial: bool) -> (Vec<Row>, usize) {
        let was_read = |id: &Uuid| survey.read_songs.binary_search_by_key(id, |(id, _)| *id).is_ok();
        let rows = self.previous.unexplained.iter().filter(|row| !was_read(&row.id));
        if (is_partial || self.scope.is_some()) && !self.expected.all {
            (rows.cloned().collect(), 0)
        } else {
            (Vec::new(), rows.count())
        }
    }

    /// Logs the fates of the songs, and counts them.
    fn tell(&self, judged: &[Judged], kept_rows: usize, lost_rows: usize) -> Fates {
        let mut fates = Fates { kept: kept_rows, removed: lost_rows, ..Fates::default() };
        let mut places: BTreeMap<&Path, usize> = BTreeMap::new();
        for judged in judged.iter().filter(|judged| judged.was_song) {
            if self.job.verbose {
                judged.tell(self.is_kept(judged), self.log);
            }
            match &judged.fate {
                Fate::Stays => {}
                Fate::Changed => fates.changed += 1,
                Fate::Unreachable(place) if self.is_kept(judged) => {
                    fates.kept += 1;
                    *places.entry(place).or_default() += 1;
                }
                Fate::Spoiled | Fate::Gone | Fate::Unreachable(_) => fates.removed += 1,
                Fate::Moved(_) => fates.moved += 1,
                Fate::Excluded => fates.excluded += 1,
                Fate::GivenUp => fates.given_up += 1,
            }
        }
        for (place, songs) in places.iter().take(PLACES_TOLD_MAX) {
            warn!(self.log, "{songs} songs of {} cannot be reached and stay as they were", shown(place));
        }
        if let Some(more) = places.len().checked_sub(PLACES_TOLD_MAX + 1) {
            warn!(self.log, "The songs of {} more places cannot be reached and stay as they were", more + 1);
        }
        if kept_rows > 0 && self.scope.is_none() {
            warn!(
                self.log,
                "{kept_rows} songs that another program stored stay: not everything could be reached"
            );
        }
        if fates.given_up > 0 {
            info!(
                self.log,
                "{} songs of folders that are no longer named leave the collection", fates.given_up
            );
        }
        if fates.excluded > 0 {
            info!(self.log, "{} songs that are excluded now leave the collection", fates.excluded);
        }
        fates
    }
}
