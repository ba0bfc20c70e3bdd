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
/// Most jobs that a worker takes at once. A message for each file would cost more than reading
/// a small one.
const BATCH_MAX: usize = 32;
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

/// How many threads there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Threads {
    /// So many.
    Fixed(usize),
    /// So many at first, then as many as make it faster.
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
    pace: Option<Pace>,
}

type Batch<J> = Vec<(J, <J as Job>::Done)>;

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
    done: Batch<J>,
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
    pub(super) fn start(threads: Threads, patience: Patience) -> std::io::Result<Pool<J>> {
        let (sender, results) = sync_channel(BATCHES_MAX);
        let (Threads::Fixed(limit) | Threads::Adapting(limit)) = threads;
        let limit = limit.clamp(1, THREADS_MAX);
        let queues = Queues { leaves: VecDeque::new(), branches: Vec::new(), busy: 0, limit, closed: false };
        let mut pool = Pool {
            shared: Arc::new(Shared { queues: Mutex::new(queues), changed: Condvar::new() }),
            results,
            sender,
            slots: Vec::new(),
            patience,
            received: VecDeque::new(),
            open: 0,
            given_up: 0,
            looked: Instant::now(),
            pace: matches!(threads, Threads::Adapting(_)).then(|| Pace::new(limit)),
        };
        pool.grow(limit)?;
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
        drop(queues);
        self.open += count;
        for _ in 0..count.min(idle) {
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
                self.adapt(batch.len());
                self.received.extend(batch);
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
    fn adapt(&mut self, done: usize) {
        let Some(limit) = self.pace.as_mut().and_then(|pace| pace.count(done, Instant::now())) else {
            return;
        };
        lock(&self.shared.queues).limit = limit;
        // With fewer threads than wanted the work goes on.
        let _ = self.grow(limit);
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
        let Some(done) = do_all(slot) else { return };
        lock(&shared.queues).busy -= 1;
        if results.send(done).is_err() {
            return;
        }
    }
}

/// Does what the slot holds; `None` when the thread was given up meanwhile.
fn do_all<J: Job>(slot: &Slot<J>) -> Option<Batch<J>> {
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

/// The next jobs: files first, because what is listed and not read takes memory; and a share of
/// them only, so that each thread has some.
fn claim<J: Job>(shared: &Shared<J>) -> Option<VecDeque<J>> {
    let mut queues = lock(&shared.queues);
    loop {
        if queues.closed {
            return None;
        }
        if queues.busy < queues.limit {
            let share = (queues.leaves.len() / queues.limit).clamp(1, BATCH_MAX).min(queues.leaves.len());
            let mut batch: VecDeque<J> = queues.leaves.drain(..share).collect();
            if batch.is_empty() {
                batch.extend(queues.branches.pop());
            }
            if !batch.is_empty() {
                queues.busy += 1;
                return Some(batch);
            }
        }
        queues = shared.changed.wait(queues).unwrap_or_else(PoisonError::into_inner);
    }
}

/// Finds how many threads are worth while: more of them as long as that makes it faster.
#[derive(Debug)]
struct Pace {
    limit: usize,
    since: Instant,
    done: usize,
    /// Jobs per second with the number of threads before.
    before: f64,
    /// Whether the last change made more.
    grew: bool,
    is_settled: bool,
}

impl Pace {
    fn new(limit: usize) -> Pace {
        Pace { limit, since: Instant::now(), done: 0, before: 0.0, grew: false, is_settled: false }
    }

    /// Counts jobs that are done at `now`. Gives a new number of threads now and then.
    fn count(&mut self, done: usize, now: Instant) -> Option<usize> {
        self.done += done;
        let elapsed = now.duration_since(self.since);
        if self.is_settled || elapsed < MEASURE {
            return None;
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
        Some(limit)
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

    fn plain(number: u64) -> Double {
        Double { number, gate: None }
    }

    #[test]
    fn every_job_is_reported_once() {
        let mut pool = Pool::start(Threads::Fixed(4), patience(60_000, 60_000)).expect("threads");
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
        let mut pool = Pool::start(Threads::Fixed(1), patience(20, 100)).expect("threads");
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
        let mut pool = Pool::start(Threads::Fixed(1), patience(1, 2)).expect("threads");
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
    fn threads_become_more_as_long_as_that_makes_it_faster() {
        let begin = Instant::now();
        let at = |half_seconds: u32| begin + half_seconds * MEASURE;
        let mut pace = Pace::new(16);
        pace.since = begin;
        assert_eq!(pace.count(50, at(0)), None);
        assert_eq!(pace.count(50, at(1)), Some(32));
        assert_eq!(pace.count(190, at(2)), Some(64));
        assert_eq!(pace.count(200, at(3)), Some(32));
        assert_eq!(pace.count(1000, at(4)), None);
        let mut pace = Pace::new(THREADS_MAX);
        pace.since = begin;
        assert_eq!(pace.count(1, at(1)), Some(THREADS_MAX));
        assert_eq!(pace.count(1, at(2)), None);
    }
}
