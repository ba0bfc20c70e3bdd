//! The state of one connection, and since when: the worker measures clients by it.
//!
//! There is no timer per connection. Every event on a connection stores the time of the worker's
//! clock here, and the worker checks all connections with each tick. That clock stands still while
//! the worker is stopped, by a freezer or a paused machine: the client cannot know of that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::time::Duration;

use super::clock::Clock;
use super::turn::Turn;
use crate::config::Limits;

/// The connection waits for a request.
const IDLE: u8 = 0;
/// The client has sent a part of a request, or no byte yet on a new connection.
const ASKING: u8 = 1;
/// The client waits for the answer, or reads it.
const ANSWERING: u8 = 2;
/// The last answer has left, and the client may still be sending.
const LINGERING: u8 = 3;

/// Longest silence of a client after its last answer.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// The state of a connection, and since when.
pub(in crate::worker) struct Activity {
    clock: Arc<Clock>,
    state: AtomicU8,
    /// Time of the last change of state, in the clock's milliseconds.
    since: AtomicU32,
    /// Time since which a write has waited for the client, to an odd millisecond; zero if no write
    /// waits.
    write_waits: AtomicU32,
    /// Whether the connection was spared once already: its time to ask was over while bytes waited.
    spared: AtomicBool,
    /// Whether a request has a body, which the worker does not read.
    refused_body: AtomicBool,
    pub(in crate::worker) turn: Turn,
}

/// The judgement of a connection.
pub(super) enum Verdict {
    Fine,
    /// Its keep-alive time is up.
    Idle,
    AsksTooSlowly,
    ReadsTooSlowly,
    /// It has had its last answer, and its client is silent.
    Silent,
}

impl Activity {
    pub(super) fn new(clock: Arc<Clock>) -> Self {
        Activity {
            state: AtomicU8::new(ASKING),
            since: clock.now_ms().into(),
            clock,
            write_waits: AtomicU32::new(0),
            spared: AtomicBool::new(false),
            refused_body: AtomicBool::new(false),
            turn: Turn::default(),
        }
    }

    fn enter(&self, state: u8) {
        self.since.store(self.clock.now_ms(), Ordering::Relaxed);
        self.state.store(state, Ordering::Relaxed);
    }

    /// Returns the worker's clock.
    pub(in crate::worker) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Records a request with a body that the worker does not read.
    pub(in crate::worker) fn refuses_body(&self) {
        self.refused_body.store(true, Ordering::Relaxed);
    }

    /// Reports whether a request had such a body.
    pub(in crate::worker) fn has_refused_body(&self) -> bool {
        self.refused_body.load(Ordering::Relaxed)
    }

    /// Records the end of the worker's side, or bytes of the client since then.
    pub(in crate::worker) fn lingers(&self) {
        self.enter(LINGERING);
    }

    /// Records the arrival of a request.
    pub(in crate::worker) fn asked(&self) {
        self.enter(ANSWERING);
    }

    /// Records that the answer has been handed over.
    pub(in crate::worker) fn answered(&self) {
        self.enter(IDLE);
    }

    /// Records the arrival of bytes.
    pub(in crate::worker) fn read_some(&self) {
        if self.state.load(Ordering::Relaxed) == IDLE {
            self.spared.store(false, Ordering::Relaxed);
            self.enter(ASKING);
        }
    }

    /// Records that a write waits for the client.
    pub(in crate::worker) fn write_waits(&self) {
        if self.write_waits.load(Ordering::Relaxed) == 0 {
            self.write_waits.store(self.clock.now_ms() | 1, Ordering::Relaxed);
        }
    }

    /// Records the end of a write.
    pub(in crate::worker) fn wrote(&self) {
        if self.write_waits.load(Ordering::Relaxed) != 0 {
            self.write_waits.store(0, Ordering::Relaxed);
        }
        // The last bytes of an answer leave after it was handed over: only now is the connection
        // idle.
        if self.state.load(Ordering::Relaxed) == IDLE {
            self.since.store(self.clock.now_ms(), Ordering::Relaxed);
        }
    }

    /// Reports whether a request is being answered.
    pub(super) fn is_answering(&self) -> bool {
        self.state.load(Ordering::Relaxed) == ANSWERING
    }

    /// Spares a connection that asks too slowly, once per request. A client that sends one byte at
    /// a time always has just sent one, so it is not spared again.
    pub(super) fn spare(&self) -> bool {
        !self.spared.swap(true, Ordering::Relaxed)
    }

    pub(super) fn verdict(&self, limits: &Limits) -> Verdict {
        let write_waits = self.write_waits.load(Ordering::Relaxed);
        if write_waits != 0 {
            // Clearing the odd bit changes the time by a millisecond at most.
            let late = self.clock.since(write_waits & !1) > limits.write_timeout;
            return if late { Verdict::ReadsTooSlowly } else { Verdict::Fine };
        }
        let since = self.clock.since(self.since.load(Ordering::Relaxed));
        match self.state.load(Ordering::Relaxed) {
            IDLE if since > limits.keepalive => Verdict::Idle,
            ASKING if since > limits.header_timeout => Verdict::AsksTooSlowly,
            LINGERING if since > SILENCE_MAX => Verdict::Silent,
            _ => Verdict::Fine,
        }
    }
}
