//! The end of a scan: one transaction writes all differences to the database.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::error::ScanError;
use super::interrupt::Interrupt;
use super::previous::{Mark, Previous, Rows};
use super::report::Report;
use super::settle::Settled;
use super::spool::Spool;
use super::survey::Survey;
use super::weave::Found;
use crate::database::{Changes, Holder, Moved, ScanRecord, Session, StateChanges, Stream};
use crate::ids;
use crate::model::Owner;
use crate::model::library::{File, Folder};

/// The input of the transaction.
pub(super) struct Store<'a> {
    pub(super) previous: &'a Previous,
    pub(super) rows: Rows,
    pub(super) survey: Survey<'a>,
    pub(super) settled: Settled,
    pub(super) me: &'a Holder,
    pub(super) interrupt: &'a Interrupt,
    /// Whether the scan only reports the changes and stores nothing.
    pub(super) dry_run: bool,
}

impl Store<'_> {
    /// Stores the differences, and returns the report.
    ///
    /// # Errors
    /// The error of the database, which then is unchanged.
    pub(super) fn store(self, mut session: Session) -> Result<Report, ScanError> {
        let Store { previous, mut rows, survey, settled, me, interrupt, dry_run } = self;
        let mut report = report(&survey, &settled);
        let Survey { folders, spool, names: read_names, read_songs, .. } = survey;
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
            report.revision = session.revision();
            return Ok(report);
        }
        let found = Found {
            previous,
            settled: &settled,
            folders: &folders,
            read_songs: &read_songs,
            read_names: &read_names,
        };
        let mut woven = found.weave(&mut rows, &mut session)?;
        drop((read_songs, read_names));
        report.songs = woven.count;
        [report.albums, report.artists, report.genres] = Owner::ALL.map(|owner| woven.names.len(owner));
        let rewritten = std::mem::take(&mut woven.rewritten);
        let mut row_changes = woven.changes(&rows, &spool);
        report.is_new = !row_changes.is_empty();
        report.revision = session.revision();
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
        let stored = session.save(changes);
        interrupt.end_to_store();
        report.is_written = stored?.is_some();
        report.revision = session.revision();
        Ok(report)
    }
}

/// Returns the report without the numbers of rows.
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
        revision: None,
    }
}

/// Returns the folders of files that stay without being read.
fn staying_folders<'a>(previous: &'a Previous, settled: &'a Settled) -> Vec<&'a Path> {
    let stays = |mut indexes: Range<usize>| indexes.any(|index| settled.stays(index));
    let staying =
        previous.files_by_folder().filter(|(_, indexes)| settled.is_partial || stays(indexes.clone()));
    let kept = settled.kept_folders.iter().map(PathBuf::as_path);
    staying.map(|(folder, _)| &*folder.path).chain(kept).collect()
}

/// The differences in the table of folders.
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

/// Returns the keys of the files whose records the database removes. The records of files that were
/// read are overwritten.
fn removed_files(previous: &Previous, settled: &Settled) -> Vec<(i64, OsString)> {
    let is_gone = |index: usize, mark| !settled.stays(index) && !matches!(mark, Mark::Read(_));
    previous
        .files()
        .filter(|(_, index, known)| is_gone(*index, known.mark))
        .map(|(folder, _, known)| previous.key(folder, known))
        .collect()
}

/// Returns the records of the files that were read. A moved song was added when it was first seen.
fn files<'a>(
    spool: &'a Spool,
    settled: &Settled,
    previous: &Previous,
    folders: &[Folder],
) -> Stream<'a, File> {
    let numbers: HashMap<&std::path::Path, i64> =
        folders.iter().map(|folder| (&*folder.path, folder.id)).collect();
    let mut added: HashMap<(i64, OsString), i64> = HashMap::new();
    for (index, _, to) in &settled.moved {
        if let (Some(folder), Some(name)) =
            (to.parent().and_then(|folder| numbers.get(folder)), to.file_name())
        {
            added.insert((*folder, name.to_owned()), previous.file(*index).added);
        }
    }
    Box::new(spool.records().map(move |file| {
        let mut file: File = file?.file()?;
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

/// Returns the counts of a scan as the database stores them.
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
