//! Runs two tasks at once, where the machine has time for both.

use std::panic::resume_unwind;
use std::thread;

use crate::scheduling::gives_way;

/// Runs two tasks at once, or one after the other in a process that gives way to others. So a processor stays
/// idle, and urgent work need not wait until the kernel takes one away from this process.
pub(super) fn at_once<A: Send, B>(one: impl Fn() -> A + Sync, other: impl FnOnce() -> B) -> (A, B) {
    if gives_way() { (one(), other()) } else { on_two_threads(one, other) }
}

/// Runs `one` on a second thread, if the kernel grants one, and `other` on this thread.
pub fn on_two_threads<A: Send, B>(one: impl Fn() -> A + Sync, other: impl FnOnce() -> B) -> (A, B) {
    thread::scope(|scope| match thread::Builder::new().spawn_scoped(scope, &one) {
        Ok(one) => {
            let done = other();
            (one.join().unwrap_or_else(|panic| resume_unwind(panic)), done)
        }
        Err(_) => (one(), other()),
    })
}
