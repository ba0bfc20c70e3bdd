//! The signals that end a worker.

use std::io;

use nix::sys::signal::{SigSet, Signal as Number};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The way a worker should end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::worker) enum Wish {
    /// After all current requests are answered: SIGTERM.
    Drain,
    /// At once: SIGINT or SIGQUIT.
    Stop,
}

/// Returns the signals that end a worker. They stay blocked from its fork until it can handle them:
/// tokio's registry drops a signal that arrives between the change of the handler and the entry in
/// the registry's own table.
pub fn ending_signals() -> SigSet {
    [Number::SIGTERM, Number::SIGINT, Number::SIGQUIT].into_iter().collect()
}

/// The signals of a worker.
pub(in crate::worker) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    /// A worker has no log file open. It handles the signal nevertheless, because the signal may go to a
    /// whole process group and must not end a worker.
    _reopen: Signal,
}

impl Signals {
    /// Installs the handlers, and unblocks the [`ending_signals`]. Signals since the fork are
    /// delivered.
    ///
    /// # Errors
    /// If the runtime cannot install the handlers.
    pub(in crate::worker) fn install() -> io::Result<Self> {
        let signals = Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            _reopen: signal(SignalKind::user_defined1())?,
        };
        ending_signals().thread_unblock()?;
        Ok(signals)
    }

    /// Waits for the next signal. A caller that stops waiting loses no signal.
    pub(in crate::worker) async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.terminate.recv() => Wish::Drain,
            _ = self.interrupt.recv() => Wish::Stop,
            _ = self.quit.recv() => Wish::Stop,
        }
    }
}
