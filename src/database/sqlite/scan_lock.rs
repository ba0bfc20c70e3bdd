//! One scan at a time: a lock on a file beside the database. The kernel releases the lock at any end of the
//! process. A scan that ends by itself removes the file.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::geteuid;

use super::explain::{DISK_FULL, IS_FOLDER, NO_LOCKS, folder_of, label, no_permission_in, target_of};
use crate::database::DatabaseError;
use crate::database::holder::Holder;

/// The time within which a holder writes its name after it has taken the lock.
const NAME_DELAY: Duration = Duration::from_millis(100);

/// The lock, held until this value is dropped.
#[derive(Debug)]
pub(super) struct ScanLock {
    file: File,
    path: PathBuf,
}

impl Drop for ScanLock {
    /// Removes the file while the lock is held. A scan that waits for the lock of a file that
    /// is gone opens the path again.
    fn drop(&mut self) {
        if is_at(&self.file, &self.path) {
            // A file without a lock stays for the next scan.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Whether `path` still leads to this file.
fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(own), Ok(there)) = (file.metadata(), std::fs::symlink_metadata(path)) else { return false };
    (own.dev(), own.ino()) == (there.dev(), there.ino())
}

impl ScanLock {
    /// Takes the lock of the database in the file `path`.
    pub(super) fn take(path: &Path, me: &Holder) -> Result<ScanLock, DatabaseError> {
        let failed = |reason| DatabaseError::Failed { database: label(path), reason };
        let lock = lock_path(path);
        let mut file = open(&lock).map_err(|error| failed(why_not_opened(path, &lock, &error)))?;
        let deadline = Instant::now() + NAME_DELAY;
        loop {
            match file.try_lock() {
                Ok(()) if is_at(&file, &lock) => break,
                // The scan that held the lock has removed the file.
                Ok(()) => {
                    file = open(&lock).map_err(|error| failed(why_not_opened(path, &lock, &error)))?;
                    continue;
                }
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(failed(why_not_locked(&lock, &error))),
            }
            if let Some(holder) = read_holder(&mut file) {
                let Holder { host, pid, started } = holder;
                return Err(DatabaseError::ScanRunning { database: label(path), host, pid, started });
            }
            if Instant::now() > deadline {
                return Err(failed(format!("another program holds a lock on {}", lock.display())));
            }
            // The other scan has its lock but has not written its name yet, and there is no event to wait
            // for.
            thread::sleep(NAME_DELAY / 20);
        }
        give_to_owner_of(path, &file);
        write_holder(&mut file, me)
            .map_err(|error| failed(format!("cannot write {}: {error}", lock.display())))?;
        Ok(ScanLock { file, path: lock })
    }
}

/// The path beside the file itself, where a link to it leads.
fn lock_path(path: &Path) -> PathBuf {
    let mut name = OsString::from(target_of(path));
    name.push(".scan");
    name.into()
}

fn open(lock: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .custom_flags(OFlag::O_NOFOLLOW.bits())
        .open(lock)
}

/// Gives the file to the owner of the database, as SQLite does with its journal: otherwise a scan by root would
/// keep out those of the owner.
fn give_to_owner_of(path: &Path, file: &File) {
    if let Ok(database) = path.metadata()
        && geteuid().is_root()
    {
        // If this fails, the message tells the owner the remedy, as for a file of another user.
        let _ = fchown(file, Some(database.uid()), Some(database.gid()));
    }
}

/// Reads a line `PID STARTED HOST`; an incomplete name has no end of line.
fn read_holder(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(1024).read_to_string(&mut text).ok()?;
    let mut words = text.strip_suffix('\n')?.splitn(3, ' ');
    let pid = words.next()?.parse().ok()?;
    let started = words.next()?.parse().ok()?;
    Some(Holder { host: words.next()?.to_owned(), pid, started })
}

/// Writes the holder. It cuts the file first, so that the name of the last holder is not taken for this one.
fn write_holder(file: &mut File, me: &Holder) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    let host: String = me.host.chars().take(255).filter(|c| !c.is_control()).collect();
    file.write_all(format!("{} {} {host}\n", me.pid, me.started).as_bytes())
}

fn why_not_opened(path: &Path, lock: &Path, error: &io::Error) -> String {
    let folder = folder_of(path);
    if path.is_dir() {
        return IS_FOLDER.to_owned();
    }
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOENT) => format!("its folder {} does not exist", folder.display()),
        Some(Errno::EROFS) => format!("its folder {} is on a read-only file system", folder.display()),
        Some(Errno::ENOSPC | Errno::EDQUOT) => DISK_FULL.to_owned(),
        Some(Errno::EACCES | Errno::EPERM) if lock.exists() => format!(
            "there is no write permission for {}, with which scans keep each other out; scan as its owner, \
             or give write permission for it",
            lock.display()
        ),
        Some(Errno::EACCES | Errno::EPERM) => no_permission_in(&folder),
        _ => format!("cannot open {}, with which scans keep each other out: {error}", lock.display()),
    }
}

fn why_not_locked(lock: &Path, error: &io::Error) -> String {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOLCK | Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EINVAL) => NO_LOCKS.to_owned(),
        _ => format!("cannot lock {}: {error}", lock.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(host: &str) -> Holder {
        Holder { host: host.to_owned(), pid: 7, started: 1_700_000_000 }
    }

    #[test]
    fn a_second_taker_learns_who_came_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sqlite");
        let first = ScanLock::take(&path, &holder("a machine with a long name")).unwrap();
        let Err(DatabaseError::ScanRunning { host, pid, started, .. }) =
            ScanLock::take(&path, &holder("second"))
        else {
            panic!("two scans hold the lock");
        };
        assert_eq!((host.as_str(), pid, started), ("a machine with a long name", 7, 1_700_000_000));
        drop(first);
        let third = ScanLock::take(&path, &holder("x")).unwrap();
        assert_eq!(std::fs::read_to_string(folder.path().join("a.sqlite.scan")).unwrap(), "7 1700000000 x\n");
        drop(third);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    /// The holder removes its file while another scan waits with that file open.
    #[test]
    fn many_scans_at_once_hold_the_lock_one_at_a_time() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sqlite");
        let (inside, taken) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while taken.load(Ordering::SeqCst) < 200 {
                        let Ok(lock) = ScanLock::take(&path, &holder("x")) else { continue };
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two scans hold the lock");
                        taken.fetch_add(1, Ordering::SeqCst);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(lock);
                    }
                });
            }
        });
    }

    #[test]
    fn a_lock_without_a_holder_is_told_soon() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sqlite");
        let other = open(&lock_path(&path)).unwrap();
        other.try_lock().unwrap();
        let began = Instant::now();
        let error = ScanLock::take(&path, &holder("x")).unwrap_err().to_string();
        assert!(error.contains("another program holds a lock on"), "{error}");
        assert!(began.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_lock_made_by_root_is_the_owners() {
        if !geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sqlite");
        std::fs::write(&path, "").unwrap();
        std::os::unix::fs::chown(&path, Some(65534), Some(65534)).unwrap();
        let _lock = ScanLock::take(&path, &holder("x")).unwrap();
        assert_eq!(lock_path(&path).metadata().unwrap().uid(), 65534);
    }

    #[test]
    fn a_link_and_its_file_have_one_lock() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("a.sqlite"), folder.path().join("link"));
        std::fs::write(&path, "").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(lock_path(&path), lock_path(&link));
    }
}
