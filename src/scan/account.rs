//! What a scan tells in detail, as far as it came: also of a scan that stores nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::folders::Reach;
use super::report::{Fates, Skipped};
use super::survey::Survey;

/// Examples that are kept of each reason for leaving something out.
const EXAMPLES_MAX: usize = 10;

/// Why a file or folder gives no song.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The file is no audio.
    NotAudio,
    /// Audio in a format that is not supported.
    Unsupported,
    /// Damaged audio, or a file or folder that could not be reached.
    Unreadable,
    /// A link that leads nowhere or to itself.
    BrokenLink,
    /// A link to a folder.
    LinkedFolder,
    /// A pipe, a socket or a device.
    Special,
    /// An Apple double file (`._x`).
    AppleDouble,
    /// The patterns pass it over.
    Excluded,
}

impl Reason {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Reason; 8] = [
        Reason::NotAudio,
        Reason::Unsupported,
        Reason::Unreadable,
        Reason::BrokenLink,
        Reason::LinkedFolder,
        Reason::Special,
        Reason::AppleDouble,
        Reason::Excluded,
    ];

    /// The name for programs.
    pub fn key(self) -> &'static str {
        [
            "not_audio",
            "unsupported",
            "unreadable",
            "broken_links",
            "linked_folders",
            "special",
            "apple_double",
            "excluded",
        ][self as usize]
    }

    /// The name for people.
    pub fn text(self) -> &'static str {
        [
            "no audio",
            "unsupported format",
            "unreadable",
            "broken link",
            "link to a folder",
            "pipe, socket or device",
            "Apple double",
            "excluded",
        ][self as usize]
    }
}

/// Paths that were left out, and what there is to say of each beside the reason.
pub type Examples = BTreeMap<PathBuf, Option<String>>;

/// What gave no song: how much of each reason, and the first few by path.
#[derive(Debug, Clone, Default)]
pub struct Skips {
    /// The numbers.
    pub counts: Skipped,
    examples: [Examples; 8],
}

impl Skips {
    /// Counts `path`.
    pub(super) fn add(&mut self, reason: Reason, path: &Path, why: Option<&str>) {
        *self.counts.of_mut(reason) += 1;
        let examples = &mut self.examples[reason as usize];
        if examples.len() >= EXAMPLES_MAX {
            match examples.last_entry() {
                Some(last) if path < last.key() => drop(last.remove_entry()),
                _ => return,
            }
        }
        examples.insert(path.to_owned(), why.map(str::to_owned));
    }

    /// The first few by path that were left out for this reason.
    pub fn examples(&self, reason: Reason) -> &Examples {
        &self.examples[reason as usize]
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_in_the_order_of_their_numbers() {
        for (number, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, number);
        }
    }

    #[test]
    fn all_are_counted_and_the_first_by_path_are_examples() {
        let mut skips = Skips::default();
        for number in [7, 3, 12, 0, 9, 1, 11, 2, 10, 8, 4, 6, 5] {
            skips.add(Reason::Special, Path::new(&format!("/m/{number:02}")), Some("a pipe"));
        }
        assert_eq!((skips.counts.special, skips.counts.total()), (13, 13));
        let expected: Vec<PathBuf> = (0..10).map(|number| format!("/m/{number:02}").into()).collect();
        assert_eq!(skips.examples(Reason::Special).keys().cloned().collect::<Vec<_>>(), expected);
        assert!(skips.examples(Reason::Excluded).is_empty());
    }
}
