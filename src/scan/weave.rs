//! The rows that follow from all files, compared with those of the database. If the rows match the
//! files of the last scan, the state in memory is enough; otherwise this reads the texts of the
//! files from the database again, a few at a time.

use std::collections::HashMap;
use std::io;

use uuid::Uuid;

use super::error::ScanError;
use super::names::Names;
use super::previous::{Previous, Rows};
use super::settle::Settled;
use super::spool::{Record, Spool};
use super::track::Track;
use crate::database::difference::{RowChanges, SongRecord, StoredSong, hash_of_song};
use crate::database::{Session, Visit};
use crate::ids;
use crate::model::library::{File, FileRow, Folder, Outcome};
use crate::model::{Owner, PerOwner};

/// The new rows.
#[derive(Debug, Default)]
pub(super) struct Woven {
    pub(super) names: Names,
    /// Number of songs.
    pub(super) count: usize,
    /// Ids of songs to remove from the database.
    removed: Vec<Uuid>,
    /// Songs that stay and whose rows differ: another program has written to the database.
    changed: Vec<SongRecord>,
    /// Records of unchanged files, if all records are written again.
    pub(super) rewritten: Vec<File>,
}

/// The findings of a scan.
pub(super) struct Found<'a> {
    pub(super) previous: &'a Previous,
    pub(super) settled: &'a Settled,
    /// Folders that are stored.
    pub(super) folders: &'a [Folder],
    /// Songs that were read: id and hash of the row, by id.
    pub(super) read_songs: &'a [(Uuid, u64)],
    /// The names that they use.
    pub(super) read_names: &'a Names,
}

impl Found<'_> {
    /// Computes the new rows.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub(super) fn weave(&self, rows: &mut Rows, session: &mut Session) -> Result<Woven, ScanError> {
        let is_known = rows.follow && rows.about.is_clean && !rows.is_damaged();
        match is_known {
            true => Ok(self.weave_from_memory(std::mem::take(&mut rows.spellings), &rows.songs)),
            false => self.weave_from_database(rows, session),
        }
    }

    /// Handles the usual case, in which each row of the database belongs to a file of the last
    /// scan.
    fn weave_from_memory(&self, mut names: Names, stored: &[(Uuid, u64)]) -> Woven {
        let mut removed = Vec::new();
        for (folder, indexes) in self.previous.files_by_folder() {
            for known in self.settled.replaced_in(indexes).map(|index| self.previous.file(index)) {
                if known.outcome == Outcome::Song {
                    names.forget(known.names);
                    removed.push(ids::song(&self.previous.path(folder, known)));
                }
            }
        }
        names.absorb(self.read_names);
        removed.retain(|id| find(self.read_songs, *id).is_none());
        removed.sort_unstable();
        let added = self.read_songs.iter().filter(|(id, _)| find(stored, *id).is_none()).count();
        Woven { names, count: stored.len() - removed.len() + added, removed, ..Woven::default() }
    }

    /// Reads the files of the last scan that stay, with their texts.
    fn weave_from_database(&self, rows: &Rows, session: &mut Session) -> Result<Woven, ScanError> {
        let stored: &[(Uuid, u64)] = if rows.about.is_clean { &rows.songs } else { &[] };
        let folders = self.previous.folders().chain(self.folders).map(|folder| (folder.id, folder));
        let mut staying = Staying {
            found: self,
            folders: folders.collect(),
            stored,
            is_found: vec![false; stored.len()],
            rewrites: rows.is_damaged(),
            woven: Woven { count: self.read_songs.len(), ..Woven::default() },
        };
        staying.woven.names.absorb(self.read_names);
        for (id, _) in self.read_songs {
            staying.mark(*id);
        }
        for row in &self.settled.kept_rows {
            staying.woven.names.add_row(row);
            staying.woven.count += 1;
            staying.mark(row.id);
        }
        if self.previous.is_recorded() {
            session.previous(&mut staying)?;
        }
        let Staying { mut woven, is_found, .. } = staying;
        let gone = stored.iter().zip(is_found).filter(|(_, is_found)| !is_found);
        woven.removed = gone.map(|((id, _), _)| *id).collect();
        Ok(woven)
    }
}

/// Returns the hash of the song with this id among `songs`, which are sorted.
fn find(songs: &[(Uuid, u64)], id: Uuid) -> Option<u64> {
    let place = songs.binary_search_by_key(&id, |(id, _)| *id).ok()?;
    Some(songs[place].1)
}

/// Collects the files of the last scan that stay.
struct Staying<'a> {
    found: &'a Found<'a>,
    folders: HashMap<i64, &'a Folder>,
    /// The songs of the database, by id; empty if everything is replaced.
    stored: &'a [(Uuid, u64)],
    /// For each of them, whether it stays or changes.
    is_found: Vec<bool>,
    /// Whether the records of the files are written again.
    rewrites: bool,
    woven: Woven,
}

impl Staying<'_> {
    fn mark(&mut self, id: Uuid) {
        if let Ok(place) = self.stored.binary_search_by_key(&id, |(id, _)| *id) {
            self.is_found[place] = true;
        }
    }
}

impl Visit for Staying<'_> {
    fn folder(&mut self, _: Folder) {}

    fn file(&mut self, file: FileRow<'_>) {
        let Some(folder) = self.folders.get(&file.folder) else { return };
        // With `--keep-state` the table also holds files that this scan has read.
        let index = self.found.previous.find(&folder.path, file.name);
        if !index.is_some_and(|index| self.found.settled.stays(index)) {
            return;
        }
        if file.outcome == Outcome::Song {
            let track = Track::of(&file);
            let numbers = self.woven.names.add(track.names);
            let id = ids::song(&folder.path.join(file.name));
            let song = track.row(id, self.woven.names.ids(numbers));
            if find(self.stored, id) != Some(hash_of_song(&song)) {
                self.woven.changed.push(SongRecord::from(song));
            }
            self.woven.count += 1;
            self.mark(id);
        }
        if self.rewrites {
            self.woven.rewritten.push(file.into_owned());
        }
    }

    fn name(&mut self, _: Owner, _: Uuid, _: &str) {}

    fn song(&mut self, _: &StoredSong<'_>) {}
}

impl Woven {
    /// Returns the changes of the four tables.
    pub(super) fn changes<'a>(self, rows: &'a Rows, spool: &'a Spool) -> RowChanges<'a> {
        let none = HashMap::new();
        let replace = !rows.about.is_clean;
        let stored: &[(Uuid, u64)] = if replace { &[] } else { &rows.songs };
        let stored_names = |owner: Owner| if replace { &none } else { &rows.names[owner] };
        let Woven { names, removed, changed, .. } = self;
        let (changed_names, removed_names) = (
            PerOwner::new(|owner| names.changed(owner, stored_names(owner))),
            PerOwner::new(|owner| names.removed(owner, stored_names(owner))),
        );
        let read = spool.records().filter_map(move |record| song(record, stored, &names).transpose());
        RowChanges {
            replace,
            names: changed_names,
            removed_names,
            removed_songs: removed,
            songs: Some(Box::new(changed.into_iter().map(Ok).chain(read))),
        }
    }
}

/// Returns the row of a file that was read, if the database lacks it or holds another.
fn song(record: io::Result<Record>, stored: &[(Uuid, u64)], names: &Names) -> io::Result<Option<SongRecord>> {
    let record = record?;
    let Some((id, hash)) = record.song.filter(|(id, hash)| find(stored, *id) != Some(*hash)) else {
        return Ok(None);
    };
    let file = record.file::<&str>()?;
    let track = Track::of(&file);
    let song = track.row(id, names.ids_of(track.names));
    debug_assert_eq!(hash_of_song(&song), hash);
    Ok(Some(SongRecord::from(song)))
}
