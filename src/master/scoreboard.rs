//! Shared memory in which every worker has a slot: plain atomics, no pointers, no locks.
//! Workers write their own slot, anybody reads.

use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use memmap2::MmapOptions;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::ftruncate;

/// Slots there are: workers of the largest WORKERS, of the generation that serves, of one
/// being built and of two being drained.
pub const SLOTS: usize = 1024;

/// One worker's place. All zero bytes are a valid, unused slot.
#[derive(Debug)]
#[repr(C, align(128))]
pub struct Slot {
    /// Milliseconds from the scoreboard's beginning to the last sign of life.
    beat_ms: AtomicU64,
    draining: AtomicU32,
    connections: AtomicU32,
    /// By hundreds of the status code.
    answers: [AtomicU64; 6],
}

/// All slots. Lives as long as the process.
#[derive(Debug, Clone, Copy)]
pub struct Scoreboard {
    slots: &'static [Slot],
    begin: Instant,
}

static BEGIN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();

impl Scoreboard {
    /// Makes a scoreboard that processes forked from now on share.
    ///
    /// # Errors
    /// If the kernel has no memory for it.
    #[allow(unsafe_code)]
    pub fn create() -> io::Result<Self> {
        let begin = *BEGIN.get_or_init(Instant::now);
        let len = SLOTS * size_of::<Slot>();
        let fd = memfd_create(c"avalon-scoreboard", MFdFlags::MFD_CLOEXEC)?;
        ftruncate(&fd, len as i64)?;
        let map = MmapOptions::new().len(len).map_raw(&fd)?;
        let first = map.as_mut_ptr().cast::<Slot>();
        std::mem::forget(map);
        // SAFETY: the mapping has exactly the bytes of SLOTS slots, is page-aligned, writable
        // and never unmapped, as it was forgotten. It is zeroed by the kernel, which is a valid
        // value of the atomics a slot is made of, and all access goes through those atomics, so
        // that writes of other processes are no data races. No other descriptor is left by
        // which the memory could be shortened: `fd` is closed here, and it has no name.
        let slots = unsafe { std::slice::from_raw_parts(first, SLOTS) };
        Ok(Scoreboard { slots, begin })
    }

    /// The slot of this number.
    ///
    /// # Panics
    /// If `number` is not below [`SLOTS`].
    pub fn slot(&self, number: usize) -> &'static Slot {
        &self.slots[number]
    }

    /// How long the slot's worker has given no sign of life.
    pub fn silence(&self, number: usize) -> Duration {
        let beat = Duration::from_millis(self.slots[number].beat_ms.load(Ordering::Relaxed));
        self.begin.elapsed().saturating_sub(beat)
    }
}

impl Slot {
    /// Makes the slot that of a new worker, which counts as alive from now on.
    pub fn reset(&self) {
        self.beat();
        self.draining.store(0, Ordering::Relaxed);
        self.connections.store(0, Ordering::Relaxed);
        self.answers.iter().for_each(|count| count.store(0, Ordering::Relaxed));
    }

    /// A sign of life.
    pub fn beat(&self) {
        let since = BEGIN.get().map_or(0, |begin| begin.elapsed().as_millis() as u64);
        self.beat_ms.store(since, Ordering::Relaxed);
    }

    /// Counts an answer with this status code.
    pub fn count_request(&self, status: u16) {
        let class = usize::from(status / 100).min(self.answers.len() - 1);
        self.answers[class].fetch_add(1, Ordering::Relaxed);
    }

    /// Says how many connections are open.
    pub fn set_connections(&self, count: usize) {
        self.connections.store(u32::try_from(count).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// Says that no connection is accepted any more.
    pub fn set_draining(&self) {
        self.draining.store(1, Ordering::Relaxed);
    }

    /// Answers given so far.
    pub fn answers(&self) -> u64 {
        self.answers.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Connections open at the last tick.
    pub fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_count_and_are_reset() {
        let board = Scoreboard::create().unwrap();
        let slot = board.slot(SLOTS - 1);
        slot.reset();
        slot.count_request(200);
        slot.count_request(404);
        slot.count_request(999);
        slot.set_connections(7);
        assert_eq!((slot.answers(), slot.connections()), (3, 7));
        assert!(board.silence(SLOTS - 1) < Duration::from_secs(60));
        slot.reset();
        assert_eq!((slot.answers(), slot.connections()), (0, 0));
    }
}
