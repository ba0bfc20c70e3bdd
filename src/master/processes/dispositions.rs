//! The effect of signals that a process does not handle. The master sets it at its start, and every child inherits
//! it.
//!
//! Only dispositions "ignored" outlive an exec, and a parent may have ignored anything: sudo and some
//! supervisors ignore SIGCHLD, so that the kernel reaps children itself. And the default of most signals is
//! to end or stop a process, which the sender of a signal to a whole group does not intend.

use nix::libc;
use nix::libc::c_int;

/// Signals that end a process on purpose, and those by which it hears of its children.
const DEFAULT: [c_int; 6] =
    [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGABRT, libc::SIGCHLD, libc::SIGCONT];
/// Signals of the kernel's for a fault. A real fault kills also where the signal is ignored.
const FAULTS: [c_int; 6] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGSYS];

/// An inherited effect that this process needs to remember.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dispositions {
    /// SIGHUP was ignored, as nohup(1) does: the server is to outlive its terminal.
    pub(crate) nohup: bool,
}

impl Dispositions {
    /// Ignores every signal that neither ends a process on purpose nor is needed. The master blocks and
    /// reads those that mean something to it, which works for ignored ones too; a worker handles its own.
    ///
    /// SIGXFSZ is one of the ignored: a file beyond RLIMIT_FSIZE is then an error like that of a full disk.
    pub fn put_in_order() -> Self {
        let nohup = set(libc::SIGHUP, libc::SIG_IGN) == libc::SIG_IGN;
        for signal in 1..=libc::SIGRTMAX() {
            let how = if DEFAULT.contains(&signal) { libc::SIG_DFL } else { libc::SIG_IGN };
            // SIGKILL, SIGSTOP and the signals that the C library keeps for itself cannot be set.
            set(signal, how);
        }
        Dispositions { nohup }
    }
}

/// To be called before another program takes over the process, so that it dies of its faults as any program does.
/// Signals that are sent to groups stay ignored until that program says otherwise.
pub(crate) fn restore_faults() {
    for signal in FAULTS {
        set(signal, libc::SIG_DFL);
    }
}

#[allow(unsafe_code)]
fn set(signal: c_int, how: libc::sighandler_t) -> libc::sighandler_t {
    // SAFETY: no handler is installed, `how` is SIG_IGN or SIG_DFL. One that is replaced is that of Rust's
    // runtime, which only explains a stack overflow, or none.
    unsafe { libc::signal(signal, how) }
}
