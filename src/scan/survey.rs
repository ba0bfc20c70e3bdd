//! What there is on the disk now: every folder is visited, and every file that is not as the
//! last scan left it is read. An error costs no more than the place where it came up.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use slog::{Logger, debug, info, warn};
use uuid::Uuid;

use super::error::ScanError;
use super::exclude::IGNORE_FILE;
use super::facts;
use super::folders::{Folders, Reach, Visited};
use super::keep::Keep;
use super::pool::{Event, LOOK_EVERY, Patience, Pool, Threads, Work};
use super::previous::{Index, Mark, Previous, content};
use super::progress::Progress;
use super::read::tags::{Field, Reading, Unread};
use super::read::{self, Look, READER};
use super::scope::Start;
use super::shown::shown;
use super::skipped::{Reason, Skips};
use super::spool::Spool;
use super::stamping::{Stamping, UNSTABLE, is_suspect};
use super::suspects::{Next, Suspects};
use super::track;
use super::walk::{Folder, Kind, Listing};
use crate::database::Texts;
use crate::ids;
use crate::model::library::{File, Outcome, Stamps};

/// Places out of reach that are told one by one.
const TOLD_MAX: usize = 100;

/// All that was seen. What was seen of files that the last scan knew is marked there.
pub(super) struct Survey<'a> {
    pub(super) folders: Folders<'a>,
    /// The files that were read.
    pub(super) spool: Spool,
    /// New songs, by what stays when a file moves.
    pub(super) newcomers: HashMap<(i64, i64), Vec<PathBuf>>,
    /// Folders in which songs were read.
    pub(super) song_folders: HashSet<PathBuf>,
    /// Songs that were read. Kept only where rows are in the database that no file explains.
    pub(super) read_songs: HashSet<Uuid>,
    /// Files that are there and could not be reached, and links whose target was not: why.
    pub(super) unreachable: HashMap<PathBuf, String>,
    /// Links that lead nowhere. Where a song was found through one, it is out of reach.
    pub(super) broken_links: HashSet<PathBuf>,
    /// Files and folders that the patterns pass over.
    pub(super) excluded: HashSet<PathBuf>,
    pub(super) skips: Skips,
    /// Files, and what else is no folder.
    pub(super) found: usize,
    /// Files that were looked into.
    pub(super) read: usize,
    /// Files that are as they were.
    pub(super) unchanged: usize,
    /// Songs that were found, new and old.
    pub(super) songs: usize,
    /// Songs in files that the last scan did not know as such.
    pub(super) added: usize,
    /// Bytes of the files that were looked into.
    pub(super) bytes: u64,
    suspects: Suspects,
    told: usize,
    told_max: usize,
}

/// How a survey is made.
pub(super) struct Plan<'a> {
    /// Absolute paths that are known to be folders.
    pub(super) roots: &'a [PathBuf],
    pub(super) start: Start,
    /// Whether files are read that are as the last scan left them.
    pub(super) full: bool,
    pub(super) threads: Threads,
    pub(super) patience: Patience,
    pub(super) progress: &'a Progress,
    /// What the database can hold.
    pub(super) texts: &'a Texts,
    /// Now, in seconds since 1970.
    pub(super) now: i64,
    pub(super) log: &'a Logger,
    /// Whether each file that is left out is told.
    pub(super) verbose: bool,
}

/// A folder to list, with what counts for its files, or a file to read.
#[derive(Debug, Clone)]
enum Task {
    List(Folder, Stamping),
    Read(PathBuf),
}

enum Done {
    Listed(Listing),
    Read(Look),
}

impl Work for Task {
    type Done = Done;

    fn path(&self) -> &Path {
        match self {
            Task::List(folder, _) => &folder.path,
            Task::Read(path) => path,
        }
    }

    fn run(&self) -> Done {
        match self {
            Task::List(folder, _) => Done::Listed(folder.list()),
            Task::Read(path) => Done::Read(read::look(path)),
        }
    }

    fn is_leaf(&self) -> bool {
        matches!(self, Task::Read(_))
    }
}

/// Lists everything below the roots and reads what is new or changed.
///
/// # Errors
/// If no thread can be started, the database cannot hold a text, or what was read cannot be
/// kept.
pub(super) fn survey<'a>(
    plan: &Plan<'a>,
    previous: &mut Previous,
    mut keep: Option<&mut Keep<'_>>,
) -> Result<Survey<'a>, ScanError> {
    let mut pool = Pool::start(plan.threads, plan.patience).map_err(ScanError::Threads)?;
    let mut survey = Survey::new(plan.roots, previous);
    if plan.verbose {
        survey.told_max = usize::MAX;
    }
    survey.excluded.extend(plan.start.excluded.iter().cloned());
    pool.push(plan.start.folders.iter().map(|folder| Task::List(folder.clone(), Stamping::Exact)));
    while pool.open() > 0 || survey.has_more(&mut pool, plan, previous) {
        match pool.next(LOOK_EVERY) {
            Event::Done(Task::List(folder, stamping), Done::Listed(listing)) => {
                let tasks = survey.add_listing(folder, stamping, listing, plan, previous);
                pool.push(tasks);
            }
            Event::Done(task, Done::Read(look)) => {
                let file = survey.add_file(task.path(), look, plan, previous)?;
                if let (Some(keep), Some((file, known))) = (&mut keep, file) {
                    keep.add(&file, known, previous);
                }
            }
            Event::Done(_, Done::Listed(_)) | Event::Quiet => {}
            Event::Slow(path, elapsed) => warn!(
                plan.log,
                "Still waiting for {} after {} s; it counts as unreachable after {} s",
                shown(&path),
                elapsed.as_secs(),
                plan.patience.limit.as_secs()
            ),
            Event::GivenUp(task) => {
                let why = format!("no answer within {} s", plan.patience.limit.as_secs());
                survey.add_unreachable(&task, &why, plan);
                for task in pool.abandoned() {
                    survey.add_unreachable(&task, "too many files before it gave no answer", plan);
                }
            }
        }
        if let Some(keep) = &mut keep {
            keep.tick(&survey.folders, previous)?;
        }
        plan.progress.tick();
    }
    if let Some(more @ 1..) = survey.told.checked_sub(survey.told_max) {
        warn!(plan.log, "Could not reach {more} more files and folders");
    }
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
            read_songs: HashSet::new(),
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

    /// The folder that was visited at `path`.
    pub(super) fn visited(&self, path: &Path) -> Option<&Visited> {
        self.folders.visited.get(path)
    }

    /// Takes in what a folder holds, and gives what there is to do in it.
    fn add_listing(
        &mut self,
        folder: Folder,
        stamping: Stamping,
        listing: Listing,
        plan: &Plan<'_>,
        previous: &mut Previous,
    ) -> Vec<Task> {
        let Listing { entries, is_empty, error, device, is_mount, fs_type, patterns, bad_patterns } = listing;
        for problem in bad_patterns {
            let file = folder.path.join(IGNORE_FILE);
            warn!(plan.log, "Passed over a pattern of {}: {problem}", shown(&file));
        }
        // A scan of some paths begins in the middle of a file system.
        let is_start = is_mount || folder.only.is_some() || *folder.root == *folder.path;
        let is_unstable =
            !plan.full && previous.folder(&folder.path).is_some_and(|old| old.fs_type == UNSTABLE);
        let stamping = match (is_start, is_unstable) {
            (true, true) => Stamping::of(UNSTABLE),
            (true, false) => Stamping::of(fs_type),
            (false, _) => stamping,
        };
        // What is kept does not depend on where a scan of some paths begins.
        let fs_type = match is_mount || *folder.root == *folder.path {
            true if is_unstable => UNSTABLE,
            true => fs_type,
            false => 0,
        };
        let mut tasks = Vec::new();
        for entry in entries {
            let path = folder.path.join(&entry.name);
            self.found += usize::from(!matches!(entry.kind, Kind::Folder));
            match entry.kind {
                Kind::File(stamps) => match previous.find(&folder.path, &entry.name) {
                    Some(index) if !plan.full && is_unchanged(previous, index, stamps, stamping) => {
                        self.keep(index, &path, plan, previous);
                    }
                    Some(index)
                        if !plan.full && !stamping.is_sure() && is_suspicious(previous, index, stamps) =>
                    {
                        self.suspects.push(&folder.root, index, path);
                    }
                    _ => tasks.push(Task::Read(path)),
                },
                Kind::Folder => {
                    let below = Folder {
                        root: innermost(plan.roots, &path).unwrap_or_else(|| folder.root.clone()),
                        parent_device: device,
                        patterns: patterns.clone(),
                        wants_stamps: previous.folder(&path).is_some(),
                        only: None,
                        path,
                    };
                    tasks.push(Task::List(below, stamping));
                }
                kind => self.pass_over(path, kind, plan),
            }
        }
        let files = tasks.iter().filter(|task| task.is_leaf()).count();
        plan.progress.found(files, tasks.len() - files);
        let reach = match error {
            None => Reach::Listed,
            Some(error) => self.lose_folder(&folder.path, &error.to_string(), plan.log),
        };
        let visited = Visited { reach, root: folder.root, is_mount, fs_type, is_empty };
        self.folders.visited.insert(folder.path, visited);
        plan.progress.listed();
        tasks
    }

    /// Called when the pool has nothing to do. Hands in what is left to read, if anything is.
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
                         time of change tell what is new. --full reads everything",
                        shown(&root)
                    );
                    for (index, path) in files {
                        self.keep(index, &path, plan, previous);
                    }
                    if let Some(visited) = self.folders.visited.get_mut(&root) {
                        visited.fs_type = UNSTABLE;
                    }
                }
            }
        }
    }

    /// Takes a file for what the last scan found in it.
    fn keep(&mut self, index: Index, path: &Path, plan: &Plan<'_>, previous: &mut Previous) {
        previous.mark(index, Mark::Unchanged);
        // A path that was listed has a folder.
        self.folders.id(path.parent().unwrap_or(path), previous);
        self.unchanged += 1;
        let reason = match previous.file(index).outcome {
            Outcome::Song => {
                self.songs += 1;
                self.added += usize::from(previous.is_rowless(path));
                return;
            }
            Outcome::NotAudio => Reason::NotAudio,
            Outcome::Unsupported => Reason::Unsupported,
            Outcome::Broken => Reason::Unreadable,
        };
        self.skips.add(reason, path, None);
        if plan.verbose {
            info!(plan.log, "Skipped {}: {}, as the last scan found", shown(path), reason.text());
        }
    }

    /// Leaves out what is told only on demand.
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
            // There is one beside each file of such a disk.
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

    fn add_unreachable(&mut self, task: &Task, why: &str, plan: &Plan<'_>) {
        match task {
            Task::Read(path) => {
                self.read += 1;
                self.lose_file(path.clone(), why, plan.log);
                plan.progress.read(0);
            }
            Task::List(folder, _) => {
                let reach = self.lose_folder(&folder.path, why, plan.log);
                let root = folder.root.clone();
                let visited = Visited { reach, root, is_mount: false, fs_type: 0, is_empty: false };
                self.folders.visited.insert(folder.path.clone(), visited);
                plan.progress.listed();
            }
        }
    }

    /// Takes in what reading a file gave. Gives the record that is stored of it, and the number that
    /// the last scan gave it.
    fn add_file(
        &mut self,
        path: &Path,
        look: Look,
        plan: &Plan<'_>,
        previous: &mut Previous,
    ) -> Result<Option<(File, Option<Index>)>, ScanError> {
        let log = plan.log;
        let bytes = u64::try_from(look.stamps.size).unwrap_or(0);
        self.read += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        plan.progress.read(bytes);
        let (outcome, note, reading) = match look.result {
            Ok(reading) => {
                check_texts(&reading, path, plan.texts)?;
                (Outcome::Song, tell_losses(&reading, path, log), reading)
            }
            Err(Unread::NotAudio) => {
                self.skip_quietly(Reason::NotAudio, path, plan);
                (Outcome::NotAudio, String::new(), Reading::default())
            }
            Err(Unread::Unsupported(format)) => {
                self.skips.add(Reason::Unsupported, path, Some(format));
                warn!(log, "Skipped {}: unsupported format, {format}", shown(path));
                (Outcome::Unsupported, format.to_owned(), Reading::default())
            }
            Err(Unread::Broken(why)) => {
                self.skips.add(Reason::Unreadable, path, Some(&why));
                warn!(log, "Skipped {}: {why}", shown(path));
                (Outcome::Broken, why, Reading::default())
            }
            Err(Unread::Special) => {
                self.pass_over(path.to_owned(), Kind::Special, plan);
                return Ok(None);
            }
            Err(Unread::Unreachable(error)) => {
                self.lose_file(path.to_owned(), &error.to_string(), log);
                return Ok(None);
            }
        };
        self.remember(path, (look.stamps, look.settled), (outcome, note, &reading), plan, previous)
    }

    /// Keeps the record of a file that was read.
    fn remember(
        &mut self,
        path: &Path,
        (stamps, settled): (Stamps, bool),
        (outcome, note, reading): (Outcome, String, &Reading),
        plan: &Plan<'_>,
        previous: &mut Previous,
    ) -> Result<Option<(File, Option<Index>)>, ScanError> {
        // A path that was listed has both.
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
        let known = previous.find(folder, name);
        if let Some(index) = known {
            previous.mark(index, Mark::Read(outcome));
        }
        let text = |field| reading.tags.first(field).map(str::to_owned);
        let length = reading.sound.length.map(|length| i64::try_from(length.as_millis()).unwrap_or(i64::MAX));
        let file = File {
            folder: self.folders.id(folder, previous),
            name: name.to_owned(),
            stamps,
            settled,
            reader: READER,
            outcome,
            note,
            added: known.map_or(plan.now, |index| previous.file(index).added),
            title: text(Field::Title),
            album: text(Field::Album),
            artist: text(Field::Artist),
            genre: text(Field::Genre),
            track: text(Field::Track),
            date: text(Field::Date),
            length_ms: length,
            facts: facts::object(reading),
        };
        if known.is_some_and(|index| previous.file(index).content != content(&file)) {
            self.suspects.differs();
        }
        if outcome == Outcome::Song {
            self.songs += 1;
            self.added += usize::from(!previous.knows_song(folder, name));
            track::tell_odd_values(path, &file, plan.log);
            if previous.is_recorded() {
                self.song_folders.insert(folder.to_owned());
                if known.is_none() {
                    self.newcomers.entry((stamps.size, stamps.mtime_ns)).or_default().push(path.to_owned());
                }
            }
            if !previous.unexplained.is_empty() {
                self.read_songs.insert(ids::song(path));
            }
        }
        self.spool.push(&file).map_err(ScanError::Spool)?;
        Ok(Some((file, known)))
    }
}

/// Whether a file is as the last scan left it.
fn is_unchanged(previous: &Previous, index: Index, stamps: Option<Stamps>, stamping: Stamping) -> bool {
    let known = previous.file(index);
    known.is_settled && stamps.is_some_and(|stamps| stamping.is_same(&known.stamps, &stamps))
}

/// Whether only such stamps differ as a file system may make up.
fn is_suspicious(previous: &Previous, index: Index, stamps: Option<Stamps>) -> bool {
    let known = previous.file(index);
    known.is_settled && stamps.is_some_and(|stamps| is_suspect(&known.stamps, &stamps))
}

/// The innermost of the roots that hold `path`, if it is one itself.
fn innermost(roots: &[PathBuf], path: &Path) -> Option<Arc<Path>> {
    roots.iter().find(|root| *root == path).map(|root| Arc::from(root.as_path()))
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
