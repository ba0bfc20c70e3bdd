//! The changes that a scan writes at its end.

use std::ffi::OsString;

use uuid::Uuid;

use super::difference::RowChanges;
use super::stream::{Stream, is_at_end};
use crate::model::library::{File, Folder};

/// The changes of a scan, written in one transaction or not at all.
pub struct Changes<'a> {
    /// [`Previous::last_scan`](super::Previous::last_scan): the scan whose rows were compared.
    pub seen_scan: i64,
    /// The scan itself; written if anything else is.
    pub scan: ScanRecord<'a>,
    /// The four tables.
    pub rows: RowChanges<'a>,
    /// The folders and files.
    pub state: StateChanges<'a>,
    /// Files that have moved.
    pub moved: &'a [Moved],
}

/// The record of a scan.
#[derive(Debug, Clone, Copy)]
pub struct ScanRecord<'a> {
    /// When it began, in seconds since 1970.
    pub started: i64,
    /// When it had read everything, in seconds since 1970.
    pub ended: i64,
    /// Its counts, as a JSON object.
    pub counts: &'a str,
}

/// Changes of the folders and files.
#[derive(Default)]
pub struct StateChanges<'a> {
    /// Everything goes first.
    pub replace: bool,
    /// New and changed folders.
    pub folders: Option<Stream<'a, Folder>>,
    /// Folders that go. Their files do not go with them by themselves.
    pub removed_folders: &'a [i64],
    /// New and changed files.
    pub files: Option<Stream<'a, File>>,
    /// Folder and name of the files that go.
    pub removed_files: &'a [(i64, OsString)],
}

/// A song whose file has another path now, and so another id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// The id that it had.
    pub old_id: Uuid,
    /// The id that it has.
    pub new_id: Uuid,
    /// When this was found out, in seconds since 1970.
    pub at: i64,
}

impl StateChanges<'_> {
    /// Looks at the first row of each stream, without losing it.
    pub(super) fn is_empty(&mut self) -> bool {
        !self.replace
            && self.removed_folders.is_empty()
            && self.removed_files.is_empty()
            && is_at_end(&mut self.folders)
            && is_at_end(&mut self.files)
    }
}

impl Changes<'_> {
    /// Whether there is nothing to write.
    pub fn is_empty(&mut self) -> bool {
        self.rows.is_empty() && self.moved.is_empty() && self.state.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn folder(id: i64) -> Folder {
        Folder { id, path: Path::new("/m").into(), root: id, is_mount: false, fs_type: 0 }
    }

    #[test]
    fn a_look_at_a_stream_loses_nothing() {
        let rows = [folder(1), folder(2)];
        let mut state =
            StateChanges { folders: Some(Box::new(rows.iter().cloned().map(Ok))), ..StateChanges::default() };
        assert!(!state.is_empty());
        assert!(!state.is_empty());
        let seen: Vec<Folder> = state.folders.unwrap().collect::<std::io::Result<_>>().unwrap();
        assert_eq!(seen, rows);

        let mut none = StateChanges { files: Some(Box::new(std::iter::empty())), ..StateChanges::default() };
        assert!(none.is_empty());
    }
}
