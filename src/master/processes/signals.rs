//! The signals of the master: it blocks them for good, and reads them from a descriptor at its own pace.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::master::arbiter::events::Wish;
use crate::master::processes::terminal::{Meaning, Terminal};

/// The signals that the master understands, with their meanings (Gunicorn's); SIGCHLD only wakes it.
const MEANINGS: [(Signal, Option<Wish>); 10] = [
    (Signal::SIGCHLD, None),
    (Signal::SIGHUP, Some(Wish::Reload)),
    (Signal::SIGTERM, Some(Wish::Stop)),
    (Signal::SIGINT, Some(Wish::StopNow)),
    (Signal::SIGQUIT, Some(Wish::StopNow)),
    (Signal::SIGTTIN, Some(Wish::MoreWorkers)),
    (Signal::SIGTTOU, Some(Wish::FewerWorkers)),
    (Signal::SIGUSR1, Some(Wish::ReopenLogs)),
    (Signal::SIGUSR2, Some(Wish::Upgrade)),
    (Signal::SIGWINCH, Some(Wish::Drain)),
];

/// The code of a signal that comes from the kernel rather than from a process (sigaction(2)).
const SI_KERNEL: i32 = 0x80;

/// The descriptor on which signals arrive, and the terminal that may have sent them.
pub(crate) struct Signals {
    arrived: SignalFd,
    terminal: Terminal,
}

impl Signals {
    /// Blocks the signals in this process and in every process that it forks later. With `nohup` the server
    /// outlives its terminal.
    ///
    /// # Errors
    /// The kernel's error.
    pub(crate) fn block(nohup: bool) -> io::Result<Self> {
        let mut set = SigSet::empty();
        MEANINGS.iter().for_each(|(signal, _)| set.add(*signal));
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None)?;
        let arrived = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Signals { arrived, terminal: Terminal::new(nohup) })
    }

    /// The meaning of the next signal, if one has arrived.
    pub(crate) fn next(&mut self) -> Option<Meaning> {
        while let Ok(Some(info)) = self.arrived.read_signal() {
            let meaning = MEANINGS.iter().find(|(signal, _)| *signal as u32 == info.ssi_signo);
            if let Some((_, Some(wish))) = meaning {
                return Some(self.terminal.meaning(*wish, info.ssi_code == SI_KERNEL));
            }
        }
        // The look at the terminal follows when all signals are read, so that a SIGHUP meets the terminal as
        // it was when the signal was sent.
        self.terminal.look(Instant::now());
        None
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.arrived.as_fd()
    }
}
