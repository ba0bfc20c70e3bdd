//! How a scan shows how far it is: a bar on a terminal, now and then a log line elsewhere.

use std::cell::Cell;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use slog::{Drain, Logger, Never, OwnedKVList, Record, info, o};

/// Time between two log lines.
const PAUSE: Duration = Duration::from_secs(10);

/// What a scan tells while it reads.
pub trait Progress {
    /// So many files are to be read.
    fn begin(&self, files: usize);
    /// One more of them was read.
    fn advance(&self);
    /// All were read.
    fn end(&self);
}

/// Says nothing.
#[derive(Debug)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _: usize) {}
    fn advance(&self) {}
    fn end(&self) {}
}

/// Writes a log line every ten seconds.
#[derive(Debug)]
pub struct Lines {
    log: Logger,
    files: Cell<usize>,
    read: Cell<usize>,
    last: Cell<Instant>,
}

impl Lines {
    /// Lines for this log.
    pub fn new(log: Logger) -> Lines {
        Lines { log, files: Cell::new(0), read: Cell::new(0), last: Cell::new(Instant::now()) }
    }
}

impl Progress for Lines {
    fn begin(&self, files: usize) {
        self.files.set(files);
        self.last.set(Instant::now());
        info!(self.log, "Reading {files} files");
    }

    fn advance(&self) {
        self.read.set(self.read.get() + 1);
        if self.last.get().elapsed() >= PAUSE {
            self.last.set(Instant::now());
            info!(self.log, "Read {} of {} files", self.read.get(), self.files.get());
        }
    }

    fn end(&self) {}
}

/// Draws a bar on standard error.
#[derive(Debug, Clone)]
pub struct Bar(ProgressBar);

impl Bar {
    /// A bar, not drawn before the scan begins to read.
    pub fn new() -> Bar {
        let style = ProgressStyle::with_template("{bar:40} {pos}/{len} files, {elapsed} (ETA {eta})");
        let bar = ProgressBar::hidden();
        Bar(match style {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        })
    }

    /// A log that takes the bar away while a line is written.
    pub fn log(&self, log: &Logger) -> Logger {
        Logger::root(Aside { bar: self.clone(), log: log.clone() }, o!())
    }
}

impl Default for Bar {
    fn default() -> Bar {
        Bar::new()
    }
}

impl Progress for Bar {
    fn begin(&self, files: usize) {
        self.0.set_length(files as u64);
        self.0.set_draw_target(indicatif::ProgressDrawTarget::stderr());
    }

    fn advance(&self) {
        self.0.inc(1);
    }

    fn end(&self) {
        self.0.finish_and_clear();
    }
}

struct Aside {
    bar: Bar,
    log: Logger,
}

impl Drain for Aside {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), Never> {
        self.bar.0.suspend(|| Drain::log(&self.log, record, values))
    }
}
