//! Threads that list folders and read files, and the eye that is kept on them: a call that
//! hangs (a dead NFS server) is named, and after a while its thread is given up and replaced.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Results that may wait for the coordinator; workers pause when there are more.
const RESULTS_MAX: usize = 1024;
/// Threads that may be given up. A thread that hangs in the kernel costs its stack.
const GIVEN_UP_MAX: usize = 32;

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

/// A pool of threads. Dropping it lets each thread end after its present job.
pub(super) struct Pool<J: Job> {
    shared: Arc<Shared<J>>,
    results: Receiver<(J, J::Done)>,
    sender: SyncSender<(J, J::Done)>,
    slots: Vec<Arc<Slot<J>>>,
    patience: Patience,
    /// Jobs handed in and not yet reported.
    open: usize,
    given_up: usize,
    looked: Instant,
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
    closed: bool,
}

/// What a thread is at.
struct Slot<J> {
    state: Mutex<State<J>>,
}

enum State<J> {
    Idle,
    Busy { job: J, since: Instant, named: bool },
    GivenUp,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds one of these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<J: Job> Pool<J> {
    /// Starts `threads` threads.
    ///
    /// # Errors
    /// If not even one can be started.
    pub(super) fn start(threads: usize, patience: Patience) -> std::io::Result<Pool<J>> {
        let (sender, results) = sync_channel(RESULTS_MAX);
        let queues = Queues { leaves: VecDeque::new(), branches: Vec::new(), closed: false };
        let mut pool = Pool {
            shared: Arc::new(Shared { queues: Mutex::new(queues), changed: Condvar::new() }),
            results,
            sender,
            slots: Vec::new(),
            patience,
            open: 0,
            given_up: 0,
            looked: Instant::now(),
        };
        for started in 0..threads.max(1) {
            match pool.spawn() {
                Ok(slot) => pool.slots.push(slot),
                Err(error) if started == 0 => return Err(error),
                // A few threads do the same work.
                Err(_) => break,
            }
        }
        Ok(pool)
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
        drop(queues);
        self.open += count;
        match count {
            0 => {}
            1 => self.shared.changed.notify_one(),
            _ => self.shared.changed.notify_all(),
        }
    }

    /// Jobs that are not reported yet.
    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// Waits for the next thing to tell, `wait` at most.
    pub(super) fn next(&mut self, wait: Duration) -> Event<J> {
        if self.looked.elapsed() >= wait
            && let Some(event) = self.look()
        {
            return event;
        }
        match self.results.recv_timeout(wait) {
            Ok((job, done)) => {
                self.open -= 1;
                Event::Done(job, done)
            }
            // The pool holds a sender itself, so the channel is never closed.
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                self.look().unwrap_or(Event::Quiet)
            }
        }
    }

    /// Looks for a thread that hangs.
    fn look(&mut self) -> Option<Event<J>> {
        self.looked = Instant::now();
        for index in 0..self.slots.len() {
            let mut state = lock(&self.slots[index].state);
            let State::Busy { job, since, named } = &mut *state else { continue };
            let elapsed = since.elapsed();
            if elapsed >= self.patience.limit {
                let job = job.clone();
                *state = State::GivenUp;
                drop(state);
                self.open -= 1;
                self.replace(index);
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
        let slot = Arc::new(Slot { state: Mutex::new(State::Idle) });
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
fn work<J: Job>(shared: &Shared<J>, results: &SyncSender<(J, J::Done)>, slot: &Slot<J>) {
    while let Some(job) = claim(shared) {
        *lock(&slot.state) = State::Busy { job: job.clone(), since: Instant::now(), named: false };
        let done = job.run();
        let mut state = lock(&slot.state);
        if matches!(*state, State::GivenUp) {
            return;
        }
        *state = State::Idle;
        drop(state);
        if results.send((job, done)).is_err() {
            return;
        }
    }
}

fn claim<J: Job>(shared: &Shared<J>) -> Option<J> {
    let mut queues = lock(&shared.queues);
    loop {
        if queues.closed {
            return None;
        }
        // Files first: what is listed and not read takes memory.
        if let Some(job) = queues.leaves.pop_front() {
            return Some(job);
        }
        if let Some(job) = queues.branches.pop() {
            return Some(job);
        }
        queues = shared.changed.wait(queues).unwrap_or_else(PoisonError::into_inner);
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
        let mut pool = Pool::start(4, patience(60_000, 60_000)).expect("threads");
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
        let mut pool = Pool::start(1, patience(20, 100)).expect("threads");
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
        let mut pool = Pool::start(1, patience(1, 2)).expect("threads");
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
}
