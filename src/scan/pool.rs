//! Threads that list folders and read files, and the eye that is kept on them: a call that
//! hangs (a dead NFS server) is named, and after a while its thread is given up and replaced.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Batches of results that may wait for the coordinator; workers pause when there are more.
const BATCHES_MAX: usize = 64;
/// Most jobs that a thread takes at once. A message for each file would cost more than reading
/// a small one.
const BATCH_MAX: usize = 64;
/// Jobs that a thread takes at least, as long as they are quick and so many wait.
const QUICK_BATCH: usize = 16;
/// Folders that a thread takes at once at most, as long as they are quick.
const QUICK_BRANCHES: usize = 8;
/// Jobs that take longer wait for a disk or a network, and many threads can wait at once. A file
/// in memory takes some 30 us, one behind the nearest network some ms.
const SLOW: Duration = Duration::from_micros(500);
/// Jobs that take less do not wait.
const QUICK: Duration = Duration::from_micros(150);
/// Threads that may be given up. A thread that hangs in the kernel costs its stack.
const GIVEN_UP_MAX: usize = 32;
/// Most threads. Behind a network they wait for answers, so their number has nothing to do
/// with that of the cores.
pub(super) const THREADS_MAX: usize = 64;
/// How often the number of threads is looked at.
const MEASURE: Duration = Duration::from_millis(500);

/// Something to do at a path.
pub(super) trait Job: Clone + Send + 'static {
    /// What the work gives.
    type Done: Send + 'static;

    /// The folder or file that the job is about.
    fn path(&self) -> &Path;

    /// Does the work. May block in the kernel for ever.
    fn run(&self) -> Self::Done;

    /// Whether the job is done before those that wait: it makes no new ones.
    fn is_leaf(&self) -> bool;
}

/// What the pool tells its coordinator.
pub(super) enum Event<J: Job> {
    /// A job is done.
    Done(J, J::Done),
    /// A job takes longer than the patience for naming it.
    Slow(PathBuf, Duration),
    /// A job takes longer than its limit; its thread was given up.
    GivenUp(J),
    /// Nothing happened within the time.
    Quiet,
}

/// How long a job may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// After this time the job is named.
    pub(super) named_after: Duration,
    /// After this time its thread is given up.
    pub(super) limit: Duration,
}

/// How a pool works.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) threads: Threads,
    pub(super) patience: Patience,
}

/// How many threads there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Threads {
    /// So many.
    Fixed(usize),
    /// A few as long as the jobs are quick. Once they wait for a disk or a network so many, then
    /// as many as make it faster.
    Adapting(usize),
}

/// A pool of threads. Dropping it lets each thread end after its present job.
pub(super) struct Pool<J: Job> {
    shared: Arc<Shared<J>>,
    results: Receiver<Batch<J>>,
    sender: SyncSender<Batch<J>>,
    slots: Vec<Arc<Slot<J>>>,
    patience: Patience,
    /// Results that were received and not yet told.
    received: VecDeque<(J, J::Done)>,
    /// Jobs handed in and not yet told.
    open: usize,
    given_up: usize,
    looked: Instant,
    pace: Pace,
}

/// Jobs that are done, and the time that they took together.
struct Batch<J: Job> {
    done: Vec<(J, J::Done)>,
    took: Duration,
}

/// The work that waits.
struct Shared<J> {
    queues: Mutex<Queues<J>>,
    changed: Condvar,
}

struct Queues<J> {
    leaves: VecDeque<J>,
    /// The last one in is the first one out, so that a tree is walked depth first and few
    /// folders are open at a time.
    branches: Vec<J>,
    /// Threads at work.
    busy: usize,
    /// Threads that may be at work.
    limit: usize,
    /// Whether jobs take so little time that a few threads with many jobs each do best.
    are_quick: bool,
    closed: bool,
}

/// What a thread is at.
struct Slot<J: Job> {
    state: Mutex<State<J>>,
}

struct State<J: Job> {
    /// The job under way, since when, and whether it was named.
    job: Option<(J, Instant, bool)>,
    /// Jobs taken and not begun.
    todo: VecDeque<J>,
    done: Vec<(J, J::Done)>,
    given_up: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds one of these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<J: Job> Pool<J> {
    /// Starts the threads.
    ///
    /// # Errors
    /// If not even one can be started.
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

    /// Starts threads until there are `count`. A few threads do the same work as many.
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

    /// Jobs that are not told yet.
    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// Waits for the next thing to tell, `wait` at most.
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

    /// A thread in place of one that was given up, while there are not too many of those.
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

    /// The jobs that no thread is left for.
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

impl<J: Job> Drop for Pool<J> {
    fn drop(&mut self) {
        let mut queues = lock(&self.shared.queues);
        queues.closed = true;
        queues.leaves.clear();
        queues.branches.clear();
        drop(queues);
        self.shared.changed.notify_all();
    }
}

/// The life of a thread.
fn work<J: Job>(shared: &Shared<J>, results: &SyncSender<Batch<J>>, slot: &Slot<J>) {
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

/// Does what the slot holds; `None` when the thread was given up meanwhile.
fn do_all<J: Job>(slot: &Slot<J>) -> Option<Vec<(J, J::Done)>> {
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

/// The next jobs: leaves first, because what is listed and not read takes memory; and a share of
/// them only, so that each thread has some.
fn claim<J: Job>(shared: &Shared<J>) -> Option<VecDeque<J>> {
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

/// Finds how many threads are worth while. Quick jobs are done by as many as there are cores, and
/// one that is ready when another has done its share. For slow jobs there are more of them as
/// long as that makes it faster.
#[derive(Debug)]
struct Pace {
    /// Threads that may be at work.
    limit: usize,
    are_quick: bool,
    /// What a job has taken lately.
    mean: Duration,
    /// Threads for slow jobs at first; `None` where their number is fixed.
    slow: Option<usize>,
    since: Instant,
    done: usize,
    /// Jobs per second with the number of threads before.
    before: f64,
    /// Whether the last change made more.
    grew: bool,
    is_settled: bool,
}

impl Pace {
    fn new(threads: Threads) -> Pace {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let (limit, slow) = match threads {
            Threads::Fixed(count) => (count.clamp(1, THREADS_MAX), None),
            Threads::Adapting(count) => ((cores + 1).min(THREADS_MAX), Some(count.clamp(1, THREADS_MAX))),
        };
        Pace {
            limit,
            are_quick: slow.is_some(),
            mean: Duration::ZERO,
            slow,
            since: Instant::now(),
            done: 0,
            before: 0.0,
            grew: false,
            is_settled: false,
        }
    }

    /// Counts jobs that are done at `now` and took a thread so long. Tells whether the threads are
    /// to change.
    fn count(&mut self, done: usize, took: Duration, now: Instant) -> bool {
        let Some(slow) = self.slow else { return false };
        let jobs = u32::try_from(done.max(1)).unwrap_or(u32::MAX);
        self.mean = (self.mean * 3 + took / jobs) / 4;
        self.done += done;
        match self.are_quick {
            true if self.mean > SLOW => {
                *self = Pace { limit: self.limit.max(slow), are_quick: false, done: 0, since: now, ..*self };
                true
            }
            // The threads that there are wait for work.
            false if self.mean < QUICK => {
                self.are_quick = true;
                true
            }
            true => false,
            false => self.adapt(now),
        }
    }

    fn adapt(&mut self, now: Instant) -> bool {
        let elapsed = now.duration_since(self.since);
        if self.is_settled || elapsed < MEASURE {
            return false;
        }
        let rate = self.done as f64 / elapsed.as_secs_f64();
        (self.since, self.done) = (now, 0);
        let before = std::mem::replace(&mut self.before, rate);
        let limit = match self.grew && rate < 1.1 * before {
            // The last step was not worth it.
            true => {
                self.is_settled = true;
                self.limit / 2
            }
            false => (self.limit * 2).min(THREADS_MAX),
        };
        self.grew = limit > self.limit;
        self.is_settled |= limit == self.limit;
        self.limit = limit;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// A job that doubles its number, or waits for a message that may never come.
    #[derive(Clone)]
    struct Double {
        number: u64,
        gate: Option<Arc<Mutex<mpsc::Receiver<()>>>>,
    }

    impl Job for Double {
        type Done = u64;

        fn path(&self) -> &Path {
            Path::new("/some/file")
        }

        fn run(&self) -> u64 {
            if let Some(gate) = &self.gate {
                let _ = gate.lock().expect("gate").recv();
            }
            self.number * 2
        }

        fn is_leaf(&self) -> bool {
            self.number.is_multiple_of(2)
        }
    }

    fn patience(named: u64, limit: u64) -> Patience {
        Patience { named_after: Duration::from_millis(named), limit: Duration::from_millis(limit) }
    }

    fn limits(threads: usize, patience: Patience) -> Limits {
        Limits { threads: Threads::Fixed(threads), patience }
    }

    fn plain(number: u64) -> Double {
        Double { number, gate: None }
    }

    #[test]
    fn every_job_is_reported_once() {
        let mut pool = Pool::start(limits(4, patience(60_000, 60_000))).expect("threads");
        pool.push((0..5000).map(plain));
        let mut sum = 0;
        while pool.open() > 0 {
            if let Event::Done(job, done) = pool.next(Duration::from_millis(100)) {
                assert_eq!(done, 2 * job.number);
                sum += done;
            }
        }
        assert_eq!(sum, 4999 * 5000);
    }

    #[test]
    fn a_job_that_hangs_is_named_then_given_up_and_the_rest_goes_on() {
        let (open, gate) = mpsc::channel();
        let mut pool = Pool::start(limits(1, patience(20, 100))).expect("threads");
        pool.push([Double { number: 2, gate: Some(Arc::new(Mutex::new(gate))) }, plain(4), plain(6)]);
        let (mut named, mut given_up, mut done) = (0, Vec::new(), Vec::new());
        while pool.open() > 0 {
            match pool.next(Duration::from_millis(5)) {
                Event::Slow(path, elapsed) => {
                    assert!(path == Path::new("/some/file") && elapsed >= Duration::from_millis(20));
                    named += 1;
                }
                Event::GivenUp(job) => given_up.push(job.number),
                Event::Done(job, _) => done.push(job.number),
                Event::Quiet => {}
            }
        }
        assert_eq!((named, given_up, done), (1, vec![2], vec![4, 6]));
        // The thread that was given up ends without a word once it can.
        drop(open);
    }

    #[test]
    fn jobs_are_abandoned_when_too_many_threads_hang() {
        let (_open, gate) = mpsc::channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        let mut pool = Pool::start(limits(1, patience(1, 2))).expect("threads");
        pool.push((0..100).map(|number| Double { number: 2 * number, gate: Some(gate.clone()) }));
        let mut given_up = 0;
        while pool.open() > 0 {
            if let Event::GivenUp(_) = pool.next(Duration::from_millis(1)) {
                given_up += 1;
            }
            given_up += pool.abandoned().len();
        }
        assert_eq!(given_up, 100);
    }

    #[test]
    fn threads_for_slow_jobs_become_more_as_long_as_that_makes_it_faster() {
        let begin = Instant::now();
        let at = |half_seconds: u32| begin + half_seconds * MEASURE;
        let slow = |pace: &mut Pace, done: usize, now| {
            pace.count(done, 8 * SLOW * u32::try_from(done).expect("a count"), now).then_some(pace.limit)
        };
        let mut pace = Pace::new(Threads::Adapting(16));
        assert!(pace.are_quick);
        pace.limit = 3;
        assert_eq!(slow(&mut pace, 50, at(0)), Some(16));
        assert_eq!(slow(&mut pace, 100, at(1)), Some(32));
        assert_eq!(slow(&mut pace, 190, at(2)), Some(64));
        assert_eq!(slow(&mut pace, 200, at(3)), Some(32));
        assert_eq!(slow(&mut pace, 1000, at(4)), None);
        let mut pace = Pace { limit: THREADS_MAX, are_quick: false, ..Pace::new(Threads::Adapting(16)) };
        pace.since = begin;
        assert_eq!(slow(&mut pace, 1, at(1)), Some(THREADS_MAX));
        assert_eq!(slow(&mut pace, 1, at(2)), None);
    }

    #[test]
    fn quick_jobs_take_few_threads_until_they_are_slow_and_then_again() {
        let mut pace = Pace::new(Threads::Adapting(16));
        let few = pace.limit;
        let now = pace.since;
        assert!(!pace.count(64, 64 * QUICK / 2, now) && pace.are_quick);
        // One slow file is no slow disk.
        assert!(!pace.count(16, 16 * SLOW, now) && pace.are_quick);
        assert!(pace.count(4, 40 * SLOW, now) && !pace.are_quick);
        assert_eq!(pace.limit, few.max(16));
        while !pace.count(64, Duration::ZERO, now) {}
        assert!(pace.are_quick);
        let mut fixed = Pace::new(Threads::Fixed(2));
        assert!(!fixed.count(1, 100 * SLOW, now) && fixed.limit == 2 && !fixed.are_quick);
    }
}
