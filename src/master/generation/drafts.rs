//! Where a loader writes a snapshot: beside `SNAPSHOT_PATH`, in `SNAPSHOT_DIR`, or in memory.

use std::io;
use std::os::fd::{OwnedFd, RawFd};

use crate::config::Config;
use crate::snapshot::storage::Draft;

/// The place of a new snapshot.
pub(super) struct Drafts {
    pub(super) draft: Draft,
    /// In memory, for a disk that is full, if the draft is on one that no setting demands.
    pub(super) spare: Option<Draft>,
}

impl Drafts {
    /// Beside `SNAPSHOT_PATH`: workers map the very file that is kept, so the kernel can evict its pages.
    /// In memory where that folder knows no files without names, or another folder is set.
    pub(super) fn create(config: &Config) -> io::Result<Drafts> {
        if let (None, Some(path)) = (&config.snapshot_dir, &config.snapshot_path)
            && let Ok(draft) = Draft::beside(path)
        {
            return Ok(Drafts { draft, spare: Draft::create(None).ok() });
        }
        Ok(Drafts { draft: Draft::create(config.snapshot_dir.as_deref())?, spare: None })
    }

    pub(super) fn fds(&self) -> Vec<RawFd> {
        let spare = self.spare.iter().flat_map(Draft::fds);
        self.draft.fds().into_iter().chain(spare).collect()
    }

    /// The snapshot in one of them.
    pub(super) fn finish(self, is_spare: bool) -> OwnedFd {
        self.spare.filter(|_| is_spare).unwrap_or(self.draft).finish()
    }
}

/// Where the draft is, for a message.
pub(super) fn place(config: &Config) -> String {
    match (&config.snapshot_dir, &config.snapshot_path) {
        (Some(folder), _) => format!("SNAPSHOT_DIR {}", folder.display()),
        (None, Some(path)) => format!("SNAPSHOT_PATH {}", path.display()),
        (None, None) => "memory".to_owned(),
    }
}
