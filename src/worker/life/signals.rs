//! The signals that end a worker.

use std::io;

use nix::sys::signal::{SigSet, Signal as Number};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How a worker is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::worker) enum Wish {
    /// After everything under way is answered: SIGTERM.
    Drain,
    /// At once: SIGINT or SIGQUIT.
    Stop,
}

/// The signals that end a worker. They stay blocked from its fork until it can handle them: tokio's registry
/// drops a signal that arrives between the change of the handler and the entry in the registry's own table.
pub fn ending_signals() -> SigSet {
    [Number::SIGTERM, Number::SIGINT, Number::SIGQUIT].into_iter().collect()
}

/// The signals of a worker.
pub(in crate::worker) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    /// A worker has no log file open. A whole process group may get this signal all the same, and it must not
    /// end a worker.
    _reopen: Signal,
}

impl Signals {
    /// Installs the handlers, and unblocks the [`ending_signals`]: those that have come since the fork count.
    ///
    /// # Errors
    /// The runtime cannot install the handlers.
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

    /// The next wish. None is lost if the caller stops waiting for it.
    pub(in crate::worker) async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.terminate.recv() => Wish::Drain,
            _ = self.interrupt.recv() => Wish::Stop,
            _ = self.quit.recv() => Wish::Stop,
        }
    }
}
