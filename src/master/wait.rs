//! Waits that double with each failure in a row.

use std::time::{Duration, Instant};

/// The longest wait is at most this many doublings of the first one, which keeps the product within bounds.
const DOUBLINGS_MAX: u32 = 10;

/// The time of the next try after a failure.
#[derive(Debug, Clone)]
pub(crate) struct Wait {
    first: Duration,
    max: Duration,
    in_a_row: u32,
    until: Option<Instant>,
}

impl Wait {
    /// A wait without a failure. The first one takes `first`, and none takes longer than `max`.
    pub(crate) fn new(first: Duration, max: Duration) -> Self {
        Wait { first, max, in_a_row: 0, until: None }
    }

    /// Notes a failure, and waits after it unless it is one of the first `free` in a row.
    pub(crate) fn failed(&mut self, now: Instant, free: u32) {
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.again(now, free);
    }

    /// Waits as after the last failure.
    pub(crate) fn again(&mut self, now: Instant, free: u32) {
        if let Some(doublings) = self.in_a_row.checked_sub(free + 1) {
            let wait = self.first * 2_u32.pow(doublings.min(DOUBLINGS_MAX));
            self.until = Some(now + wait.min(self.max));
        }
    }

    /// Forgets all failures.
    pub(crate) fn reset(&mut self) {
        (self.in_a_row, self.until) = (0, None);
    }

    /// Forgets a wait that is over, so that it does not wake the loop.
    pub(crate) fn forget_past(&mut self, now: Instant) {
        self.until = self.until.filter(|until| now < *until);
    }

    /// Whether no wait is left.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now >= until)
    }

    /// The end of the wait, if there is one.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Failures in a row.
    pub(crate) fn in_a_row(&self) -> u32 {
        self.in_a_row
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn waits_double_up_to_the_longest() {
        let (mut wait, now) = (Wait::new(SECOND, 10 * SECOND), Instant::now());
        for seconds in [1, 2, 4, 8, 10, 10] {
            wait.failed(now, 0);
            assert_eq!(wait.until(), Some(now + seconds * SECOND));
            assert!(!wait.is_over(now) && wait.is_over(now + seconds * SECOND));
        }
        (0..100).for_each(|_| wait.failed(now, 0));
        assert_eq!(wait.until(), Some(now + 10 * SECOND));
        wait.reset();
        assert_eq!((wait.until(), wait.in_a_row()), (None, 0));
    }

    #[test]
    fn free_failures_cost_no_wait() {
        let (mut wait, now) = (Wait::new(SECOND, 10 * SECOND), Instant::now());
        wait.failed(now, 1);
        assert!(wait.is_over(now));
        wait.failed(now, 1);
        assert_eq!(wait.until(), Some(now + SECOND));
        wait.forget_past(now + SECOND);
        assert_eq!((wait.until(), wait.in_a_row()), (None, 2));
        wait.again(now, 0);
        assert_eq!(wait.until(), Some(now + 2 * SECOND));
    }
}
