//! The number of threads of a pool.

use std::time::{Duration, Instant};

/// Most threads. Threads that wait for a network do not need a core each.
const THREADS_MAX: usize = 64;
/// Time between two looks at the number of threads.
const MEASURE: Duration = Duration::from_millis(500);

/// Jobs that take longer wait for a disk or a network, and many threads can wait at once. A file
/// in memory takes some 30 us, one on a fast disk ten times that, one behind the nearest network some ms.
const SLOW: Duration = Duration::from_micros(150);
/// Jobs that take less do not wait.
const QUICK: Duration = Duration::from_micros(50);
/// The rule for the number of threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::scan) enum Threads {
    /// This number.
    Fixed(usize),
    /// A few while jobs are quick. This number once jobs wait for a disk or a network; then the
    /// number grows while that makes the scan faster.
    Adapting(usize),
}

/// Finds the best number of threads. Quick jobs need one thread per core and one in reserve. For
/// slow jobs the number grows while that makes the scan faster.
#[derive(Debug)]
pub(super) struct Pace {
    /// Threads that may be at work.
    pub(super) limit: usize,
    /// Whether few threads with many jobs each do best.
    pub(super) are_quick: bool,
    /// Mean time of the latest jobs.
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
    pub(super) fn new(threads: Threads) -> Pace {
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

    /// Counts `done` jobs that ended at `now` and took a thread the time `took`. Reports whether
    /// the number of threads is to change.
    pub(super) fn count(&mut self, done: usize, took: Duration, now: Instant) -> bool {
        let Some(slow) = self.slow else { return false };
        let jobs = u32::try_from(done.max(1)).unwrap_or(u32::MAX);
        self.mean = (self.mean * 3 + took / jobs) / 4;
        self.done += done;
        match self.are_quick {
            true if self.mean > SLOW => {
                *self = Pace { limit: self.limit.max(slow), are_quick: false, done: 0, since: now, ..*self };
                true
            }
            // The present threads wait for work.
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
            // The last step did not help.
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
        // One slow file does not mean a slow disk.
        assert!(!pace.count(16, 16 * SLOW, now) && pace.are_quick);
        assert!(pace.count(4, 40 * SLOW, now) && !pace.are_quick);
        assert_eq!(pace.limit, few.max(16));
        while !pace.count(64, Duration::ZERO, now) {}
        assert!(pace.are_quick);
        let mut fixed = Pace::new(Threads::Fixed(2));
        assert!(!fixed.count(1, 100 * SLOW, now) && fixed.limit == 2 && !fixed.are_quick);
    }
}
