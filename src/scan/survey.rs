//! What there is on the disk now: every folder that was visited and every file that was
//! read. An error costs no more than the place where it came up.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use slog::{Logger, debug, info, warn};

use super::error::ScanError;
use super::exclude::Patterns;
use super::pool::{Event, Job, Patience, Pool};
use super::progress::Progress;
use super::read::tags::{Field, Reading, Unread};
use super::read::{self, Look};
use super::report::{Skipped, shown};
use super::walk::{self, Folder, Kind, Listing};
use crate::database::Texts;
use crate::model::library::{Outcome, Stamps};

/// How often the threads are looked at.
const TICK: Duration = Duration::from_millis(200);
/// Places out of reach that are told one by one.
const TOLD_MAX: usize = 100;

/// What came of visiting a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reach {
    /// It was listed to its end.
    Listed,
    /// It could not be listed, or not to its end: why.
    Unreachable(String),
}

/// A folder that was visited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Visited {
    pub(super) reach: Reach,
    pub(super) root: Arc<Path>,
    pub(super) is_mount: bool,
    pub(super) fs_type: i64,
    /// Whether it holds nothing at all.
    pub(super) is_empty: bool,
}

/// A file that was read.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) path: PathBuf,
    pub(super) stamps: Stamps,
    pub(super) settled: bool,
    pub(super) outcome: Outcome,
    /// Why there is no song, or what was lost.
    pub(super) note: String,
    pub(super) reading: Reading,
}

/// All that was seen.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) folders: HashMap<PathBuf, Visited>,
    pub(super) files: Vec<Seen>,
    /// Files that are there and could not be reached, and links whose target was not: why.
    pub(super) unreachable: HashMap<PathBuf, String>,
    /// Links that lead nowhere. Where a song was found through one, it is out of reach.
    pub(super) broken_links: HashSet<PathBuf>,
    /// Files and folders that the patterns pass over.
    pub(super) excluded: HashSet<PathBuf>,
    pub(super) skipped: Skipped,
    /// Files that were looked into.
    pub(super) read: usize,
    /// Their bytes.
    pub(super) bytes: u64,
}

/// How a survey is made.
pub(super) struct Plan<'a> {
    /// Absolute paths that are known to be folders.
    pub(super) roots: &'a [PathBuf],
    pub(super) patterns: Arc<Patterns>,
    pub(super) threads: usize,
    pub(super) patience: Patience,
    pub(super) progress: &'a Progress,
    /// What the database can hold.
    pub(super) texts: &'a Texts,
    pub(super) log: &'a Logger,
}

/// A folder to list or a file to read.
#[derive(Debug, Clone)]
enum Task {
    List(Folder),
    Read(PathBuf),
}

enum Done {
    Listed(Listing),
    Read(Look),
}

impl Job for Task {
    type Done = Done;

    fn path(&self) -> &Path {
        match self {
            Task::List(folder) => &folder.path,
            Task::Read(path) => path,
        }
    }

    fn run(&self) -> Done {
        match self {
            Task::List(folder) => Done::Listed(folder.list()),
            Task::Read(path) => Done::Read(read::look(path)),
        }
    }

    fn is_leaf(&self) -> bool {
        matches!(self, Task::Read(_))
    }
}

/// Lists and reads everything below the roots.
///
/// # Errors
/// If no thread can be started, or the database cannot hold a text.
pub(super) fn survey(plan: &Plan<'_>) -> Result<Survey, ScanError> {
    let mut pool = Pool::start(plan.threads, plan.patience).map_err(ScanError::Threads)?;
    let mut survey = Survey::default();
    let roots = plan.roots.iter().filter(|root| {
        // A root inside another is found there.
        !plan.roots.iter().any(|other| other != *root && root.starts_with(other))
    });
    pool.push(roots.map(|root| {
        Task::List(Folder {
            path: root.clone(),
            root: Arc::from(root.as_path()),
            parent_device: walk::device_above(root),
            patterns: plan.patterns.clone(),
        })
    }));
    let mut told = 0;
    while pool.open() > 0 {
        match pool.next(TICK) {
            Event::Done(Task::List(folder), Done::Listed(listing)) => {
                let tasks = survey.add_listing(folder, listing, plan, &mut told);
                pool.push(tasks);
            }
            Event::Done(task, Done::Read(look)) => survey.add_file(task.path(), look, plan, &mut told)?,
            Event::Done(_, Done::Listed(_)) | Event::Quiet => {}
            Event::Slow(path, elapsed) => {
                warn!(
                    plan.log,
                    "Still waiting for {} after {} s; it counts as unreachable after {} s",
                    shown(&path),
                    elapsed.as_secs(),
                    plan.patience.limit.as_secs()
                );
            }
            Event::GivenUp(task) => {
                let why = format!("no answer within {} s", plan.patience.limit.as_secs());
                survey.add_unreachable(&task, &why, plan, &mut told);
                for task in pool.abandoned() {
                    survey.add_unreachable(&task, "too many files before it hang", plan, &mut told);
                }
            }
        }
        plan.progress.tick();
    }
    if told > TOLD_MAX {
        warn!(plan.log, "Could not reach {} more files and folders", told - TOLD_MAX);
    }
    plan.progress.end();
    // The order in which threads finish is chance; what is made of the files is not.
    survey.files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(survey)
}

impl Survey {
    /// Takes in what a folder holds, and gives what there is to do in it.
    fn add_listing(
        &mut self,
        folder: Folder,
        listing: Listing,
        plan: &Plan<'_>,
        told: &mut usize,
    ) -> Vec<Task> {
        let Listing { entries, error, device, is_mount, fs_type, patterns, bad_patterns } = listing;
        for problem in bad_patterns {
            let file = folder.path.join(super::exclude::IGNORE_FILE);
            warn!(plan.log, "Passed over a pattern of {}: {problem}", shown(&file));
        }
        let mut tasks = Vec::new();
        let is_empty = entries.is_empty();
        for entry in entries {
            let path = folder.path.join(&entry.name);
            match entry.kind {
                Kind::File => tasks.push(Task::Read(path)),
                Kind::Folder => tasks.push(Task::List(Folder {
                    root: innermost(plan.roots, &path).unwrap_or_else(|| folder.root.clone()),
                    path,
                    parent_device: device,
                    patterns: patterns.clone(),
                })),
                kind => self.pass_over(path, kind, plan.log, told),
            }
        }
        let files = tasks.iter().filter(|task| task.is_leaf()).count();
        plan.progress.found(files, tasks.len() - files);
        let reach = match error {
            None => Reach::Listed,
            Some(error) => {
                tell(plan.log, &folder.path, &error.to_string(), told);
                self.skipped.unreadable += 1;
                Reach::Unreachable(error.to_string())
            }
        };
        let visited = Visited { reach, root: folder.root, is_mount, fs_type, is_empty };
        self.folders.insert(folder.path, visited);
        plan.progress.listed();
        tasks
    }

    fn pass_over(&mut self, path: PathBuf, kind: Kind, log: &Logger, told: &mut usize) {
        match kind {
            Kind::File | Kind::Folder => {}
            Kind::Excluded => {
                debug!(log, "Passed over {}, which is excluded", shown(&path));
                self.skipped.excluded += 1;
                self.excluded.insert(path);
            }
            Kind::AppleDouble => self.skipped.apple_double += 1,
            Kind::LinkedFolder => {
                self.skipped.linked_folders += 1;
                info!(log, "Link to a folder is not followed: {}", shown(&path));
            }
            Kind::BrokenLink(error) => {
                self.skipped.broken_links += 1;
                warn!(log, "Skipped broken link {}: {error}", shown(&path));
                self.broken_links.insert(path);
            }
            Kind::Special => {
                self.skipped.special += 1;
                warn!(log, "Skipped {}: it is a pipe, a socket or a device", shown(&path));
            }
            Kind::Unreachable(error) => self.lose_sight(path, &error.to_string(), log, told),
        }
    }

    fn lose_sight(&mut self, path: PathBuf, why: &str, log: &Logger, told: &mut usize) {
        tell(log, &path, why, told);
        self.skipped.unreadable += 1;
        self.unreachable.insert(path, why.to_owned());
    }

    fn add_unreachable(&mut self, task: &Task, why: &str, plan: &Plan<'_>, told: &mut usize) {
        match task {
            Task::Read(path) => {
                self.read += 1;
                self.lose_sight(path.clone(), why, plan.log, told);
                plan.progress.read(0);
            }
            Task::List(folder) => {
                tell(plan.log, &folder.path, why, told);
                self.skipped.unreadable += 1;
                let visited = Visited {
                    reach: Reach::Unreachable(why.to_owned()),
                    root: folder.root.clone(),
                    is_mount: false,
                    fs_type: 0,
                    is_empty: false,
                };
                self.folders.insert(folder.path.clone(), visited);
                plan.progress.listed();
            }
        }
    }

    fn add_file(
        &mut self,
        path: &Path,
        look: Look,
        plan: &Plan<'_>,
        told: &mut usize,
    ) -> Result<(), ScanError> {
        let log = plan.log;
        self.read += 1;
        self.bytes += u64::try_from(look.stamps.size).unwrap_or(0);
        plan.progress.read(u64::try_from(look.stamps.size).unwrap_or(0));
        let (outcome, note, reading) = match look.result {
            Ok(reading) => {
                check_texts(&reading, path, plan.texts)?;
                (Outcome::Song, tell_losses(&reading, path, log), reading)
            }
            Err(Unread::NotAudio) => {
                self.skipped.not_audio += 1;
                debug!(log, "No audio: {}", shown(path));
                (Outcome::NotAudio, String::new(), Reading::default())
            }
            Err(Unread::Unsupported(format)) => {
                self.skipped.unsupported += 1;
                warn!(log, "Skipped {}: unsupported format, {format}", shown(path));
                (Outcome::Unsupported, format.to_owned(), Reading::default())
            }
            Err(Unread::Broken(why)) => {
                self.skipped.unreadable += 1;
                warn!(log, "Skipped {}: {why}", shown(path));
                (Outcome::Broken, why, Reading::default())
            }
            Err(Unread::Special) => {
                self.pass_over(path.to_owned(), Kind::Special, log, told);
                return Ok(());
            }
            Err(Unread::Unreachable(error)) => {
                self.lose_sight(path.to_owned(), &error.to_string(), log, told);
                return Ok(());
            }
        };
        let (stamps, settled) = (look.stamps, look.settled);
        self.files.push(Seen { path: path.to_owned(), stamps, settled, outcome, note, reading });
        Ok(())
    }
}

/// The innermost of the roots that hold `path`, if it is one itself.
fn innermost(roots: &[PathBuf], path: &Path) -> Option<Arc<Path>> {
    roots.iter().find(|root| *root == path).map(|root| Arc::from(root.as_path()))
}

fn tell(log: &Logger, path: &Path, why: &str, told: &mut usize) {
    *told += 1;
    if *told <= TOLD_MAX {
        warn!(log, "Could not reach {}: {why}", shown(path));
    }
}

/// Whether the database can hold what the file says, found out before hours are spent on
/// reading others.
fn check_texts(reading: &Reading, path: &Path, texts: &Texts) -> Result<(), ScanError> {
    for field in [Field::Title, Field::Album, Field::Artist, Field::Genre] {
        let Some(value) = reading.tags.first(field) else { continue };
        texts.can_hold(value).map_err(|why| ScanError::Unstorable {
            path: path.to_owned(),
            field: field.name(),
            value: value.to_owned(),
            why,
        })?;
    }
    Ok(())
}

/// Tells what was lost of a song, and gives it as one text.
fn tell_losses(reading: &Reading, path: &Path, log: &Logger) -> String {
    if let Some(guess) = reading.guess {
        debug!(log, "The length of {} is not stated: {guess}", shown(path));
    }
    let mut note = String::new();
    for loss in &reading.losses {
        warn!(log, "Could not read {} of {}: {}", loss.what, shown(path), loss.reason);
        let separator = if note.is_empty() { "" } else { "; " };
        note += &format!("{separator}{}: {}", loss.what, loss.reason);
    }
    if reading.more_losses > 0 {
        warn!(log, "Could not read {} more items of {}", reading.more_losses, shown(path));
    }
    note
}
