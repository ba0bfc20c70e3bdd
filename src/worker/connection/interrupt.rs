//! Waking a thread that blocks in a system call.

use std::io;
use std::os::unix::thread::RawPthread;

use nix::libc::c_int;
use nix::sys::pthread::{Pthread, pthread_kill};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// The signal that wakes accept threads. It has no other use here, and processes ignore it by
/// default.
const WAKE: Signal = Signal::SIGURG;

/// Makes [`WAKE`] interrupt system calls: a handler that does nothing, installed without
/// SA_RESTART.
#[allow(unsafe_code)]
pub(in crate::worker) fn prepare() -> io::Result<()> {
    let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler does nothing, so it is async-signal-safe, and the former
    // disposition (ignored, the default of this signal) is not needed.
    unsafe { sigaction(WAKE, &action) }?;
    Ok(())
}

/// Interrupts the system call that blocks `thread`, which has not been joined. It is not an error
/// if the thread has ended.
pub(in crate::worker) fn wake(thread: RawPthread) {
    // std and the C library use the same number; musl calls it a pointer.
    let _ = pthread_kill(thread as Pthread, WAKE);
}

extern "C" fn nothing(_: c_int) {}
