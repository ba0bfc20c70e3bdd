//! The signals that end a worker.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// How a worker is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::worker) enum Wish {
    /// After everything under way is answered: SIGTERM.
    Drain,
    /// At once: SIGINT or SIGQUIT.
    Stop,
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
    /// # Errors
    /// The runtime cannot install the handlers.
    pub(in crate::worker) fn install() -> io::Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            _reopen: signal(SignalKind::user_defined1())?,
        })
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
