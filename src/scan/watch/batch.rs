//! The paths that the next pass looks at.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// With more paths than this, the pass looks at everything.
const PATHS_MAX: usize = 5_000;

/// Paths to look at, or everything.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// The reason for a look at everything; `None` if `paths` suffice.
    pub(super) all: Option<&'static str>,
    /// Each path below the roots, and whether all folders below it may have changed.
    pub(super) paths: BTreeMap<PathBuf, bool>,
}

impl Batch {
    /// Returns a batch of everything, for this reason.
    pub(super) fn everything(why: &'static str) -> Batch {
        Batch { all: Some(why), paths: BTreeMap::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_none() && self.paths.is_empty()
    }

    pub(super) fn add(&mut self, path: PathBuf, deep: bool) {
        if self.all.is_none() {
            *self.paths.entry(path).or_default() |= deep;
        }
        if self.paths.len() > PATHS_MAX {
            *self = Batch::everything("too much has changed");
        }
    }

    pub(super) fn merge(&mut self, other: Batch) {
        match other.all {
            Some(why) => *self = Batch::everything(self.all.unwrap_or(why)),
            None => other.paths.into_iter().for_each(|(path, deep)| self.add(path, deep)),
        }
    }

    /// Splits the batch into existing and missing paths. If only one kind is present, it is the
    /// second.
    pub(super) fn split(self) -> (Batch, Batch) {
        let is_there = |path: &PathBuf| path.symlink_metadata().is_ok();
        if self.all.is_some() || self.paths.keys().all(is_there) {
            return (Batch::default(), self);
        }
        let (there, gone) = self.paths.into_iter().partition(|(path, _)| is_there(path));
        (Batch { all: None, paths: there }, Batch { all: None, paths: gone })
    }

    /// Returns the paths for the scan; `None` for everything. No path lies below another.
    pub(super) fn only(&self) -> Option<Vec<PathBuf>> {
        if self.all.is_some() {
            return None;
        }
        let mut only: Vec<PathBuf> = Vec::new();
        // Paths below a path follow right after it.
        for path in self.paths.keys() {
            if !only.last().is_some_and(|last| path.starts_with(last)) {
                only.push(path.clone());
            }
        }
        Some(only)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_path_covers_those_below_it() {
        let mut batch = Batch::default();
        assert!(batch.is_empty());
        for path in ["/a/b/c", "/a/b", "/a/b.mp3", "/a/b c/d", "/a/b/c/d", "/e"] {
            batch.add(path.into(), false);
        }
        let expected = ["/a/b", "/a/b c/d", "/a/b.mp3", "/e"].map(PathBuf::from);
        assert_eq!(batch.only(), Some(expected.to_vec()));
        batch.add("/e".into(), true);
        batch.add("/e".into(), false);
        assert!(batch.paths[Path::new("/e")]);
    }

    #[test]
    fn missing_paths_are_split_from_existing_ones() {
        let home = tempfile::tempdir().expect("folder");
        let (there, gone) = (home.path().to_owned(), home.path().join("gone"));
        let batch = |paths: &[&PathBuf]| {
            let mut batch = Batch::default();
            paths.iter().for_each(|path| batch.add((*path).clone(), false));
            batch
        };
        let split = |paths: &[&PathBuf]| {
            let (there, gone) = batch(paths).split();
            (there.paths.into_keys().collect::<Vec<_>>(), gone.paths.into_keys().collect::<Vec<_>>())
        };
        assert_eq!(split(&[&there, &gone]), (vec![there.clone()], vec![gone.clone()]));
        assert_eq!(split(&[&gone]), (vec![], vec![gone.clone()]));
        assert_eq!(split(&[&there]), (vec![], vec![there.clone()]));
    }

    #[test]
    fn too_many_paths_are_everything_and_everything_covers_all() {
        let mut batch = Batch::default();
        for number in 0..=PATHS_MAX {
            assert!(batch.all.is_none());
            batch.add(format!("/a/{number}").into(), false);
        }
        assert!(batch.all.is_some() && batch.only().is_none());
        let mut other = Batch::default();
        other.add("/a".into(), false);
        other.merge(batch);
        other.add("/b".into(), false);
        assert!(other.only().is_none() && other.paths.is_empty() && !other.is_empty());
    }
}
