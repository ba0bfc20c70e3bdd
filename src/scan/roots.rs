//! The folders of a scan, made absolute, and the check that they exist.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use slog::{Logger, warn};

use super::error::ScanError;
use super::pool::{Event, LOOK_EVERY, Limits, Patience, Pool, Threads, Work};
use super::shown::shown;

/// Returns the folders, absolute and tidy, each once, in the order of the command line.
///
/// # Errors
/// If a path cannot be made absolute.
pub(super) fn absolute_all(folders: &[PathBuf]) -> Result<Vec<PathBuf>, ScanError> {
    let mut roots: Vec<PathBuf> = Vec::new();
    for folder in folders {
        let root = absolute(folder)?;
        if !roots.contains(&root) {
            roots.push(root);
        }
    }
    Ok(roots)
}

/// Returns the path as Python's `os.path.abspath` does: below the working directory unless it
/// begins with `/`, then without `.`, `..` and empty parts, by its text alone. Song ids contain it,
/// so links in it stay.
///
/// # Errors
/// If the path is empty, or the working directory is gone.
pub(super) fn absolute(path: &Path) -> Result<PathBuf, ScanError> {
    let unusable = |source| ScanError::Unreadable { path: path.to_owned(), source };
    let mut tidy = PathBuf::from("/");
    for part in std::path::absolute(path).map_err(unusable)?.components() {
        match part {
            Component::Normal(name) => tidy.push(name),
            Component::ParentDir => _ = tidy.pop(),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Ok(tidy)
}

/// Checks that each root is a folder that can be listed. A root that does not answer within the
/// time for a file counts as unreadable.
///
/// # Errors
/// If no thread can be started.
pub(super) fn check_all(
    roots: &[PathBuf],
    patience: Patience,
    log: &Logger,
) -> Result<Vec<Result<(), ScanError>>, ScanError> {
    let limits = Limits { threads: Threads::Fixed(roots.len()), patience };
    let mut pool = Pool::start(limits).map_err(ScanError::Threads)?;
    pool.push(roots.iter().cloned().map(Check));
    let mut outcomes: HashMap<PathBuf, ScanError> = HashMap::new();
    while pool.open() > 0 {
        match pool.next(LOOK_EVERY) {
            Event::Done(_, Ok(())) | Event::Quiet => {}
            Event::Done(Check(root), Err(error)) => _ = outcomes.insert(root, error),
            Event::Slow(path, elapsed) => {
                warn!(log, "Still waiting for {} after {} s", shown(&path), elapsed.as_secs());
            }
            Event::GivenUp(Check(path)) => {
                let source = io::Error::from(io::ErrorKind::TimedOut);
                outcomes.insert(path.clone(), ScanError::Unreadable { path, source });
            }
        }
    }
    Ok(roots.iter().map(|root| outcomes.remove(root).map_or(Ok(()), Err)).collect())
}

/// A root to check.
#[derive(Debug, Clone)]
struct Check(PathBuf);

impl Work for Check {
    type Done = Result<(), ScanError>;

    fn path(&self) -> &Path {
        &self.0
    }

    fn run(&self) -> Self::Done {
        check(&self.0)
    }

    fn is_leaf(&self) -> bool {
        true
    }
}

fn check(root: &Path) -> Result<(), ScanError> {
    let path = || root.to_owned();
    match fs::metadata(root) {
        Err(source) if source.kind() == io::ErrorKind::NotFound => Err(ScanError::Missing { path: path() }),
        Err(source) => Err(ScanError::Unreadable { path: path(), source }),
        Ok(found) if !found.is_dir() => Err(ScanError::NotFolder { path: path() }),
        Ok(_) => match fs::read_dir(root) {
            Err(source) => Err(ScanError::Unreadable { path: path(), source }),
            Ok(_) => Ok(()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Python's `os.path.abspath`, except for `//` at the start, which is the same place as `/`
    /// on Linux.
    #[test]
    fn paths_are_made_absolute_by_their_text() {
        let here = std::env::current_dir().expect("working directory");
        for (path, tidy) in [
            ("/srv/music", "/srv/music"),
            ("/srv/music/", "/srv/music"),
            ("/srv//music/.", "/srv/music"),
            ("/srv/other/../music", "/srv/music"),
            ("/../../srv", "/srv"),
            ("//srv/music", "/srv/music"),
            ("/", "/"),
        ] {
            assert_eq!(absolute(Path::new(path)).expect("absolute"), Path::new(tidy), "{path}");
        }
        for (path, tidy) in
            [("music", here.join("music")), ("./a/../music", here.join("music")), (".", here.clone())]
        {
            assert_eq!(absolute(Path::new(path)).expect("absolute"), tidy, "{path}");
        }
        assert!(matches!(absolute(Path::new("")), Err(ScanError::Unreadable { .. })));
    }

    #[test]
    fn a_root_named_twice_is_one() {
        let roots = absolute_all(&["/a/b/".into(), "/a".into(), "/a/c/../b".into()]).expect("roots");
        assert_eq!(roots, [Path::new("/a/b"), Path::new("/a")]);
    }
}
