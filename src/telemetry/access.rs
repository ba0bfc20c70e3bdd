//! The access log: a line for each request, gathered in memory and written a few times a second.
//!
//! Workers gather lines and hand them to the process that writes the file. A process must not fork
//! while it holds gathered lines, or both processes would write them. A line that cannot be written
//! is counted and lost.

use std::fmt::{self, Write};
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use slog::{Logger, error, warn};

use super::access_format::{AccessFormat, AccessLine};
use super::access_record::AccessRecord;
use super::date::Clock;
use super::log_error::LogError;
use super::output::{Output, Patience, Stream};
use super::relay::{Relay, Relayed, write_out};

/// Bytes of gathered lines that are written without waiting for the next flush.
const GATHERED_MAX: usize = 32 * 1024;
/// Most finished lines that are kept for their buffers, and the largest size of each.
const SPARE: usize = 16;
const SPARE_BYTES: usize = 4096;
/// The time in the form of Apache and Gunicorn.
const APACHE: &str = "[%d/%b/%Y:%H:%M:%S %z]";

/// The settings of the access log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessSettings {
    /// `ACCESS_LOGFILE`: the file to append to; none for stdout.
    pub path: Option<PathBuf>,
    /// `ACCESS_LOGFORMAT`.
    pub format: AccessFormat,
}

/// An access log. Clones write to the same file, and gather for themselves.
pub struct AccessLog {
    output: Arc<Output>,
    format: AccessFormat,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    lines: String,
    /// The time in the last line, and its second: formatting it costs more than all the rest.
    time: String,
    second: i64,
    /// Finished lines, for their buffers.
    spare: Vec<AccessLine>,
}

impl AccessLog {
    /// Opens an access log.
    ///
    /// # Errors
    /// If the file cannot be opened for appending.
    pub fn open(settings: &AccessSettings) -> Result<AccessLog, LogError> {
        let output = Output::open(settings.path.as_deref(), Stream::Stdout, Patience::Never)?;
        Ok(AccessLog::to(output, settings))
    }

    /// Creates an access log whose file another process writes ([`AccessLog::write_relayed`]).
    pub fn relayed(settings: &AccessSettings, relay: Relay) -> AccessLog {
        AccessLog::to(Output::relayed(relay), settings)
    }

    fn to(output: Output, settings: &AccessSettings) -> AccessLog {
        AccessLog {
            output: Arc::new(output),
            format: settings.format.clone(),
            clock: Clock::local(APACHE),
            state: Mutex::default(),
        }
    }

    /// Begins the line of a request that has just been answered; [`AccessLog::finish`] takes it.
    pub fn begin(&self, record: &AccessRecord<'_>) -> AccessLine {
        let now = Timestamp::now();
        let mut state = self.state();
        let line = state.spare.pop().unwrap_or_default();
        if state.second != now.as_second() {
            state.second = now.as_second();
            state.time.clear();
            match self.format {
                AccessFormat::Json => {
                    // Writing to a String cannot fail.
                    let _ = write!(state.time, "{now:.0}");
                    // The Z behind the fraction.
                    state.time.pop();
                }
                AccessFormat::Gunicorn(_) => self.clock.write(now, &mut state.time),
            }
        }
        match self.format {
            AccessFormat::Gunicorn(_) => self.format.begin(record, &state.time, line),
            AccessFormat::Json => {
                let micros = now.subsec_microsecond();
                self.format.begin(record, &format_args!("{}.{micros:06}Z", state.time), line)
            }
        }
    }

    /// Ends a line when the body has been sent, or its connection has ended before. `bytes` of the
    /// body were sent, and the request `took` this time since its arrival.
    pub fn finish(&self, line: AccessLine, bytes: u64, took: Duration) {
        let mut state = self.state();
        let spare = line.finish(bytes, took, &mut state.lines);
        if state.spare.len() < SPARE && spare.capacity() <= SPARE_BYTES {
            state.spare.push(spare);
        }
        if state.lines.len() >= GATHERED_MAX {
            self.write(&mut state);
        }
    }

    /// Writes the gathered lines, to a new file if the old one was moved. Reports the number of
    /// lost lines in `log` once lines can be written again.
    pub fn flush(&self, log: &Logger) {
        self.follow(log);
        let mut state = self.state();
        let written = if state.lines.is_empty() { self.output.flush() } else { self.write(&mut state) };
        if written {
            self.tell_lost(log);
        }
    }

    /// Reopens its file after that file was moved or removed.
    ///
    /// # Errors
    /// If the file cannot be opened; the old one stays in use.
    pub fn reopen(&self) -> Result<(), LogError> {
        self.output.reopen()
    }

    /// Reopens its file if that file was moved or removed; checks once a second at most. Returns
    /// whether it did.
    pub fn follow(&self, log: &Logger) -> bool {
        self.output.follow().unwrap_or_else(|error| {
            warn!(log, "the access log could not be reopened: {}", error);
            false
        })
    }

    /// Writes the gathered lines at the end of a process. The process waits a moment for the one
    /// that writes the file.
    pub fn end(&self, log: &Logger) {
        self.flush(log);
        self.output.end();
    }

    /// Drops the waiting lines in a forked child: its parent writes them.
    pub fn forked(&self) {
        self.output.forked();
    }

    /// Runs the process that writes the file, until no process can send lines any more. Calls
    /// `reopened` when another file has been opened.
    pub fn write_relayed(&self, relayed: Relayed, log: &Logger, reopened: impl Fn()) {
        let reopen = || match self.reopen() {
            Ok(()) => reopened(),
            Err(error) => error!(log, "the access log could not be reopened: {}", error),
        };
        let write = |lines: &str| {
            if self.output.write_lines(lines) {
                self.tell_lost(log);
            }
        };
        write_out(relayed, write, reopen, || {
            if self.follow(log) {
                reopened();
            }
        });
    }

    /// Returns the descriptor of its file, if it has a file.
    pub fn fd(&self) -> Option<RawFd> {
        self.output.fd()
    }

    fn tell_lost(&self, log: &Logger) {
        let lost = self.output.take_lost();
        if lost > 0 {
            warn!(log, "lines of the access log were lost"; "count" => lost);
        }
    }

    fn write(&self, state: &mut State) -> bool {
        let written = self.output.write_lines(&state.lines);
        state.lines.clear();
        written
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessLog").field("output", &self.output).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
