//! Files whose folder has no row, because another program has deleted it. A scan skips and reports them: the
//! number of the folder may be given to another folder, which then would have files that it never held.

use std::collections::HashSet;

use uuid::Uuid;

use super::difference::StoredSong;
use super::previous::Visit;
use crate::model::Owner;
use crate::model::library::{FileRow, Folder};

/// Passes all rows on except orphans.
pub(super) struct WithoutOrphans<'v> {
    visit: &'v mut dyn Visit,
    folders: HashSet<i64>,
    /// Whether there were any orphans.
    pub(super) were_there: bool,
}

impl<'v> WithoutOrphans<'v> {
    /// Passes rows on to `visit`; folders must come before files.
    pub(super) fn to(visit: &'v mut dyn Visit) -> Self {
        WithoutOrphans { visit, folders: HashSet::new(), were_there: false }
    }
}

impl Visit for WithoutOrphans<'_> {
    fn folder(&mut self, folder: Folder) {
        self.folders.insert(folder.id);
        self.visit.folder(folder);
    }

    fn file(&mut self, file: FileRow<'_>) {
        match self.folders.contains(&file.folder) {
            true => self.visit.file(file),
            false => self.were_there = true,
        }
    }

    fn name(&mut self, owner: Owner, id: Uuid, name: &str) {
        self.visit.name(owner, id, name);
    }

    fn song(&mut self, song: &StoredSong<'_>) {
        self.visit.song(song);
    }
}
