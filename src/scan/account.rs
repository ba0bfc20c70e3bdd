//! What a scan tells in detail, as far as it came: also of a scan that stores nothing.

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

/// What was seen of the files.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Files, and what is no folder.
    pub found: usize,
    /// Files that were looked into.
    pub read: usize,
    /// Files that are as the last scan left them.
    pub unchanged: usize,
    /// Sizes of the files that were looked into, together.
    pub bytes: u64,
    /// What gave no song.
    pub skips: Skips,
}

/// What a scan has found out, as far as it came.
#[derive(Debug)]
pub struct Account {
    /// The folders, once the last scan is known.
    pub roots: Vec<Root>,
    /// What was seen, once everything was.
    pub seen: Option<Seen>,
    /// What became of the songs of the last scan, once that is decided.
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
    /// Reading what the last scan left.
    Previous,
    /// Listing folders and reading files.
    Survey,
    /// Deciding what became of the songs of the last scan.
    Settle,
    /// Making rows and writing differences.
    Store,
}

impl Phase {
    /// The name for programs.
    pub fn key(self) -> &'static str {
        ["open", "previous", "survey", "settle", "store"][self as usize]
    }
}

impl Default for Account {
    /// Of a scan that begins now.
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
    /// How long the scan has run.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// A part of the scan ends, and the next one begins.
    pub(super) fn end_of(&mut self, phase: Phase) {
        let now = Instant::now();
        self.phases.push((phase, now - self.phase_began));
        self.phase_began = now;
    }

    /// Everything was seen.
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
