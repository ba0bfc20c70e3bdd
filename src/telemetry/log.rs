//! The log: one record, one line, one `write`, to stderr or to the file at `LOG_PATH`.
//!
//! The master uses it before and after every fork, so there is no thread. A line that cannot be
//! written is counted and dropped: logging never stops a request, and no file system stops it
//! either (`relay.rs`).

use std::cell::Cell;
use std::os::fd::RawFd;
use std::sync::Arc;

use jiff::Timestamp;
use slog::{Level, Logger, Never, OwnedKVList, Record, error, warn};

use super::date::{Clock, check_date_format};
use super::format::{LogFormat, LogRecord};
use super::log_error::LogError;
use super::log_settings::LogSettings;
use super::output::{Output, Patience, Stream};
use super::relay::{Relay, Relayed, write_out};
use super::values::Values;
use super::{json, sentry};

/// Lines longer than this do not keep their buffer.
const BUFFER_KEPT_MAX: usize = 64 * 1024;

/// A started log.
#[derive(Debug, Clone)]
pub struct Log {
    logger: Logger,
    lines: Lines,
}

impl Log {
    /// Opens the log of a server, which never waits for a slow reader. `%(processName)s` and
    /// `%(name)s` print `process_name` and `logger_name`.
    ///
    /// # Errors
    /// If the file cannot be opened for appending, or the date format is not valid for strftime.
    pub fn start(settings: &LogSettings, process_name: &str, logger_name: &str) -> Result<Log, LogError> {
        Log::open(settings, process_name, logger_name, Patience::Never)
    }

    /// Opens the log of a command, which waits for a slow reader rather than lose a line.
    ///
    /// # Errors
    /// As with [`Log::start`].
    pub fn start_patient(
        settings: &LogSettings,
        process_name: &str,
        logger_name: &str,
    ) -> Result<Log, LogError> {
        Log::open(settings, process_name, logger_name, Patience::Waits)
    }

    fn open(
        settings: &LogSettings,
        process_name: &str,
        logger_name: &str,
        patience: Patience,
    ) -> Result<Log, LogError> {
        check_date_format(&settings.date_format)
            .map_err(|reason| LogError::DateFormat { format: settings.date_format.clone(), reason })?;
        let output = Output::open(settings.path.as_deref(), Stream::Stderr, patience)?;
        Ok(Log::to(output, settings, process_name, logger_name))
    }

    /// Creates the log of a server whose file another process writes ([`Log::write_relayed`]).
    pub fn relayed(settings: &LogSettings, relay: Relay, process_name: &str, logger_name: &str) -> Log {
        Log::to(Output::relayed(relay), settings, process_name, logger_name)
    }

    fn to(output: Output, settings: &LogSettings, process_name: &str, logger_name: &str) -> Log {
        Log::over(Lines {
            output: Arc::new(output),
            format: settings.format.clone(),
            clock: Clock::local(&settings.date_format),
            level: settings.level,
            process_name: process_name.to_owned(),
            logger_name: logger_name.to_owned(),
            started: Timestamp::now(),
        })
    }

    /// Returns the same log, file and settings for this process, which was just forked and has
    /// another name.
    pub fn for_process(&self, process_name: &str) -> Log {
        self.lines.output.forked();
        Log::over(Lines { process_name: process_name.to_owned(), ..self.lines.clone() })
    }

    /// Returns the logger for records.
    pub fn logger(&self) -> &Logger {
        &self.logger
    }

    /// Reopens the file at `LOG_PATH` after it was moved or removed. Has no effect without a path.
    ///
    /// # Errors
    /// If the file cannot be opened; the old one stays in use.
    pub fn reopen(&self) -> Result<(), LogError> {
        self.lines.output.reopen()
    }

    /// Reopens the file at `LOG_PATH` if it was moved or removed. Each record does so before it is
    /// written. A silent process must call this, or it would hold a file for ever that was removed
    /// to free space. It may be called often: it checks once a second at most. Returns whether it
    /// has reopened the file.
    pub fn follow(&self) -> bool {
        self.lines.follow()
    }

    /// Sends the waiting lines to the process that writes the file, and reports the lost lines once
    /// it takes them. Each record does so as well; a silent process must call this.
    pub fn flush(&self) {
        if self.lines.output.flush() {
            self.lines.tell_lost();
        }
    }

    /// Does the same at the end of a process, which waits a moment for the writing process.
    pub fn end(&self) {
        self.lines.output.end();
    }

    /// Runs the process that writes the file: this is its log. It ends when no process can send
    /// lines any more. Calls `reopened` when another file has been opened.
    pub fn write_relayed(&self, relayed: Relayed, reopened: impl Fn()) {
        let reopen = || match self.reopen() {
            Ok(()) => reopened(),
            Err(error) => error!(self.logger(), "the log could not be reopened: {}", error),
        };
        let write = |lines: &str| {
            if self.lines.output.write_lines(lines) {
                self.lines.tell_lost();
            }
        };
        write_out(relayed, write, reopen, || {
            if self.follow() {
                reopened();
            }
        });
    }

    /// Returns the descriptor of its file, if it has a file.
    pub fn fd(&self) -> Option<RawFd> {
        self.lines.output.fd()
    }

    /// Returns the number of lines that this process could not write.
    pub fn lost(&self) -> u64 {
        self.lines.output.lost()
    }

    fn over(lines: Lines) -> Log {
        Log { logger: Logger::root(lines.clone(), slog::o!()), lines }
    }
}

/// The drain: records in, lines out; errors also to Sentry if a client was started.
#[derive(Debug, Clone)]
struct Lines {
    output: Arc<Output>,
    format: LogFormat,
    clock: Clock,
    level: Level,
    process_name: String,
    logger_name: String,
    started: Timestamp,
}

impl slog::Drain for Lines {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, context: &OwnedKVList) -> Result<(), Never> {
        if !self.is_enabled(record.level()) {
            return Ok(());
        }
        // Taken, not borrowed: a value that logs while it is being printed gets another, empty one.
        let mut scratch = SCRATCH.try_with(Cell::take).unwrap_or_default();
        scratch.clear();
        scratch.values.collect(record, context);
        self.render(record, &mut scratch);
        self.follow();
        if self.output.write(&scratch.line) {
            self.tell_lost();
        }
        sentry::capture_record(record, &scratch.values);
        if scratch.line.capacity() <= BUFFER_KEPT_MAX {
            // A thread that is ending cannot keep it; then it is dropped.
            let _ = SCRATCH.try_with(|kept| kept.set(scratch));
        }
        Ok(())
    }

    fn is_enabled(&self, level: Level) -> bool {
        level.is_at_least(self.level)
    }
}

impl Lines {
    fn follow(&self) -> bool {
        self.output.follow().unwrap_or_else(|error| {
            error!(self.logger(), "the log could not be reopened: {}", error);
            false
        })
    }

    /// Reports the number of lost lines, once lines can be written again.
    fn tell_lost(&self) {
        let lost = self.output.take_lost();
        if lost > 0 {
            warn!(self.logger(), "log lines were lost"; "count" => lost);
        }
    }

    fn logger(&self) -> Logger {
        Logger::root(self.clone(), slog::o!())
    }

    fn render(&self, record: &Record<'_>, scratch: &mut Scratch) {
        let now = Timestamp::now();
        match &self.format {
            LogFormat::Json => Values::write_bare_message(record.msg(), &mut scratch.message),
            LogFormat::Python(format) => {
                scratch.values.write_message(record.msg(), &mut scratch.message);
                if format.uses_time() {
                    self.clock.write(now, &mut scratch.asctime);
                }
            }
        }
        let thread = std::thread::current();
        let fields = LogRecord {
            asctime: &scratch.asctime,
            created: seconds(now),
            filename: record.file().rsplit('/').next().unwrap_or_default(),
            // slog leaves it empty; Python prints this if it does not know the function.
            func_name: Some(record.function())
                .filter(|name| !name.is_empty())
                .unwrap_or("(unknown function)"),
            levelname: level_name(record.level()),
            levelno: level_number(record.level()),
            lineno: record.line().into(),
            // Python prints the file without its suffix; here the file may be called mod.rs.
            module: record.module().rsplit("::").next().unwrap_or_default(),
            msecs: f64::from(now.subsec_nanosecond() / 1_000_000),
            message: &scratch.message,
            name: &self.logger_name,
            pathname: record.file(),
            // Read with each record, because it changes with a fork.
            process: std::process::id().into(),
            process_name: &self.process_name,
            relative_created: (seconds(now) - seconds(self.started)) * 1000.0,
            thread: nix::unistd::gettid().as_raw().into(),
            thread_name: match thread.name() {
                Some("main") => "MainThread",
                Some(name) => name,
                None => "Thread",
            },
        };
        match &self.format {
            LogFormat::Json => json::write(now, &fields, &scratch.values, &mut scratch.line),
            LogFormat::Python(format) => format.render(&fields, &mut scratch.line),
        }
        scratch.line.push('\n');
    }
}

fn seconds(time: Timestamp) -> f64 {
    time.as_microsecond() as f64 / 1e6
}

/// Returns Python's name of a level.
fn level_name(level: Level) -> &'static str {
    match level {
        Level::Critical => "CRITICAL",
        Level::Error => "ERROR",
        Level::Warning => "WARNING",
        Level::Info => "INFO",
        Level::Debug | Level::Trace => "DEBUG",
    }
}

/// Returns Python's number of a level.
fn level_number(level: Level) -> i64 {
    match level {
        Level::Critical => 50,
        Level::Error => 40,
        Level::Warning => 30,
        Level::Info => 20,
        Level::Debug | Level::Trace => 10,
    }
}

thread_local! {
    static SCRATCH: Cell<Scratch> = Cell::default();
}

/// The buffers for a record on its way to a line, reused from record to record.
#[derive(Debug, Default)]
struct Scratch {
    line: String,
    message: String,
    asctime: String,
    values: Values,
}

impl Scratch {
    fn clear(&mut self) {
        self.line.clear();
        self.message.clear();
        self.asctime.clear();
        self.values.clear();
    }
}

#[cfg(test)]
mod tests;
