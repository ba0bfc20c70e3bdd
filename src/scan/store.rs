//! The end of a scan: what differs from the database is written in one transaction, or nothing
//! at all. The texts of songs that are as they were are read from the database once more, for
//! the names that most songs use; they are never in memory all at once.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::path::PathBuf;

use serde_json::json;
use uuid::Uuid;

use super::error::ScanError;
use super::interrupt::Interrupt;
use super::names::Names;
use super::previous::{Mark, Previous, Rows};
use super::report::Report;
use super::settle::Settled;
use super::spool::Spool;
use super::survey::Survey;
use super::track::Track;
use crate::database::difference::{RowChanges, SongRecord, StoredSong, hash_of_song};
use crate::database::{Changes, Holder, Moved, ScanRecord, Session, StateChanges, Stream, Visit};
use crate::ids;
use crate::model::library::{File, Folder, Outcome};
use crate::model::{Owner, PerOwner};

/// What is to be stored.
pub(super) struct Store<'a> {
    pub(super) previous: &'a Previous,
    pub(super) rows: Rows,
    pub(super) survey: Survey<'a>,
    pub(super) settled: Settled,
    pub(super) me: &'a Holder,
    pub(super) interrupt: &'a Interrupt,
    /// Whether it is only told what would be stored.
    pub(super) dry_run: bool,
}

impl Store<'_> {
    /// Stores what differs, and tells what there is now.
    ///
    /// # Errors
    /// Those of the database; it then holds what it held before.
    pub(super) fn store(self, mut session: Session) -> Result<Report, ScanError> {
        let Store { previous, rows, survey, settled, me, interrupt, dry_run } = self;
        let mut report = report(&survey, &settled);
        let Survey { folders, spool, .. } = survey;
        let staying = staying_folders(previous, &settled);
        let folders = folders.stored(previous, &staying, &settled.kept_folders);
        let replace = rows.is_damaged();
        let folder_changes = FolderChanges::new(previous, &folders, replace);
        let is_same = spool.len() == 0
            && settled.replaced.is_empty()
            && rows.follow
            && rows.about.is_clean
            && folder_changes.is_empty();
        if is_same {
            report.songs = rows.songs.len();
            [report.albums, report.artists, report.genres] = Owner::ALL.map(|owner| rows.names[owner].len());
            return Ok(report);
        }
        let mut weave = Weave::new(&mut session, previous, &rows, &settled, &spool, &folders)?;
        report.songs = weave.count;
        [report.albums, report.artists, report.genres] = Owner::ALL.map(|owner| weave.names.len(owner));
        let rewritten = std::mem::take(&mut weave.rewritten);
        let mut row_changes = weave.changes(&rows, &spool);
        report.is_new = !row_changes.is_empty();
        if dry_run {
            report.is_written = true;
            return Ok(report);
        }
        let moved = moved(&settled);
        let removed = if replace { Vec::new() } else { removed_files(previous, &settled) };
        let counts = counts(&report);
        let changes = Changes {
            seen_scan: rows.about.last_scan,
            scan: ScanRecord {
                started: me.started,
                ended: jiff::Timestamp::now().as_second(),
                counts: &counts,
            },
            rows: row_changes,
            state: StateChanges {
                replace,
                folders: Some(Box::new(folder_changes.changed.into_iter().map(Ok))),
                removed_folders: &folder_changes.removed,
                files: Some(Box::new(
                    rewritten.into_iter().map(Ok).chain(files(&spool, &settled, previous, &folders)),
                )),
                removed_files: &removed,
            },
            moved: &moved,
        };
        interrupt.begin_to_store();
        let stored = session.store(changes);
        interrupt.end_to_store();
        report.is_written = stored?.is_some();
        Ok(report)
    }
}

/// What a scan tells, but for the numbers of rows.
fn report(survey: &Survey<'_>, settled: &Settled) -> Report {
    Report {
        read: survey.read,
        unchanged: survey.unchanged,
        // A moved song is not a new one.
        added: survey.added.saturating_sub(settled.moved.len()),
        bytes: survey.bytes,
        songs: 0,
        albums: 0,
        artists: 0,
        genres: 0,
        skipped: survey.skips.counts,
        fates: settled.fates,
        unreachable: settled.unreachable,
        is_written: false,
        is_new: false,
    }
}

/// The folders of files that stay without being read.
fn staying_folders(previous: &Previous, settled: &Settled) -> HashSet<PathBuf> {
    let mut folders: HashSet<PathBuf> = settled.kept_folders.clone();
    if settled.is_partial {
        folders.extend(previous.folders().map(|folder| folder.path.clone()));
    }
    for (folder, index, _) in previous.files() {
        if !folders.contains(&folder.path) && settled.stays(index) {
            folders.insert(folder.path.clone());
        }
    }
    folders
}

/// What differs in the table of folders.
struct FolderChanges {
    changed: Vec<Folder>,
    removed: Vec<i64>,
}

impl FolderChanges {
    fn new(previous: &Previous, folders: &[Folder], replace: bool) -> FolderChanges {
        let ids: HashSet<i64> = folders.iter().map(|folder| folder.id).collect();
        FolderChanges {
            changed: folders
                .iter()
                .filter(|folder| replace || previous.folder(&folder.path) != Some(*folder))
                .cloned()
                .collect(),
            removed: previous
                .folders()
                .map(|folder| folder.id)
                .filter(|id| !replace && !ids.contains(id))
                .collect(),
        }
    }

    fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.removed.is_empty()
    }
}

/// The rows that follow from all files, compared with those of the database.
struct Weave<'a> {
    previous: &'a Previous,
    settled: &'a Settled,
    /// The songs of the database, by id; none where everything is replaced.
    stored: &'a [(Uuid, u64)],
    /// Whether the records of files that stay are written once more.
    rewrites: bool,
    names: Names,
    /// Number of songs.
    count: usize,
    /// Which of `stored` stay or change.
    is_found: Vec<bool>,
    /// Songs that stay and whose rows differ: something else has written there.
    changed: Vec<SongRecord>,
    rewritten: Vec<File>,
    /// Number of the next file that comes.
    next: usize,
    folders: HashMap<i64, &'a Folder>,
}

impl<'a> Weave<'a> {
    /// Reads the files of the last scan that stay, and those that were read.
    fn new(
        session: &mut Session,
        previous: &'a Previous,
        rows: &'a Rows,
        settled: &'a Settled,
        spool: &Spool,
        folders: &'a [Folder],
    ) -> Result<Weave<'a>, ScanError> {
        let stored: &[(Uuid, u64)] = if rows.about.is_clean { &rows.songs } else { &[] };
        let mut weave = Weave {
            previous,
            settled,
            stored,
            rewrites: rows.is_damaged(),
            names: Names::default(),
            count: 0,
            is_found: vec![false; stored.len()],
            changed: Vec::new(),
            rewritten: Vec::new(),
            next: 0,
            folders: previous.folders().chain(folders).map(|folder| (folder.id, folder)).collect(),
        };
        if previous.is_recorded() {
            session.previous(&mut weave)?;
        }
        for file in spool.records() {
            let file = file.map_err(ScanError::Spool)?;
            weave.add(&file);
        }
        for row in &settled.kept_rows {
            weave.names.add_row(row);
            weave.count += 1;
            if let Ok(place) = stored.binary_search_by_key(&row.id, |(id, _)| *id) {
                weave.is_found[place] = true;
            }
        }
        Ok(weave)
    }

    /// Counts the song of a file. Tells whether the database lacks its row or holds another.
    fn add(&mut self, file: &File) -> bool {
        if file.outcome != Outcome::Song {
            return false;
        }
        let Some(folder) = self.folders.get(&file.folder) else { return false };
        let track = Track::of(file);
        let song = track.row(ids::song(&folder.path.join(&file.name)));
        self.names.add(&track);
        self.count += 1;
        match self.stored.binary_search_by_key(&song.id, |(id, _)| *id) {
            Ok(place) => {
                self.is_found[place] = true;
                self.stored[place].1 != hash_of_song(&song)
            }
            Err(_) => true,
        }
    }

    /// The changes of the four tables.
    fn changes(mut self, rows: &'a Rows, spool: &'a Spool) -> RowChanges<'a> {
        let none = HashMap::new();
        let replace = !rows.about.is_clean;
        let names = |owner: Owner| if replace { &none } else { &rows.names[owner] };
        let (stored, folders) = (self.stored, std::mem::take(&mut self.folders));
        let read = spool.records().filter_map(move |file| song(file, stored, &folders).transpose());
        let gone = stored.iter().zip(&self.is_found).filter(|(_, is_found)| !**is_found);
        RowChanges {
            replace,
            names: PerOwner::new(|owner| self.names.changed(owner, names(owner))),
            removed_names: PerOwner::new(|owner| self.names.removed(owner, names(owner))),
            removed_songs: gone.map(|((id, _), _)| *id).collect(),
            songs: Some(Box::new(self.changed.into_iter().map(Ok).chain(read))),
        }
    }
}

/// The row of a file that was read, if the database lacks it or holds another.
fn song(
    file: std::io::Result<File>,
    stored: &[(Uuid, u64)],
    folders: &HashMap<i64, &Folder>,
) -> std::io::Result<Option<SongRecord>> {
    let file = file?;
    let Some(folder) = folders.get(&file.folder).filter(|_| file.outcome == Outcome::Song) else {
        return Ok(None);
    };
    let track = Track::of(&file);
    let song = track.row(ids::song(&folder.path.join(&file.name)));
    let place = stored.binary_search_by_key(&song.id, |(id, _)| *id);
    let is_same = place.is_ok_and(|place| stored[place].1 == hash_of_song(&song));
    Ok((!is_same).then(|| SongRecord::from(song)))
}

/// Takes the files of the last scan once more, in the order in which they came before: only
/// this scan writes them.
impl Visit for Weave<'_> {
    fn folder(&mut self, _: Folder) {}

    fn file(&mut self, file: File) {
        let index = self.next;
        self.next += 1;
        if index >= self.previous.len() || !self.settled.stays(index) {
            return;
        }
        if self.add(&file)
            && let Some(folder) = self.folders.get(&file.folder)
        {
            let id = ids::song(&folder.path.join(&file.name));
            self.changed.push(SongRecord::from(Track::of(&file).row(id)));
        }
        if self.rewrites {
            self.rewritten.push(file);
        }
    }

    fn name(&mut self, _: Owner, _: Uuid, _: &str) {}

    fn song(&mut self, _: &StoredSong<'_>) {}
}

/// The keys of the files that the database forgets. Those that were read are written over.
fn removed_files(previous: &Previous, settled: &Settled) -> Vec<(i64, OsString)> {
    let is_gone = |index: usize, mark| !settled.stays(index) && !matches!(mark, Mark::Read(_));
    previous
        .files()
        .filter(|(_, index, known)| is_gone(*index, known.mark))
        .map(|(folder, _, known)| previous.key(folder, known))
        .collect()
}

/// The records of the files that were read. A song that moved was added when it was first seen.
fn files<'a>(
    spool: &'a Spool,
    settled: &Settled,
    previous: &Previous,
    folders: &[Folder],
) -> Stream<'a, File> {
    let numbers: HashMap<&std::path::Path, i64> =
        folders.iter().map(|folder| (folder.path.as_path(), folder.id)).collect();
    let mut added: HashMap<(i64, OsString), i64> = HashMap::new();
    for (index, _, to) in &settled.moved {
        if let (Some(folder), Some(name)) =
            (to.parent().and_then(|folder| numbers.get(folder)), to.file_name())
        {
            added.insert((*folder, name.to_owned()), previous.file(*index).added);
        }
    }
    Box::new(spool.records().map(move |file| {
        let mut file = file?;
        if !added.is_empty()
            && let Some(first_seen) = added.get(&(file.folder, file.name.clone()))
        {
            file.added = *first_seen;
        }
        Ok(file)
    }))
}

fn moved(settled: &Settled) -> Vec<Moved> {
    let at = jiff::Timestamp::now().as_second();
    let moved = |(_, from, to): &(usize, PathBuf, PathBuf)| Moved {
        old_id: ids::song(from),
        new_id: ids::song(to),
        at,
    };
    settled.moved.iter().map(moved).collect()
}

/// The counts of a scan as the database keeps them.
fn counts(report: &Report) -> String {
    let fates = report.fates;
    json!({
        "read": report.read,
        "unchanged": report.unchanged,
        "bytes": report.bytes,
        "songs": report.songs,
        "added": report.added,
        "changed": fates.changed,
        "removed": fates.removed,
        "moved": fates.moved,
        "kept": fates.kept,
        "given_up": fates.given_up,
        "excluded": fates.excluded,
        "unreachable": report.unreachable,
        "skipped": report.skipped.total(),
    })
    .to_string()
}
