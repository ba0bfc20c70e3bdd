//! The sizes of the portions in which a process that gives way reads rows.

use std::time::Duration;

/// Rows of the first portions. A server on this machine makes one in 0.1 ms, for which a request may have to wait.
const SMALLEST: usize = 100;
/// More rows are not worth their memory.
pub(super) const LARGEST: usize = 10_000;
/// A portion of the smallest size that takes less has no round trip to save. For a server on this machine it
/// is 0.07 to 0.15 ms, more than half of which two processors may need to wake each other up.
const BRIEF: Duration = Duration::from_micros(400);
/// How many times larger the next size is in a search.
const STEP: usize = 4;
/// Portions of each size. The median of their times counts, as the machine or the network holds some up.
const TRIALS: usize = 4;
/// A row of a larger portion takes at most this share of its former time, or the size is not worth it.
const GAIN: f64 = 0.6;
/// Portions between two searches.
const STAY: usize = 256;
/// The same if the smallest size is the best: each search tries larger portions, and holds requests up.
const STAY_SMALLEST: usize = 1024;
/// A process that is this late after a pause has waited for a processor: all are busy, and each wait for the server is
/// one for a processor as well. Stalls of a machine with an idle processor are shorter.
const LATE: Duration = Duration::from_millis(10);
/// Portions of the largest size after such a wait.
const STAY_BUSY: usize = 4;

/// Finds the smallest portions that are brief, or for which the time of rows outweighs that of a round trip. A server on
/// this machine works in short bursts then, so that requests need not wait for long ones. One behind a network gets
/// larger portions: there each takes a round trip, and the server has processors of its own. If all processors are busy,
/// portions are as large as they may be: this process may have to wait for seconds until it has its turn, after each
/// portion.
#[derive(Debug)]
pub(super) struct Portions {
    rows: usize,
    /// Of the portions of this size.
    times: Vec<Duration>,
    /// Seconds for a row in portions of the size before; `None` for the smallest ones.
    former: Option<f64>,
    /// Portions until the next search; 0 during one.
    stays: usize,
}

impl Portions {
    pub(super) fn new() -> Portions {
        Portions { rows: SMALLEST, times: Vec::with_capacity(TRIALS), former: None, stays: 0 }
    }

    /// Rows of the next portion.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Notes the time from the request for a portion to its last row, and how late this process was after the pause
    /// that followed.
    pub(super) fn took(&mut self, time: Duration, late: Duration) {
        if late >= LATE {
            *self = Portions { rows: LARGEST, stays: STAY_BUSY, ..Portions::new() };
            return;
        }
        if self.stays > 0 {
            self.stays -= 1;
            if self.stays == 0 {
                *self = Portions::new();
            }
            return;
        }
        self.times.push(time);
        if self.times.len() < TRIALS {
            return;
        }
        self.times.sort_unstable();
        let time = self.times[(TRIALS - 1) / 2];
        let time_of_row = time.as_secs_f64() / self.rows as f64;
        if self.rows == SMALLEST && time < BRIEF {
            self.stays = STAY_SMALLEST;
        } else if self.former.is_some_and(|former| time_of_row > former * GAIN) {
            self.rows /= STEP;
            self.stays = if self.rows == SMALLEST { STAY_SMALLEST } else { STAY };
        } else if self.rows * STEP > LARGEST {
            self.stays = STAY;
        } else {
            *self = Portions { rows: self.rows * STEP, former: Some(time_of_row), ..Portions::new() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The most frequent size. The server needs `row` microseconds for a row, and each portion takes `round_trip`
    /// microseconds more.
    fn usual(row: f64, round_trip: f64) -> usize {
        let mut portions = Portions::new();
        let mut sizes = Vec::new();
        for at in 0..1000 {
            // Each fourth portion is held up.
            let held_up = if at % 4 == 0 { 4000.0 } else { 0.0 };
            let time = round_trip + row * portions.rows() as f64 + held_up;
            portions.took(Duration::from_secs_f64(time / 1e6), Duration::ZERO);
            sizes.push(portions.rows());
        }
        sizes.sort_unstable();
        sizes[sizes.len() / 2]
    }

    #[test]
    fn server_on_this_machine_makes_small_portions() {
        assert_eq!(usual(1.2, 0.0), 100);
        assert_eq!(usual(0.6, 60.0), 100);
        // Another machine in the same rack.
        assert_eq!(usual(1.2, 250.0), 100);
        // A slow machine.
        assert_eq!(usual(10.0, 500.0), 100);
    }

    /// How many of 10,000 portions are not of the smallest size, from a server that needs `row` microseconds for a row.
    fn larger(row: usize) -> usize {
        let mut portions = Portions::new();
        let is_larger = |_: &usize| {
            portions.took(Duration::from_micros((row * portions.rows()) as u64), Duration::ZERO);
            portions.rows() > SMALLEST
        };
        (0..10_000).filter(is_larger).count()
    }

    #[test]
    fn few_portions_hold_requests_up_in_vain() {
        assert_eq!(larger(1), 0);
        assert_eq!(larger(10), 40);
    }

    #[test]
    fn wait_for_a_processor_is_no_round_trip() {
        let mut portions = Portions::new();
        // Both processes had the same processor before, and now wake each other up on two.
        for time in [65, 90, 88, 91, 90].repeat(1000) {
            portions.took(Duration::from_micros(time), Duration::ZERO);
            assert_eq!(portions.rows(), SMALLEST);
        }
    }

    #[test]
    fn round_trips_are_hardly_longer_than_the_work_on_a_portion() {
        let mut former = 0;
        for round_trip in [500.0, 1000.0, 3000.0, 5000.0, 30_000.0] {
            let rows = usual(1.2, round_trip);
            assert!(
                rows >= former && (rows == 6400 || rows as f64 * 1.2 > 0.8 * round_trip),
                "{round_trip}: {rows}"
            );
            former = rows;
        }
        assert_eq!(former, 6400);
    }

    #[test]
    fn machine_without_an_idle_processor_has_large_portions() {
        let mut portions = Portions::new();
        let time = Duration::from_micros(200);
        portions.took(time, Duration::from_millis(4));
        assert_eq!(portions.rows(), 100);
        portions.took(time, Duration::from_secs(2));
        assert_eq!(portions.rows(), 10_000);
        for late in [0, 0, 0, 500, 0, 0, 0] {
            portions.took(time * 100, Duration::from_millis(late));
            assert_eq!(portions.rows(), 10_000);
        }
        portions.took(time * 100, Duration::ZERO);
        assert_eq!(portions.rows(), 100);
    }

    #[test]
    fn network_that_gets_quicker_has_small_portions_again() {
        let mut portions = Portions::new();
        let mut take = |round_trip: f64, count: usize| {
            for _ in 0..count {
                let time = round_trip + portions.rows() as f64;
                portions.took(Duration::from_secs_f64(time / 1e6), Duration::ZERO);
            }
            portions.rows()
        };
        assert_eq!(take(60.0, 100), 100);
        assert!(take(5000.0, STAY_SMALLEST) > 1000);
        assert_eq!(take(60.0, 400), 100);
    }
}
