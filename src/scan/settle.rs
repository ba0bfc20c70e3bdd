//! What the survey means for the songs of the last scan: which stay, which go, whether that
//! is too much, and what is stored.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use slog::{Logger, info, warn};
use uuid::Uuid;

use super::error::ScanError;
use super::fate::{Fate, Judge, Judged};
use super::guard::{self, Expected};
use super::previous::{Previous, Row};
use super::report::{Fates, Report, shown};
use super::state::{Parts, State, is_kept};
use super::survey::{Reach, Survey};
use super::{Empty, Job};
use crate::ids;
use crate::model::library::Outcome;

/// Places whose songs stay unseen that are told one by one.
const PLACES_TOLD_MAX: usize = 20;

/// What a scan knows when it has seen everything.
pub(super) struct Scan<'a> {
    pub(super) roots: &'a [PathBuf],
    /// Roots that cannot be reached.
    pub(super) absent: &'a [PathBuf],
    pub(super) previous: &'a Previous,
    pub(super) expected: &'a Expected,
    pub(super) job: &'a Job,
    pub(super) log: &'a Logger,
}

/// What is to be stored and told.
pub(super) struct Settled {
    pub(super) state: State,
    /// Old and new ids of the songs whose files moved.
    pub(super) moved: Vec<(Uuid, Uuid)>,
    pub(super) report: Report,
}

impl Scan<'_> {
    /// Decides what is stored.
    ///
    /// # Errors
    /// If nothing was found, or too much would be lost.
    pub(super) fn settle(&self, survey: Survey) -> Result<Settled, ScanError> {
        let judged = Judge::new(self.previous, &survey, self.roots, self.absent).judge();
        let unreachable = self.unreachable(&survey, &judged);
        self.refuse_nothing(&survey, &judged)?;
        let mut losses = guard::losses(self.previous, &survey, &judged, self.expected);
        let (kept_rows, lost_rows) = self.unexplained(&survey, !unreachable.is_empty());
        losses.extend(guard::unexplained(self.previous, lost_rows, self.expected));
        if !losses.is_empty() {
            return Err(ScanError::TooMuchLost { losses });
        }
        let fates = self.tell(&judged, kept_rows.len(), lost_rows);
        let moved = judged
            .iter()
            .filter_map(|judged| match &judged.fate {
                Fate::Moved(to) => Some((ids::song(&judged.path), ids::song(to))),
                _ => None,
            })
            .collect();
        let (read, bytes, skipped) = (survey.read, survey.bytes, survey.skipped);
        let parts = Parts {
            previous: self.previous,
            survey,
            roots: self.roots,
            judged: &judged,
            kept_rows,
            expected: self.expected,
            now: jiff::Timestamp::now().as_second(),
        };
        let state = State::new(parts, self.log);
        let collection = &state.collection;
        if collection.songs.is_empty() && !self.may_be_empty() {
            return Err(ScanError::NothingReadable { skipped });
        }
        let report = Report {
            read,
            bytes,
            songs: collection.songs.len(),
            albums: collection.albums.len(),
            artists: collection.artists.len(),
            genres: collection.genres.len(),
            skipped,
            fates,
            unreachable: unreachable.len(),
            is_written: false,
        };
        Ok(Settled { state, moved, report })
    }

    fn may_be_empty(&self) -> bool {
        self.job.empty == Empty::Allowed || self.expected.all
    }

    /// Where something could not be reached, each place once.
    fn unreachable(&self, survey: &Survey, judged: &[Judged<'_>]) -> BTreeSet<PathBuf> {
        let mut places: BTreeSet<PathBuf> = survey.unreachable.keys().chain(self.absent).cloned().collect();
        let folders = survey.folders.iter().filter(|(_, visited)| visited.reach != Reach::Listed);
        places.extend(folders.map(|(path, _)| path.clone()));
        places.extend(judged.iter().filter_map(|judged| match &judged.fate {
            Fate::Unreachable(place) => Some(place.clone()),
            _ => None,
        }));
        let is_unknown = !self.previous.is_recorded() && !self.previous.unexplained.is_empty();
        for root in
            self.roots.iter().filter(|root| survey.folders.get(*root).is_some_and(|root| root.is_empty))
        {
            // The rows of another program do not tell where their files lay.
            if is_unknown {
                places.insert(root.clone());
            }
            warn!(self.log, "Folder {} is empty; is it mounted?", shown(root));
        }
        places
    }

    /// Finding no song where the last scan found some is no wish either.
    fn refuse_nothing(&self, survey: &Survey, judged: &[Judged<'_>]) -> Result<(), ScanError> {
        let found = survey.files.iter().any(|seen| seen.outcome == Outcome::Song);
        let empty: Vec<(PathBuf, String)> = self
            .roots
            .iter()
            .filter(|root| survey.folders.get(*root).is_some_and(|visited| visited.is_empty))
            .map(|root| (root.clone(), "it is empty".to_owned()))
            .collect();
        let songs = judged
            .iter()
            .filter(|judged| judged.was_song() && is_kept(judged, self.expected))
            .filter(|judged| empty.iter().any(|(root, _)| judged.path.starts_with(root)))
            .count();
        if found || songs == 0 || empty.len() + self.absent.len() < self.roots.len() {
            return Ok(());
        }
        Err(ScanError::NothingThere { roots: empty, songs })
    }

    /// The rows that no file explains: those that stay, because something could not be
    /// reached, and how many go.
    fn unexplained(&self, survey: &Survey, is_partial: bool) -> (Vec<Row>, usize) {
        let new: HashSet<Uuid> = survey
            .files
            .iter()
            .filter(|seen| seen.outcome == Outcome::Song)
            .map(|seen| ids::song(&seen.path))
            .collect();
        let rows = self.previous.unexplained.iter().filter(|row| !new.contains(&row.id));
        if is_partial && !self.expected.all {
            (rows.cloned().collect(), 0)
        } else {
            (Vec::new(), rows.count())
        }
    }

    /// Tells what became of the songs, and counts it.
    fn tell(&self, judged: &[Judged<'_>], kept_rows: usize, lost_rows: usize) -> Fates {
        let mut fates = Fates { kept: kept_rows, removed: lost_rows, ..Fates::default() };
        let mut places: BTreeMap<&Path, usize> = BTreeMap::new();
        for judged in judged.iter().filter(|judged| judged.was_song()) {
            match &judged.fate {
                Fate::Stays => {}
                Fate::Unreachable(place) if is_kept(judged, self.expected) => {
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
        if kept_rows > 0 {
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
