//! The watched folders, and those that cannot be watched and are polled. A watch is set before its
//! folder is listed, here and by the scan that follows. So a change either comes before the
//! listing, which finds it, or after the watch, which reports it.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, Inotify, WatchDescriptor};

use crate::scan::exclude::{IGNORE_FILE, Patterns};
use crate::scan::mounts::Mounts;

/// The events that may change a song or the place of the music.
const MASK: AddWatchFlags = AddWatchFlags::IN_CREATE
    .union(AddWatchFlags::IN_MODIFY)
    .union(AddWatchFlags::IN_CLOSE_WRITE)
    .union(AddWatchFlags::IN_ATTRIB)
    .union(AddWatchFlags::IN_MOVE)
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MOVE_SELF)
    .union(AddWatchFlags::IN_ONLYDIR);

/// The way in which the watch notices changes in a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Watch {
    /// The kernel reports them.
    Set(WatchDescriptor),
    /// By polling: other machines change the folder too, and the kernel does not report that.
    Remote,
    /// By polling: the user has no watches left.
    Refused,
    /// By polling: the folder is missing, unreadable, or watched under another path.
    Impossible,
}

#[derive(Debug)]
struct Node {
    watch: Watch,
    /// The patterns for its entries.
    patterns: Arc<Patterns>,
    /// The walk that last saw it.
    round: u64,
}

#[derive(Debug)]
struct Root {
    path: PathBuf,
    /// Without links.
    real: PathBuf,
}

/// All folders below the roots that are not excluded.
#[derive(Debug)]
pub(super) struct Tree {
    inotify: Option<Arc<Inotify>>,
    /// The roots. None lies inside another.
    roots: Vec<Root>,
    everywhere: Arc<Patterns>,
    mounts: Mounts,
    /// The folders. Those below a folder follow right after it.
    nodes: BTreeMap<PathBuf, Node>,
    by_watch: HashMap<WatchDescriptor, PathBuf>,
    round: u64,
}

impl Tree {
    /// Creates an empty tree. `roots` are absolute; without `inotify` the watch polls everything.
    pub(super) fn new(roots: &[PathBuf], everywhere: Arc<Patterns>, inotify: Option<Arc<Inotify>>) -> Tree {
        let is_outermost =
            |root: &&PathBuf| !roots.iter().any(|other| other != *root && root.starts_with(other));
        let root = |path: &PathBuf| Root { path: path.clone(), real: path.clone() };
        Tree {
            inotify,
            roots: roots.iter().filter(is_outermost).map(root).collect(),
            everywhere,
            mounts: Mounts::default(),
            nodes: BTreeMap::new(),
            by_watch: HashMap::new(),
            round: 0,
        }
    }

    /// Walks through everything.
    pub(super) fn sync_all(&mut self) {
        self.round += 1;
        self.look_at_mounts();
        for root in self.roots.iter().map(|root| root.path.clone()).collect::<Vec<_>>() {
            self.walk(&root, self.everywhere.clone(), true);
        }
        self.drop_stale(None);
    }

    /// Updates the watches at `path`, where a folder may be or may have been. The walk visits all
    /// folders below it if it is new or has moved, or with `deep`.
    pub(super) fn sync(&mut self, path: &Path, deep: bool) {
        self.round += 1;
        let Some((start, patterns)) = self.start_of(path) else { return };
        if !self.is_root(&start) && patterns.exclude(&start, true) {
            return self.forget(&start);
        }
        let deep = deep || start != path;
        if self.walk(&start, patterns, deep) {
            self.drop_stale(Some(&start));
        }
    }

    /// Returns the path of the watched folder.
    pub(super) fn path(&self, watch: WatchDescriptor) -> Option<&Path> {
        self.by_watch.get(&watch).map(PathBuf::as_path)
    }

    /// Returns `path`, which lies below a root, without the links above the root.
    pub(super) fn real(&self, path: &Path) -> PathBuf {
        let found = self.roots.iter().find_map(|root| Some((root, path.strip_prefix(&root.path).ok()?)));
        found.map_or_else(
            || path.to_owned(),
            |(root, rest)| if rest.as_os_str().is_empty() { root.real.clone() } else { root.real.join(rest) },
        )
    }

    /// Returns the folders to poll, less those below another one.
    pub(super) fn polled(&self) -> Vec<PathBuf> {
        let mut tops: Vec<PathBuf> = Vec::new();
        for (path, node) in &self.nodes {
            let is_set = matches!(node.watch, Watch::Set(_));
            if !is_set && !tops.last().is_some_and(|top| path.starts_with(top)) {
                tops.push(path.clone());
            }
        }
        tops
    }

    /// Returns the number of watched folders.
    pub(super) fn watched(&self) -> usize {
        self.by_watch.len()
    }

    /// Returns the number of watches that all folders would need; `None` if the kernel refuses
    /// none.
    pub(super) fn needed(&self) -> Option<usize> {
        let is = |wanted| move |node: &&Node| node.watch == wanted;
        let refused = self.nodes.values().filter(is(Watch::Refused)).count();
        (refused > 0).then_some(refused + self.watched())
    }

    /// Marks the roots that the list of mounts shows as remote.
    fn look_at_mounts(&mut self) {
        // Without /proc no folder is known to be remote, and everything can be watched.
        self.mounts = Mounts::read().unwrap_or_default();
        for root in &mut self.roots {
            // A share that does not answer is not asked.
            root.real = match self.mounts.is_remote(&root.path) {
                true => root.path.clone(),
                false => fs::canonicalize(&root.path).unwrap_or_else(|_| root.path.clone()),
            };
        }
    }

    fn is_root(&self, path: &Path) -> bool {
        self.roots.iter().any(|root| root.path == path)
    }

    /// Returns the uppermost unknown folder at or above `path`, or `path` itself, and the patterns
    /// above it. `None` if it lies below a folder that is polled as a whole.
    fn start_of(&self, path: &Path) -> Option<(PathBuf, Arc<Patterns>)> {
        let mut place = path;
        loop {
            if self.is_root(place) {
                return Some((place.to_owned(), self.everywhere.clone()));
            }
            let above = place.parent()?;
            if let Some(node) = self.nodes.get(above) {
                return (node.watch != Watch::Remote).then(|| (place.to_owned(), node.patterns.clone()));
            }
            place = above;
        }
    }

    /// Sets watches from `start` on. Returns whether it has looked below `start`.
    fn walk(&mut self, start: &Path, above: Arc<Patterns>, deep: bool) -> bool {
        let mut open = vec![(start.to_owned(), above)];
        while let Some((folder, above)) = open.pop() {
            let (watch, is_new) = match self.watch(&folder) {
                Some(found) => found,
                None => {
                    self.forget(&folder);
                    if !self.is_root(&folder) {
                        continue;
                    }
                    (Watch::Impossible, true)
                }
            };
            if !is_new && !deep && folder == start {
                return false;
            }
            let mut patterns = above;
            if watch != Watch::Remote {
                let folders;
                (patterns, folders) = list(&folder, patterns);
                open.extend(folders.into_iter().map(|folder| (folder, patterns.clone())));
            }
            self.nodes.insert(folder, Node { watch, patterns, round: self.round });
        }
        true
    }

    /// Watches a folder, if possible, and returns whether the watch is new; `None` if there is no
    /// folder.
    fn watch(&mut self, folder: &Path) -> Option<(Watch, bool)> {
        let is_root = self.is_root(folder);
        let found = match &self.inotify {
            _ if self.is_remote(folder, is_root) => Ok(Watch::Remote),
            None => Ok(Watch::Impossible),
            // A root may be a link. Links below a root are not followed.
            Some(inotify) => {
                let follow = if is_root { AddWatchFlags::empty() } else { AddWatchFlags::IN_DONT_FOLLOW };
                inotify.add_watch(folder, MASK | follow).map(Watch::Set)
            }
        };
        let mut watch = match found {
            Ok(watch) => watch,
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return None,
            Err(Errno::ENOSPC) => Watch::Refused,
            Err(_) => Watch::Impossible,
        };
        let mut is_new = true;
        if let Watch::Set(wd) = watch {
            let other = self.by_watch.get(&wd);
            is_new = other.is_none_or(|other| other != folder);
            // This walk has seen the folder under another path: it is mounted twice.
            let is_double =
                |other: &PathBuf| self.nodes.get(other).is_some_and(|node| node.round == self.round);
            if is_new && other.is_some_and(is_double) {
                watch = Watch::Impossible;
            } else {
                self.by_watch.insert(wd, folder.to_owned());
            }
        }
        if let Some(Node { watch: Watch::Set(old), .. }) = self.nodes.get(folder)
            && Watch::Set(*old) != watch
        {
            self.release(*old, folder);
        }
        Some((watch, is_new))
    }

    fn is_remote(&self, folder: &Path, is_root: bool) -> bool {
        let real = self.real(folder);
        self.mounts.is_remote_point(&real) || (is_root && self.mounts.is_remote(&real))
    }

    /// Removes a watch, unless its folder has another path now.
    fn release(&mut self, watch: WatchDescriptor, folder: &Path) {
        if self.by_watch.get(&watch).is_some_and(|path| path == folder) {
            self.by_watch.remove(&watch);
            if let Some(inotify) = &self.inotify {
                // The watch may have gone with its folder.
                let _ = inotify.rm_watch(watch);
            }
        }
    }

    /// Drops the folders at `start` or below it that the last walk has not met.
    fn drop_stale(&mut self, start: Option<&Path>) {
        let round = self.round;
        let stale: Vec<PathBuf> =
            self.below(start).filter(|(_, node)| node.round != round).map(|(path, _)| path.clone()).collect();
        for path in stale {
            self.drop(&path);
        }
    }

    /// Drops a folder and all below it.
    fn forget(&mut self, folder: &Path) {
        for path in self.below(Some(folder)).map(|(path, _)| path.clone()).collect::<Vec<_>>() {
            self.drop(&path);
        }
    }

    fn drop(&mut self, folder: &Path) {
        if let Some(Node { watch: Watch::Set(watch), .. }) = self.nodes.remove(folder) {
            self.release(watch, folder);
        }
    }

    /// Returns `start` and all below it, or everything.
    fn below<'a>(&'a self, start: Option<&'a Path>) -> impl Iterator<Item = (&'a PathBuf, &'a Node)> {
        let range = self.nodes.range(start.map_or_else(PathBuf::new, Path::to_owned)..);
        range.take_while(move |(path, _)| start.is_none_or(|start| path.starts_with(start)))
    }
}

/// Returns the folders in a folder that are not excluded, and the patterns for its entries. A
/// folder that cannot be listed counts as empty; the scan reports why.
fn list(folder: &Path, above: Arc<Patterns>) -> (Arc<Patterns>, Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return (above, Vec::new()) };
    let mut folders = Vec::new();
    let mut patterns = above;
    for entry in entries.flatten() {
        if entry.file_name() == IGNORE_FILE {
            // The scan reports the unreadable file.
            if let Ok((more, _)) = patterns.below(folder) {
                patterns = more;
            }
        } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            folders.push(entry.path());
        }
    }
    folders.retain(|path| !patterns.exclude(path, true));
    (patterns, folders)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::inotify::InitFlags;
    use tempfile::TempDir;

    struct Home {
        folder: TempDir,
        tree: Tree,
        inotify: Arc<Inotify>,
    }

    impl Home {
        fn new(folders: &[&str]) -> Home {
            let folder = tempfile::tempdir().expect("folder");
            for path in folders {
                fs::create_dir_all(folder.path().join("music").join(path)).expect("folders");
            }
            let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK);
            let inotify = Arc::new(inotify.expect("inotify"));
            let patterns = Arc::new(Patterns::everywhere(&[]).expect("patterns"));
            let mut tree = Tree::new(&[folder.path().join("music")], patterns, Some(inotify.clone()));
            tree.sync_all();
            Home { folder, tree, inotify }
        }

        fn music(&self, path: &str) -> PathBuf {
            self.folder.path().join("music").join(path)
        }

        /// Returns the watched folders, each under the path of its events.
        #[track_caller]
        fn assert_watched(&self, expected: &[&str]) {
            let music = self.music("");
            let mut paths: Vec<String> = self
                .tree
                .by_watch
                .values()
                .map(|path| path.strip_prefix(&music).expect("below").display().to_string())
                .collect();
            paths.sort();
            assert_eq!(paths, expected);
            let nodes = self.tree.nodes.values().filter(|node| matches!(node.watch, Watch::Set(_))).count();
            assert_eq!(nodes, expected.len());
        }

        /// Returns the folders in which the kernel reports a new file.
        fn told_of(&self, file: &str) -> Vec<PathBuf> {
            while self.inotify.read_events().is_ok() {}
            fs::write(self.music(file), "").expect("file");
            let events = self.inotify.read_events().expect("events");
            let created = events.iter().filter(|event| event.mask.contains(AddWatchFlags::IN_CREATE));
            created.filter_map(|event| self.tree.path(event.wd).map(Path::to_owned)).collect()
        }
    }

    #[test]
    fn folders_are_watched_as_they_come_and_go_and_excluded_ones_never() {
        let mut home = Home::new(&["a/b", "@eaDir/x", "c"]);
        home.assert_watched(&["", "a", "a/b", "c"]);
        fs::create_dir_all(home.music("d/e/f")).expect("folders");
        fs::create_dir_all(home.music("lost+found/e")).expect("folders");
        home.tree.sync(&home.music("d"), false);
        home.tree.sync(&home.music("lost+found"), false);
        home.tree.sync(&home.music("lost+found/e"), false);
        home.assert_watched(&["", "a", "a/b", "c", "d", "d/e", "d/e/f"]);
        fs::remove_dir_all(home.music("d/e")).expect("remove");
        home.tree.sync(&home.music("d/e"), false);
        home.assert_watched(&["", "a", "a/b", "c", "d"]);
        fs::write(home.music(".avalonignore"), "/a\n").expect("patterns");
        home.tree.sync(&home.music(""), true);
        home.assert_watched(&["", "c", "d"]);
        fs::remove_file(home.music(".avalonignore")).expect("remove");
        home.tree.sync(&home.music(""), true);
        home.assert_watched(&["", "a", "a/b", "c", "d"]);
    }

    #[test]
    fn a_folder_that_moves_is_watched_under_its_new_path_in_any_order() {
        for order in [["a/x", "b/y"], ["b/y", "a/x"]] {
            let mut home = Home::new(&["a/x/deep", "b"]);
            fs::rename(home.music("a/x"), home.music("b/y")).expect("rename");
            for path in order {
                home.tree.sync(&home.music(path), false);
            }
            home.assert_watched(&["", "a", "b", "b/y", "b/y/deep"]);
            assert_eq!(home.told_of("b/y/deep/new"), [home.music("b/y/deep")]);
        }
    }

    #[test]
    fn another_folder_at_the_same_path_is_watched_too() {
        let mut home = Home::new(&["a/x", "b"]);
        fs::rename(home.music("a"), home.folder.path().join("away")).expect("rename");
        fs::create_dir_all(home.music("a/z")).expect("folders");
        home.tree.sync(&home.music("a"), false);
        home.assert_watched(&["", "a", "a/z", "b"]);
        assert_eq!(home.told_of("a/z/new"), [home.music("a/z")]);
    }

    #[test]
    fn a_root_that_is_not_there_is_polled_until_it_comes() {
        let mut home = Home::new(&["a"]);
        fs::rename(home.music(""), home.folder.path().join("away")).expect("rename");
        home.tree.sync(&home.music(""), true);
        assert_eq!((home.tree.polled(), home.tree.watched()), (vec![home.folder.path().join("music")], 0));
        fs::rename(home.folder.path().join("away"), home.folder.path().join("music")).expect("rename");
        home.tree.sync(&home.folder.path().join("music"), true);
        home.assert_watched(&["", "a"]);
        assert_eq!(home.tree.needed(), None);
    }

    #[test]
    fn without_inotify_the_roots_are_polled() {
        let home = Home::new(&["a/b", "c"]);
        let mut tree = Tree::new(&[home.music(""), home.music("a")], home.tree.everywhere.clone(), None);
        tree.sync_all();
        assert_eq!((tree.polled(), tree.watched()), (vec![home.music("")], 0));
    }
}
