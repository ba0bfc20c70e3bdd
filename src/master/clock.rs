//! Clocks of the master, above all one that counts only the time in which the master runs. While a freezer,
//! SIGSTOP or a paused machine stops the server, its children cannot give a sign of life or finish anything
//! either, so that time counts against no process.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Longest time between two rounds of the master's loop, and so between two notes of its clock.
pub(crate) const TICK: Duration = Duration::from_millis(500);

/// How late a note may be before the delay counts as an absence.
const LATE_MAX: Duration = Duration::from_millis(500);

/// A clock that stands still while the process is stopped.
#[derive(Debug)]
pub(crate) struct RunningClock {
    noted: Instant,
    /// The sum of all absences.
    absent: Duration,
    /// When the last absence ended, by the system's clock.
    returned: Option<Instant>,
}

impl RunningClock {
    pub(crate) fn new(now: Instant) -> Self {
        RunningClock { noted: now, absent: Duration::ZERO, returned: None }
    }

    /// Notes that the process runs. Notes are at most [`TICK`] apart. One comes before each decision by the clock, as an
    /// absence may begin and end between any two instructions.
    pub(crate) fn note(&mut self, now: Instant) {
        let pause = now.saturating_duration_since(self.noted);
        if pause > TICK + LATE_MAX {
            self.absent += pause - TICK;
            self.returned = Some(now);
        }
        self.noted = now;
    }

    /// The time on this clock at the moment when the system's clock shows `now`.
    pub(crate) fn at(&self, now: Instant) -> Instant {
        // The result is never before the first note, as absences lie between notes.
        now.checked_sub(self.absent).unwrap_or(now)
    }

    /// The time on this clock.
    pub(crate) fn now(&self) -> Instant {
        self.at(Instant::now())
    }

    /// The part of a silence until `now` that counts. A worker that was stopped together with the master can
    /// speak only after the absence, so the silence counts from the end of the last absence at the earliest.
    pub(crate) fn counted(&self, silence: Duration, now: Instant) -> Duration {
        self.returned.map_or(silence, |returned| silence.min(now.saturating_duration_since(returned)))
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    milliseconds(SystemTime::now())
}

/// Milliseconds from 1970 to this moment; zero if it is earlier.
pub(crate) fn milliseconds(when: SystemTime) -> u64 {
    let since = when.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absences_do_not_count() {
        let begin = Instant::now();
        let mut clock = RunningClock::new(begin);
        let (mut now, mut shown) = (begin, begin);
        for absence in [0, 1, 100, 10_000].map(Duration::from_millis) {
            now += TICK + absence;
            clock.note(now);
            shown += if absence > LATE_MAX { TICK } else { TICK + absence };
            assert_eq!(clock.at(now), shown, "{absence:?}");
        }
        let hour = Duration::from_secs(3600);
        assert_eq!(clock.counted(hour, now), Duration::ZERO);
        assert_eq!(clock.counted(hour, now + Duration::from_secs(7)), Duration::from_secs(7));
        assert_eq!(clock.counted(Duration::from_secs(1), now + hour), Duration::from_secs(1));
    }

    #[test]
    fn silence_counts_as_it_is_where_nothing_was_missed() {
        let clock = RunningClock::new(Instant::now());
        let hour = Duration::from_secs(3600);
        assert_eq!(clock.counted(hour, Instant::now()), hour);
    }
}
