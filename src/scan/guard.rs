//! The guard against loss: a scan that would remove a large part of a root or a mount stores
//! nothing, unless the user confirms the loss.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::fate::{Fate, Judged};
use super::loss::Loss;
use super::previous::{Mark, Previous};
use super::survey::Survey;
use crate::model::library::Outcome;

/// A place may always lose this many songs, or this part of its songs (a divisor) if that is more.
const ALWAYS_ALLOWED: usize = 20;
const PART_ALLOWED: usize = 4;
/// Most lost folders that a refusal names.
const NAMED_MAX: usize = 5;

/// The losses that the user expects.
#[derive(Debug, Clone, Default)]
pub struct Expected {
    /// The user expects any loss.
    pub all: bool,
    /// The user expects losses at these absolute paths and below.
    pub below: Vec<PathBuf>,
}

impl Expected {
    /// Reports whether the user expects the loss of `path`.
    pub(super) fn covers(&self, path: &Path) -> bool {
        self.all || self.below.iter().any(|place| path.starts_with(place))
    }
}

/// Returns the places that would lose too much.
pub(super) fn losses(
    previous: &Previous,
    survey: &Survey<'_>,
    judged: &[Judged],
    expected: &Expected,
) -> Vec<Loss> {
    let mut places: BTreeMap<&Path, Count> = BTreeMap::new();
    for judged in judged.iter().filter(|judged| judged.was_song) {
        let is_lost = matches!(judged.fate, Fate::Gone | Fate::Spoiled) && !expected.covers(&judged.path);
        let Some(place) = place_of(previous, &judged.path).filter(|_| is_lost) else { continue };
        let count = places.entry(place).or_default();
        count.lost += 1;
        *count.folders.entry(top_folder(place, &judged.path)).or_default() += 1;
    }
    if places.is_empty() {
        return Vec::new();
    }
    for (folder, _, known) in previous.files() {
        if known.outcome == Outcome::Song
            && let Some(place) = place_of(previous, &folder.path)
            && let Some(count) = places.get_mut(place)
        {
            count.of += 1;
            count.left += usize::from(known.mark == Mark::Unchanged);
        }
    }
    for judged in judged.iter().filter(|judged| judged.was_song) {
        // Songs that leave on purpose do not count.
        if matches!(judged.fate, Fate::GivenUp | Fate::Excluded)
            && let Some(count) = place_of(previous, &judged.path).and_then(|place| places.get_mut(place))
        {
            count.of = count.of.saturating_sub(1);
        }
    }
    let has_new = |place: &Path| survey.song_folders.iter().any(|folder| folder.starts_with(place));
    places
        .into_iter()
        .filter(|(place, count)| {
            is_too_much(count.lost, count.of)
                || (count.lost == count.of && count.left == 0 && !has_new(place))
        })
        .map(|(place, count)| count.loss(Some(place.to_owned())))
        .collect()
}

/// Returns the loss of rows that no file explains, if it is too large. If no scan of this program
/// has recorded its roots, losing all rows is too much, however few they are.
pub(super) fn unexplained(previous: &Previous, lost: usize, expected: &Expected) -> Option<Loss> {
    let of = previous.unexplained.len();
    let all = !previous.is_recorded() && lost > 0 && lost == of;
    let refused = !expected.all && (is_too_much(lost, of) || all);
    refused.then(|| Loss { place: None, lost, of, folders: Vec::new() })
}

/// Reports whether a loss of `lost` out of `of` songs is too large.
fn is_too_much(lost: usize, of: usize) -> bool {
    lost > ALWAYS_ALLOWED.max(of / PART_ALLOWED)
}

/// Returns the root or mount in which the last scan found the song at `path`.
fn place_of<'a>(previous: &'a Previous, path: &Path) -> Option<&'a Path> {
    path.ancestors()
        .filter_map(|place| previous.folder(place))
        .find(|folder| folder.is_mount || folder.root == folder.id)
        .map(|folder| &*folder.path)
}

/// Returns the folder directly in `place` that holds `path`, or `place` itself.
fn top_folder(place: &Path, path: &Path) -> PathBuf {
    let inside = path.strip_prefix(place).ok().and_then(Path::parent);
    let first = inside.and_then(|folders| folders.components().next());
    first.map_or_else(|| place.to_owned(), |first| place.join(first))
}

#[derive(Debug, Default)]
struct Count {
    of: usize,
    /// Songs that are unchanged.
    left: usize,
    lost: usize,
    folders: BTreeMap<PathBuf, usize>,
}

impl Count {
    fn loss(self, place: Option<PathBuf>) -> Loss {
        let mut folders: Vec<(PathBuf, usize)> = self.folders.into_iter().collect();
        folders.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        folders.truncate(NAMED_MAX);
        Loss { place, lost: self.lost, of: self.of, folders }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_songs_or_a_quarter_may_go() {
        for (lost, of, refused) in [
            (20, 20, false),
            (21, 21, true),
            (21, 40, true),
            (20, 40, false),
            (25, 100, false),
            (26, 100, true),
        ] {
            assert_eq!(is_too_much(lost, of), refused, "{lost} of {of}");
        }
    }

    #[test]
    fn a_lost_song_counts_for_the_folder_at_the_top() {
        for (path, folder) in
            [("/music/a/b/c.mp3", "/music/a"), ("/music/a/c.mp3", "/music/a"), ("/music/c.mp3", "/music")]
        {
            assert_eq!(top_folder(Path::new("/music"), Path::new(path)), Path::new(folder), "{path}");
        }
    }

    #[test]
    fn a_refusal_names_place_counts_and_folders() {
        let loss = Loss {
            place: Some("/music".into()),
            lost: 30,
            of: 40,
            folders: vec![("/music/a".into(), 20), ("/music/b".into(), 10)],
        };
        assert_eq!(loss.to_string(), "30 of 40 songs below /music, most in /music/a (20), /music/b (10)");
    }
}
