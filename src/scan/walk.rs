//! One folder: its entries, whether all of it could be listed, and its file system. The only file
//! that this opens is `.avalonignore`.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::{DirEntry, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::exclude::{IGNORE_FILE, Patterns};
use super::read::stamps_of;
use crate::model::library::Stamps;

/// A folder that is to be listed.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    /// Absolute path.
    pub(super) path: PathBuf,
    /// The root below which it was found.
    pub(super) root: Arc<Path>,
    /// Device of the folder that holds it; `None` if unknown.
    pub(super) parent_device: Option<u64>,
    /// The patterns of the folders above.
    pub(super) patterns: Arc<Patterns>,
    /// Whether the stamps of its files are wanted: the last scan knew the folder.
    pub(super) wants_stamps: bool,
    /// The names that count; `None` for all.
    pub(super) only: Option<Arc<HashSet<OsString>>>,
}

/// The listing of a folder.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) entries: Vec<Entry>,
    /// Whether the folder is empty.
    pub(super) is_empty: bool,
    /// The error that ended the listing early. Missing entries may still exist.
    pub(super) error: Option<io::Error>,
    pub(super) device: Option<u64>,
    /// Whether another file system begins here.
    pub(super) is_mount: bool,
    /// Kind of the file system, where one begins here; else 0.
    pub(super) fs_type: i64,
    /// The patterns for its entries.
    pub(super) patterns: Arc<Patterns>,
    /// Lines of its `.avalonignore` that are not valid patterns.
    pub(super) bad_patterns: Vec<String>,
}

/// A name in a folder.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: OsString,
    pub(super) kind: Kind,
}

/// The kind of an [`Entry`].
#[derive(Debug)]
pub(super) enum Kind {
    /// A regular file, or a link to one; with its stamps, if they are wanted.
    File(Option<Stamps>),
    Folder,
    /// A file or folder that the patterns exclude.
    Excluded,
    /// The metadata file that macOS writes beside a file if the file system cannot hold metadata
    /// (`._x.mp3`).
    AppleDouble,
    /// A link to a folder. The scan does not follow it, so that each song comes once.
    LinkedFolder,
    /// A link that leads nowhere or to itself.
    BrokenLink(io::Error),
    /// A pipe, a socket or a device.
    Special,
    /// The system returned an error instead of a kind.
    Unreachable(io::Error),
}

impl Folder {
    /// Lists the folder. After a failure it tries once more, because an error may pass.
    pub(super) fn list(&self) -> Listing {
        let first = self.list_once();
        if first.error.is_some() { self.list_once() } else { first }
    }

    fn list_once(&self) -> Listing {
        let mut listing = Listing {
            entries: Vec::new(),
            is_empty: false,
            error: None,
            device: None,
            is_mount: false,
            fs_type: 0,
            patterns: self.patterns.clone(),
            bad_patterns: Vec::new(),
        };
        listing.error = self.fill(&mut listing).err();
        listing
    }

    fn fill(&self, listing: &mut Listing) -> io::Result<()> {
        let device = std::fs::metadata(&self.path)?.dev();
        listing.device = Some(device);
        listing.is_mount = self.parent_device.is_some_and(|parent| parent != device);
        if listing.is_mount || self.only.is_some() || *self.root == *self.path {
            // Some file systems do not report their kind; no decision depends on it alone.
            listing.fs_type =
                nix::sys::statfs::statfs(&self.path).map_or(0, |found| number(found.filesystem_type().0));
        }
        let mut found = Vec::new();
        let mut error = None;
        for entry in std::fs::read_dir(&self.path)? {
            match entry {
                Ok(entry) => found.push((entry.file_name(), entry)),
                Err(failure) => error = Some(failure),
            }
        }
        listing.is_empty = found.is_empty();
        // The order of a directory depends on the file system.
        found.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        if found.iter().any(|(name, _)| name == IGNORE_FILE) {
            (listing.patterns, listing.bad_patterns) = self.patterns.below(&self.path)?;
        }
        if let Some(only) = &self.only {
            found.retain(|(name, _)| only.contains(name));
        }
        listing.entries =
            found.into_iter().map(|(name, entry)| self.entry(name, &entry, &listing.patterns)).collect();
        error.map_or(Ok(()), Err)
    }

    fn entry(&self, name: OsString, found: &DirEntry, patterns: &Patterns) -> Entry {
        let is_excluded = |is_folder| patterns.exclude(&self.path.join(&name), is_folder);
        let kind = match kind(&name, found, self.wants_stamps) {
            Kind::File(_) if patterns.may_match_files() && is_excluded(false) => Kind::Excluded,
            Kind::Folder if is_excluded(true) => Kind::Excluded,
            kind => kind,
        };
        Entry { name, kind }
    }
}

/// Returns the number of a file system kind, whose type differs between C libraries.
fn number(kind: impl TryInto<i64>) -> i64 {
    kind.try_into().unwrap_or_default()
}

/// Returns the device of the folder that holds `path`.
pub(super) fn device_above(path: &Path) -> Option<u64> {
    std::fs::metadata(path.parent()?).ok().map(|found| found.dev())
}

fn kind(name: &OsStr, found: &DirEntry, wants_stamps: bool) -> Kind {
    // Some file systems do not return the kind with the name; then this call asks for it.
    let file_type = match found.file_type() {
        Ok(file_type) => file_type,
        // The file disappeared after the listing.
        Err(error) => return Kind::Unreachable(error),
    };
    if file_type.is_dir() {
        return Kind::Folder;
    }
    if is_apple_double(name) {
        return Kind::AppleDouble;
    }
    if !file_type.is_symlink() {
        return match (file_type.is_file(), wants_stamps) {
            (false, _) => Kind::Special,
            (true, false) => Kind::File(None),
            (true, true) => {
                found.metadata().map_or_else(Kind::Unreachable, |found| Kind::File(Some(stamps_of(&found))))
            }
        };
    }
    match std::fs::metadata(found.path()) {
        Ok(target) => kind_of_target(&target),
        Err(error) if is_dangling(&error) => Kind::BrokenLink(error),
        Err(error) => Kind::Unreachable(error),
    }
}

/// Reports whether a link leads nowhere or to itself. Any other error means that its target could
/// not be reached.
fn is_dangling(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(nix::libc::ENOENT | nix::libc::ENOTDIR | nix::libc::ELOOP))
}

fn kind_of_target(target: &Metadata) -> Kind {
    match (target.is_file(), target.is_dir()) {
        (true, _) => Kind::File(Some(stamps_of(target))),
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

    fn folder(path: &Path) -> Folder {
        Folder {
            path: path.to_owned(),
            root: Arc::from(path),
            parent_device: device_above(path),
            patterns: Arc::new(Patterns::everywhere(&[]).expect("patterns")),
            wants_stamps: false,
            only: None,
        }
    }

    #[test]
    fn entries_come_in_the_order_of_their_names_with_their_kinds() {
        let home = tempfile::tempdir().expect("folder");
        std::fs::create_dir(home.path().join("b")).expect("folder");
        std::fs::create_dir(home.path().join("@eaDir")).expect("folder");
        for name in ["c", ".hidden", "._c", "d.wav"] {
            std::fs::write(home.path().join(name), "").expect("file");
        }
        std::fs::write(home.path().join(IGNORE_FILE), "*.wav\n").expect("file");
        std::os::unix::fs::symlink("nowhere", home.path().join("e")).expect("link");
        let listing = folder(home.path()).list();
        assert!(listing.error.is_none());
        let found: Vec<(&str, &str)> = listing
            .entries
            .iter()
            .map(|entry| {
                let kind = match entry.kind {
                    Kind::File(_) => "file",
                    Kind::Folder => "folder",
                    Kind::Excluded => "excluded",
                    Kind::AppleDouble => "apple",
                    Kind::BrokenLink(_) => "broken",
                    _ => "other",
                };
                (entry.name.to_str().expect("UTF-8"), kind)
            })
            .collect();
        assert_eq!(
            found,
            [
                ("._c", "apple"),
                (IGNORE_FILE, "file"),
                (".hidden", "file"),
                ("@eaDir", "excluded"),
                ("b", "folder"),
                ("c", "file"),
                ("d.wav", "excluded"),
                ("e", "broken"),
            ]
        );
        assert!(!listing.is_mount);
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error_of_its_listing() {
        let listing = folder(Path::new("/no/such/folder")).list();
        assert_eq!(listing.error.map(|error| error.kind()), Some(io::ErrorKind::NotFound));
    }

    #[test]
    fn a_mount_is_seen_by_its_device() {
        let listing = folder(Path::new("/proc")).list();
        assert!(listing.is_mount && listing.fs_type != 0);
    }
}
