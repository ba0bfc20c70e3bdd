//! Work on a connection, with a limit on the silence of the server.
//!
//! A blocking client cannot be interrupted. So a thread does the work, and stays behind when the server is
//! silent: the loader ends soon, and the thread with it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// Counts the rows and answers that have arrived.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress(Arc<AtomicU64>);

impl Progress {
    /// Notes that a row or an answer has arrived.
    pub(super) fn made(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn so_far(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The reason why work has no outcome.
#[derive(Debug)]
pub(super) enum Unwatched {
    /// No row and no answer has arrived for too long.
    Silent,
    Panicked,
    NotStarted(io::Error),
}

/// Does `work`, and gives it up if it makes no progress for `silence_max`; the check comes at most a tenth of
/// that late.
pub(super) fn watched<T: Send + 'static>(
    silence_max: Duration,
    work: impl FnOnce(&Progress) -> T + Send + 'static,
) -> Result<T, Unwatched> {
    let (sender, outcome) = mpsc::channel();
    let progress = Progress::default();
    let made = progress.clone();
    thread::Builder::new()
        .name("read".to_owned())
        // After the limit the receiver is gone.
        .spawn(move || drop(sender.send(work(&made))))
        .map_err(Unwatched::NotStarted)?;
    // Checks per limit, so that this notices the silence soon after the limit.
    const LOOKS: u32 = 10;
    let (mut seen, mut silent) = (0, 0);
    loop {
        match outcome.recv_timeout(silence_max / LOOKS) {
            Ok(outcome) => return Ok(outcome),
            Err(RecvTimeoutError::Disconnected) => return Err(Unwatched::Panicked),
            Err(RecvTimeoutError::Timeout) if progress.so_far() != seen => {
                (seen, silent) = (progress.so_far(), 0);
            }
            Err(RecvTimeoutError::Timeout) if silent + 1 < LOOKS => silent += 1,
            Err(RecvTimeoutError::Timeout) => return Err(Unwatched::Silent),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const SILENCE_MAX: Duration = Duration::from_millis(200);

    #[test]
    fn work_that_makes_progress_may_take_long() {
        let begin = Instant::now();
        let outcome = watched(SILENCE_MAX, |progress| {
            let begin = Instant::now();
            while begin.elapsed() < 3 * SILENCE_MAX {
                progress.made();
                thread::yield_now();
            }
            7
        });
        assert!(matches!(outcome, Ok(7)), "{outcome:?}");
        assert!(begin.elapsed() >= 3 * SILENCE_MAX);
    }

    #[test]
    fn silent_work_is_left_behind_and_a_panic_is_told() {
        let (hold, held) = mpsc::channel::<()>();
        let begin = Instant::now();
        let outcome = watched(SILENCE_MAX, move |progress| {
            progress.made();
            held.recv()
        });
        assert!(matches!(outcome, Err(Unwatched::Silent)), "{outcome:?}");
        assert!(begin.elapsed() >= SILENCE_MAX);
        drop(hold);
        let outcome = watched(Duration::from_secs(60), |_| -> u8 { panic!("wrong") });
        assert!(matches!(outcome, Err(Unwatched::Panicked)), "{outcome:?}");
    }
}
