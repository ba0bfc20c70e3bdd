//! Why a loader has made no snapshot.

use std::error::Error;
use std::io;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::cli::chain;
use crate::master::error::{MasterError, Outlook, Reason};
use crate::master::processes::report::short;
use crate::snapshot::build::BuildError;

/// Why there is no snapshot.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Failed {
    pub(super) reason: String,
    outlook: Outlook,
    /// Whether the loader had read all rows before.
    pub(crate) was_read: bool,
    /// Whether a disk is full.
    #[serde(skip)]
    pub(super) is_full: bool,
}

impl Failed {
    pub(super) fn new(reason: Reason, was_read: bool) -> Self {
        Failed { outlook: reason.outlook(), reason: short(reason.as_str()), was_read, is_full: false }
    }

    /// Of an error of a write to a snapshot at `place`.
    pub(super) fn unwritten(error: &(dyn Error + 'static), place: &str, was_read: bool) -> Self {
        Failed { is_full: is_full(error), ..Failed::new(unwritten(error, place).into(), was_read) }
    }

    /// The words, with the outlook.
    pub(crate) fn reason(&self) -> Reason {
        Reason::new(self.reason.as_str()).with(self.outlook)
    }
}

pub(super) fn failed(error: &(dyn Error + 'static)) -> MasterError {
    MasterError::Failed(chain(error))
}

/// The kernel's error.
fn errno(error: &(dyn Error + 'static)) -> Option<Errno> {
    let mut causes = std::iter::successors(Some(error), |&error| error.source());
    let errno = causes.find_map(|error| error.downcast_ref::<io::Error>()?.raw_os_error());
    errno.map(Errno::from_raw)
}

/// Whether the disk of the snapshot is full. That of the temporary files is another matter, and names its folder.
fn is_full(error: &(dyn Error + 'static)) -> bool {
    let is_temporary = matches!(error.downcast_ref(), Some(BuildError::Scratch(_)));
    !is_temporary && [Errno::ENOSPC, Errno::EDQUOT].map(Some).contains(&errno(error))
}

/// An error of a build, with a remedy where that is not plain. A full disk may have room again.
fn unwritten(error: &(dyn Error + 'static), place: &str) -> MasterError {
    match errno(error) {
        Some(Errno::EFBIG) => MasterError::Failed(format!(
            "{}: a snapshot is a file, and RLIMIT_FSIZE allows none of its size (ulimit -f, LimitFSIZE=)",
            chain(error)
        )),
        Some(_) if is_full(error) => MasterError::Passing(
            Outlook::Unreachable,
            format!("{place}: {}: make room there, or name another folder in SNAPSHOT_DIR", chain(error)),
        ),
        Some(_) => MasterError::Passing(Outlook::Unreachable, chain(error)),
        None => failed(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::scratch::ScratchError;

    #[test]
    fn file_beyond_the_limit_comes_with_a_remedy() {
        let limit = io::Error::from_raw_os_error(Errno::EFBIG as i32);
        let limit = Reason::from(unwritten(&limit, "memory"));
        assert!(limit.as_str().contains("LimitFSIZE=") && limit.outlook() == Outlook::Lasting);
        assert_eq!(Reason::from(unwritten(&io::Error::other("torn"), "memory")), Reason::new("torn"));
        let full = io::Error::from_raw_os_error(Errno::ENOSPC as i32);
        let full = Reason::from(unwritten(&full, "SNAPSHOT_DIR /small"));
        assert!(full.as_str().starts_with("SNAPSHOT_DIR /small: ") && full.as_str().contains("make room"));
        assert_eq!(full.outlook(), Outlook::Unreachable);
    }

    #[test]
    fn full_folder_of_temporary_files_is_no_full_disk_of_the_snapshot() {
        let full = || io::Error::from_raw_os_error(Errno::ENOSPC as i32);
        assert!(Failed::unwritten(&BuildError::Write(full()), "memory", true).is_full);
        let temporary = ScratchError { folder: "/small".into(), source: full() };
        let failed = Failed::unwritten(&BuildError::Scratch(temporary), "memory", true);
        assert!(!failed.is_full && failed.reason.contains("cannot keep the rows in /small"), "{failed:?}");
        assert_eq!(failed.outlook, Outlook::Unreachable);
    }
}
