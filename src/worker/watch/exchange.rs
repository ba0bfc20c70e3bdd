//! A request whose answer is being sent: it counts the sent bytes, and records the end.

use std::sync::Arc;
use std::time::Instant;

use super::activity::Activity;
use super::turn::Turn;
use crate::scoreboard::Slot;
use crate::telemetry::{AccessLine, AccessLog};

/// Belongs to the body of an answer, and ends with it, even if the body is cut.
pub(in crate::worker) struct Exchange {
    activity: Arc<Activity>,
    slot: &'static Slot,
    begin: Instant,
    /// Bytes of the body that have been handed over.
    sent: u64,
    line: Option<(Arc<AccessLog>, AccessLine)>,
}

impl Exchange {
    /// Creates the exchange of a request that arrived at `begin`, with its line in the access log.
    pub(in crate::worker) fn new(
        activity: Arc<Activity>,
        slot: &'static Slot,
        begin: Instant,
        line: Option<(Arc<AccessLog>, AccessLine)>,
    ) -> Self {
        Exchange { activity, slot, begin, sent: 0, line }
    }

    /// Records that a piece of the body is handed over.
    pub(in crate::worker) fn sent(&mut self, bytes: usize) {
        self.sent += bytes as u64;
        self.slot.sent(bytes as u64);
        self.activity.turn.add(bytes);
    }

    /// Returns the turn of its connection.
    pub(in crate::worker) fn turn(&self) -> &Turn {
        &self.activity.turn
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.activity.answered();
        if let Some((log, line)) = self.line.take() {
            log.finish(line, self.sent, self.begin.elapsed());
        }
    }
}
