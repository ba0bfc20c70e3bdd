//! The pace at which the arbiter replaces workers that died or could not be forked, and the point at which it
//! gives up.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::master::wait::Wait;

/// The first and the longest wait between two tries.
const WAIT_FIRST: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(5);
/// Deaths within this time of the first one, of workers that were alive at that moment, have one cause and
/// count once: an operator has killed several, or all of them lacked memory.
const INCIDENT: Duration = Duration::from_millis(100);
/// After this many incidents in a row the arbiter makes one worker at a time: the next one only shows whether
/// it survives.
const LOOP: u32 = 3;
/// A worker that has lived for this long did not fail at its start. This long after the last incident, the
/// server is healthy again.
pub(super) const HEALTHY_LIFE: Duration = Duration::from_secs(10);

/// The memory of failures.
#[derive(Debug)]
pub(super) struct Patience {
    deaths: Wait,
    /// The beginnings of the incidents that still count.
    incidents: VecDeque<Instant>,
    /// A description of the last death.
    last: String,
    /// Failures to fork. They say nothing about the workers: the system lacks a resource.
    forks: Wait,
}

impl Default for Patience {
    fn default() -> Self {
        let wait = Wait::new(WAIT_FIRST, WAIT_MAX);
        Patience { deaths: wait.clone(), incidents: VecDeque::new(), last: String::new(), forks: wait }
    }
}

impl Patience {
    /// Notes that a worker that was `born` not long ago has died; `how` describes its death. Incidents count
    /// for `window`. The arbiter replaces the first one in a row at once.
    pub(super) fn died(&mut self, born: Instant, how: &str, window: Duration, now: Instant) {
        self.tick(now);
        let since = |begin: &Instant| now.saturating_duration_since(*begin);
        how.clone_into(&mut self.last);
        if self.incidents.back().is_some_and(|begin| since(begin) < INCIDENT && born < *begin) {
            return;
        }
        self.incidents.retain(|begin| since(begin) < window);
        self.incidents.push_back(now);
        self.deaths.failed(now, 1);
    }

    /// Notes that a worker could not be forked. Further failures during a wait change nothing.
    pub(super) fn fork_failed(&mut self, now: Instant) {
        if self.forks.is_over(now) {
            self.forks.failed(now, 0);
        }
    }

    /// Notes that a fork succeeded.
    pub(super) fn forked(&mut self) {
        self.forks.reset();
    }

    /// Forgets past failures: a worker has lived long, or a new generation serves.
    pub(super) fn forgive(&mut self) {
        self.deaths.reset();
        self.incidents.clear();
    }

    /// Notes that time has passed. After a healthy time, older incidents still count, but the next one begins
    /// a new row.
    pub(super) fn tick(&mut self, now: Instant) {
        let last = self.incidents.back();
        if last.is_some_and(|last| now.saturating_duration_since(*last) > HEALTHY_LIFE) {
            self.deaths.reset();
        }
    }

    /// The number of workers to make now, at most `missing`.
    pub(super) fn allow(&mut self, missing: usize, now: Instant) -> usize {
        if missing == 0 || !self.deaths.is_over(now) || !self.forks.is_over(now) {
            return 0;
        }
        if self.deaths.in_a_row() < LOOP {
            return missing;
        }
        // The worker after this one waits as well.
        self.deaths.again(now, 1);
        1
    }

    /// The time of the next permission.
    pub(super) fn next_try(&self) -> Option<Instant> {
        self.deaths.until().max(self.forks.until())
    }

    /// Forgets waits that are over, so that they do not wake the loop.
    pub(super) fn forget_past(&mut self, now: Instant) {
        self.deaths.forget_past(now);
        self.forks.forget_past(now);
    }

    /// The number of incidents that count.
    pub(super) fn incidents(&self) -> usize {
        self.incidents.len()
    }

    /// A sentence about workers that die repeatedly, if they do.
    pub(super) fn in_words(&self) -> Option<String> {
        let times = self.deaths.in_a_row();
        let last = &self.last;
        (times >= LOOP)
            .then(|| format!("workers die soon after their start, {times} times in a row, the last: {last}"))
    }
}
