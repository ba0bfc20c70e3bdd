//! SIGINT, SIGTERM and SIGHUP end a scan within a second, whatever its threads are at: a
//! thread that does nothing else waits for them and ends the process.

use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};

/// How long a scan may take to end its work with the database after a signal.
const STORE_MAX: Duration = Duration::from_millis(900);

/// How far a scan is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    /// Nothing is stored yet.
    #[default]
    Reading,
    /// The transaction is under way.
    Storing,
    /// Everything is stored, or nothing will be.
    Done,
}

/// How far the scan is, for the thread that waits for signals.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    shared: Arc<Shared>,
}

/// Tells the user a line.
type Tell = Box<dyn Fn(&str) + Send + Sync>;

#[derive(Default)]
struct Shared {
    stage: Mutex<Stage>,
    changed: Condvar,
    tell: OnceLock<Tell>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("stage", &self.stage).finish_non_exhaustive()
    }
}

impl Shared {
    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Interrupt {
    /// Begins to wait for the signals. Must be called before any other thread is started:
    /// they inherit that the signals are blocked. A signal that is ignored stays so.
    ///
    /// # Errors
    /// If signals cannot be blocked or the thread not be started.
    pub fn listen() -> io::Result<Interrupt> {
        Interrupt::listen_to(&[Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP])
    }

    /// The same for other signals.
    ///
    /// # Errors
    /// As with [`Interrupt::listen`].
    pub fn listen_to(signals: &[Signal]) -> io::Result<Interrupt> {
        let signals: SigSet = signals.iter().copied().collect();
        signals.thread_block()?;
        let interrupt = Interrupt::default();
        let own = interrupt.clone();
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            if let Ok(signal) = signals.wait() {
                own.end(signal);
            }
        })?;
        Ok(interrupt)
    }

    /// Sets how the end is told; before that it is written to standard error.
    pub fn set_tell(&self, tell: impl Fn(&str) + Send + Sync + 'static) {
        // Only the first counts, and there is one.
        let _ = self.shared.tell.set(Box::new(tell));
    }

    /// The transaction begins.
    pub(super) fn begin_to_store(&self) {
        *self.shared.stage() = Stage::Storing;
    }

    /// The transaction has ended.
    pub(super) fn end_to_store(&self) {
        *self.shared.stage() = Stage::Done;
        self.shared.changed.notify_all();
    }

    /// Ends the process as the signal asks.
    fn end(&self, signal: Signal) {
        let waited = self
            .shared
            .changed
            .wait_timeout_while(self.shared.stage(), STORE_MAX, |stage| *stage == Stage::Storing);
        // The lock is kept, so that the scan does not begin to store now.
        let (stage, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let outcome = match *stage {
            Stage::Reading => "the old collection is untouched",
            Stage::Storing => {
                "the database rolls back to the old collection, unless it had stored the new one"
            }
            // The scan ends by itself at once.
            Stage::Done => return,
        };
        let text = format!("avalon-scan: interrupted by {signal}; {outcome}");
        match self.shared.tell.get() {
            Some(tell) => tell(&text),
            None => eprintln!("{text}"),
        }
        // The number that a shell shows for a process that a signal ended.
        std::process::exit(128 + signal as i32);
    }
}
