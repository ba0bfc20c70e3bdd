//! What one connection is doing, and since when: the worker measures clients by it.
//!
//! There is no timer per connection. Whatever happens on a connection stores the time of the worker's
//! clock here, and the worker looks at all connections with each tick. That clock stands still while the
//! worker is stopped, by a freezer or a paused machine: the client cannot know of that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::time::Duration;

use super::clock::Clock;
use super::turn::Turn;
use crate::config::Limits;

/// The connection waits for a request.
const IDLE: u8 = 0;
/// The client has sent a part of a request, or nothing yet on a new connection.
const ASKING: u8 = 1;
/// The client waits for the answer, or reads it.
const ANSWERING: u8 = 2;
/// The last answer has left, and the client may still be sending.
const LINGERING: u8 = 3;

/// How long a client may send nothing after its last answer.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// What a connection is doing, and since when.
pub(in crate::worker) struct Activity {
    clock: Arc<Clock>,
    state: AtomicU8,
    /// When that began, in the clock's milliseconds.
    since: AtomicU32,
    /// Since when a write has waited for the client, to an odd millisecond; zero: none waits.
    write_waits: AtomicU32,
    /// Whether the time to ask was over once already while bytes waited.
    spared: AtomicBool,
    /// Whether a request has a body, which the worker does not read.
    refused_body: AtomicBool,
    pub(in crate::worker) turn: Turn,
}

/// Whether a connection may go on.
pub(super) enum Verdict {
    Fine,
    /// Its keep-alive time is up.
    Idle,
    AsksTooSlowly,
    ReadsTooSlowly,
    /// It has had its last answer, and sends nothing more.
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

    /// The worker's clock.
    pub(in crate::worker) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// A request has a body that the worker does not read.
    pub(in crate::worker) fn refuses_body(&self) {
        self.refused_body.store(true, Ordering::Relaxed);
    }

    /// Whether a request had such a body.
    pub(in crate::worker) fn has_refused_body(&self) -> bool {
        self.refused_body.load(Ordering::Relaxed)
    }

    /// The worker's side has ended just now, or the client has sent something since.
    pub(in crate::worker) fn lingers(&self) {
        self.enter(LINGERING);
    }

    /// A request has arrived.
    pub(in crate::worker) fn asked(&self) {
        self.enter(ANSWERING);
    }

    /// Its answer has been handed over.
    pub(in crate::worker) fn answered(&self) {
        self.enter(IDLE);
    }

    /// Bytes have arrived.
    pub(in crate::worker) fn read_some(&self) {
        if self.state.load(Ordering::Relaxed) == IDLE {
            self.spared.store(false, Ordering::Relaxed);
            self.enter(ASKING);
        }
    }

    /// A write waits for the client.
    pub(in crate::worker) fn write_waits(&self) {
        if self.write_waits.load(Ordering::Relaxed) == 0 {
            self.write_waits.store(self.clock.now_ms() | 1, Ordering::Relaxed);
        }
    }

    /// A write has ended.
    pub(in crate::worker) fn wrote(&self) {
        if self.write_waits.load(Ordering::Relaxed) != 0 {
            self.write_waits.store(0, Ordering::Relaxed);
        }
        // The last bytes of an answer leave after it was handed over: only now the connection is idle.
        if self.state.load(Ordering::Relaxed) == IDLE {
            self.since.store(self.clock.now_ms(), Ordering::Relaxed);
        }
    }

    /// Whether a request is being answered.
    pub(super) fn is_answering(&self) -> bool {
        self.state.load(Ordering::Relaxed) == ANSWERING
    }

    /// Spares a connection that asks too slowly, once per request: a client that sends a byte at a time
    /// has always just sent one.
    pub(super) fn spare(&self) -> bool {
        !self.spared.swap(true, Ordering::Relaxed)
    }

    pub(super) fn verdict(&self, limits: &Limits) -> Verdict {
        let write_waits = self.write_waits.load(Ordering::Relaxed);
        if write_waits != 0 {
            // Less than a millisecond may be missing.
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
