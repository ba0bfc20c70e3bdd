//! The end of a scan: what differs from the database is written in one transaction.

use std::borrow::Cow;
use std::collections::HashSet;

use serde_json::json;

use super::error::ScanError;
use super::interrupt::Interrupt;
use super::previous::{Found, Previous};
use super::report::Report;
use super::settle::Settled;
use crate::database::{self, Changes, Holder, Moved, Rows, ScanRecord, Session, StateChanges, difference};
use crate::model::library::{File, Folder};

/// Stores what differs, and completes the report.
///
/// # Errors
/// Those of the database; it then holds what it held before.
pub(super) fn store(
    session: Session,
    previous: &Previous,
    found: Found,
    settled: Settled,
    me: &Holder,
    interrupt: &Interrupt,
) -> Result<Report, ScanError> {
    let Settled { state, moved, mut report } = settled;
    let now = jiff::Timestamp::now().as_second();
    let counts = counts(&report);
    let moved: Vec<Moved> =
        moved.into_iter().map(|(old_id, new_id)| Moved { old_id, new_id, at: now }).collect();
    let rows = match found.about.is_clean {
        true => Rows::Differences(found.known.compare(&state.collection)),
        false => Rows::Replace(&state.collection),
    };
    let replace = found.about.state == database::State::Damaged;
    let old: Vec<&File> = if replace { Vec::new() } else { previous.files().map(|(_, file)| file).collect() };
    let files = difference::files(old, &state.files);
    let folders: Vec<&Folder> = state
        .folders
        .iter()
        .filter(|folder| replace || previous.folder(&folder.path) != Some(*folder))
        .collect();
    let ids: HashSet<i64> = state.folders.iter().map(|folder| folder.id).collect();
    let removed_folders: Vec<i64> =
        previous.folders().map(|folder| folder.id).filter(|id| !replace && !ids.contains(id)).collect();
    let changes = Changes {
        seen_scan: found.about.last_scan,
        scan: ScanRecord { started: me.started, ended: now, counts: &counts },
        rows,
        state: StateChanges {
            replace,
            folders: Some(Box::new(folders.into_iter().map(Cow::Borrowed))),
            removed_folders: &removed_folders,
            files: Some(Box::new(files.upserted.iter().map(|file| Cow::Borrowed(*file)))),
            removed_files: &files.removed,
        },
        moved: &moved,
    };
    interrupt.begin_to_store();
    let stored = session.store(changes);
    interrupt.end_to_store();
    report.is_written = stored?.is_some();
    Ok(report)
}

/// The counts of a scan as the database keeps them.
fn counts(report: &Report) -> String {
    let fates = report.fates;
    json!({
        "read": report.read,
        "bytes": report.bytes,
        "songs": report.songs,
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
