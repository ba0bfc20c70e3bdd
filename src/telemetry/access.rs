//! The access log: a line for each request, gathered in memory and written a few times a second.
//!
//! Opened in the master, as files may belong to root, and written by workers, each with lines of its own: what
//! is gathered must be nothing when a process forks. A line that cannot be written is counted and lost.

use std::fmt::{self, Write};
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use slog::{Logger, error, warn};

use super::LogError;
use super::access_format::{AccessFormat, AccessLine, AccessRecord};
use super::date::Clock;
use super::output::{Output, Patience, Stream};
use super::relay::{Relay, Relayed, write_out};

/// Bytes that are gathered before they are written without waiting for the next flush.
const GATHERED_MAX: usize = 32 * 1024;
/// Buffers that are kept for lines to come, and their size at most.
const SPARE: usize = 16;
const SPARE_BYTES: usize = 4096;
/// As Apache and Gunicorn write the time.
const APACHE: &str = "[%d/%b/%Y:%H:%M:%S %z]";

/// What the configuration says about the access log.
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
    /// The time as the last line has it, and its second: writing it out costs more than all the rest.
    time: String,
    second: i64,
    /// Buffers of lines that have been finished.
    spare: Vec<String>,
}

impl AccessLog {
    /// Opens an access log.
    ///
    /// # Errors
    /// The file cannot be opened for appending.
    pub fn open(settings: &AccessSettings) -> Result<AccessLog, LogError> {
        let output = Output::open(settings.path.as_deref(), Stream::Stdout, Patience::Never)?;
        Ok(AccessLog::to(output, settings))
    }

    /// An access log of which another process writes the file ([`AccessLog::write_relayed`]).
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
        let buffer = state.spare.pop().unwrap_or_default();
        if state.second != now.as_second() {
            state.second = now.as_second();
            state.time.clear();
            if self.format.is_json() {
                // Writing to a String cannot fail.
                let _ = write!(state.time, "{now:.0}");
                // The Z, which stands behind the fraction.
                state.time.pop();
            } else {
                self.clock.write(now, &mut state.time);
            }
        }
        match self.format.is_json() {
            false => self.format.begin(record, &state.time, buffer),
            true => {
                let micros = now.subsec_microsecond();
                self.format.begin(record, &format_args!("{}.{micros:06}Z", state.time), buffer)
            }
        }
    }

    /// Ends a line when the body has left, or its connection has ended before: so many bytes of it were sent,
    /// and it took so long since the request had arrived.
    pub fn finish(&self, mut line: AccessLine, bytes: u64, took: Duration) {
        let mut state = self.state();
        self.format.finish(&line, bytes, took, &mut state.lines);
        if state.spare.len() < SPARE && line.text.capacity() <= SPARE_BYTES {
            line.text.clear();
            state.spare.push(line.text);
        }
        if state.lines.len() >= GATHERED_MAX {
            self.write(&mut state);
        }
    }

    /// Writes what was gathered, to another file if the one of before was moved. Says in `log` what was lost
    /// once lines can be written again.
    pub fn flush(&self, log: &Logger) {
        self.follow(log);
        let mut state = self.state();
        let written = if state.lines.is_empty() { self.output.flush() } else { self.write(&mut state) };
        if written {
            self.tell_lost(log);
        }
    }

    /// Opens its file anew, after it was moved or removed.
    ///
    /// # Errors
    /// The file cannot be opened; the old one stays in use.
    pub fn reopen(&self) -> Result<(), LogError> {
        self.output.reopen()
    }

    /// Opens its file anew if it was moved or removed; looks once a second at most. Says whether it did.
    pub fn follow(&self, log: &Logger) -> bool {
        self.output.follow().unwrap_or_else(|error| {
            warn!(log, "the access log could not be reopened: {}", error);
            false
        })
    }

    /// Writes what was gathered at the end of a process, which waits a moment for the one that writes the file.
    pub fn end(&self, log: &Logger) {
        self.flush(log);
        self.output.end();
    }

    /// Begins anew in a child that was just forked.
    pub fn forked(&self) {
        self.output.forked();
    }

    /// The life of the process that writes the file. It ends when no process can send lines any more. `reopened`
    /// is called when another file has been opened.
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

    /// The descriptor of its file, if it has one of its own.
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
