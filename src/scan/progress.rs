//! The progress of a scan: a bar on a terminal, occasional log lines elsewhere.

use std::cell::Cell;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use slog::{Drain, Logger, Never, OwnedKVList, Record, info, o};

/// Time between two log lines.
const PAUSE: Duration = Duration::from_secs(10);
/// Time between two drawings of the bar.
const FRAME: Duration = Duration::from_millis(100);

/// The counts of a running scan.
#[derive(Debug, Clone, Copy)]
struct Counts {
    began: Instant,
    /// Folders that are found and not yet listed.
    unlisted: usize,
    files: usize,
    read: usize,
    bytes: u64,
}

impl Counts {
    fn new() -> Counts {
        Counts { began: Instant::now(), unlisted: 0, files: 0, read: 0, bytes: 0 }
    }

    /// Returns the counts as text, the most important first: a narrow terminal cuts the end.
    fn text(&self) -> String {
        let seconds = self.began.elapsed().as_secs_f64().max(0.001);
        let rate = self.read as f64 / seconds;
        let speed = format!("{rate:.0} files/s, {} MB", self.bytes / 1_000_000);
        if self.unlisted > 0 {
            return format!("{} files found, {} read, {speed}", self.files, self.read);
        }
        let left = (self.files - self.read.min(self.files)) as f64 / rate.max(0.001);
        format!("{}/{} files, {} left, {speed}", self.read, self.files, duration(left))
    }
}

/// Returns a duration in its two largest units.
#[allow(clippy::cast_possible_truncation, reason = "a cast of a float stops at the limits of the integer")]
fn duration(seconds: f64) -> String {
    let seconds = seconds.ceil() as u64;
    match seconds {
        0..=59 => format!("{seconds} s"),
        60..=3599 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// A display for the counts of a scan.
trait Show {
    /// Shows the counts, if it is time to.
    fn show(&self, counts: &Counts);
    /// Clears the display.
    fn clear(&self);
}

/// Follows a scan through both of its phases: folders are listed while files are read.
pub struct Progress {
    counts: Cell<Counts>,
    show: Box<dyn Show>,
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Progress").field("counts", &self.counts).finish_non_exhaustive()
    }
}

impl Progress {
    /// Returns a progress that shows nothing.
    pub fn silent() -> Progress {
        Progress::new(Silent)
    }

    /// Returns a progress that writes a log line every ten seconds.
    pub fn lines(log: &Logger) -> Progress {
        Progress::new(Lines { log: log.clone(), last: Cell::new(Instant::now()) })
    }

    /// Returns a progress that draws a bar on standard error. Log lines must go through the
    /// returned log, which clears the bar before it writes.
    pub fn bar(log: &Logger) -> (Progress, Logger) {
        let style = ProgressStyle::with_template("{wide_msg}");
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let bar = match style {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        };
        let log = Logger::root(Aside { bar: bar.clone(), log: log.clone() }, o!());
        (Progress::new(Bar { bar, last: Cell::new(Instant::now()) }), log)
    }

    fn new(show: impl Show + 'static) -> Progress {
        Progress { counts: Cell::new(Counts::new()), show: Box::new(show) }
    }

    fn update(&self, change: impl FnOnce(&mut Counts)) {
        let mut counts = self.counts.get();
        change(&mut counts);
        self.counts.set(counts);
    }

    /// Begins the scan of this many roots.
    pub(super) fn begin(&self, roots: usize) {
        self.update(|counts| *counts = Counts { unlisted: roots, ..Counts::new() });
    }

    /// Adds the entries of a folder.
    pub(super) fn found(&self, files: usize, folders: usize) {
        self.update(|counts| {
            counts.files += files;
            counts.unlisted += folders;
        });
    }

    /// Counts a listed folder.
    pub(super) fn listed(&self) {
        self.update(|counts| counts.unlisted = counts.unlisted.saturating_sub(1));
    }

    /// Counts a file of this many bytes as read.
    pub(super) fn read(&self, bytes: u64) {
        self.update(|counts| {
            counts.read += 1;
            counts.bytes = counts.bytes.saturating_add(bytes);
        });
    }

    /// Refreshes the display. The scan calls it regularly, also when nothing happens.
    pub(super) fn tick(&self) {
        self.show.show(&self.counts.get());
    }

    /// Ends the display.
    pub(super) fn end(&self) {
        self.show.clear();
    }
}

struct Silent;

impl Show for Silent {
    fn show(&self, _: &Counts) {}
    fn clear(&self) {}
}

struct Lines {
    log: Logger,
    last: Cell<Instant>,
}

impl Show for Lines {
    fn show(&self, counts: &Counts) {
        if self.last.get().elapsed() >= PAUSE {
            self.last.set(Instant::now());
            info!(self.log, "Scan: {}", counts.text());
        }
    }

    fn clear(&self) {}
}

struct Bar {
    bar: ProgressBar,
    last: Cell<Instant>,
}

impl Show for Bar {
    fn show(&self, counts: &Counts) {
        if self.last.get().elapsed() >= FRAME {
            self.last.set(Instant::now());
            self.bar.set_message(counts.text());
        }
    }

    fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

/// A log beside a bar.
struct Aside {
    bar: ProgressBar,
    log: Logger,
}

impl Drain for Aside {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), Never> {
        self.bar.suspend(|| Drain::log(&self.log, record, values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_folders_are_listed_the_files_found_are_told_and_then_the_time_left() {
        let progress = Progress::silent();
        progress.begin(1);
        progress.found(3, 1);
        progress.listed();
        progress.read(2_000_000);
        assert!(progress.counts.get().text().starts_with("3 files found, 1 read, "));
        progress.found(1, 0);
        progress.listed();
        let text = progress.counts.get().text();
        assert!(
            text.starts_with("1/4 files, ") && text.contains(" left, ") && text.ends_with(", 2 MB"),
            "{text}"
        );
    }

    #[test]
    fn durations_have_two_units() {
        for (seconds, text) in [(0.2, "1 s"), (59.0, "59 s"), (61.0, "1 min 1 s"), (7260.0, "2 h 1 min")] {
            assert_eq!(duration(seconds), text);
        }
    }
}
