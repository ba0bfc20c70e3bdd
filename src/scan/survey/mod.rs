//! The present state of the disk: the survey visits every folder and reads every new or changed
//! file. An error affects only the place where it occurs.

mod ahead;
mod listing;
mod reading;
mod task;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use slog::{Logger, debug, info, warn};
use uuid::Uuid;

pub(super) use ahead::Ahead;
use task::{Done, Task, tell_slow};

use super::error::ScanError;
use super::folders::{Folders, Reach, Visited};
use super::keep::Keep;
use super::names::Names;
use super::pool::{Event, LOOK_EVERY, Limits, Pool, Work};
use super::previous::Previous;
use super::progress::Progress;
use super::scope::Start;
use super::shown::shown;
use super::skipped::{Reason, Skips};
use super::spool::Spool;
use super::stamping::Stamping;
use super::suspects::{Next, Suspects};
use super::walk::Kind;
use crate::database::Texts;

/// Most unreachable places that the log names one by one.
const TOLD_MAX: usize = 100;

/// The results of the survey. `Previous` holds the marks of files that the last scan knew.
pub(super) struct Survey<'a> {
    pub(super) folders: Folders<'a>,
    /// The files that were read.
    pub(super) spool: Spool,
    /// New songs, by the stamps that survive a move.
    pub(super) newcomers: HashMap<(i64, i64), Vec<PathBuf>>,
    /// Folders in which songs were read.
    pub(super) song_folders: HashSet<PathBuf>,
    /// The names that the songs which were read use.
    pub(super) names: Names,
    /// Songs that were read: id and hash of the row, by id.
    pub(super) read_songs: Vec<(Uuid, u64)>,
    /// Existing files that could not be reached, and links whose target could not be: the reasons.
    pub(super) unreachable: HashMap<PathBuf, String>,
    /// Broken links. A song that was found through one is out of reach.
    pub(super) broken_links: HashSet<PathBuf>,
    /// Files and folders that the patterns pass over.
    pub(super) excluded: HashSet<PathBuf>,
    pub(super) skips: Skips,
    /// Number of files and other entries that are not folders.
    pub(super) found: usize,
    /// Files that the scan opened and read.
    pub(super) read: usize,
    /// Number of unchanged files.
    pub(super) unchanged: usize,
    /// Songs that were found, new and old.
    pub(super) songs: usize,
    /// Songs in files in which the last scan knew none.
    pub(super) added: usize,
    /// Bytes of these files.
    pub(super) bytes: u64,
    suspects: Suspects,
    told: usize,
    told_max: usize,
}

/// The rules of a survey.
pub(super) struct Plan<'a> {
    /// Absolute paths that are known to be folders.
    pub(super) roots: &'a [PathBuf],
    pub(super) start: Start,
    /// Whether unchanged files are read again.
    pub(super) full: bool,
    pub(super) limits: Limits,
    pub(super) progress: &'a Progress,
    /// The limits of texts in the database.
    pub(super) texts: &'a Texts,
    /// Now, in seconds since 1970.
    pub(super) now: i64,
    pub(super) log: &'a Logger,
    /// Whether the log names each file that is left out.
    pub(super) verbose: bool,
}

/// Lists everything below the roots and reads the new and changed files.
///
/// # Errors
/// If no thread can be started, the database cannot hold a text, or the spool cannot be written.
pub(super) fn survey<'a>(
    plan: &Plan<'a>,
    ahead: Option<Ahead>,
    previous: &mut Previous,
    mut keep: Option<&mut Keep<'_>>,
) -> Result<Survey<'a>, ScanError> {
    let Ahead { mut pool, events } = match ahead {
        Some(ahead) => ahead,
        None => {
            let mut none = Ahead::none(plan.limits)?;
            none.pool.push(plan.start.folders.iter().cloned().map(Task::List));
            none
        }
    };
    let mut survey = Survey::new(plan.roots, previous);
    if plan.verbose {
        survey.told_max = usize::MAX;
    }
    survey.excluded.extend(plan.start.excluded.iter().cloned());
    let keep = &mut keep;
    for event in events {
        survey.take(event, true, &mut pool, plan, previous, keep)?;
    }
    while pool.open() > 0 || survey.has_more(&mut pool, plan, previous) {
        let event = pool.next(LOOK_EVERY);
        survey.take(event, false, &mut pool, plan, previous, keep)?;
    }
    if let Some(more @ 1..) = survey.told.checked_sub(survey.told_max) {
        warn!(plan.log, "Could not reach {more} more files and folders");
    }
    survey.read_songs.sort_unstable();
    plan.progress.end();
    Ok(survey)
}

impl<'a> Survey<'a> {
    fn new(roots: &'a [PathBuf], previous: &Previous) -> Survey<'a> {
        Survey {
            folders: Folders::new(roots, previous),
            spool: Spool::default(),
            newcomers: HashMap::new(),
            song_folders: HashSet::new(),
            names: Names::default(),
            read_songs: Vec::new(),
            unreachable: HashMap::new(),
            broken_links: HashSet::new(),
            excluded: HashSet::new(),
            skips: Skips::default(),
            found: 0,
            read: 0,
            unchanged: 0,
            songs: 0,
            added: 0,
            bytes: 0,
            suspects: Suspects::default(),
            told: 0,
            told_max: TOLD_MAX,
        }
    }

    /// Returns the visited folder at `path`.
    pub(super) fn visited(&self, path: &Path) -> Option<&Visited> {
        self.folders.visited(path)
    }

    /// Takes in an event of the pool. If the early walk made a listing (`went_ahead`), its folders
    /// were handed in already.
    fn take(
        &mut self,
        event: Event<Task>,
        went_ahead: bool,
        pool: &mut Pool<Task>,
        plan: &Plan<'_>,
        previous: &mut Previous,
        keep: &mut Option<&mut Keep<'_>>,
    ) -> Result<(), ScanError> {
        match event {
            Event::Done(Task::List(folder), Done::Listed(listing)) => {
                pool.push(self.add_listing(folder, listing, went_ahead, plan, previous));
            }
            Event::Done(task, Done::Read(look)) => {
                let file = self.add_file(task.path(), look, plan, previous)?;
                if let (Some(keep), Some((file, known))) = (&mut *keep, file) {
                    keep.add(&file, known, previous);
                }
            }
            Event::Done(_, Done::Listed(_)) | Event::Quiet => {}
            Event::Slow(path, elapsed) => tell_slow(&path, elapsed, plan.limits.patience, plan.log),
            Event::GivenUp(task) => {
                let why = format!("no answer within {} s", plan.limits.patience.limit.as_secs());
                self.add_unreachable(&task, &why, plan, previous);
                for task in pool.abandoned() {
                    self.add_unreachable(&task, "too many files before it gave no answer", plan, previous);
                }
            }
        }
        if let Some(keep) = keep {
            keep.tick(&self.folders, previous)?;
        }
        plan.progress.tick();
        Ok(())
    }

    /// Hands in the files that are left to read when the pool is idle. Returns whether there were
    /// any.
    fn has_more(&mut self, pool: &mut Pool<Task>, plan: &Plan<'_>, previous: &mut Previous) -> bool {
        loop {
            match self.suspects.next(previous) {
                Next::Nothing => return false,
                Next::Read(paths) => {
                    plan.progress.found(paths.len(), 0);
                    pool.push(paths.into_iter().map(Task::Read));
                    return true;
                }
                Next::Unstable(root, files) => {
                    warn!(
                        plan.log,
                        "The file system at {} gives its files other inodes at each mount; from now on size and \
                         time of change tell which are new. --full reads everything",
                        shown(&root)
                    );
                    for (index, path) in files {
                        // A path from a listing has both.
                        if let (Some(folder), Some(name)) = (path.parent(), path.file_name()) {
                            self.folders.id(folder, previous);
                            self.keep(index, folder, name, plan, previous);
                        }
                    }
                    self.folders.mark_unstable(&root);
                }
            }
        }
    }

    /// Skips a path that only a verbose scan reports.
    fn skip_quietly(&mut self, reason: Reason, path: &Path, plan: &Plan<'_>) {
        self.skips.add(reason, path, None);
        match plan.verbose {
            true => info!(plan.log, "Skipped {}: {}", shown(path), reason.text()),
            false => debug!(plan.log, "Skipped {}: {}", shown(path), reason.text()),
        }
    }

    fn pass_over(&mut self, path: PathBuf, kind: Kind, plan: &Plan<'_>) {
        let log = plan.log;
        match kind {
            Kind::File(_) | Kind::Folder => {}
            Kind::Excluded => {
                self.skip_quietly(Reason::Excluded, &path, plan);
                self.excluded.insert(path);
            }
            // Such disks have an Apple double file beside each file.
            Kind::AppleDouble if !plan.verbose => self.skips.add(Reason::AppleDouble, &path, None),
            Kind::AppleDouble => self.skip_quietly(Reason::AppleDouble, &path, plan),
            Kind::LinkedFolder => {
                self.skips.add(Reason::LinkedFolder, &path, None);
                info!(log, "Link to a folder is not followed: {}", shown(&path));
            }
            Kind::BrokenLink(error) => {
                self.skips.add(Reason::BrokenLink, &path, Some(&error.to_string()));
                warn!(log, "Skipped broken link {}: {error}", shown(&path));
                self.broken_links.insert(path);
            }
            Kind::Special => {
                self.skips.add(Reason::Special, &path, None);
                warn!(log, "Skipped {}: it is a pipe, a socket or a device", shown(&path));
            }
            Kind::Unreachable(error) => self.lose_file(path, &error.to_string(), log),
        }
    }

    fn lose_file(&mut self, path: PathBuf, why: &str, log: &Logger) {
        self.tell(&path, why, log);
        self.skips.add(Reason::Unreadable, &path, Some(why));
        self.unreachable.insert(path, why.to_owned());
    }

    fn lose_folder(&mut self, path: &Path, why: &str, log: &Logger) -> Reach {
        self.tell(path, why, log);
        self.skips.add(Reason::Unreadable, path, Some(why));
        Reach::Unreachable(why.to_owned())
    }

    fn tell(&mut self, path: &Path, why: &str, log: &Logger) {
        self.told += 1;
        if self.told <= self.told_max {
            warn!(log, "Could not reach {}: {why}", shown(path));
        }
    }

    fn add_unreachable(&mut self, task: &Task, why: &str, plan: &Plan<'_>, previous: &Previous) {
        match task {
            Task::Read(path) => {
                self.read += 1;
                self.lose_file(path.clone(), why, plan.log);
                plan.progress.read(0);
            }
            Task::List(folder) => {
                let reach = self.lose_folder(&folder.path, why, plan.log);
                let root = folder.root.clone();
                let stamping = Stamping::Exact;
                let visited = Visited { reach, root, is_mount: false, fs_type: 0, stamping, is_empty: false };
                self.folders.visit(&folder.path, visited, previous);
                plan.progress.listed();
            }
        }
    }
}
