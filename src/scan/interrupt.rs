//! SIGINT, SIGTERM and SIGHUP end a scan within a second, even if its threads hang: a thread that
//! does nothing else waits for the signals and ends the process.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};

/// Longest time from a signal until the scan has ended its work with the database.
const STORE_MAX: Duration = Duration::from_millis(900);

/// The stage of a scan, as far as a signal is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    /// Nothing is stored yet.
    #[default]
    Reading,
    /// The transaction is under way.
    Storing,
    /// Everything is stored, or nothing will be.
    Done,
    /// The rows are stored, and the server is asked to read them.
    Reloading,
    /// This signal came during the last transaction or reload. It counts if the process goes on.
    Asked(Signal),
    /// Between two passes of a watch.
    Resting,
}

/// The stage of the scan, shared with the thread that waits for signals.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    shared: Arc<Shared>,
}

/// Tells the user a line, and the exit code that follows.
type Tell = Box<dyn Fn(&str, u8) + Send + Sync>;

/// Called before the process ends between two passes.
type Farewell = Box<dyn Fn(Signal) + Send + Sync>;

#[derive(Default)]
struct Shared {
    stage: Mutex<Stage>,
    changed: Condvar,
    /// Files whose state is stored although the rows are not.
    kept: AtomicUsize,
    tell: OnceLock<Tell>,
    farewell: OnceLock<Farewell>,
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

/// Returns the signals that this process ignores, one bit for each.
fn ignored_signals() -> u64 {
    // Without /proc no signal counts as ignored.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

impl Interrupt {
    /// Begins to wait for the signals. The caller must call it before it starts any other thread,
    /// because threads inherit the blocked signals. A signal that the parent process ignored, as
    /// nohup does, stays ignored.
    ///
    /// # Errors
    /// If the signals cannot be blocked or the thread cannot be started.
    pub fn listen() -> io::Result<Interrupt> {
        Interrupt::listen_to(&[Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP])
    }

    /// Does the same for other signals.
    ///
    /// # Errors
    /// As with [`Interrupt::listen`].
    pub fn listen_to(signals: &[Signal]) -> io::Result<Interrupt> {
        let ignored = ignored_signals();
        // The kernel keeps a blocked signal pending even if the process ignores it.
        let is_heard = |signal: &Signal| ignored >> (*signal as u32 - 1) & 1 == 0;
        let signals: SigSet = signals.iter().copied().filter(is_heard).collect();
        signals.thread_block()?;
        let interrupt = Interrupt::default();
        let own = interrupt.clone();
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            while let Ok(signal) = signals.wait() {
                own.end(signal);
            }
        })?;
        Ok(interrupt)
    }

    /// Sets the function that reports the end. Until then the report goes to standard error.
    pub fn set_tell(&self, tell: impl Fn(&str, u8) + Send + Sync + 'static) {
        // There is one caller, and a second call has no effect.
        let _ = self.shared.tell.set(Box::new(tell));
    }

    /// Records how many files have their state stored before the end of the scan.
    pub(super) fn set_kept(&self, files: usize) {
        self.shared.kept.store(files, Ordering::Relaxed);
    }

    /// Sets the function that runs when a signal ends a watch between two passes.
    pub(super) fn set_farewell(&self, tell: impl Fn(Signal) + Send + Sync + 'static) {
        let _ = self.shared.farewell.set(Box::new(tell));
    }

    /// Begins a pass of a watch.
    pub(super) fn begin(&self) {
        *self.shared.stage() = Stage::Reading;
    }

    /// Ends a pass. A signal may end the process until the next one begins.
    pub(super) fn rest(&self) {
        let mut stage = self.shared.stage();
        if let Stage::Asked(signal) = *stage {
            self.depart(signal);
        }
        *stage = Stage::Resting;
    }

    /// Begins the transaction.
    pub(super) fn begin_to_store(&self) {
        *self.shared.stage() = Stage::Storing;
    }

    /// Ends the transaction.
    pub(super) fn end_to_store(&self) {
        *self.shared.stage() = Stage::Done;
        self.shared.changed.notify_all();
    }

    /// Begins the reload, which may take long. Ends the process if a signal has come since the rows
    /// were stored.
    pub fn begin_to_reload(&self) {
        let before = std::mem::replace(&mut *self.shared.stage(), Stage::Reloading);
        if let Stage::Asked(signal) = before {
            self.end(signal);
        }
    }

    /// Closes the scan, which reports its own end. Later signals have no effect.
    pub fn close(&self) {
        self.end_to_store();
    }

    /// Ends the process as the signal asks.
    fn end(&self, signal: Signal) {
        let waited = self
            .shared
            .changed
            .wait_timeout_while(self.shared.stage(), STORE_MAX, |stage| *stage == Stage::Storing);
        // This thread keeps the lock, so that the scan cannot begin to store.
        let (mut stage, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let outcome = match *stage {
            Stage::Reading => "the old collection is untouched",
            Stage::Storing => {
                "the database rolls back to the old collection, unless it had stored the new one"
            }
            // The scan ends by itself at once, rests, or asks the server to reload.
            Stage::Done | Stage::Asked(_) => {
                *stage = Stage::Asked(signal);
                return;
            }
            Stage::Reloading => "the new collection is stored, and the server was asked to read it",
            Stage::Resting => return self.depart(signal),
        };
        let kept = match self.shared.kept.load(Ordering::Relaxed) {
            files @ 1.. if *stage == Stage::Reading => format!("; {files} files need not be read again"),
            _ => String::new(),
        };
        let text = format!("avalon-scan: interrupted by {signal}; {outcome}{kept}");
        // Shells report a process that a signal ended by this number.
        let code = 128 + signal as u8;
        match self.shared.tell.get() {
            Some(tell) => tell(&text, code),
            None => eprintln!("{text}"),
        }
        std::process::exit(i32::from(code));
    }

    /// Ends an idle watch, which is a success.
    fn depart(&self, signal: Signal) {
        if let Some(farewell) = self.shared.farewell.get() {
            farewell(signal);
        }
        std::process::exit(0);
    }
}
