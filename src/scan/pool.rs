//! The threads that list folders and read files, and their supervision. The pool names a call that
//! hangs (a dead NFS server), and after a while gives up its thread and replaces it.

mod pace;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use pace::Pace;
pub(super) use pace::Threads;

/// Most batches of results that wait for the coordinator; workers pause beyond it.
const BATCHES_MAX: usize = 64;
/// Most jobs that a thread takes at once. One message per file would cost more than reading a small
/// one.
const BATCH_MAX: usize = 64;
/// Fewest quick jobs that a thread takes at once, if that many wait.
const QUICK_BATCH: usize = 16;
/// Most folders that a thread takes at once while jobs are quick.
const QUICK_BRANCHES: usize = 8;
/// Most threads that are given up. A thread that hangs in the kernel costs its stack.
const GIVEN_UP_MAX: usize = 32;
/// Time between two checks of the threads.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A job at a path.
pub(super) trait Work: Clone + Send + 'static {
    /// The result of the job.
    type Done: Send + 'static;

    /// Returns the folder or file that the job is about.
    fn path(&self) -> &Path;

    /// Does the work. May block in the kernel for ever.
    fn run(&self) -> Self::Done;

    /// Reports whether the job makes no further jobs. Such jobs are done first.
    fn is_leaf(&self) -> bool;
}

/// A message from the pool to its coordinator.
pub(super) enum Event<J: Work> {
    /// A job is done.
    Done(J, J::Done),
    /// A job takes longer than the patience for naming it.
    Slow(PathBuf, Duration),
    /// A job takes longer than its limit; its thread was given up.
    GivenUp(J),
    /// Nothing happened within the time.
    Quiet,
}

/// The time limits of a job.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// After this time the job is named.
    pub(super) named_after: Duration,
    /// After this time its thread is given up.
    pub(super) limit: Duration,
}

/// The rules by which a pool works.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) threads: Threads,
    pub(super) patience: Patience,
}

/// A pool of threads. Dropping it lets each thread end after its present job.
pub(super) struct Pool<J: Work> {
    shared: Arc<Shared<J>>,
    results: Receiver<Batch<J>>,
    sender: SyncSender<Batch<J>>,
    slots: Vec<Arc<Slot<J>>>,
    patience: Patience,
    /// Results that were received and not yet reported.
    received: VecDeque<(J, J::Done)>,
    /// Jobs handed in and not yet reported.
    open: usize,
    given_up: usize,
    looked: Instant,
    pace: Pace,
}

/// Jobs that are done, and the time that they took together.
struct Batch<J: Work> {
    done: Vec<(J, J::Done)>,
    took: Duration,
}

/// The jobs that wait.
struct Shared<J> {
    queues: Mutex<Queues<J>>,
    changed: Condvar,
}

struct Queues<J> {
    leaves: VecDeque<J>,
    /// A stack, so that the walk is depth first and few folders are open at a time.
    branches: Vec<J>,
    /// Threads at work.
    busy: usize,
    /// Most threads that may be at work.
    limit: usize,
    /// Whether jobs take so little time that a few threads with many jobs each are fastest.
    are_quick: bool,
    closed: bool,
}

/// The jobs of one thread.
struct Slot<J: Work> {
    state: Mutex<State<J>>,
}

struct State<J: Work> {
    /// The job under way, since when, and whether it was named.
    job: Option<(J, Instant, bool)>,
    /// Jobs taken and not begun.
    todo: VecDeque<J>,
    done: Vec<(J, J::Done)>,
    given_up: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code panics while it holds one of these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<J: Work> Pool<J> {
    /// Starts the threads.
    ///
    /// # Errors
    /// If the kernel refuses even the first thread.
    pub(super) fn start(limits: Limits) -> std::io::Result<Pool<J>> {
        let (sender, results) = sync_channel(BATCHES_MAX);
        let pace = Pace::new(limits.threads);
        let queues = Queues {
            leaves: VecDeque::new(),
            branches: Vec::new(),
            busy: 0,
            limit: pace.limit,
            are_quick: pace.are_quick,
            closed: false,
        };
        let mut pool = Pool {
            shared: Arc::new(Shared { queues: Mutex::new(queues), changed: Condvar::new() }),
            results,
            sender,
            slots: Vec::new(),
            patience: limits.patience,
            received: VecDeque::new(),
            open: 0,
            given_up: 0,
            looked: Instant::now(),
            pace,
        };
        pool.grow(pool.pace.limit)?;
        Ok(pool)
    }

    /// Starts threads until there are `count`. If the kernel refuses some, fewer threads do the
    /// same work.
    fn grow(&mut self, count: usize) -> std::io::Result<()> {
        while self.slots.len() < count {
            match self.spawn() {
                Ok(slot) => self.slots.push(slot),
                Err(error) if self.slots.is_empty() => return Err(error),
                Err(_) => break,
            }
        }
        Ok(())
    }

    /// Hands in jobs.
    pub(super) fn push(&mut self, jobs: impl IntoIterator<Item = J>) {
        let mut queues = lock(&self.shared.queues);
        let mut count = 0;
        for job in jobs {
            count += 1;
            match job.is_leaf() {
                true => queues.leaves.push_back(job),
                false => queues.branches.push(job),
            }
        }
        let idle = queues.limit.saturating_sub(queues.busy);
        let batches = match queues.are_quick {
            true => {
                queues.leaves.len().div_ceil(QUICK_BATCH) + queues.branches.len().div_ceil(QUICK_BRANCHES)
            }
            false => count,
        };
        drop(queues);
        self.open += count;
        for _ in 0..batches.min(idle) {
            self.shared.changed.notify_one();
        }
    }

    /// Returns the number of jobs that are not reported yet.
    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// Returns the next event, after `wait` at most.
    pub(super) fn next(&mut self, wait: Duration) -> Event<J> {
        if let Some((job, done)) = self.received.pop_front() {
            self.open -= 1;
            return Event::Done(job, done);
        }
        if self.looked.elapsed() >= wait
            && let Some(event) = self.look()
        {
            return event;
        }
        match self.results.recv_timeout(wait) {
            Ok(batch) => {
                self.adapt(batch.done.len(), batch.took);
                self.received.extend(batch.done);
                match self.received.pop_front() {
                    Some((job, done)) => {
                        self.open -= 1;
                        Event::Done(job, done)
                    }
                    None => Event::Quiet,
                }
            }
            // The pool holds a sender itself, so the channel is never closed.
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                self.look().unwrap_or(Event::Quiet)
            }
        }
    }

    /// Counts jobs that are done, and changes the number of threads now and then.
    fn adapt(&mut self, done: usize, took: Duration) {
        if !self.pace.count(done, took, Instant::now()) {
            return;
        }
        let mut queues = lock(&self.shared.queues);
        (queues.limit, queues.are_quick) = (self.pace.limit, self.pace.are_quick);
        drop(queues);
        // With fewer threads than wanted the work goes on.
        let _ = self.grow(self.pace.limit);
        self.shared.changed.notify_all();
    }

    /// Looks for a thread that hangs.
    fn look(&mut self) -> Option<Event<J>> {
        self.looked = Instant::now();
        for index in 0..self.slots.len() {
            let mut state = lock(&self.slots[index].state);
            let Some((job, since, named)) = &mut state.job else { continue };
            let elapsed = since.elapsed();
            if elapsed >= self.patience.limit {
                let job = job.clone();
                state.given_up = true;
                let (todo, done) = (std::mem::take(&mut state.todo), std::mem::take(&mut state.done));
                drop(state);
                self.open -= 1 + todo.len();
                self.received.extend(done);
                self.replace(index);
                self.push(todo);
                return Some(Event::GivenUp(job));
            }
            if elapsed >= self.patience.named_after && !*named {
                *named = true;
                return Some(Event::Slow(job.path().to_owned(), elapsed));
            }
        }
        None
    }

    /// Replaces a thread that was given up, unless too many were.
    fn replace(&mut self, index: usize) {
        self.slots.swap_remove(index);
        lock(&self.shared.queues).busy -= 1;
        self.given_up += 1;
        if self.given_up <= GIVEN_UP_MAX
            && let Ok(slot) = self.spawn()
        {
            self.slots.push(slot);
        }
    }

    /// Returns the jobs for which no thread is left.
    pub(super) fn abandoned(&mut self) -> Vec<J> {
        if !self.slots.is_empty() {
            return Vec::new();
        }
        let mut queues = lock(&self.shared.queues);
        let jobs: Vec<J> = queues.leaves.drain(..).collect();
        let jobs: Vec<J> = jobs.into_iter().chain(queues.branches.drain(..)).collect();
        self.open -= jobs.len();
        jobs
    }

    fn spawn(&self) -> std::io::Result<Arc<Slot<J>>> {
        let state = State { job: None, todo: VecDeque::new(), done: Vec::new(), given_up: false };
        let slot = Arc::new(Slot { state: Mutex::new(state) });
        let (shared, sender, own) = (self.shared.clone(), self.sender.clone(), slot.clone());
        thread::Builder::new().name("reader".to_owned()).spawn(move || work(&shared, &sender, &own))?;
        Ok(slot)
    }
}

impl<J: Work> Drop for Pool<J> {
    fn drop(&mut self) {
        let mut queues = lock(&self.shared.queues);
        queues.closed = true;
        queues.leaves.clear();
        queues.branches.clear();
        drop(queues);
        self.shared.changed.notify_all();
    }
}

/// Runs a thread of the pool.
fn work<J: Work>(shared: &Shared<J>, results: &SyncSender<Batch<J>>, slot: &Slot<J>) {
    while let Some(batch) = claim(shared) {
        lock(&slot.state).todo = batch;
        let began = Instant::now();
        let Some(done) = do_all(slot) else { return };
        lock(&shared.queues).busy -= 1;
        if results.send(Batch { done, took: began.elapsed() }).is_err() {
            return;
        }
    }
}

/// Does all jobs of the slot; `None` if the thread was given up meanwhile.
fn do_all<J: Work>(slot: &Slot<J>) -> Option<Vec<(J, J::Done)>> {
    loop {
        let mut state = lock(&slot.state);
        let Some(job) = state.todo.pop_front() else { return Some(std::mem::take(&mut state.done)) };
        state.job = Some((job.clone(), Instant::now(), false));
        drop(state);
        let done = job.run();
        let mut state = lock(&slot.state);
        if state.given_up {
            return None;
        }
        state.job = None;
        state.done.push((job, done));
    }
}

/// Returns the next jobs: leaves first, because files that are listed and not read take memory; and
/// only a share of them, so that each thread has some.
fn claim<J: Work>(shared: &Shared<J>) -> Option<VecDeque<J>> {
    let mut queues = lock(&shared.queues);
    loop {
        if queues.closed {
            return None;
        }
        if queues.busy < queues.limit {
            let (leaves_min, branches_max) =
                if queues.are_quick { (QUICK_BATCH, QUICK_BRANCHES) } else { (1, 1) };
            let share = |waiting: usize, min, max| (waiting / queues.limit).clamp(min, max).min(waiting);
            let leaves = share(queues.leaves.len(), leaves_min, BATCH_MAX);
            let branches = queues.branches.len() - share(queues.branches.len(), 1, branches_max);
            let mut batch: VecDeque<J> = queues.leaves.drain(..leaves).collect();
            if batch.is_empty() {
                batch.extend(queues.branches.drain(branches..));
            }
            if !batch.is_empty() {
                queues.busy += 1;
                return Some(batch);
            }
        }
        queues = shared.changed.wait(queues).unwrap_or_else(PoisonError::into_inner);
    }
}

#[cfg(test)]
mod tests;
