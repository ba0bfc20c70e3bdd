//! `avalon-scan --watch`: keeps running, and scans changed files again.
//!
//! Events only tell where to look (`dirty`, from the thread in `source`). The ordinary scan finds
//! the changes there: a *pass* is a scan of some paths or of everything. So a pass is right even if
//! events are wrong or missing. Where the kernel reports no changes, or only some, the watch polls
//! the folders (`tree`, with `mounts`).

mod batch;
mod dirty;
mod once;
mod own;
mod reload;
mod source;
mod tree;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use sd_notify::NotifyState;
use slog::{Logger, debug, error, info, warn};

use super::early::Early;
use super::exclude::Patterns;
use super::shown::shown;
use super::{Account, Interrupt, Job, Progress, Report, ScanError, roots};
use crate::cli::chain;
use crate::database::DatabaseError;
use crate::telemetry::notify_socket::NotifySocket;
use batch::Batch;
use dirty::{Dirty, Names};
use once::Told;
use own::is_own;
use reload::Reload;
use source::{Source, Wake};
use tree::Tree;

/// Longest time between two looks at everything, even without events.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Pause after a first failure, and the longest one.
const RETRY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

/// The settings of a watch.
#[derive(Debug, Clone)]
pub struct Watching {
    /// Time between two looks at folders that the kernel does not watch.
    pub poll: Duration,
    /// Socket of the server that reads the database again after a change.
    pub control: Option<PathBuf>,
    /// The log file. The watch ignores changes of it.
    pub log_path: Option<PathBuf>,
}

/// Scans everything, then repeatedly the changes. A signal ends the process.
///
/// # Errors
/// The only way to return: the job is wrong, or no thread can be started.
pub fn watch(job: &Job, watching: &Watching, interrupt: &Interrupt, log: &Logger) -> ScanError {
    let farewell = log.clone();
    interrupt.set_farewell(move |signal| {
        NotifySocket::default().send_now(&[NotifyState::Stopping, NotifyState::Status("ending")]);
        info!(farewell, "avalon-scan: ended by {signal}");
    });
    match Watcher::start(job, watching, interrupt, log) {
        Ok(mut watcher) => loop {
            if let Err(error) = watcher.turn() {
                return error;
            }
        },
        Err(error) => error,
    }
}

/// The troubles of the watch.
#[derive(Debug, Default)]
struct Trouble {
    /// The reason why the last pass stored nothing, other than too large a loss.
    failure: Option<String>,
    /// Time of the next try after it, and the pause before that.
    retry: Option<(Instant, Duration)>,
    /// The reason why a pass was refused. Its paths are in `again`.
    refusal: Option<String>,
    /// Places that could not be reached.
    unreachable: usize,
}

struct Watcher<'a> {
    job: &'a Job,
    poll: Duration,
    interrupt: &'a Interrupt,
    log: &'a Logger,
    told: Told,
    source: Arc<Source>,
    tree: Tree,
    reload: Reload,
    /// Files that a pass itself writes.
    own: Vec<PathBuf>,
    /// Paths for the next pass.
    next: Batch,
    /// The beginning of the next pass.
    early: Option<Early>,
    /// The time that the last beginning took.
    lead: Duration,
    /// Paths that were refused or out of reach. The watch looks at them again with each poll.
    again: Batch,
    next_poll: Option<Instant>,
    next_day: Instant,
    trouble: Trouble,
    songs: usize,
    /// Whether the database holds all of the roots.
    is_complete: bool,
    /// Whether the watch has told systemd that it is ready.
    is_ready: bool,
    notify_socket: NotifySocket,
    /// Whether the log has reported the lack of watches.
    is_short: bool,
}

impl<'a> Watcher<'a> {
    fn start(
        job: &'a Job,
        watching: &Watching,
        interrupt: &'a Interrupt,
        log: &'a Logger,
    ) -> Result<Watcher<'a>, ScanError> {
        let roots = roots::absolute_all(&job.folders)?;
        let patterns = Arc::new(Patterns::everywhere(&job.exclude).map_err(ScanError::Pattern)?);
        let real = roots.iter().filter_map(|root| fs::canonicalize(root).ok());
        let around = roots.iter().cloned().chain(real).collect();
        let (source, inotify) = Source::start(around).map_err(ScanError::Threads)?;
        if let Err(errno) = inotify {
            let remedy = match errno {
                Errno::EMFILE => "; raise the sysctl fs.inotify.max_user_instances",
                _ => "",
            };
            let poll = watching.poll.as_secs();
            warn!(
                log,
                "The kernel gives no events ({errno}){remedy}; the watch scans everything every {poll} s"
            );
        }
        let now = Instant::now();
        Ok(Watcher {
            job,
            poll: watching.poll,
            interrupt,
            log,
            told: Told::default(),
            source,
            tree: Tree::new(&roots, patterns, inotify.ok()),
            reload: Reload::new(watching.control.clone(), now),
            own: own::files(job, watching.log_path.as_ref()),
            next: Batch::everything("the watch begins"),
            early: None,
            lead: Duration::MAX,
            again: Batch::default(),
            next_poll: None,
            next_day: now,
            trouble: Trouble::default(),
            songs: 0,
            is_complete: false,
            is_ready: false,
            notify_socket: NotifySocket::default(),
            is_short: false,
        })
    }

    /// Waits for the next work, and does it.
    fn turn(&mut self) -> Result<(), ScanError> {
        self.interrupt.rest();
        self.notify_socket.send_unsent();
        let is_due = self.wait();
        let now = Instant::now();
        let is_poll = self.next_poll.is_some_and(|poll| poll <= now);
        if is_poll {
            self.next_poll = None;
            self.tree.polled().into_iter().for_each(|path| self.next.add(path, true));
        }
        if self.next_day <= now {
            self.next.merge(Batch::everything("a day has passed"));
            self.told.forget();
            self.next_day = now + DAY;
        }
        self.reload.ask(&self.told.logger(self.log));
        let is_whole = self.next.all.is_some();
        if !self.next.is_empty() && self.trouble.retry.is_none_or(|(at, _)| at <= now) {
            let batch = std::mem::take(&mut self.next);
            self.pass(batch)?;
        }
        // In a separate pass, so that refused paths do not block the others.
        if is_poll && !is_whole && !self.again.is_empty() && self.trouble.retry.is_none() {
            let batch = std::mem::take(&mut self.again);
            self.pass(batch)?;
        }
        if is_due {
            // No pass has taken it if the changes concern no path any more.
            self.early = None;
        }
        let has_to_poll = !self.again.is_empty() || !self.tree.polled().is_empty();
        self.next_poll = has_to_poll.then(|| self.next_poll.unwrap_or_else(|| Instant::now() + self.poll));
        self.tell_status();
        Ok(())
    }

    /// Waits for the next work. Returns whether a pass over changes is due; they are in the next batch then. The
    /// watch reads the state of the last scan before that, as programs may still write.
    fn wait(&mut self) -> bool {
        let (timer, holds_back) = (self.timer(), self.trouble.retry.is_some());
        let may_begin = self.is_complete && self.early.is_none() && self.next.is_empty();
        let mut wake = self.source.wait(timer, holds_back, may_begin.then_some(self.lead));
        if let Wake::Soon = wake {
            let changes = self.source.peek(|dirty| self.batch(dirty));
            if changes.all.is_none() && !changes.is_empty() {
                let began = Instant::now();
                // If this fails, the pass tries again when it is due, and reports its own failure.
                self.early = Early::begin(self.job, &self.told.logger(self.log)).ok();
                self.lead = began.elapsed();
            }
            wake = self.source.wait(timer, holds_back, None);
        }
        match wake {
            Wake::Due(dirty) => {
                self.next.merge(self.batch(&dirty));
                true
            }
            Wake::Soon | Wake::Timer => false,
        }
    }

    /// Returns the time of the next work, if nothing changes.
    fn timer(&self) -> Instant {
        let retry = self.trouble.retry.map(|(at, _)| at);
        if retry.is_none() && !self.next.is_empty() {
            return Instant::now();
        }
        let times = [self.next_poll, self.reload.due(), retry];
        times.into_iter().flatten().fold(self.next_day, Instant::min)
    }

    /// Returns the paths that have changed.
    fn batch(&self, dirty: &Dirty) -> Batch {
        let mut batch = dirty.all.map(Batch::everything).unwrap_or_default();
        for (watch, names) in &dirty.folders {
            // A folder without a watch has moved, and its own event tells that.
            let Some(folder) = self.tree.path(*watch) else { continue };
            match names {
                Names::All => batch.add(folder.to_owned(), true),
                Names::Some(names) => {
                    let paths = names.iter().map(|name| folder.join(name));
                    let paths = paths.filter(|path| !is_own(&self.own, &self.tree.real(path)));
                    paths.for_each(|path| batch.add(path, false));
                }
            }
        }
        batch
    }

    /// Sets watches, then scans.
    fn pass(&mut self, mut batch: Batch) -> Result<(), ScanError> {
        if !self.is_complete {
            batch.merge(Batch::everything("not everything was scanned yet"));
        }
        match batch.all {
            Some(why) => {
                debug!(self.log, "Looking at everything: {why}");
                self.tree.sync_all();
            }
            None => batch.paths.iter().for_each(|(path, deep)| self.tree.sync(path, *deep)),
        }
        self.tell_shortage();
        let job = Job { only: batch.only(), ..self.job.clone() };
        let log = self.told.logger(self.log);
        let progress = match batch.all {
            Some(_) => Progress::lines(self.log),
            None => Progress::silent(),
        };
        let began = Instant::now();
        self.interrupt.begin();
        let (early, account) = (self.early.take(), &mut Account::default());
        let result = super::scan(&job, early, &progress, self.interrupt, &log, account);
        self.interrupt.rest();
        match result {
            Ok(report) => self.stored(&report, batch, began.elapsed()),
            Err(error) => self.failed(error, batch, &log)?,
        }
        Ok(())
    }

    fn stored(&mut self, report: &Report, batch: Batch, time: Duration) {
        let places =
            batch.only().map_or_else(|| "everything".to_owned(), |only| format!("{} places", only.len()));
        let fates = &report.fates;
        let text = format!(
            "{} songs added, {} changed, {} moved, {} removed; the collection has {} songs ({places} looked at, {:.1} seconds)",
            report.added,
            fates.changed,
            fates.moved,
            fates.removed + fates.excluded + fates.given_up,
            report.songs,
            time.as_secs_f64()
        );
        if report.is_new {
            info!(self.log, "{text}");
            self.reload.wish(report.revision);
        } else {
            debug!(self.log, "No song has changed: {text}");
        }
        self.songs = report.songs;
        if batch.all.is_some() {
            self.is_complete = true;
            self.next_day = Instant::now() + DAY;
            self.again = Batch::default();
            self.trouble.unreachable = report.unreachable;
        } else if report.unreachable > 0 {
            self.trouble.unreachable = self.trouble.unreachable.max(report.unreachable);
            self.again.merge(batch);
        }
        let was_failing = self.trouble.failure.take().is_some();
        self.trouble.retry = None;
        let was_refused = self.again.is_empty() && self.trouble.refusal.take().is_some();
        if was_failing || was_refused {
            info!(self.log, "The scan can store the collection again");
            // The log names the same trouble again when it comes back.
            self.told.forget();
        }
    }

    /// Handles a pass that stored nothing.
    fn failed(&mut self, error: ScanError, batch: Batch, log: &Logger) -> Result<(), ScanError> {
        let text = told(&error);
        match error {
            ScanError::Pattern(_) | ScanError::InsideCollection { .. } => return Err(error),
            // Another scan has stored other roots.
            ScanError::OutsideRoots { .. } => {
                self.is_complete = false;
                self.next.merge(batch);
            }
            ScanError::TooMuchLost { .. } | ScanError::NothingThere { .. } => {
                // The numbers vary with other changes.
                if self.told.is_new(&places(&error)) {
                    error!(self.log, "{text}");
                }
                // The rest of the collection is in the database, and can be kept up to date.
                self.is_complete = true;
                // The existing paths get a pass without the missing ones.
                let (there, gone) = batch.split();
                self.next.merge(there);
                self.refused(text, gone);
            }
            ScanError::Missing { .. }
            | ScanError::NotFolder { .. }
            | ScanError::Unreadable { .. }
            | ScanError::NothingReadable { .. } => {
                error!(log, "{text}");
                self.refused(text, batch);
            }
            ScanError::Database(DatabaseError::ScanRunning { .. }) => {
                info!(log, "{text}; the changes are scanned then");
                self.retry(text, batch);
            }
            ScanError::Database(_)
            | ScanError::Unstorable { .. }
            | ScanError::Threads(_)
            | ScanError::Spool(_) => {
                error!(log, "{text}; the scan is tried again");
                self.retry(text, batch);
            }
        }
        Ok(())
    }

    fn refused(&mut self, text: String, batch: Batch) {
        self.trouble.refusal = Some(text);
        self.trouble.failure = None;
        self.trouble.retry = None;
        self.again.merge(batch);
    }

    fn retry(&mut self, text: String, batch: Batch) {
        let pause = self.trouble.retry.map_or(RETRY.0, |(_, pause)| (pause * 2).min(RETRY.1));
        self.trouble.failure = Some(text);
        self.trouble.retry = Some((Instant::now() + pause, pause));
        self.next.merge(batch);
    }

    /// Logs once that the kernel refuses watches, and once that it grants them again.
    fn tell_shortage(&mut self) {
        let needed = self.tree.needed();
        match needed {
            Some(needed) if !self.is_short => warn!(
                self.log,
                "The kernel lets this user watch only {} of {needed} folders; the others are looked at every {} s. \
                 Raise the sysctl fs.inotify.max_user_watches by at least {} (other programs of the user need some \
                 of it too)",
                self.tree.watched(),
                self.poll.as_secs(),
                needed - self.tree.watched()
            ),
            None if self.is_short => info!(self.log, "All {} folders are watched now", self.tree.watched()),
            _ => {}
        }
        self.is_short = needed.is_some();
    }

    /// Reports the status to systemd; readiness after the first pass, even after a failed one.
    fn tell_status(&mut self) {
        let polled = self.tree.polled().len();
        let mut status = format!("watching {} folders", self.tree.watched());
        if polled > 0 {
            status += &format!(", looking at {polled} every {} s", self.poll.as_secs());
        }
        status += &format!("; {} songs", self.songs);
        if let Some(failure) = &self.trouble.failure {
            status += &format!("; trying again: {failure}");
        }
        if let Some(refusal) = &self.trouble.refusal {
            status += &format!("; {refusal}");
        }
        if self.trouble.unreachable > 0 {
            status += &format!("; {} places could not be reached", self.trouble.unreachable);
        }
        let status = NotifyState::Status(&status);
        if self.is_ready {
            self.notify_socket.send(&[status], None);
        } else {
            info!(self.log, "Watching {} folders", self.tree.watched());
            self.notify_socket.send(&[NotifyState::Ready, status], None);
        }
        self.is_ready = true;
    }
}

/// Returns the places where a scan would lose too much.
fn places(error: &ScanError) -> String {
    match error {
        ScanError::TooMuchLost { losses } => {
            let places: Vec<&Option<PathBuf>> = losses.iter().map(|loss| &loss.place).collect();
            format!("{places:?}")
        }
        other => other.to_string(),
    }
}

/// Returns an error and its causes as text for a log line.
fn told(error: &dyn Error) -> String {
    shown(Path::new(&chain(error)))
}
