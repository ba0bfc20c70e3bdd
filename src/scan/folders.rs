//! The folders that a scan visits, and the numbers that they have in the database: those
//! that the last scan knew keep theirs.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::previous::Previous;
use super::stamping::{Stamping, UNSTABLE};
use crate::model::library::Folder;

/// What came of visiting a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reach {
    /// It was listed to its end.
    Listed,
    /// It could not be listed, or not to its end: why.
    Unreachable(String),
}

/// A folder that was visited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Visited {
    pub(super) reach: Reach,
    pub(super) root: Arc<Path>,
    pub(super) is_mount: bool,
    pub(super) fs_type: i64,
    /// Which stamps of its files can be believed.
    pub(super) stamping: Stamping,
    /// Whether it holds nothing at all.
    pub(super) is_empty: bool,
}

/// The folders that were visited, and the numbers of those that are stored.
#[derive(Debug)]
pub(super) struct Folders<'a> {
    roots: &'a [PathBuf],
    /// A path that the last scan knew is that of [`Previous`], and takes memory once.
    visited: HashMap<Arc<Path>, Visited>,
    /// The folders that hold files that are stored, mounts and roots.
    needed: HashMap<Arc<Path>, i64>,
    next: i64,
}

impl<'a> Folders<'a> {
    /// None yet; numbers go on behind those of the last scan.
    pub(super) fn new(roots: &'a [PathBuf], previous: &Previous) -> Folders<'a> {
        let (visited, needed) = (HashMap::new(), HashMap::new());
        let mut folders = Folders { roots, visited, needed, next: previous.last_folder() + 1 };
        for root in roots {
            folders.id(root, previous);
        }
        folders
    }

    /// Notes what came of visiting the folder at `path`.
    pub(super) fn visit(&mut self, path: &Path, visited: Visited, previous: &Previous) {
        self.visited.insert(shared(path, previous), visited);
    }

    /// The folder that was visited at `path`.
    pub(super) fn visited(&self, path: &Path) -> Option<&Visited> {
        self.visited.get(path)
    }

    /// All that were visited.
    pub(super) fn all_visited(&self) -> impl Iterator<Item = (&Path, &Visited)> {
        self.visited.iter().map(|(path, visited)| (&**path, visited))
    }

    /// Notes that the inodes of files below `root` do not last.
    pub(super) fn mark_unstable(&mut self, root: &Path) {
        if let Some(visited) = self.visited.get_mut(root) {
            visited.fs_type = UNSTABLE;
        }
    }

    /// The number of the folder at `path`, which then is stored.
    pub(super) fn id(&mut self, path: &Path, previous: &Previous) -> i64 {
        if let Some(id) = self.needed.get(path) {
            return *id;
        }
        let id = previous.folder(path).map_or(self.next, |folder| folder.id);
        self.next = self.next.max(id + 1);
        self.needed.insert(shared(path, previous), id);
        id
    }

    /// The folders with greater numbers than `last` that hold files to store, by number.
    pub(super) fn since(&self, last: i64, previous: &Previous) -> Vec<Folder> {
        let (roots, none) = (self.numbered_roots(), HashSet::new());
        let new = self.needed.iter().filter(|(_, id)| **id > last);
        let mut folders: Vec<Folder> =
            new.map(|(path, id)| self.record(path.clone(), *id, &roots, previous, &none)).collect();
        folders.sort_by_key(|folder| folder.id);
        folders
    }

    /// The paths of the folders that are stored, by number.
    pub(super) fn paths(&self) -> HashMap<i64, &Path> {
        self.needed.iter().map(|(path, id)| (*id, &**path)).collect()
    }

    /// What is stored of the folders: those that are needed, the mounts that were visited, and
    /// the `staying` ones. Above the `kept` ones, whose songs stay though they could not be
    /// reached, the mounts are kept too: the next scan must know that something should be
    /// mounted there.
    pub(super) fn stored(
        mut self,
        previous: &Previous,
        staying: &[&Path],
        kept: &HashSet<PathBuf>,
    ) -> Vec<Folder> {
        let mounts: Vec<Arc<Path>> = self
            .visited
            .iter()
            .filter(|(_, visited)| visited.is_mount)
            .map(|(path, _)| Arc::clone(path))
            .collect();
        let absent: HashSet<&Path> = kept
            .iter()
            .flat_map(|path| path.ancestors())
            .filter(|place| previous.folder(place).is_some_and(|folder| folder.is_mount))
            .collect();
        for path in mounts.iter().map(|path| &**path).chain(staying.iter().copied()) {
            self.id(path, previous);
        }
        for path in &absent {
            self.id(path, previous);
        }
        let roots = self.numbered_roots();
        // The paths move: of a large collection they take as much memory as its names.
        let needed = std::mem::take(&mut self.needed).into_iter();
        let mut folders: Vec<Folder> =
            needed.map(|(path, id)| self.record(path, id, &roots, previous, &absent)).collect();
        folders.sort_unstable_by_key(|folder| folder.id);
        folders
    }

    /// The roots that are stored, with their numbers; of several that hold a folder the first is the
    /// innermost.
    fn numbered_roots(&self) -> Vec<(&'a Path, i64)> {
        let numbered =
            self.roots.iter().filter_map(|root| Some((root.as_path(), *self.needed.get(root.as_path())?)));
        let mut roots: Vec<_> = numbered.collect();
        roots.sort_by_key(|(root, _)| std::cmp::Reverse(root.as_os_str().len()));
        roots
    }

    fn record(
        &self,
        path: Arc<Path>,
        id: i64,
        roots: &[(&Path, i64)],
        previous: &Previous,
        absent: &HashSet<&Path>,
    ) -> Folder {
        let (is_mount, fs_type) = match (self.visited.get(&path), previous.folder(&path)) {
            (_, Some(old)) if absent.contains(&*path) => (true, old.fs_type),
            (Some(visited), _) => (visited.is_mount, visited.fs_type),
            (None, Some(old)) => (old.is_mount, old.fs_type),
            (None, None) => (false, 0),
        };
        // A root names itself.
        let root = roots.iter().find(|(root, _)| path.starts_with(root)).map_or(id, |(_, root)| *root);
        Folder { id, path, root, is_mount, fs_type }
    }
}

/// The path that the last scan knew, or a new one.
fn shared(path: &Path, previous: &Previous) -> Arc<Path> {
    previous.folder(path).map_or_else(|| Arc::from(path), |folder| Arc::clone(&folder.path))
}
