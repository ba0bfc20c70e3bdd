//! Which files there are below the folders to scan, in an order that only their paths
//! decide. Nothing is opened here.

use std::ffi::OsStr;
use std::fs::Metadata;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use super::ScanError;

/// Something below the folders to scan that is no folder.
#[derive(Debug)]
pub(super) struct Entry {
    /// Absolute path, tidied.
    pub(super) path: PathBuf,
    pub(super) kind: Kind,
}

/// What an [`Entry`] is.
#[derive(Debug)]
pub(super) enum Kind {
    /// A regular file, or a link to one.
    File,
    /// What macOS keeps beside a file where the file system cannot (`._x.mp3`).
    AppleDouble,
    /// A link to a folder, which is not followed, so that no song comes twice.
    LinkedFolder,
    /// A link that leads nowhere or to itself.
    BrokenLink(io::Error),
    /// A pipe, a socket or a device.
    Special,
    /// A file or folder that could not be looked at.
    Unreadable(io::Error),
}

/// Lists everything below these folders, sorted by path, nothing twice where they overlap.
///
/// # Errors
/// When one of them does not exist, is no folder or cannot be listed.
pub(super) fn entries(folders: &[PathBuf]) -> Result<Vec<Entry>, ScanError> {
    let mut entries = Vec::new();
    for folder in folders {
        let folder = absolute(folder)?;
        check(&folder)?;
        // A link given by name is followed.
        let found = WalkDir::new(&folder).into_iter();
        entries.extend(found.filter_map(|found| entry(found, &folder)));
    }
    entries.sort_by(|a, b| a.path.as_os_str().as_bytes().cmp(b.path.as_os_str().as_bytes()));
    entries.dedup_by(|a, b| a.path == b.path);
    Ok(entries)
}

/// The path as Python's `os.path.abspath` has it: below the working directory unless it
/// begins with `/`, then without `.`, `..` and empty parts, by its text alone. Song ids
/// are made of it, so links in it stay.
fn absolute(path: &Path) -> Result<PathBuf, ScanError> {
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

fn check(folder: &Path) -> Result<(), ScanError> {
    let path = || folder.to_owned();
    match std::fs::metadata(folder) {
        Err(source) if source.kind() == io::ErrorKind::NotFound => Err(ScanError::Missing { path: path() }),
        Err(source) => Err(ScanError::Unreadable { path: path(), source }),
        Ok(found) if !found.is_dir() => Err(ScanError::NotFolder { path: path() }),
        Ok(_) => match std::fs::read_dir(folder) {
            Err(source) => Err(ScanError::Unreadable { path: path(), source }),
            Ok(_) => Ok(()),
        },
    }
}

fn entry(found: walkdir::Result<DirEntry>, folder: &Path) -> Option<Entry> {
    match found {
        Ok(found) if found.file_type().is_dir() || found.depth() == 0 => None,
        Ok(found) => {
            let kind = kind(&found);
            Some(Entry { path: found.into_path(), kind })
        }
        Err(error) => {
            let path = error.path().unwrap_or(folder).to_owned();
            Some(Entry { path, kind: Kind::Unreadable(error.into()) })
        }
    }
}

fn kind(found: &DirEntry) -> Kind {
    if is_apple_double(found.file_name()) {
        return Kind::AppleDouble;
    }
    if !found.file_type().is_symlink() {
        return if found.file_type().is_file() { Kind::File } else { Kind::Special };
    }
    match std::fs::metadata(found.path()) {
        Ok(target) => kind_of_target(&target),
        // ELOOP has no kind of its own in stable Rust; both say that the link is useless.
        Err(error) if error.kind() != io::ErrorKind::PermissionDenied => Kind::BrokenLink(error),
        Err(error) => Kind::Unreadable(error),
    }
}

fn kind_of_target(target: &Metadata) -> Kind {
    match (target.is_file(), target.is_dir()) {
        (true, _) => Kind::File,
        (_, true) => Kind::LinkedFolder,
        _ => Kind::Special,
    }
}

fn is_apple_double(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b"._")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `os.path.abspath` of Python has it, but for `//` at the start, which is no
    /// other place than `/` on Linux.
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
    fn entries_come_in_the_order_of_their_paths() {
        let folder = tempfile::tempdir().expect("folder");
        std::fs::create_dir(folder.path().join("b")).expect("folder");
        for name in ["c", "b/z", ".hidden", "b/a", "b.x"] {
            std::fs::write(folder.path().join(name), "").expect("file");
        }
        let found = entries(&[folder.path().to_owned()]).expect("entries");
        let names: Vec<_> =
            found.iter().filter_map(|entry| entry.path.strip_prefix(folder.path()).ok()).collect();
        assert_eq!(names, [".hidden", "b.x", "b/a", "b/z", "c"].map(Path::new));
    }
}
