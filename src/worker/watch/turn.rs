//! The time for which a worker serves one connection before the others have their turn.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that are copied to a client in one turn: some hundred microseconds. A quarter of that
/// reduced the rate of lists of that size by a tenth.
pub(in crate::worker) const LEN: usize = 1024 * 1024;

/// The work for a connection since the others had their turn, as the number of bytes that could be
/// copied in that time. It belongs to the connection and not to a request: a client that pipelines
/// requests gets no longer turn.
#[derive(Default)]
pub(in crate::worker) struct Turn(AtomicUsize);

impl Turn {
    /// Adds work that takes as long as copying this number of bytes.
    pub(in crate::worker) fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Ends the turn if it is over, and returns whether it is: the other connections then come
    /// first.
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
    fn turns_end_after_enough_work() {
        let turn = Turn::default();
        turn.add(LEN - 1);
        assert!(!turn.end());
        turn.add(1);
        assert!(turn.end() && !turn.end());
    }
}
