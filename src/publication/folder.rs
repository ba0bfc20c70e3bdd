//! A store in a folder: on a local disk, on NFS, or one that rsync copies.
//!
//! A writer holds a lock of the folder while it compares and renames. The kernel releases the lock when the
//! writer dies. An object gets its name when it is complete and on the disk.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::libc;
use tempfile::NamedTempFile;
use xxhash_rust::xxh3::xxh3_128;

use super::error::StoreError;
use super::store::{Listed, Reading, Small, Source, Store, Tag};

/// Longest wait for the lock.
const LOCK_MAX: Duration = Duration::from_secs(10);
/// Time between two tries to get it.
const LOCK_STEP: Duration = Duration::from_millis(20);
/// The suffix of the name of an unfinished file.
const UNFINISHED: &str = ".new";
/// A file with that suffix and this age belongs to no living writer.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

/// A folder as a store.
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(super) fn new(path: &Path) -> Self {
        Folder { path: path.to_owned() }
    }

    fn at(&self, key: &str) -> PathBuf {
        self.path.join(key)
    }

    /// The folder of an object, which this creates if it is missing. The folder of the store itself must
    /// exist, because a mount point without its mount must not be filled.
    fn parent(&self, key: &str) -> Result<PathBuf, StoreError> {
        let file = self.at(key);
        let parent = file.parent().unwrap_or(&self.path).to_owned();
        match fs::create_dir(&parent) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed(&parent, error)),
            _ => Ok(parent),
        }
    }

    fn lock(&self) -> Result<File, StoreError> {
        let path = self.at(".lock");
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o666).open(&path);
        let file = file.map_err(|error| failed(&path, error))?;
        let steps = LOCK_MAX.as_millis() / LOCK_STEP.as_millis();
        for _ in 0..steps {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_STEP),
                Err(TryLockError::Error(error)) => return Err(failed(&path, error)),
            }
        }
        Err(StoreError::Unreachable(format!("another program holds the lock {}", path.display())))
    }

    /// Writes a file beside its final path, for a later rename.
    fn draft(&self, key: &str, content: &mut dyn Read) -> Result<NamedTempFile, StoreError> {
        let parent = self.parent(key)?;
        let mut builder = tempfile::Builder::new();
        let mode = fs::Permissions::from_mode(0o644);
        let draft = builder.prefix(".").suffix(UNFINISHED).permissions(mode).tempfile_in(&parent);
        let mut draft = draft.map_err(|error| failed(&parent, error))?;
        let written = io::copy(content, draft.as_file_mut()).and_then(|_| draft.as_file().sync_all());
        written.map_err(|error| failed(&parent, error))?;
        Ok(draft)
    }

    /// Renames a draft to its final name, over the file that had it.
    fn name(&self, draft: NamedTempFile, key: &str) -> Result<(), StoreError> {
        let path = self.at(key);
        draft.persist(&path).map_err(|error| failed(&path, error.error))?;
        // The new name is on the disk only when the folder is.
        let parent = path.parent().unwrap_or(&self.path);
        File::open(parent).and_then(|folder| folder.sync_all()).map_err(|error| failed(parent, error))
    }
}

fn failed(path: &Path, error: io::Error) -> StoreError {
    StoreError::File(path.display().to_string(), error)
}

/// Moves the position of a descriptor to the beginning.
fn rewound(content: &File) -> io::Result<&File> {
    let mut at = content;
    at.seek(SeekFrom::Start(0))?;
    Ok(content)
}

/// The content of a small file; `None` if there is none.
fn small(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn tag(content: &[u8]) -> Tag {
    Tag(format!("{:032x}", xxh3_128(content)))
}

/// The state of a file that writers replace as a whole.
fn tag_of(metadata: &fs::Metadata) -> Tag {
    Tag(format!("{}-{}-{}", metadata.ino(), metadata.len(), metadata.mtime_nsec()))
}

impl Source for Folder {
    fn open(&self, key: &str, from: u64) -> Result<Option<Reading>, StoreError> {
        let path = self.at(key);
        let open = || -> io::Result<Option<Reading>> {
            // A pipe in place of a file must not block the program.
            let mut options = OpenOptions::new();
            let mut file = match options.read(true).custom_flags(libc::O_NONBLOCK).open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                file => file?,
            };
            let metadata = file.metadata()?;
            if !metadata.is_file() {
                return Err(io::Error::other("it is no file"));
            }
            file.seek(SeekFrom::Start(from))?;
            Ok(Some(Reading { tag: Some(tag_of(&metadata)), len: metadata.len(), body: Box::new(file) }))
        };
        // A missing folder means a missing mount.
        fs::metadata(&self.path).map_err(|error| failed(&self.path, error))?;
        open().map_err(|error| failed(&path, error))
    }

    fn pointer(&self, key: &str, len_max: u64) -> Result<Option<Small>, StoreError> {
        let Some(reading) = self.open(key, 0)? else { return Ok(None) };
        let mut bytes = Vec::new();
        let read = reading.body.take(len_max).read_to_end(&mut bytes);
        read.map_err(|error| failed(&self.at(key), error))?;
        let tag = tag(&bytes);
        Ok(Some((bytes, Some(tag))))
    }
}

impl Store for Folder {
    fn create(&self, key: &str, content: &File) -> Result<bool, StoreError> {
        let path = self.at(key);
        if path.exists() {
            return Ok(false);
        }
        let draft = self.draft(key, &mut rewound(content).map_err(|error| failed(&path, error))?)?;
        let _lock = self.lock()?;
        if path.exists() {
            return Ok(false);
        }
        self.name(draft, key)?;
        Ok(true)
    }

    fn put(&self, key: &str, content: &File) -> Result<(), StoreError> {
        let path = self.at(key);
        let draft = self.draft(key, &mut rewound(content).map_err(|error| failed(&path, error))?)?;
        let _lock = self.lock()?;
        self.name(draft, key)
    }

    fn swap(&self, key: &str, former: Option<&Tag>, content: &[u8]) -> Result<bool, StoreError> {
        let path = self.at(key);
        let draft = self.draft(key, &mut &content[..])?;
        let _lock = self.lock()?;
        let there = small(&path).map_err(|error| failed(&path, error))?;
        if there.as_deref().map(tag).as_ref() != former {
            return Ok(false);
        }
        self.name(draft, key)?;
        Ok(true)
    }

    /// The lock enforces them.
    fn keeps_conditions(&self, _: u32) -> Result<bool, StoreError> {
        Ok(true)
    }

    fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        let folder = self.at(prefix);
        let list = || -> io::Result<Vec<Listed>> {
            let mut listed = Vec::new();
            for entry in fs::read_dir(&folder)? {
                let entry = entry?;
                // The file was removed after the listing.
                let Ok(metadata) = entry.metadata() else { continue };
                let Ok(name) = entry.file_name().into_string() else { continue };
                let written = metadata.modified()?;
                if name.ends_with(UNFINISHED) {
                    let age = SystemTime::now().duration_since(written).unwrap_or_default();
                    if age > ABANDONED {
                        // Another publisher may remove it as well.
                        let _ = fs::remove_file(entry.path());
                    }
                } else if metadata.is_file() {
                    listed.push(Listed { key: format!("{prefix}{name}"), written });
                }
            }
            Ok(listed)
        };
        list().map_err(|error| failed(&folder, error))
    }

    fn remove(&self, listed: &Listed) -> Result<(), StoreError> {
        let path = self.at(&listed.key);
        let _lock = self.lock()?;
        let remove = || match fs::metadata(&path)?.modified()? == listed.written {
            true => fs::remove_file(&path),
            false => Ok(()),
        };
        match remove() {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(&path, error)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file
    }

    fn text(store: &Folder, key: &str, from: u64) -> Option<String> {
        let mut text = String::new();
        store.open(key, from).unwrap()?.body.read_to_string(&mut text).unwrap();
        Some(text)
    }

    #[test]
    fn object_is_created_once_and_put_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = Folder::new(folder.path());
        assert!(store.create("v2/a", &file(b"first")).unwrap());
        assert!(!store.create("v2/a", &file(b"second")).unwrap());
        assert_eq!(text(&store, "v2/a", 2).as_deref(), Some("rst"));
        store.put("v2/a", &file(b"third")).unwrap();
        assert_eq!(text(&store, "v2/a", 0).as_deref(), Some("third"));
        assert_eq!(text(&store, "v2/b", 0), None);
        let names: Vec<String> = store.list("v2/").unwrap().into_iter().map(|it| it.key).collect();
        assert_eq!(names, ["v2/a"]);
    }

    #[test]
    fn pointer_is_replaced_only_in_the_state_that_was_seen() {
        let folder = tempfile::tempdir().unwrap();
        let store = Folder::new(folder.path());
        assert!(store.swap("v2/p", None, b"1").unwrap());
        assert!(!store.swap("v2/p", None, b"2").unwrap());
        let (_, seen) = store.pointer("v2/p", 10).unwrap().unwrap();
        assert!(store.swap("v2/p", seen.as_ref(), b"3").unwrap());
        assert!(!store.swap("v2/p", seen.as_ref(), b"4").unwrap());
        assert_eq!(text(&store, "v2/p", 0).as_deref(), Some("3"));
    }

    #[test]
    fn object_that_was_written_since_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let store = Folder::new(folder.path());
        store.put("v2/a", &file(b"a")).unwrap();
        let mut listed = store.list("v2/").unwrap().remove(0);
        listed.written -= Duration::from_secs(1);
        store.remove(&listed).unwrap();
        assert!(text(&store, "v2/a", 0).is_some());
        store.remove(&store.list("v2/").unwrap()[0]).unwrap();
        assert!(text(&store, "v2/a", 0).is_none());
    }

    #[test]
    fn folder_that_is_missing_is_an_error_and_is_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let store = Folder::new(&folder.path().join("mount"));
        assert!(store.open("v2/p", 0).is_err() && store.create("v2/a", &file(b"")).is_err());
        assert!(!folder.path().join("mount").exists());
    }
}
