//! The slot of one worker: its state, and the counts of all workers that have had the slot.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::clock::now_ms;
use super::endpoints::ENDPOINTS;
use super::header::Number;
use super::histogram::{Durations, Latencies};

/// Status codes with a count of their own: all with which a worker answers. The last one stands for any
/// other.
pub const CODES: [&str; 12] =
    ["200", "304", "400", "404", "405", "409", "412", "413", "414", "431", "500", "other"];

/// Bytes of a request line that the slot holds for the log.
const SHOWN_REQUEST_MAX: usize = 128;

/// The master's order to a worker to leave. Only the master knows which other workers serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dismissal {
    /// Other workers serve its addresses.
    Replaced = 1,
    /// Its addresses are being closed, and clients turned away.
    Last = 2,
}

/// The slot of one worker. All zero bytes are a valid, unused slot.
#[derive(Debug)]
#[repr(C, align(128))]
pub struct Slot {
    /// Milliseconds from the scoreboard's beginning to the last sign of life.
    beat_ms: AtomicU64,
    generation: AtomicU64,
    /// Process id; zero if the slot is not used.
    pid: AtomicU32,
    connections: AtomicU32,
    in_flight: AtomicU32,
    request_len: AtomicU32,
    /// A [`Dismissal`]; zero for none.
    dismissal: AtomicU32,
    memory_resident: Number,
    memory_private: Number,
    answers: Number,
    /// First bytes of the request that is being answered.
    request: [AtomicU64; SHOWN_REQUEST_MAX / 8],
    /// Numbers of answers by the time that they took to make.
    latencies: Latencies,
    counted: Counted,
}

/// The counts of all workers that have had the slot, one after the other; never reset.
#[derive(Debug)]
#[repr(C, align(128))]
struct Counted {
    /// By endpoint and code.
    durations: [[Durations; CODES.len()]; ENDPOINTS],
    /// Bytes of bodies that were sent.
    sent: Number,
}

impl Slot {
    /// Clears the state of the former worker; the counts stay.
    pub(super) fn reset(&self) {
        self.beat();
        self.release();
        self.set_connections(0, 0);
        self.set_memory(0, 0);
        self.request_len.store(0, Ordering::Relaxed);
        self.dismissal.store(0, Ordering::Relaxed);
        self.answers.set(0);
        self.latencies.reset();
    }

    /// Records the worker that has taken the slot.
    pub fn claim(&self, pid: u32, generation: u64) {
        self.generation.store(generation, Ordering::Relaxed);
        self.pid.store(pid, Ordering::Relaxed);
    }

    /// Records that its worker has ended.
    pub fn release(&self) {
        self.pid.store(0, Ordering::Relaxed);
    }

    /// Announces that the signal that follows comes from the master, and the reason.
    pub fn dismiss(&self, dismissal: Dismissal) {
        // This comes before the signal, which does not synchronise memory.
        self.dismissal.store(dismissal as u32, Ordering::Release);
    }

    /// Returns the master's order to leave, if there is one.
    pub fn dismissal(&self) -> Option<Dismissal> {
        match self.dismissal.load(Ordering::Acquire) {
            1 => Some(Dismissal::Replaced),
            2 => Some(Dismissal::Last),
            _ => None,
        }
    }

    /// Returns the process that has the slot; zero for none.
    pub fn pid(&self) -> u32 {
        self.pid.load(Ordering::Relaxed)
    }

    /// Returns the generation of the worker.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// Records a sign of life.
    pub fn beat(&self) {
        self.beat_ms.store(now_ms(), Ordering::Relaxed);
    }

    pub(super) fn beat_ms(&self) -> u64 {
        self.beat_ms.load(Ordering::Relaxed)
    }

    /// Records the request that is being answered, so that the master can name it if the worker
    /// gets stuck in it.
    pub fn begin_request(&self, method: &str, target: &str) {
        let mut text = [0; SHOWN_REQUEST_MAX];
        let mut len = 0;
        for piece in [method.as_bytes(), b" ", target.as_bytes()] {
            let fits = piece.len().min(SHOWN_REQUEST_MAX - len);
            text[len..len + fits].copy_from_slice(&piece[..fits]);
            len += fits;
        }
        for (word, bytes) in self.request.iter().zip(text[..len.next_multiple_of(8)].chunks_exact(8)) {
            let mut value = [0; 8];
            value.copy_from_slice(bytes);
            word.store(u64::from_le_bytes(value), Ordering::Relaxed);
        }
        self.request_len.store(u32::try_from(len).unwrap_or_default(), Ordering::Relaxed);
    }

    /// Counts the answer to the current request, at the endpoint of this number (below
    /// [`ENDPOINTS`]).
    pub fn end_request(&self, endpoint: usize, status: u16, took: Duration) {
        self.request_len.store(0, Ordering::Relaxed);
        self.answers.add(1);
        self.latencies.count(took);
        self.counted.durations[endpoint][code(status)].count(took);
    }

    /// Counts bytes of a body.
    pub fn sent(&self, bytes: u64) {
        self.counted.sent.add(bytes);
    }

    /// Returns the request that is being answered, cut to 128 bytes.
    pub fn request(&self) -> Option<String> {
        let len = (self.request_len.load(Ordering::Relaxed) as usize).min(SHOWN_REQUEST_MAX);
        let words = self.request.iter().flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes());
        let bytes: Vec<u8> = words.take(len).collect();
        (len > 0).then(|| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Records how many connections are open, and how many of them wait for an answer or read it.
    pub fn set_connections(&self, open: usize, in_flight: usize) {
        for (number, count) in [(&self.connections, open), (&self.in_flight, in_flight)] {
            number.store(u32::try_from(count).unwrap_or(u32::MAX), Ordering::Relaxed);
        }
    }

    /// Records how many bytes of memory are resident, and how many of them no other process shares.
    pub fn set_memory(&self, resident: u64, private: u64) {
        self.memory_resident.set(resident);
        self.memory_private.set(private);
    }

    /// Returns the number of answers of its worker so far.
    pub fn answers(&self) -> u64 {
        self.answers.get()
    }

    /// Returns the number of connections open at the last tick.
    pub fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Returns the number of requests whose answer was not all handed over at the last tick.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Returns the resident bytes, and those of them that no other process shares; zero before the
    /// first check.
    pub fn memory(&self) -> (u64, u64) {
        (self.memory_resident.get(), self.memory_private.get())
    }

    /// Returns the longest time to make one of the fastest `share` (0 to 1) of answers; `None`
    /// before the first. Exact to a fifth.
    pub fn latency(&self, share: f64) -> Option<Duration> {
        self.latencies.percentile(share)
    }

    pub(super) fn counted(&self) -> u64 {
        self.counted.durations.as_flattened().iter().map(Durations::total).sum()
    }

    pub(super) fn bytes_sent(&self) -> u64 {
        self.counted.sent.get()
    }

    pub(super) fn durations(&self, endpoint: usize, code: usize) -> &Durations {
        &self.counted.durations[endpoint][code]
    }
}

/// Returns the index of a status in [`CODES`].
pub(super) fn code(status: u16) -> usize {
    match status {
        200 => 0,
        304 => 1,
        400 => 2,
        404 => 3,
        405 => 4,
        409 => 5,
        412 => 6,
        413 => 7,
        414 => 8,
        431 => 9,
        500 => 10,
        _ => CODES.len() - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scoreboard::Scoreboard;

    #[test]
    fn statuses_have_their_codes() {
        for status in 100..=999 {
            let shown = CODES[code(status)];
            assert_eq!(shown == status.to_string(), shown != "other", "{status}");
        }
        for (at, shown) in CODES.iter().enumerate() {
            assert!(*shown == "other" || code(shown.parse().unwrap()) == at, "{shown}");
        }
    }

    #[test]
    fn dismissal_ends_with_the_worker() {
        let board = Scoreboard::create().unwrap();
        for dismissal in [Dismissal::Replaced, Dismissal::Last] {
            assert_eq!(board.assign(3).dismissal(), None);
            board.slot(3).dismiss(dismissal);
            assert_eq!(board.slot(3).dismissal(), Some(dismissal));
        }
    }

    #[test]
    fn request_is_kept_while_it_is_answered() {
        let board = Scoreboard::create().unwrap();
        let slot = board.slot(0);
        assert_eq!(slot.request(), None);
        slot.begin_request("GET", "/avalon/songs?query=a");
        assert_eq!(slot.request().as_deref(), Some("GET /avalon/songs?query=a"));
        slot.begin_request("GET", &"x".repeat(1000));
        assert_eq!(slot.request().map(|text| text.len()), Some(SHOWN_REQUEST_MAX));
        slot.end_request(0, 200, Duration::ZERO);
        assert_eq!(slot.request(), None);
    }
}
