//! How soon workers that have died, or could not be forked, are tried again, and when it is not
//! worth trying any more.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::master::wait::Wait;

/// First and longest wait.
const WAIT_FIRST: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(5);
/// Deaths so soon after the first of them, of workers that were alive then, have one cause and
/// count once: an operator has killed several, or there was no memory for any of them.
const INCIDENT: Duration = Duration::from_millis(100);
/// From this many incidents in a row on, workers are made one at a time: the next one only shows
/// whether it lives.
const LOOP: u32 = 3;
/// A worker that lived so long was no failure to start, and so long after the last incident all
/// is well again.
pub(super) const HEALTHY_LIFE: Duration = Duration::from_secs(10);

/// The memory of failures.
#[derive(Debug)]
pub(super) struct Patience {
    deaths: Wait,
    /// Begins of incidents, of the time that counts.
    incidents: VecDeque<Instant>,
    /// How the last worker has died.
    last: String,
    /// Failures to fork have nothing to do with the workers: the system lacks something.
    forks: Wait,
}

impl Default for Patience {
    fn default() -> Self {
        let wait = Wait::new(WAIT_FIRST, WAIT_MAX);
        Patience { deaths: wait.clone(), incidents: VecDeque::new(), last: String::new(), forks: wait }
    }
}

impl Patience {
    /// A worker that was `born` not long ago has died, as `how` tells; incidents count for
    /// `window`. The first one in a row is repaired at once.
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

    /// A worker could not be forked. Others that could not either, while one waits already, are
    /// no news.
    pub(super) fn fork_failed(&mut self, now: Instant) {
        if self.forks.is_over(now) {
            self.forks.failed(now, 0);
        }
    }

    /// A worker was forked.
    pub(super) fn forked(&mut self) {
        self.forks.reset();
    }

    /// A worker has lived long, or a new generation serves: past failures are forgiven.
    pub(super) fn forgive(&mut self) {
        self.deaths.reset();
        self.incidents.clear();
    }

    /// Time has passed. Incidents still count, but are not in a row with those that come.
    pub(super) fn tick(&mut self, now: Instant) {
        let last = self.incidents.back();
        if last.is_some_and(|last| now.saturating_duration_since(*last) > HEALTHY_LIFE) {
            self.deaths.reset();
        }
    }

    /// How many of `missing` workers to make now.
    pub(super) fn allow(&mut self, missing: usize, now: Instant) -> usize {
        if missing == 0 || !self.deaths.is_over(now) || !self.forks.is_over(now) {
            return 0;
        }
        if self.deaths.in_a_row() < LOOP {
            return missing;
        }
        // The one after this waits as well.
        self.deaths.again(now, 1);
        1
    }

    /// When more will be allowed.
    pub(super) fn next_try(&self) -> Option<Instant> {
        self.deaths.until().max(self.forks.until())
    }

    /// Forgets waits that are over, so that they do not wake the loop.
    pub(super) fn forget_past(&mut self, now: Instant) {
        self.deaths.forget_past(now);
        self.forks.forget_past(now);
    }

    /// Incidents that count.
    pub(super) fn incidents(&self) -> usize {
        self.incidents.len()
    }

    /// A sentence about workers that die again and again, if they do.
    pub(super) fn in_words(&self) -> Option<String> {
        let times = self.deaths.in_a_row();
        let last = &self.last;
        (times >= LOOP)
            .then(|| format!("workers die soon after their start, {times} times in a row, the last: {last}"))
    }
}
