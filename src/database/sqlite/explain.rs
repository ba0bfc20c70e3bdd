//! SQLite's codes in words, each with a remedy.

use std::fs::File;
use std::io::{self, Read};
use std::mem;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use rusqlite::{Error, ErrorCode, ffi};

use crate::database::DatabaseError;
use crate::database::error::ANOTHER_PROGRAM;

pub(super) const IS_FOLDER: &str = "it is a folder, not a file";
pub(super) const DISK_FULL: &str = "no space left on the disk";

/// The file system is usually a network share.
pub(super) const NO_LOCKS: &str = "its file system has no working locks, which SQLite needs (a network \
     share?); put the database on a local disk, or mount the share with locks (NFS: lockd and statd must \
     run on both sides; SMB: without `nobrl`)";

pub(super) fn label(path: &Path) -> String {
    format!("SQLite database {}", path.display())
}

/// Returns the path to which links lead, also if there is no file.
pub(super) fn target_of(path: &Path) -> PathBuf {
    let text_of_link = || path.read_link().map(|to| parent_of(path).join(to));
    path.canonicalize().or_else(|_| text_of_link()).unwrap_or_else(|_| path.to_owned())
}

/// Returns the folder in which SQLite and the scan create files beside the database.
pub(super) fn folder_of(path: &Path) -> PathBuf {
    match path.is_symlink() {
        true => parent_of(&target_of(path)).to_owned(),
        false => parent_of(path).to_owned(),
    }
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
        None => Path::new("/"),
    }
}

pub(super) fn no_permission_in(folder: &Path) -> String {
    format!(
        "no file can be created in its folder {}, and SQLite needs its journal there; give write permission \
         for the folder",
        folder.display()
    )
}

pub(super) fn is_busy(error: &Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// Describes SQLite's error. `patience` is the time for which SQLite had waited for locks.
pub(super) fn explain(path: &Path, patience: Duration, error: &Error) -> DatabaseError {
    let failed = |reason: String| DatabaseError::Failed { database: label(path), reason };
    let Error::SqliteFailure(failure, message) = error else {
        return failed(error.to_string());
    };
    let reason = match (failure.code, failure.extended_code) {
        _ if is_busy(error) && locks_fail(path) => NO_LOCKS.to_owned(),
        _ if is_busy(error) => {
            return DatabaseError::Locked {
                database: label(path),
                by: ANOTHER_PROGRAM.to_owned(),
                seconds: patience.as_secs(),
            };
        }
        (
            _,
            ffi::SQLITE_IOERR_LOCK
            | ffi::SQLITE_IOERR_UNLOCK
            | ffi::SQLITE_IOERR_RDLOCK
            | ffi::SQLITE_IOERR_CHECKRESERVEDLOCK
            | ffi::SQLITE_IOERR_BLOCKED
            | ffi::SQLITE_IOERR_SHMLOCK
            | ffi::SQLITE_IOERR_SHMMAP,
        ) => NO_LOCKS.to_owned(),
        (ErrorCode::NotADatabase, _) => "the file is no SQLite database".to_owned(),
        (ErrorCode::DatabaseCorrupt, _) => "the file is damaged; scan into a new one".to_owned(),
        (ErrorCode::DiskFull, _) => DISK_FULL.to_owned(),
        (_, ffi::SQLITE_READONLY_ROLLBACK) => {
            "an interrupted scan must be rolled back, and there is no write permission for that; \
             open it once as its owner"
                .to_owned()
        }
        (
            _,
            ffi::SQLITE_READONLY_CANTINIT | ffi::SQLITE_READONLY_RECOVERY | ffi::SQLITE_READONLY_DIRECTORY,
        ) if is_in_wal_mode(path) => {
            "there is no write permission in its folder; in WAL mode that is needed also to read, so as \
             its owner run `PRAGMA journal_mode=DELETE`"
                .to_owned()
        }
        (_, ffi::SQLITE_READONLY_DIRECTORY) => no_permission_in(&folder_of(path)),
        (ErrorCode::ReadOnly, _) => "there is no write permission".to_owned(),
        (ErrorCode::CannotOpen, _) => why_not_opened(path),
        _ => message.clone().unwrap_or_else(|| failure.to_string()),
    };
    match may_be_put_right(failure.code) && reason != NO_LOCKS {
        true => DatabaseError::Incomplete { database: label(path), reason },
        false => failed(reason),
    }
}

/// Whether a later try may succeed: another program replaces the file, a share returns, a disk has space
/// again.
fn may_be_put_right(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::CannotOpen
            | ErrorCode::DatabaseCorrupt
            | ErrorCode::DiskFull
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::NotADatabase
            | ErrorCode::OutOfMemory
            | ErrorCode::SchemaChanged
            | ErrorCode::SystemIoFailure
    )
}

/// Reads the answer from the header of the file.
fn is_in_wal_mode(path: &Path) -> bool {
    let mut header = [0; 20];
    let is_read = File::open(path).and_then(|mut file| file.read_exact(&mut header));
    is_read.is_ok() && header[18] == 2
}

/// Whether the file system lacks locks, which SQLite takes for a lock that another program holds. The check
/// locks a byte that SQLite locks too. It must not close the file afterwards, as that would release the locks
/// of other connections of this process; so each error costs a descriptor.
#[allow(clippy::cast_possible_truncation, reason = "constants of the C library, which are 0 to 2")]
pub(super) fn locks_fail(path: &Path) -> bool {
    /// The first byte of SQLite's shared lock.
    const SHARED_FIRST: libc::off_t = 0x4000_0002;
    let Ok(file) = File::open(path) else {
        return false;
    };
    let lock = libc::flock {
        l_type: libc::F_RDLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: SHARED_FIRST,
        l_len: 1,
        l_pid: 0,
    };
    // The lock belongs to the open file, so it does not affect the locks of this process.
    let outcome = fcntl(&file, FcntlArg::F_OFD_SETLK(&lock));
    let unlock = libc::flock { l_type: libc::F_UNLCK as libc::c_short, ..lock };
    let _ = fcntl(&file, FcntlArg::F_OFD_SETLK(&unlock));
    mem::forget(file);
    matches!(outcome, Err(Errno::ENOLCK | Errno::EOPNOTSUPP | Errno::ENOSYS))
}

/// Finds out why the file could not be opened: the file system knows more than SQLite says.
fn why_not_opened(path: &Path) -> String {
    if path.is_dir() {
        return IS_FOLDER.to_owned();
    }
    let folder = folder_of(path);
    if !folder.is_dir() {
        return format!("its folder {} does not exist", folder.display());
    }
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => "there is no such file".to_owned(),
        Err(error) => format!("the file cannot be opened ({error})"),
        Ok(_) => no_permission_in(&folder),
    }
}
