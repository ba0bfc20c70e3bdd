//! Shared memory in which every worker has a slot, and the master a header: plain atomics, no
//! pointers, no locks. Each process writes its own part, and all read all parts.
//!
//! The state of a worker starts empty for each worker that gets the slot. The counts for the
//! metrics do not: a slot continues the counts of its last worker, so that the sum over all slots
//! never decreases, however a worker ends. Moving the counts of dead workers elsewhere would need a
//! lock: a reader in between would miss them, or see them twice.

mod clock;
mod endpoints;
mod header;
mod histogram;
mod slot;
mod text;

use std::io;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};

pub use endpoints::{ENDPOINTS, endpoint_names, endpoint_number};
pub use header::{Header, Number, RestartCause, Scans, Source};
pub use histogram::{BOUNDS, Reading};
pub use slot::{CODES, Dismissal, Slot};

/// Slots of workers: enough for the largest WORKERS in the serving generation, in one that is being
/// made and in two that drain (the arbiter asserts it).
pub const SLOTS: usize = 1024;

/// The shared memory. All zero bytes are a valid value, in which no slot is used.
#[derive(Debug)]
#[repr(C)]
struct Board {
    header: Header,
    /// One more than the highest slot that was ever used. Higher slots are not even read: the
    /// kernel would give them memory.
    used: AtomicUsize,
    slots: [Slot; SLOTS],
}

/// All slots, and the header. Lives as long as the process.
#[derive(Debug, Clone, Copy)]
pub struct Scoreboard {
    board: &'static Board,
}

impl Scoreboard {
    /// Makes a scoreboard that processes forked from now on share.
    ///
    /// # Errors
    /// If the kernel has no memory for it.
    #[allow(unsafe_code)]
    pub fn create() -> io::Result<Self> {
        clock::start();
        let len = size_of::<Board>();
        let bytes = NonZeroUsize::new(len).ok_or(Errno::EINVAL)?;
        let (rights, kind) = (ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED);
        // Not a memfd: that would be a file, and so within RLIMIT_FSIZE.
        // SAFETY: the kernel chooses the place, so the mapping replaces no other.
        let first = unsafe { mmap_anonymous(None, bytes, rights, kind) }?.cast::<Board>();
        // SAFETY: the mapping has exactly the bytes of a board, is page-aligned, writable and never unmapped.
        // The kernel fills it with zeros, a valid value of the atomics in a board, and all access goes
        // through those atomics, so writes of other processes are no data races. It has no descriptor through
        // which a process could shorten the memory.
        let board = unsafe { first.as_ref() };
        Ok(Scoreboard { board })
    }

    /// Returns the master's report about itself and the whole server.
    pub fn header(&self) -> &'static Header {
        &self.board.header
    }

    /// Returns the slot of this number.
    ///
    /// # Panics
    /// If `number` is not below [`SLOTS`].
    pub fn slot(&self, number: usize) -> &'static Slot {
        &self.board.slots[number]
    }

    /// Gives the slot of this number to a new worker, which counts as alive from now on.
    ///
    /// # Panics
    /// If `number` is not below [`SLOTS`].
    pub fn assign(&self, number: usize) -> &'static Slot {
        let slot = self.slot(number);
        slot.reset();
        self.board.used.fetch_max(number + 1, Ordering::Relaxed);
        slot
    }

    /// Returns the time since the last sign of life of the slot's worker.
    pub fn silence(&self, number: usize) -> Duration {
        Duration::from_millis(clock::now_ms().saturating_sub(self.slot(number).beat_ms()))
    }

    /// Returns the slots of living workers, with their numbers.
    pub fn living(&self) -> impl Iterator<Item = (usize, &'static Slot)> {
        self.used().iter().enumerate().filter(|(_, slot)| slot.pid() != 0)
    }

    /// Returns the number of answers of all workers, past and present.
    pub fn answers(&self) -> u64 {
        self.used().iter().map(Slot::counted).sum()
    }

    /// Returns the number of body bytes that all workers, past and present, have sent.
    pub fn sent(&self) -> u64 {
        self.used().iter().map(Slot::bytes_sent).sum()
    }

    /// Returns the times that answers took to make, over all workers, past and present: of one
    /// endpoint by its number (below [`ENDPOINTS`]) and one of the [`CODES`], by its index.
    pub fn durations(&self, endpoint: usize, code: usize) -> Reading {
        let mut sum = Reading::default();
        self.used().iter().for_each(|slot| sum.add(slot.durations(endpoint, code)));
        sum
    }

    fn used(&self) -> &'static [Slot] {
        let used = self.board.used.load(Ordering::Relaxed);
        &self.board.slots[..used.min(SLOTS)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    #[test]
    fn slots_count_and_are_reset() {
        let board = Scoreboard::create().unwrap();
        let slot = board.assign(SLOTS - 1);
        slot.claim(7, 3);
        assert_eq!(
            board.living().map(|(number, slot)| (number, slot.generation())).collect::<Vec<_>>(),
            [(SLOTS - 1, 3)]
        );
        for status in [200, 404, 999] {
            slot.end_request(0, status, micros(5));
        }
        slot.set_connections(7, 2);
        assert_eq!((slot.answers(), slot.connections(), slot.in_flight()), (3, 7, 2));
        assert!(board.silence(SLOTS - 1) < Duration::from_secs(60));
        slot.release();
        assert_eq!(board.living().count(), 0);
        board.assign(SLOTS - 1);
        assert_eq!((slot.answers(), slot.connections(), slot.in_flight()), (0, 0, 0));
    }

    /// Workers end, and other workers get their slots.
    #[test]
    fn counts_outlive_workers() {
        let board = Scoreboard::create().unwrap();
        assert_eq!((board.answers(), board.sent()), (0, 0));
        let first = board.assign(0);
        first.claim(7, 1);
        first.end_request(ENDPOINTS - 1, 200, micros(3));
        first.end_request(2, 404, micros(20));
        first.sent(100);
        let second = board.assign(1);
        second.claim(8, 1);
        second.end_request(2, 404, micros(30));
        second.sent(11);
        let not_found = |board: &Scoreboard| board.durations(2, slot::code(404));
        let before = not_found(&board);
        assert_eq!((before.count(), before.sum()), (2, micros(50)));
        // One worker ends and is replaced, the other ends for good, as after TTOU.
        first.release();
        second.release();
        assert_eq!((board.answers(), board.sent()), (3, 111));
        board.assign(0).claim(9, 2);
        assert_eq!((board.answers(), board.sent(), first.answers()), (3, 111, 0));
        first.end_request(2, 404, micros(50));
        let after = not_found(&board);
        assert_eq!((after.count(), after.sum()), (3, micros(100)));
        assert_eq!(board.durations(ENDPOINTS - 1, slot::code(200)).count(), 1);
        assert_eq!(board.durations(2, slot::code(200)).count(), 0);
    }

    /// A slot takes memory once it is used, and reading takes none: the kernel counts pages.
    #[test]
    fn unused_slots_are_not_touched() {
        let board = Scoreboard::create().unwrap();
        let resident = || {
            let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
            let begin = format!("{:x}-", std::ptr::from_ref(board.board).addr());
            let of = maps.split(&begin).nth(1).expect("the mapping");
            let line = of.lines().find(|line| line.starts_with("Rss:")).expect("a line");
            line.split_whitespace().nth(1).and_then(|kb| kb.parse::<usize>().ok()).expect("a number") * 1024
        };
        board.assign(0).claim(7, 1);
        board.assign(1).end_request(0, 200, micros(1));
        for (endpoint, code) in [(0, 0), (ENDPOINTS - 1, CODES.len() - 1)] {
            board.durations(endpoint, code);
        }
        assert_eq!((board.living().count(), board.answers(), board.sent()), (1, 1, 0));
        let touched = resident();
        assert!(touched < 3 * size_of::<Slot>() + size_of::<Header>() + 2 * 4096, "{touched} bytes");
    }
}
