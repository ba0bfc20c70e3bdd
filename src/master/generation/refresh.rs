//! Reading the database after a start from a snapshot that was kept: at once, and again as long
//! as that fails.

use std::time::{Duration, Instant};

/// First and longest wait between two tries.
const WAIT_FIRST: Duration = Duration::from_secs(5);
const WAIT_MAX: Duration = Duration::from_secs(60);

/// When to try next.
#[derive(Debug, Default)]
pub(crate) struct Refresh {
    due: Option<Instant>,
    tries: u32,
}

impl Refresh {
    /// A generation has been made, or has not; `stale` says whether kept data is served now.
    pub(crate) fn made(&mut self, stale: bool, now: Instant) {
        if !stale {
            *self = Refresh::default();
            return;
        }
        let wait = match self.tries {
            0 => Duration::ZERO,
            tries => WAIT_FIRST * 2_u32.saturating_pow(tries - 1).min(1 << 8),
        };
        self.due = Some(now + wait.min(WAIT_MAX));
        self.tries = self.tries.saturating_add(1);
    }

    /// When [`Refresh::is_due`] will say so.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether it is time for the next try, which is told once.
    pub(crate) fn is_due(&mut self, now: Instant) -> bool {
        self.due.take_if(|due| now >= *due).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_become_rarer_until_one_succeeds() {
        let (mut refresh, mut now) = (Refresh::default(), Instant::now());
        refresh.made(false, now);
        assert!(!refresh.is_due(now));
        for wait in [0, 5, 10, 20, 40, 60, 60] {
            refresh.made(true, now);
            assert_eq!(refresh.due(), Some(now + Duration::from_secs(wait)));
            now += Duration::from_secs(wait);
            assert!(refresh.is_due(now) && !refresh.is_due(now));
        }
        refresh.made(true, now);
        refresh.made(false, now);
        assert_eq!(refresh.due(), None);
        refresh.made(true, now);
        assert_eq!(refresh.due(), Some(now));
    }
}
