//! How long things took, in two histograms of atomics: a fine one for percentiles, and one with
//! the bounds that Prometheus is told.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Steps of a latency histogram for each doubling.
const STEPS: usize = 4;
/// Steps in all: from a microsecond to more than an hour.
const LATENCIES: usize = 32 * STEPS;

/// Upper ends of Prometheus' buckets, in microseconds: what a page takes (single microseconds to
/// tens), what a whole collection does, and what is wrong. Two decimals at most in each decade, as
/// each costs a series per endpoint and status.
pub const BOUNDS: [u64; 14] =
    [10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 1_000_000, 10_000_000];

/// Numbers of things by how long they took, exact to a fifth.
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

    /// The longest that one of the fastest `share` (0 to 1) took; `None` before the first.
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

/// Four steps for each doubling of a microsecond, evenly spaced within it.
fn latency_step(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
    let doubling = micros.ilog2() as usize;
    // The two bits below the highest one.
    let within = usize::from((micros << 2 >> doubling).to_le_bytes()[0]) & (STEPS - 1);
    (doubling * STEPS + within).min(LATENCIES - 1)
}

/// The upper end of a step, in microseconds.
fn latency_of_step(step: usize) -> u64 {
    let (doubling, within) = (step / STEPS, (step % STEPS) as u64);
    ((STEPS as u64 + within + 1) << doubling >> 2).max(1)
}

/// Numbers of things by the first of the [`BOUNDS`] that they did not take longer than, and how long
/// all took together. Two cache lines.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Durations {
    /// The last one: longer than any bound.
    counts: [AtomicU64; BOUNDS.len() + 1],
    /// In nanoseconds, as an answer may take less than a microsecond; enough for five centuries.
    sum_ns: AtomicU64,
}

impl Durations {
    pub(super) fn count(&self, took: Duration) {
        let took_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|bound| bound * 1000 < took_ns);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_ns.fetch_add(took_ns, Ordering::Relaxed);
    }

    /// How many were counted.
    pub(super) fn total(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

/// What a histogram with [`BOUNDS`] held when it was read.
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

    /// How many took no longer than each of the [`BOUNDS`].
    pub fn cumulative(&self) -> [u64; BOUNDS.len()] {
        let mut seen = 0;
        std::array::from_fn(|bucket| {
            seen += self.counts[bucket];
            seen
        })
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How long all took together.
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
