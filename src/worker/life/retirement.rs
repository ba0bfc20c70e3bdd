//! The retirement of a worker that has reached a limit: it asks for its replacement before a
//! problem occurs.

use std::time::Duration;

use super::memory::Memory;
use crate::config::{Config, MaxRequests};
use crate::worker::watch::clock::CLOCK_TICK;

/// Time between two checks of the memory.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The reason for retirement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// It has answered as many requests as `MAX_REQUESTS` allows.
    Requests,
    /// It has more private memory than `MAX_RSS` allows.
    Memory,
}

/// The limits of a worker's life. It asks to be replaced once.
pub(in crate::worker) struct Retirement {
    requests_max: Option<u64>,
    memory_max: Option<u64>,
    /// Running time of the worker since the last check.
    unseen: Duration,
    wished: bool,
}

impl Retirement {
    pub(in crate::worker) fn new(config: &Config) -> Self {
        Retirement {
            requests_max: config.max_requests.map(MaxRequests::with_jitter),
            memory_max: config.max_rss,
            unseen: Duration::ZERO,
            wished: false,
        }
    }

    /// Returns the memory of this process, if it is time to check; called with each tick of the
    /// worker's clock. The first check is not immediate: a limit below the initial memory of a
    /// worker would make every worker retire at once.
    pub(in crate::worker) fn look(&mut self) -> Option<Memory> {
        self.unseen += CLOCK_TICK;
        if self.unseen < LOOK_EVERY {
            return None;
        }
        self.unseen = Duration::ZERO;
        Memory::own()
    }

    /// Reports whether it is time to retire, after this number of answers and with this memory, if
    /// known.
    pub(in crate::worker) fn is_due(&mut self, answers: u64, memory: Option<Memory>) -> Option<Cause> {
        if self.wished {
            return None;
        }
        let cause = if self.requests_max.is_some_and(|most| answers >= most) {
            Cause::Requests
        } else {
            (memory?.private > self.memory_max?).then_some(Cause::Memory)?
        };
        self.wished = true;
        Some(cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retirement(requests_max: Option<u64>, memory_max: Option<u64>) -> Retirement {
        Retirement { requests_max, memory_max, unseen: Duration::ZERO, wished: false }
    }

    #[test]
    fn requests_are_counted_and_the_wish_is_told_once() {
        let mut retirement = retirement(Some(10), None);
        let asked: Vec<_> =
            [0, 9, 10, 11].into_iter().map(|answers| retirement.is_due(answers, None)).collect();
        assert_eq!(asked, [None, None, Some(Cause::Requests), None]);
    }

    #[test]
    fn memory_is_looked_at_once_a_second() {
        let mut any = retirement(None, None);
        let looked: Vec<bool> = (0..8).map(|_| any.look().is_some()).collect();
        assert_eq!(looked, [false, false, false, true, false, false, false, true]);
    }

    #[test]
    fn only_more_private_memory_than_the_limit_is_too_much() {
        let memory = |private| Some(Memory { resident: 1 << 40, private });
        let mut limited = retirement(None, Some(100));
        let asked: Vec<_> = [None, memory(100), memory(101), memory(102)]
            .into_iter()
            .map(|memory| limited.is_due(0, memory))
            .collect();
        assert_eq!(asked, [None, None, Some(Cause::Memory), None]);
        assert_eq!(retirement(None, None).is_due(0, memory(1 << 39)), None);
    }
}
