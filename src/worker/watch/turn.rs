//! How long a worker is busy with one connection before the others have their turn.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that are copied to a client in one turn: some hundred microseconds. A quarter of that took a
/// tenth off the rate of lists of that size.
pub(in crate::worker) const LEN: usize = 1024 * 1024;

/// What has been done for a connection since the others had their turn, in bytes that are copied in that
/// time. It is the connection's and not a request's: whoever sends one request after the other without
/// waiting for the answers gets no more at once.
#[derive(Default)]
pub(in crate::worker) struct Turn(AtomicUsize);

impl Turn {
    /// As much has been done as takes the time of copying so many bytes.
    pub(in crate::worker) fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Whether it is over, and the others are to have theirs before the next one.
    pub(in crate::worker) fn end(&self) -> bool {
        let over = self.0.load(Ordering::Relaxed) >= LEN;
        if over {
            self.0.store(0, Ordering::Relaxed);
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_end_after_so_much_work() {
        let turn = Turn::default();
        turn.add(LEN - 1);
        assert!(!turn.end());
        turn.add(1);
        assert!(turn.end() && !turn.end());
    }
}
