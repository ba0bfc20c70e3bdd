//! The dispositions of signals that a process does not handle. The master sets them at its start, and every
//! child inherits them.
//!
//! An ignored signal stays ignored after an exec, and a parent may have ignored any signal: sudo and some
//! supervisors ignore SIGCHLD, so that the kernel reaps children itself. The default of most other signals is
//! to end or stop a process, which the sender of a signal to a whole group does not intend.

use nix::libc;
use nix::libc::c_int;

/// Signals that end a process on purpose, and those that report the end of children.
const DEFAULT: [c_int; 6] =
    [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGABRT, libc::SIGCHLD, libc::SIGCONT];
/// Signals that the kernel sends for a fault. A real fault kills even a process that ignores the signal.
const FAULTS: [c_int; 6] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGSYS];

/// An inherited effect that this process needs to remember.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dispositions {
    /// SIGHUP was ignored, as nohup(1) does: the server is to outlive its terminal.
    pub(crate) nohup: bool,
}

impl Dispositions {
    /// Ignores every signal that neither ends a process on purpose nor has a use. The master blocks the
    /// signals that it understands and reads them, which works for ignored ones too; a worker installs
    /// handlers of its own.
    ///
    /// SIGXFSZ is ignored as well: a file beyond RLIMIT_FSIZE is then an error like a full disk.
    pub fn put_in_order() -> Self {
        let nohup = set(libc::SIGHUP, libc::SIG_IGN) == libc::SIG_IGN;
        for signal in 1..=libc::SIGRTMAX() {
            let how = if DEFAULT.contains(&signal) { libc::SIG_DFL } else { libc::SIG_IGN };
            // The kernel refuses SIGKILL and SIGSTOP; the C library keeps some signals for itself.
            set(signal, how);
        }
        Dispositions { nohup }
    }
}

/// Gives fault signals their default again, so that another program in this process dies of its faults as any
/// program does. Call it before the exec. Signals that are sent to groups stay ignored until that program
/// changes them.
pub(crate) fn restore_faults() {
    for signal in FAULTS {
        set(signal, libc::SIG_DFL);
    }
}

#[allow(unsafe_code)]
fn set(signal: c_int, how: libc::sighandler_t) -> libc::sighandler_t {
    // SAFETY: no handler is installed, as `how` is SIG_IGN or SIG_DFL. The handler that this replaces is that
    // of Rust's runtime, which only explains a stack overflow, or none.
    unsafe { libc::signal(signal, how) }
}
