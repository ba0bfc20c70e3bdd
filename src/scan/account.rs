//! The detailed account of a scan, filled in as far as the scan came. A scan that stores nothing
//! has one too.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::folders::Reach;
use super::report::Fates;
use super::skipped::Skips;
use super::survey::Survey;

/// A folder that was to be scanned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// Absolute path.
    pub path: PathBuf,
    /// Whether it was listed to its end; `None` if the scan did not look at it.
    pub reachable: Option<bool>,
}

/// A song whose file has another path now, and so another id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovedSong {
    /// Id and path that it had.
    pub old: (Uuid, PathBuf),
    /// Id and path that it has.
    pub new: (Uuid, PathBuf),
}

/// Counts of the files that a scan saw.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Number of files and other entries that are not folders.
    pub found: usize,
    /// Files that the scan opened and read.
    pub read: usize,
    /// Files that are unchanged since the last scan.
    pub unchanged: usize,
    /// Total size of the files that the scan opened and read.
    pub bytes: u64,
    /// Files and folders that gave no song.
    pub skips: Skips,
}

/// The findings of a scan, as far as it came.
#[derive(Debug)]
pub struct Account {
    /// The folders, once the last scan is known.
    pub roots: Vec<Root>,
    /// Counts of the files, after the survey has ended.
    pub seen: Option<Seen>,
    /// Fates of the songs of the last scan, after they are decided.
    pub fates: Option<Fates>,
    /// The songs that have moved.
    pub moved: Vec<MovedSong>,
    /// The parts of the scan that have ended, and how long each took.
    pub phases: Vec<(Phase, Duration)>,
    began: Instant,
    phase_began: Instant,
}

/// A part of a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Connecting to the database and taking its lock.
    Open,
    /// Reading the state that the last scan left.
    Previous,
    /// Listing folders and reading files.
    Survey,
    /// Deciding the fates of the songs of the last scan.
    Settle,
    /// Making rows and writing differences.
    Store,
}

impl Phase {
    /// Returns the name of the phase in the report.
    pub fn key(self) -> &'static str {
        ["open", "previous", "survey", "settle", "store"][self as usize]
    }
}

impl Default for Account {
    /// Starts the clock of a scan.
    fn default() -> Account {
        let now = Instant::now();
        Account {
            roots: Vec::new(),
            seen: None,
            fates: None,
            moved: Vec::new(),
            phases: Vec::new(),
            began: now,
            phase_began: now,
        }
    }
}

impl Account {
    /// Returns the time since the scan began.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Ends one phase and begins the next.
    pub(super) fn end_of(&mut self, phase: Phase) {
        let now = Instant::now();
        self.phases.push((phase, now - self.phase_began));
        self.phase_began = now;
    }

    /// Takes over the counts of the finished survey.
    pub(super) fn take(&mut self, survey: &Survey<'_>, roots: &[PathBuf], absent: &[PathBuf]) {
        let reachable = |root: &PathBuf| match survey.visited(root) {
            Some(visited) => Some(visited.reach == Reach::Listed),
            None => absent.contains(root).then_some(false),
        };
        self.roots =
            roots.iter().map(|root| Root { path: root.clone(), reachable: reachable(root) }).collect();
        self.seen = Some(Seen {
            found: survey.found,
            read: survey.read,
            unchanged: survey.unchanged,
            bytes: survey.bytes,
            skips: survey.skips.clone(),
        });
    }
}
