//! The running time of a worker, by which it measures its clients.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Time between two ticks; the resolution of all time-outs of connections.
pub(in crate::worker) const CLOCK_TICK: Duration = Duration::from_millis(250);
/// Most time that one tick counts: the worker was absent for the rest.
const COUNTED_MAX: Duration = Duration::from_millis(500);
/// Delay of a tick beyond which events may have occurred that the worker has not seen yet.
const LATE_MAX: Duration = Duration::from_millis(100);

/// A clock that the worker's ticks advance, in milliseconds. It stands still while the worker is
/// stopped: by SIGSTOP, a freezer, a paused machine.
#[derive(Debug, Default)]
pub(in crate::worker) struct Clock {
    now_ms: AtomicU32,
    /// Whether the last tick was late.
    late: AtomicBool,
}

impl Clock {
    /// Returns the milliseconds for which the worker has run so far. They wrap to zero after 49
    /// days, so only differences count.
    pub(in crate::worker) fn now_ms(&self) -> u32 {
        self.now_ms.load(Ordering::Relaxed)
    }

    /// Returns the time since `then_ms`.
    pub(in crate::worker) fn since(&self, then_ms: u32) -> Duration {
        Duration::from_millis(self.now_ms().wrapping_sub(then_ms).into())
    }

    /// Advances the clock by the time since the last tick. Returns whether connections may be
    /// judged. They may not if the tick is late, because the worker sees only after it the bytes
    /// that clients have sent and read meanwhile. A second late tick in a row judges, or a machine
    /// that is always late would keep every client.
    pub(in crate::worker) fn tick(&self, passed: Duration) -> bool {
        let counted = u32::try_from(passed.min(COUNTED_MAX).as_millis()).unwrap_or_default();
        self.now_ms.store(self.now_ms().wrapping_add(counted), Ordering::Relaxed);
        let late = passed > CLOCK_TICK + LATE_MAX;
        let late_before = self.late.swap(late, Ordering::Relaxed);
        !late || late_before
    }
}

/// The time of the worker's last tick.
pub(in crate::worker) struct Ticks(Instant);

impl Ticks {
    pub(in crate::worker) fn new() -> Self {
        Ticks(Instant::now())
    }

    /// Returns the time since the tick before.
    pub(in crate::worker) fn next(&mut self) -> Duration {
        let before = std::mem::replace(&mut self.0, Instant::now());
        self.0.saturating_duration_since(before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABSENCE: Duration = Duration::from_secs(1000);

    #[test]
    fn absences_do_not_count() {
        let clock = Clock::default();
        let begin = clock.now_ms();
        clock.tick(CLOCK_TICK);
        assert_eq!(clock.since(begin), CLOCK_TICK);
        clock.tick(ABSENCE);
        assert_eq!(clock.since(begin), CLOCK_TICK + COUNTED_MAX);
        clock.now_ms.store(u32::MAX - 100, Ordering::Relaxed);
        let begin = clock.now_ms();
        clock.tick(CLOCK_TICK);
        assert_eq!(clock.since(begin), CLOCK_TICK);
    }

    #[test]
    fn no_connection_is_judged_right_after_an_absence() {
        let clock = Clock::default();
        let judged = [CLOCK_TICK, ABSENCE, CLOCK_TICK, ABSENCE, ABSENCE, ABSENCE, CLOCK_TICK]
            .map(|passed| clock.tick(passed));
        assert_eq!(judged, [true, false, true, false, true, true, true]);
    }
}
