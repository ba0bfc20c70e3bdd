//! The signals of the master: blocked for good, and read from a descriptor at its pace.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::master::arbiter::events::Wish;

/// What a signal says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrived {
    /// Children may have ended.
    ChildEnded,
    /// A wish, unless it comes from a terminal.
    Wished(Wish),
}

/// The signals that mean something, with their meanings (Gunicorn's).
const MEANINGS: [(Signal, Arrived); 10] = [
    (Signal::SIGCHLD, Arrived::ChildEnded),
    (Signal::SIGHUP, Arrived::Wished(Wish::Reload)),
    (Signal::SIGTERM, Arrived::Wished(Wish::Stop)),
    (Signal::SIGINT, Arrived::Wished(Wish::StopNow)),
    (Signal::SIGQUIT, Arrived::Wished(Wish::StopNow)),
    (Signal::SIGTTIN, Arrived::Wished(Wish::MoreWorkers)),
    (Signal::SIGTTOU, Arrived::Wished(Wish::FewerWorkers)),
    (Signal::SIGUSR1, Arrived::Wished(Wish::ReopenLogs)),
    (Signal::SIGUSR2, Arrived::Wished(Wish::Upgrade)),
    (Signal::SIGWINCH, Arrived::Wished(Wish::Drain)),
];

/// What the kernel says as the sender when no process was (sigaction(2)).
const SI_KERNEL: i32 = 0x80;

/// Where signals arrive.
pub(crate) struct Signals(SignalFd);

impl Signals {
    /// Blocks the signals, from now on and in every process forked from now on.
    pub(crate) fn block() -> io::Result<Self> {
        let mut set = SigSet::empty();
        MEANINGS.iter().for_each(|(signal, _)| set.add(*signal));
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None)?;
        Ok(Signals(SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?))
    }

    /// The next one that has arrived and means something, and whether it was the kernel that sent it.
    pub(crate) fn next(&self) -> Option<(Arrived, bool)> {
        while let Ok(Some(info)) = self.0.read_signal() {
            let meaning = MEANINGS.iter().find(|(signal, _)| *signal as u32 == info.ssi_signo);
            if let Some((_, arrived)) = meaning {
                return Some((*arrived, info.ssi_code == SI_KERNEL));
            }
        }
        None
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
