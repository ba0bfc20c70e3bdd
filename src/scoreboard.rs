//! Shared memory in which every worker has a slot: plain atomics, no pointers, no locks.
//! Workers write their own slot, anybody reads.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use memmap2::MmapOptions;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::ftruncate;

/// Slots of workers: those of the largest WORKERS, of the generation that serves, of one
/// being built and of two being drained.
pub const SLOTS: usize = 1024;
/// The slot behind those of workers, in which the counts of workers that have ended are summed up.
const RETIRED: usize = SLOTS;

/// Bytes of a request line that are kept for the log.
const REQUEST_MAX: usize = 128;
/// Steps of a latency histogram for each doubling.
const STEPS: usize = 4;
/// Steps in all: from a microsecond to more than an hour.
const LATENCIES: usize = 32 * STEPS;

/// One worker's place. All zero bytes are a valid, unused slot.
#[derive(Debug)]
#[repr(C, align(128))]
pub struct Slot {
    /// Milliseconds from the scoreboard's beginning to the last sign of life.
    beat_ms: AtomicU64,
    generation: AtomicU64,
    /// Zero: the slot is not used.
    pid: AtomicU32,
    connections: AtomicU32,
    request_len: AtomicU32,
    /// Beginning of the request that is being answered.
    request: [AtomicU64; REQUEST_MAX / 8],
    /// By hundreds of the status code.
    answers: [AtomicU64; 6],
    /// Numbers of answers by how long they took to make.
    latencies: [AtomicU64; LATENCIES],
}

/// All slots. Lives as long as the process.
#[derive(Debug, Clone, Copy)]
pub struct Scoreboard {
    slots: &'static [Slot],
}

/// When the first scoreboard of this process, or of its master, was made.
static BEGIN: OnceLock<Instant> = OnceLock::new();

impl Scoreboard {
    /// Makes a scoreboard that processes forked from now on share.
    ///
    /// # Errors
    /// If the kernel has no memory for it.
    #[allow(unsafe_code)]
    pub fn create() -> io::Result<Self> {
        BEGIN.get_or_init(Instant::now);
        let count = SLOTS + 1;
        let len = count * size_of::<Slot>();
        let fd = memfd_create(c"avalon-scoreboard", MFdFlags::MFD_CLOEXEC)?;
        ftruncate(&fd, len as i64)?;
        let map = MmapOptions::new().len(len).map_raw(&fd)?;
        let first = map.as_mut_ptr().cast::<Slot>();
        std::mem::forget(map);
        // SAFETY: the mapping has exactly the bytes of `count` slots, is page-aligned, writable
        // and never unmapped, as it was forgotten. It is zeroed by the kernel, which is a valid
        // value of the atomics a slot is made of, and all access goes through those atomics, so
        // that writes of other processes are no data races. No other descriptor is left by
        // which the memory could be shortened: `fd` is closed here, and it has no name.
        let slots = unsafe { std::slice::from_raw_parts(first, count) };
        Ok(Scoreboard { slots })
    }

    /// The slot of this number.
    ///
    /// # Panics
    /// If `number` is not below [`SLOTS`].
    pub fn slot(&self, number: usize) -> &'static Slot {
        &self.slots[..SLOTS][number]
    }

    /// How long the slot's worker has given no sign of life.
    pub fn silence(&self, number: usize) -> Duration {
        let beat = self.slot(number).beat_ms.load(Ordering::Relaxed);
        Duration::from_millis(now_ms().saturating_sub(beat))
    }

    /// Slots of living workers, with their numbers.
    pub fn living(&self) -> impl Iterator<Item = (usize, &'static Slot)> {
        self.slots[..SLOTS].iter().enumerate().filter(|(_, slot)| slot.pid() != 0)
    }

    /// Adds the counts of a worker that has ended to those of all before it.
    pub fn retire(&self, number: usize) {
        let (from, to) = (self.slot(number), &self.slots[RETIRED]);
        let add = |from: &[AtomicU64], to: &[AtomicU64]| {
            for (from, to) in from.iter().zip(to) {
                to.fetch_add(from.swap(0, Ordering::Relaxed), Ordering::Relaxed);
            }
        };
        from.pid.store(0, Ordering::Relaxed);
        add(&from.answers, &to.answers);
        add(&from.latencies, &to.latencies);
    }

    /// Answers of workers that have ended.
    pub fn retired_answers(&self) -> u64 {
        self.slots[RETIRED].answers()
    }
}

fn now_ms() -> u64 {
    BEGIN.get().map_or(0, |begin| begin.elapsed().as_millis() as u64)
}

impl Slot {
    /// Makes the slot that of a new worker, which counts as alive from now on.
    pub fn reset(&self) {
        self.beat();
        self.pid.store(0, Ordering::Relaxed);
        self.connections.store(0, Ordering::Relaxed);
        self.request_len.store(0, Ordering::Relaxed);
        let counts = self.answers.iter().chain(&self.latencies);
        counts.for_each(|count| count.store(0, Ordering::Relaxed));
    }

    /// Says who has taken the slot.
    pub fn claim(&self, pid: u32, generation: u64) {
        self.generation.store(generation, Ordering::Relaxed);
        self.pid.store(pid, Ordering::Relaxed);
    }

    /// The process that has the slot; zero for none.
    pub fn pid(&self) -> u32 {
        self.pid.load(Ordering::Relaxed)
    }

    /// The generation of the worker.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// A sign of life.
    pub fn beat(&self) {
        self.beat_ms.store(now_ms(), Ordering::Relaxed);
    }

    /// Says which request is being answered, so that the master can name it should the worker
    /// get stuck in it.
    pub fn begin_request(&self, method: &str, target: &str) {
        let mut text = [0; REQUEST_MAX];
        let mut len = 0;
        for piece in [method.as_bytes(), b" ", target.as_bytes()] {
            let fits = piece.len().min(REQUEST_MAX - len);
            text[len..len + fits].copy_from_slice(&piece[..fits]);
            len += fits;
        }
        for (word, bytes) in self.request.iter().zip(text[..len.next_multiple_of(8)].chunks_exact(8)) {
            let mut value = [0; 8];
            value.copy_from_slice(bytes);
            word.store(u64::from_le_bytes(value), Ordering::Relaxed);
        }
        self.request_len.store(len as u32, Ordering::Relaxed);
    }

    /// Counts the answer to the request that was begun.
    pub fn end_request(&self, status: u16, took: Duration) {
        self.request_len.store(0, Ordering::Relaxed);
        let class = usize::from(status / 100).min(self.answers.len() - 1);
        self.answers[class].fetch_add(1, Ordering::Relaxed);
        self.latencies[latency_step(took)].fetch_add(1, Ordering::Relaxed);
    }

    /// The request that is being answered, cut to 128 bytes.
    pub fn request(&self) -> Option<String> {
        let len = (self.request_len.load(Ordering::Relaxed) as usize).min(REQUEST_MAX);
        let words = self.request.iter().flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes());
        let bytes: Vec<u8> = words.take(len).collect();
        (len > 0).then(|| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Says how many connections are open.
    pub fn set_connections(&self, count: usize) {
        self.connections.store(u32::try_from(count).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// Answers given so far.
    pub fn answers(&self) -> u64 {
        self.answers.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Connections open at the last tick.
    pub fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }

    /// How long it took to make an answer, for the fastest `share` (0 to 1) of them; `None`
    /// before the first. Exact to a fifth.
    pub fn latency(&self, share: f64) -> Option<Duration> {
        let counts: Vec<u64> = self.latencies.iter().map(|count| count.load(Ordering::Relaxed)).collect();
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
    let micros = (took.as_micros() as u64).max(1);
    let doubling = micros.ilog2() as usize;
    let within = (micros << 2 >> doubling) as usize & (STEPS - 1);
    (doubling * STEPS + within).min(LATENCIES - 1)
}

/// The upper end of a step, in microseconds.
fn latency_of_step(step: usize) -> u64 {
    let (doubling, within) = (step / STEPS, (step % STEPS) as u64);
    ((STEPS as u64 + within + 1) << doubling >> 2).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_count_and_are_reset() {
        let board = Scoreboard::create().unwrap();
        let slot = board.slot(SLOTS - 1);
        slot.reset();
        slot.claim(7, 3);
        assert_eq!(
            board.living().map(|(number, slot)| (number, slot.generation())).collect::<Vec<_>>(),
            [(SLOTS - 1, 3)]
        );
        for status in [200, 404, 999] {
            slot.end_request(status, Duration::from_micros(5));
        }
        slot.set_connections(7);
        assert_eq!((slot.answers(), slot.connections()), (3, 7));
        assert!(board.silence(SLOTS - 1) < Duration::from_secs(60));
        board.retire(SLOTS - 1);
        assert_eq!(board.living().count(), 0);
        assert_eq!((slot.answers(), board.retired_answers()), (0, 3));
        slot.reset();
        assert_eq!((slot.answers(), slot.connections()), (0, 0));
    }

    #[test]
    fn request_is_kept_while_it_is_answered() {
        let board = Scoreboard::create().unwrap();
        let slot = board.slot(0);
        assert_eq!(slot.request(), None);
        slot.begin_request("GET", "/avalon/songs?query=a");
        assert_eq!(slot.request().as_deref(), Some("GET /avalon/songs?query=a"));
        slot.begin_request("GET", &"x".repeat(1000));
        assert_eq!(slot.request().map(|text| text.len()), Some(REQUEST_MAX));
        slot.end_request(200, Duration::ZERO);
        assert_eq!(slot.request(), None);
    }

    #[test]
    fn latencies_are_exact_to_a_fifth() {
        let board = Scoreboard::create().unwrap();
        let slot = board.slot(1);
        assert_eq!(slot.latency(0.5), None);
        for micros in [1, 2, 3, 7, 100, 999, 1_000_000, 3_600_000_000] {
            let step = latency_of_step(latency_step(Duration::from_micros(micros)));
            assert!(step >= micros && step <= micros + micros.div_ceil(4) + 1, "{micros}: {step}");
        }
        for micros in 1..=100 {
            slot.end_request(200, Duration::from_micros(micros));
        }
        let median = slot.latency(0.5).unwrap().as_micros();
        assert!((50..=62).contains(&median), "{median}");
    }
}
