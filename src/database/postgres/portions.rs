//! The sizes of the portions in which a process that gives way reads rows.

use std::time::Duration;

/// Rows of the first portions. A server on this machine makes one in 0.2 ms, for which a request may have to wait.
const SMALLEST: usize = 100;
/// More rows are not worth their memory.
const LARGEST: usize = 10_000;
/// Portions of a size. The fastest of them counts, as others of this machine or the network slow some down.
const TRIALS: u32 = 8;
/// A row of twice as large portions takes at most this share of its former time, or they are not worth it.
const GAIN: f64 = 0.75;

/// Finds the smallest portions for which the time of rows outweighs that of a round trip. A server on this machine
/// works in short bursts then, so that requests need not wait for long ones. One behind a network gets larger portions:
/// there each takes a round trip, and the server has processors of its own.
#[derive(Debug)]
pub(super) struct Portions {
    rows: usize,
    trials: u32,
    fastest: Duration,
    /// Seconds for a row in portions of half the size; `None` for the smallest ones.
    former: Option<f64>,
    is_settled: bool,
}

impl Portions {
    pub(super) fn new() -> Portions {
        Portions { rows: SMALLEST, trials: 0, fastest: Duration::MAX, former: None, is_settled: false }
    }

    /// Rows of the next portion.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Notes the time from the request for a portion to its last row.
    pub(super) fn took(&mut self, time: Duration) {
        if self.is_settled {
            return;
        }
        self.fastest = self.fastest.min(time);
        self.trials += 1;
        if self.trials < TRIALS {
            return;
        }
        let time_of_row = self.fastest.as_secs_f64() / self.rows as f64;
        if self.former.is_some_and(|former| time_of_row > former * GAIN) {
            self.rows /= 2;
            self.is_settled = true;
        } else if self.rows * 2 > LARGEST {
            self.is_settled = true;
        } else {
            *self = Portions { rows: self.rows * 2, former: Some(time_of_row), ..Portions::new() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of a portion in the end, with a server that needs so many microseconds for a row, and a connection with
    /// round trips of so many.
    fn settled(row: f64, round_trip: f64) -> usize {
        let mut portions = Portions::new();
        for at in 0..1000 {
            // Only each fourth portion is not held up.
            let held_up = f64::from(at % 4) * 2000.0;
            let time = round_trip + row * portions.rows() as f64 + held_up;
            portions.took(Duration::from_secs_f64(time / 1e6));
        }
        portions.rows()
    }

    #[test]
    fn server_on_this_machine_makes_small_portions() {
        assert_eq!(settled(1.2, 0.0), 100);
        assert_eq!(settled(1.2, 60.0), 100);
        // A slow machine.
        assert_eq!(settled(10.0, 500.0), 100);
    }

    #[test]
    fn network_is_waited_for_less_than_the_rows() {
        let mut former = 0;
        for round_trip in [200.0, 500.0, 1000.0, 3000.0, 5000.0, 30_000.0] {
            let rows = settled(1.2, round_trip);
            assert!(
                rows >= former && (rows > 4000 || rows as f64 * 1.2 > round_trip),
                "{round_trip}: {rows}"
            );
            former = rows;
        }
        assert_eq!(former, 6400);
    }

    #[test]
    fn size_stays_once_it_is_found() {
        let mut portions = Portions::new();
        let time = |portions: &Portions| Duration::from_micros(60 + portions.rows() as u64);
        while !portions.is_settled {
            portions.took(time(&portions));
        }
        let rows = portions.rows();
        portions.took(Duration::from_nanos(1));
        assert_eq!(portions.rows(), rows);
    }
}
