//! Stores the state of files while the scan still reads. It writes only to the tables of folders
//! and files; the rows of the collection stay unchanged. After an interrupted first scan of a slow
//! share the next scan need not read those files again.
//!
//! The next scan finds these files without rows (`previous`) and makes the rows. So this module
//! must not keep a file by which a song could get lost: a former song that is no song any more, or
//! a file to which a song may have moved. The next scan reads both again.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use serde_json::json;
use slog::{Logger, warn};

use super::error::ScanError;
use super::folders::Folders;
use super::interrupt::Interrupt;
use super::previous::{Index, Previous, Rows};
use crate::database::difference::RowChanges;
use crate::database::{Changes, DatabaseError, Holder, ScanRecord, Session, StateChanges};
use crate::model::library::{File, Outcome};

/// Shortest time between two transactions.
const PAUSE: Duration = Duration::from_secs(2);
/// Divisor of the elapsed time: transactions may take this share of it.
const SHARE: u32 = 20;
/// Most files that wait.
const WAITING_MAX: usize = 20_000;

/// The files that wait to be stored, and their destination.
pub(super) struct Keep<'a> {
    session: &'a mut Session,
    me: &'a Holder,
    interrupt: &'a Interrupt,
    log: &'a Logger,
    /// Number of the last scan in the database.
    last_scan: i64,
    /// Number of the last folder that is stored.
    last_folder: i64,
    /// Size and time of change of the songs that the last scan found.
    songs: HashSet<(i64, i64)>,
    waiting: Vec<File>,
    kept: usize,
    next: Instant,
    is_told: bool,
}

impl<'a> Keep<'a> {
    /// Prepares to keep files; `None` if the database must not be written yet. The guard protects
    /// rows that another program stored only until the first scan of this program is recorded.
    pub(super) fn new(
        session: &'a mut Session,
        previous: &Previous,
        rows: &Rows,
        me: &'a Holder,
        interrupt: &'a Interrupt,
        log: &'a Logger,
    ) -> Option<Keep<'a>> {
        if rows.is_damaged() || (!previous.is_recorded() && !previous.unexplained.is_empty()) {
            return None;
        }
        let songs = previous.files().filter(|(_, _, known)| known.outcome == Outcome::Song);
        Some(Keep {
            session,
            me,
            interrupt,
            log,
            last_scan: rows.about.last_scan,
            last_folder: previous.last_folder(),
            songs: songs.map(|(_, _, known)| (known.stamps.size, known.stamps.mtime_ns)).collect(),
            waiting: Vec::new(),
            kept: 0,
            next: Instant::now() + PAUSE,
            is_told: false,
        })
    }

    /// Adds a file that was read, if it may be kept.
    pub(super) fn add(&mut self, file: &File, known: Option<Index>, previous: &Previous) {
        let is_safe = match known {
            Some(index) => previous.file(index).outcome != Outcome::Song || file.outcome == Outcome::Song,
            None => !self.songs.contains(&(file.stamps.size, file.stamps.mtime_ns)),
        };
        if is_safe {
            self.waiting.push(file.clone());
        }
    }

    /// Stores the waiting files, if it is time to. If the database cannot take them now, the next
    /// tick tries again.
    ///
    /// # Errors
    /// If another scan has stored rows meanwhile.
    pub(super) fn tick(&mut self, folders: &Folders<'_>, previous: &Previous) -> Result<(), ScanError> {
        let began = Instant::now();
        if self.waiting.is_empty() || (began < self.next && self.waiting.len() < WAITING_MAX) {
            return Ok(());
        }
        let outcome = self.store(folders, previous);
        self.next = Instant::now() + PAUSE.max(began.elapsed() * SHARE);
        match outcome {
            Err(error @ DatabaseError::Overtaken { .. }) => Err(error.into()),
            Err(error) => {
                // The end of the scan stores them.
                self.waiting.clear();
                if !std::mem::replace(&mut self.is_told, true) {
                    warn!(self.log, "Could not store the state of files before the end of the scan: {error}");
                }
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn store(&mut self, folders: &Folders<'_>, previous: &Previous) -> Result<(), DatabaseError> {
        let new = folders.since(self.last_folder, previous);
        let last_folder = new.last().map_or(self.last_folder, |folder| folder.id);
        let counts = json!({"unfinished": true, "read": self.kept + self.waiting.len()}).to_string();
        let changes = Changes {
            seen_scan: self.last_scan,
            scan: ScanRecord {
                started: self.me.started,
                ended: jiff::Timestamp::now().as_second(),
                counts: &counts,
            },
            rows: RowChanges::default(),
            state: StateChanges {
                folders: Some(Box::new(new.into_iter().map(Ok))),
                files: Some(Box::new(self.waiting.iter().cloned().map(Ok))),
                ..StateChanges::default()
            },
            moved: &[],
        };
        self.last_scan = self.session.save(changes)?.unwrap_or(self.last_scan);
        self.last_folder = last_folder;
        self.kept += self.waiting.len();
        self.waiting.clear();
        self.interrupt.set_kept(self.kept);
        Ok(())
    }

    /// Number of the last scan in the database.
    pub(super) fn last_scan(&self) -> i64 {
        self.last_scan
    }
}
