//! When a worker has served enough, and wishes to be replaced before anything goes wrong.

use std::fs;

use crate::config::{Config, MaxRequests};

/// Ticks between two looks at the memory: one second.
const MEMORY_TICKS: u32 = 4;
/// Bytes of a page on every machine this runs on (getconf PAGE_SIZE); a larger page makes the
/// limit come later, not wrong.
const PAGE: u64 = 4096;

/// Why a worker retires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// It has answered as many requests as `MAX_REQUESTS` says.
    Requests,
    /// It has more memory for itself than `MAX_RSS` says.
    Memory,
}

/// The limits of a worker's life. It asks to be replaced once.
pub(super) struct Retirement {
    requests_max: Option<u64>,
    memory_max: Option<u64>,
    ticks: u32,
    wished: bool,
}

impl Retirement {
    pub(super) fn new(config: &Config) -> Self {
        Retirement {
            requests_max: config.max_requests.map(MaxRequests::with_jitter),
            memory_max: config.max_rss,
            ticks: 0,
            wished: false,
        }
    }

    /// With each tick: whether it is time, after so many answers.
    pub(super) fn is_due(&mut self, answers: u64) -> Option<Cause> {
        self.ticks = self.ticks.wrapping_add(1);
        if self.wished {
            return None;
        }
        let cause = if self.requests_max.is_some_and(|most| answers >= most) {
            Cause::Requests
        } else {
            let most = self.memory_max.filter(|_| self.ticks.is_multiple_of(MEMORY_TICKS))?;
            (private_memory()? > most).then_some(Cause::Memory)?
        };
        self.wished = true;
        Some(cause)
    }
}

/// Bytes of memory that nobody shares with this process: what is resident less what belongs to
/// files and shared memory, the snapshot among it (proc(5), statm).
fn private_memory() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let mut pages = statm.split_whitespace().skip(1).map(str::parse::<u64>);
    let (resident, shared) = (pages.next()?.ok()?, pages.next()?.ok()?);
    Some(resident.saturating_sub(shared) * PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retirement(requests_max: Option<u64>, memory_max: Option<u64>) -> Retirement {
        Retirement { requests_max, memory_max, ticks: 0, wished: false }
    }

    #[test]
    fn requests_are_counted_and_the_wish_is_told_once() {
        let mut retirement = retirement(Some(10), None);
        let asked: Vec<_> = [0, 9, 10, 11].into_iter().map(|answers| retirement.is_due(answers)).collect();
        assert_eq!(asked, [None, None, Some(Cause::Requests), None]);
    }

    #[test]
    fn memory_is_looked_at_once_a_second() {
        let mut small = retirement(None, Some(1));
        let asked: Vec<_> = (0..8).map(|_| small.is_due(0)).collect();
        assert_eq!(asked.iter().position(Option::is_some), Some(3));
        assert_eq!(asked[3], Some(Cause::Memory));
        let mut large = retirement(None, Some(1 << 40));
        assert!((0..8).all(|_| large.is_due(0).is_none()));
    }

    #[test]
    fn private_memory_grows_with_what_is_written() {
        let before = private_memory().unwrap();
        let block = vec![1_u8; 64 << 20];
        assert!(private_memory().unwrap() > before + (32 << 20));
        drop(block);
    }
}
