//! The folders that a scan visits, and their numbers in the database. Folders that the last scan
//! knew keep their numbers.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::previous::Previous;
use super::stamping::{Stamping, UNSTABLE};
use crate::model::library::Folder;

/// The result of visiting a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reach {
    /// The folder was listed to its end.
    Listed,
    /// The folder could not be listed to its end, for this reason.
    Unreachable(String),
}

/// A folder that was visited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Visited {
    pub(super) reach: Reach,
    pub(super) root: Arc<Path>,
    pub(super) is_mount: bool,
    pub(super) fs_type: i64,
    /// Which stamps of its files are reliable.
    pub(super) stamping: Stamping,
    /// Whether the folder is empty.
    pub(super) is_empty: bool,
}

/// The folders that were visited, and the numbers of those that are stored.
#[derive(Debug)]
pub(super) struct Folders<'a> {
    roots: &'a [PathBuf],
    /// A path that the last scan knew shares its memory with [`Previous`].
    visited: HashMap<Arc<Path>, Visited>,
    /// The folders that hold files that are stored, mounts and roots.
    needed: HashMap<Arc<Path>, i64>,
    next: i64,
}

impl<'a> Folders<'a> {
    /// Creates an empty table. Its numbers continue those of the last scan.
    pub(super) fn new(roots: &'a [PathBuf], previous: &Previous) -> Folders<'a> {
        let (visited, needed) = (HashMap::new(), HashMap::new());
        let mut folders = Folders { roots, visited, needed, next: previous.last_folder() + 1 };
        for root in roots {
            folders.id(root, previous);
        }
        folders
    }

    /// Records the result of visiting the folder at `path`.
    pub(super) fn visit(&mut self, path: &Path, visited: Visited, previous: &Previous) {
        self.visited.insert(shared(path, previous), visited);
    }

    /// Returns the visited folder at `path`.
    pub(super) fn visited(&self, path: &Path) -> Option<&Visited> {
        self.visited.get(path)
    }

    /// Returns all visited folders.
    pub(super) fn all_visited(&self) -> impl Iterator<Item = (&Path, &Visited)> {
        self.visited.iter().map(|(path, visited)| (&**path, visited))
    }

    /// Records that the inodes of files below `root` are not stable.
    pub(super) fn mark_unstable(&mut self, root: &Path) {
        if let Some(visited) = self.visited.get_mut(root) {
            visited.fs_type = UNSTABLE;
        }
    }

    /// Returns the number of the folder at `path`, and marks the folder as stored.
    pub(super) fn id(&mut self, path: &Path, previous: &Previous) -> i64 {
        if let Some(id) = self.needed.get(path) {
            return *id;
        }
        let id = previous.folder(path).map_or(self.next, |folder| folder.id);
        self.next = self.next.max(id + 1);
        self.needed.insert(shared(path, previous), id);
        id
    }

    /// Returns the folders with numbers above `last` that hold files to store, by number.
    pub(super) fn since(&self, last: i64, previous: &Previous) -> Vec<Folder> {
        let (roots, none) = (self.numbered_roots(), HashSet::new());
        let new = self.needed.iter().filter(|(_, id)| **id > last);
        let mut folders: Vec<Folder> =
            new.map(|(path, id)| self.record(path.clone(), *id, &roots, previous, &none)).collect();
        folders.sort_by_key(|folder| folder.id);
        folders
    }

    /// Returns the paths of the stored folders, by number.
    pub(super) fn paths(&self) -> HashMap<i64, &Path> {
        self.needed.iter().map(|(path, id)| (*id, &**path)).collect()
    }

    /// Returns the folders to store: the needed ones, the visited mounts, and the `staying` ones.
    /// The `kept` folders could not be reached but their songs stay; the mounts above them are
    /// stored as well, so that the next scan knows that a file system is missing there.
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
        // This moves the paths: in a large collection they take as much memory as the names.
        let needed = std::mem::take(&mut self.needed).into_iter();
        let mut folders: Vec<Folder> =
            needed.map(|(path, id)| self.record(path, id, &roots, previous, &absent)).collect();
        folders.sort_unstable_by_key(|folder| folder.id);
        folders
    }

    /// Returns the stored roots with their numbers, the innermost first.
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

/// Returns the path that the last scan knew, or a new one.
fn shared(path: &Path, previous: &Previous) -> Arc<Path> {
    previous.folder(path).map_or_else(|| Arc::from(path), |folder| Arc::clone(&folder.path))
}
