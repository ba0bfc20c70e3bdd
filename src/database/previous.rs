//! The rows and state that the last scan left in a database.

use uuid::Uuid;

use super::difference::StoredSong;
use crate::model::Owner;
use crate::model::library::{FileRow, Folder};

/// The receiver of the rows of [`Session::previous`](super::Session::previous), one by one: the folders, the
/// files, the names, the songs, each in any order.
pub trait Visit {
    /// A folder of the last scan.
    fn folder(&mut self, folder: Folder);
    /// A file of the last scan.
    fn file(&mut self, file: FileRow<'_>);
    /// An album, an artist or a genre.
    fn name(&mut self, owner: Owner, id: Uuid, name: &str);
    /// A song.
    fn song(&mut self, song: &StoredSong<'_>);
}

/// The traces of the last scan, apart from the visited rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Previous {
    /// The folders and files.
    pub state: State,
    /// Whether each row of the four tables was visited and no id twice. If not, another program has written
    /// there, and `replace` in [`RowChanges`](super::difference::RowChanges) is the remedy.
    pub is_clean: bool,
    /// Number of the last scan that has stored a result; 0 for none.
    pub last_scan: i64,
}

/// The state of folders and files in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// There is no state: no scan of this program has ever stored a result here.
    Absent,
    /// All rows were visited.
    Whole,
    /// Invalid rows were skipped; `replace` in [`StateChanges`](super::StateChanges) is the remedy.
    Damaged,
}
