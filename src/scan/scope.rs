//! The scope of a scan of some paths alone: the folders that it lists, and the rules that hold for
//! them although the folders above are not listed.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::ScanError;
use super::exclude::Patterns;
use super::previous::Previous;
use super::roots;
use super::walk::{self, Folder};

/// The paths that a scan looks at.
#[derive(Debug, Default)]
pub(super) struct Scope {
    paths: HashSet<PathBuf>,
}

impl Scope {
    /// Creates a scope of these paths, made absolute, and everything below them.
    ///
    /// # Errors
    /// If a path cannot be made absolute.
    pub(super) fn new(paths: &[PathBuf]) -> Result<Scope, ScanError> {
        Ok(Scope { paths: paths.iter().map(|path| roots::absolute(path)).collect::<Result<_, _>>()? })
    }

    /// Reports whether `path` is one of the paths or lies below one.
    pub(super) fn covers(&self, path: &Path) -> bool {
        path.ancestors().any(|place| self.paths.contains(place))
    }

    /// Reports whether `folder` may hold a file of the scope.
    pub(super) fn reaches_into(&self, folder: &Path) -> bool {
        self.covers(folder) || self.paths.iter().any(|path| path.parent() == Some(folder))
    }

    /// Returns the paths that lie below no other, in order.
    fn outermost(&self) -> Vec<&PathBuf> {
        let is_outermost = |path: &&PathBuf| !path.parent().is_some_and(|above| self.covers(above));
        let mut paths: Vec<&PathBuf> = self.paths.iter().filter(is_outermost).collect();
        paths.sort();
        paths
    }
}

/// The starting points of a scan.
pub(super) struct Start {
    pub(super) folders: Vec<Folder>,
    /// Folders above the paths that the patterns pass over.
    pub(super) excluded: Vec<PathBuf>,
}

/// Starts at all of the roots. The walk finds a root that lies inside another.
pub(super) fn whole(roots: &[PathBuf], patterns: &Arc<Patterns>, wants_stamps: bool) -> Start {
    let is_outermost = |root: &&PathBuf| !roots.iter().any(|other| other != *root && root.starts_with(other));
    let folder = |root: &PathBuf| Folder {
        path: root.clone(),
        root: Arc::from(root.as_path()),
        parent_device: walk::device_above(root),
        patterns: patterns.clone(),
        wants_stamps,
        only: None,
    };
    Start { folders: roots.iter().filter(is_outermost).map(folder).collect(), excluded: Vec::new() }
}

/// Starts at the paths of the scope, each of which lies below one of the roots. The scan lists the
/// folder above each path for its name: this tells a path that is gone from one that is out of
/// reach.
///
/// # Errors
/// If a path lies below none of the roots.
pub(super) fn parts(
    scope: &Scope,
    roots: &[PathBuf],
    patterns: &Arc<Patterns>,
    previous: &Previous,
) -> Result<Start, ScanError> {
    let mut names: BTreeMap<(PathBuf, PathBuf), HashSet<OsString>> = BTreeMap::new();
    let mut start = Start { folders: Vec::new(), excluded: Vec::new() };
    let mut whole_roots = Vec::new();
    for path in scope.outermost() {
        let root =
            roots.iter().filter(|root| path.starts_with(root)).max_by_key(|root| root.as_os_str().len());
        let Some(root) = root else {
            return Err(ScanError::OutsideRoots { path: path.clone(), roots: roots.to_vec() });
        };
        match nearest_listed(path, root) {
            Some((folder, name)) => {
                names.entry((folder, root.clone())).or_default().insert(name);
            }
            None => whole_roots.push(root.clone()),
        }
    }
    start.folders = whole(&whole_roots, patterns, true).folders;
    for ((folder, root), names) in names {
        if whole_roots.iter().any(|whole| folder.starts_with(whole)) {
            continue;
        }
        match patterns_at(&folder, &root, patterns) {
            Ok(patterns) => start.folders.push(Folder {
                root: Arc::from(root.as_path()),
                parent_device: walk::device_above(&folder),
                patterns,
                wants_stamps: previous.folder(&folder).is_some(),
                only: Some(Arc::new(names)),
                path: folder,
            }),
            Err(excluded) => start.excluded.push(excluded),
        }
    }
    Ok(start)
}

/// Returns the nearest existing folder above `path`, at or below `root`, and the name in it that
/// leads to `path`; `None` if `path` is the root, or the root does not exist. A link to a folder
/// counts as a name, as in a scan of everything.
fn nearest_listed(path: &Path, root: &Path) -> Option<(PathBuf, OsString)> {
    if !root.is_dir() {
        return None;
    }
    let mut names = path.strip_prefix(root).ok()?.iter();
    let (mut folder, mut name) = (root.to_owned(), names.next()?);
    for next in names {
        let below = folder.join(name);
        if !below.symlink_metadata().is_ok_and(|found| found.is_dir()) {
            break;
        }
        (folder, name) = (below, next);
    }
    Some((folder, name.to_owned()))
}

/// Returns the patterns that hold above `folder`, or the folder that they exclude.
fn patterns_at(folder: &Path, root: &Path, everywhere: &Arc<Patterns>) -> Result<Arc<Patterns>, PathBuf> {
    let mut above: Vec<&Path> = folder.ancestors().take_while(|place| *place != root).collect();
    above.reverse();
    let mut patterns = everywhere.clone();
    let mut holder = root;
    for place in above {
        // The listing of the folder reports an unreadable file.
        if let Ok((more, _)) = patterns.below(holder) {
            patterns = more;
        }
        if patterns.exclude(place, true) {
            return Err(place.to_owned());
        }
        holder = place;
    }
    Ok(patterns)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_path_is_looked_for_in_the_nearest_folder_that_is_there() {
        let home = tempfile::tempdir().expect("folder");
        let root = home.path().to_owned();
        std::fs::create_dir_all(root.join("a/b")).expect("folders");
        std::fs::create_dir(root.join("@eaDir")).expect("folder");
        std::os::unix::fs::symlink(root.join("a"), root.join("link")).expect("link");
        let patterns = Arc::new(Patterns::everywhere(&[]).expect("patterns"));
        let previous = Previous::default();
        let start = |path: &Path| {
            let scope = Scope::new(&[path.to_owned()]).expect("a scope");
            parts(&scope, std::slice::from_ref(&root), &patterns, &previous).expect("a start")
        };
        for (path, folder, name) in [
            ("a/b", "a", "b"),
            ("a/b/c.mp3", "a/b", "c.mp3"),
            ("a/x/y/z", "a", "x"),
            ("x", "", "x"),
            ("link/b/c.mp3", "", "link"),
            ("link", "", "link"),
        ] {
            let start = start(&root.join(path));
            assert_eq!(start.folders.len(), 1, "{path}");
            assert_eq!(start.folders[0].path, root.join(folder).components().collect::<PathBuf>(), "{path}");
            let names: Vec<_> = start.folders[0].only.iter().flat_map(|names| names.iter()).collect();
            assert_eq!(names, [name], "{path}");
        }
        assert!(start(&root).folders[0].only.is_none());
        assert_eq!(start(&root.join("@eaDir/x")).excluded, [root.join("@eaDir")]);
        // The scan finds each file once.
        let both: Vec<PathBuf> =
            ["a/b/c.mp3", "a/b", "a", "a", "a/x", "ab"].map(|path| root.join(path)).into();
        let scope = |paths: &[PathBuf]| Scope::new(paths).expect("a scope");
        let once = parts(&scope(&both), std::slice::from_ref(&root), &patterns, &previous).expect("a start");
        let names = once.folders.iter().flat_map(|folder| folder.only.as_deref().expect("names"));
        let names: BTreeSet<_> = names.map(|name| name.as_encoded_bytes()).collect();
        assert_eq!((once.folders.len(), names), (1, BTreeSet::from([&b"a"[..], b"ab"])));
        let inner = [root.clone(), root.join("a/b")];
        for paths in [&inner[..], &[root.clone(), root.clone()], &[root.join("a"), root.join("a/b")]] {
            assert_eq!(parts(&scope(paths), &inner, &patterns, &previous).expect("a start").folders.len(), 1);
        }
        let outside =
            parts(&Scope::new(&["/elsewhere".into()]).expect("a scope"), &[root], &patterns, &previous);
        assert!(matches!(outside, Err(ScanError::OutsideRoots { .. })));
    }

    /// Otherwise the scan would list, read and count its files twice.
    #[test]
    fn a_path_below_another_is_looked_at_once() {
        let paths = ["/m/a/b.mp3", "/m/a", "/m/ab", "/m/a/c/d"].map(PathBuf::from);
        let scope = Scope::new(&paths).expect("a scope");
        assert_eq!(scope.outermost(), [&PathBuf::from("/m/a"), &PathBuf::from("/m/ab")]);
        for (path, is_covered) in [("/m/a", true), ("/m/a/x/y", true), ("/m/abc", false), ("/m", false)] {
            assert_eq!(scope.covers(Path::new(path)), is_covered, "{path}");
        }
    }
}
