//! Durations in two histograms of atomics: a fine one for percentiles, and one with Prometheus'
//! bounds.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Steps of a latency histogram for each doubling.
const STEPS: usize = 4;
/// Steps in all: from a microsecond to more than an hour.
const LATENCIES: usize = 32 * STEPS;

/// Upper ends of Prometheus' buckets, in microseconds. They cover the time of a page (single
/// microseconds to tens), of a whole collection, and of faults. Two decimals at most in each
/// decade, as each costs a series per endpoint and status.
pub const BOUNDS: [u64; 14] =
    [10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 1_000_000, 10_000_000];

/// Counts of events by their duration, exact to a fifth.
#[derive(Debug)]
#[repr(transparent)]
pub(super) struct Latencies([AtomicU64; LATENCIES]);

impl Latencies {
    pub(super) fn reset(&self) {
        self.0.iter().for_each(|count| count.store(0, Ordering::Relaxed));
    }

    pub(super) fn count(&self, took: Duration) {
        self.0[latency_step(took)].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the longest duration of the fastest `share` (0 to 1) of events; `None` before the
    /// first.
    #[allow(
        clippy::cast_possible_truncation,
        reason = "a cast of a float stops at the limits of the integer"
    )]
    pub(super) fn percentile(&self, share: f64) -> Option<Duration> {
        let counts: Vec<u64> = self.0.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let wanted = (counts.iter().sum::<u64>() as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        let step = counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        })?;
        Some(Duration::from_micros(latency_of_step(step)))
    }
}

/// Returns the step of a duration: four steps for each doubling of a microsecond, evenly spaced
/// within it.
fn latency_step(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
    let doubling = micros.ilog2() as usize;
    // The two bits below the highest one.
    let within = usize::from((micros << 2 >> doubling).to_le_bytes()[0]) & (STEPS - 1);
    (doubling * STEPS + within).min(LATENCIES - 1)
}

/// Returns the upper end of a step, in microseconds.
fn latency_of_step(step: usize) -> u64 {
    let (doubling, within) = (step / STEPS, (step % STEPS) as u64);
    ((STEPS as u64 + within + 1) << doubling >> 2).max(1)
}

/// Counts of events by the first of the [`BOUNDS`] that their duration did not exceed, and the sum
/// of the durations. Two cache lines.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Durations {
    /// The last count is for durations above all bounds.
    counts: [AtomicU64; BOUNDS.len() + 1],
    /// The sum in nanoseconds, as an answer may take less than a microsecond; enough for five
    /// centuries.
    sum_ns: AtomicU64,
}

impl Durations {
    pub(super) fn count(&self, took: Duration) {
        let took_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|bound| bound * 1000 < took_ns);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_ns.fetch_add(took_ns, Ordering::Relaxed);
    }

    /// Returns the number of counted events.
    pub(super) fn total(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

/// The contents of a histogram with [`BOUNDS`] at the time of reading.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Reading {
    counts: [u64; BOUNDS.len() + 1],
    sum_ns: u64,
}

impl Reading {
    pub(super) fn add(&mut self, durations: &Durations) {
        for (to, from) in self.counts.iter_mut().zip(&durations.counts) {
            *to += from.load(Ordering::Relaxed);
        }
        self.sum_ns += durations.sum_ns.load(Ordering::Relaxed);
    }

    /// Returns, for each of the [`BOUNDS`], the number of events that took no longer.
    pub fn cumulative(&self) -> [u64; BOUNDS.len()] {
        let mut seen = 0;
        std::array::from_fn(|bucket| {
            seen += self.counts[bucket];
            seen
        })
    }

    /// Returns the number of events.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Returns the sum of the durations.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latencies() -> Latencies {
        Latencies([const { AtomicU64::new(0) }; LATENCIES])
    }

    fn durations() -> Durations {
        Durations { counts: [const { AtomicU64::new(0) }; BOUNDS.len() + 1], sum_ns: AtomicU64::new(0) }
    }

    #[test]
    fn latencies_are_exact_to_a_fifth() {
        let latencies = latencies();
        assert_eq!(latencies.percentile(0.5), None);
        for micros in [1, 2, 3, 7, 100, 999, 1_000_000, 3_600_000_000] {
            let step = latency_of_step(latency_step(Duration::from_micros(micros)));
            assert!(step >= micros && step <= micros + micros.div_ceil(4) + 1, "{micros}: {step}");
        }
        for micros in 1..=100 {
            latencies.count(Duration::from_micros(micros));
        }
        let median = latencies.percentile(0.5).unwrap().as_micros();
        assert!((50..=62).contains(&median), "{median}");
        latencies.reset();
        assert_eq!(latencies.percentile(0.5), None);
    }

    #[test]
    fn bounds_belong_to_the_bucket_below_them() {
        assert!(BOUNDS.is_sorted_by(|a, b| a < b));
        let durations = durations();
        for bound in BOUNDS {
            durations.count(Duration::from_micros(bound));
            durations.count(Duration::from_micros(bound) + Duration::from_nanos(1));
        }
        let mut reading = Reading::default();
        reading.add(&durations);
        let expected: Vec<u64> = (0..BOUNDS.len() as u64).map(|at| 2 * at + 1).collect();
        assert_eq!(reading.cumulative().as_slice(), expected);
        assert_eq!((reading.count(), durations.total()), (28, 28));
        let sum = BOUNDS.iter().map(|bound| 2 * bound * 1000 + 1).sum();
        assert_eq!(reading.sum(), Duration::from_nanos(sum));
    }

    #[test]
    fn readings_add_up() {
        let (one, other) = (durations(), durations());
        one.count(Duration::from_nanos(300));
        other.count(Duration::from_nanos(700));
        other.count(Duration::from_secs(60));
        let mut reading = Reading::default();
        reading.add(&one);
        reading.add(&other);
        assert_eq!(reading.cumulative(), [2; BOUNDS.len()]);
        assert_eq!((reading.count(), reading.sum()), (3, Duration::from_micros(60_000_001)));
    }
}
