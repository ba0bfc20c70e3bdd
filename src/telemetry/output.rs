//! The destination of log lines: stderr or stdout, or a file, which is followed when it is moved.
//!
//! A server waits for no line: it loses and counts lines that a full pipe or a full disk does not
//! take. Each file has a process that writes it (`relay.rs`) and that may hang with the file
//! system. The other processes keep up to a megabyte of lines for it, and lose and count the rest.

use std::fs::{File, Metadata, OpenOptions, metadata};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc::{O_NOCTTY, O_NONBLOCK};
use nix::sys::socket::{MsgFlags, send as send_to};

use super::log_error::LogError;
use super::relay::{MESSAGE_MAX, Relay};

/// Shortest time between two checks whether the log was moved.
const LOOK_MS: u64 = 1000;
/// The most bytes that a pipe takes in one piece while other processes write to it (Linux's
/// PIPE_BUF).
const PIPE_WHOLE: usize = 4096;
/// Most bytes of lines that wait for the process that writes the file.
const WAITING_MAX: usize = 1024 * 1024;
/// Longest wait of an ending process for that process.
const END_PATIENCE: Duration = Duration::from_millis(500);
/// Flags for a write to a socket that does not wait for its reader.
const AT_ONCE: MsgFlags = MsgFlags::MSG_DONTWAIT.union(MsgFlags::MSG_NOSIGNAL);

/// The destination of a process's lines. The master makes it, and it is used after every fork; the
/// lock is held around one `write`, so it is free whenever a process of one thread forks.
#[derive(Debug)]
pub(super) struct Output {
    target: RwLock<Target>,
    /// The file to append to, if there is one.
    path: Option<PathBuf>,
    patience: Patience,
    begin: Instant,
    /// Milliseconds from the beginning to the last check.
    looked_ms: AtomicU64,
    /// Whether there was no file at the path at the last check.
    missing: AtomicBool,
    /// Number of failures in a row to open the present file.
    failures: AtomicU64,
    lost: AtomicU64,
    lost_untold: AtomicU64,
    /// Whether the last line was cut off in the middle.
    torn: AtomicBool,
    /// Lines that wait for the writing process.
    waiting: Mutex<String>,
}

/// Whether a write waits for a slow reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// In a command, whose lines may be its only output.
    Waits,
    /// In a server, whose requests must go on.
    Never,
}

/// One of the streams that a process starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

#[derive(Debug)]
enum Target {
    /// The inherited stream.
    Inherited(Stream),
    /// The inherited stream if it is a socket: under systemd that of the journal.
    Socket(Stream),
    /// A file with its identity, which tells it from a new file at its path; or a reopened stream,
    /// because all processes that share a descriptor share its O_NONBLOCK.
    File(File, Identity),
    /// The process that writes the file.
    Relay(Relay),
}

/// Device and inode: a file keeps them when it is moved, and no other file gets them while it is
/// open. A reopened stream has none.
type Identity = Option<(u64, u64)>;

impl Output {
    /// Opens the file at `path`, else the stream.
    pub(super) fn open(path: Option<&Path>, stream: Stream, patience: Patience) -> Result<Output, LogError> {
        let target = match path {
            Some(path) => Target::open(path, patience)?,
            None => Target::stream(stream, patience),
        };
        Ok(Output::over(target, path, patience))
    }

    /// Creates an output to a file that another process writes.
    pub(super) fn relayed(relay: Relay) -> Output {
        Output::over(Target::Relay(relay), None, Patience::Never)
    }

    fn over(target: Target, path: Option<&Path>, patience: Patience) -> Output {
        Output {
            target: RwLock::new(target),
            path: path.map(Path::to_owned),
            patience,
            begin: Instant::now(),
            looked_ms: AtomicU64::new(0),
            missing: AtomicBool::new(false),
            failures: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            lost_untold: AtomicU64::new(0),
            torn: AtomicBool::new(false),
            waiting: Mutex::default(),
        }
    }

    /// Writes lines that each end with a newline, in pieces that stay together among the lines of
    /// other processes. Returns whether all were written.
    pub(super) fn write_lines(&self, lines: &str) -> bool {
        if let Target::Relay(relay) = &*self.target() {
            return self.hand_on(relay, lines);
        }
        // Only an append to a file stays in one piece at any size.
        let whole = matches!(&*self.target(), Target::File(_, Some(_)));
        let mut rest = lines;
        let mut written = true;
        while !rest.is_empty() {
            let len = if whole { rest.len() } else { whole_lines(rest, PIPE_WHOLE) };
            let (piece, others) = rest.split_at(len);
            written &= self.write(piece);
            rest = others;
        }
        written
    }

    /// Writes one or several lines with their newlines, or counts those that were not written.
    /// Returns whether all were.
    pub(super) fn write(&self, line: &str) -> bool {
        if let Target::Relay(relay) = &*self.target() {
            return self.hand_on(relay, line);
        }
        // The torn end of the line before becomes a separate line.
        let mended = self.torn.swap(false, Ordering::Relaxed).then(|| format!("\n{line}"));
        let bytes = mended.as_deref().unwrap_or(line).as_bytes();
        let written = self.target().write(bytes);
        if let Err(part) = written {
            self.torn.store(part > 0 && bytes[part - 1] != b'\n', Ordering::Relaxed);
            self.lose(&bytes[part..]);
        }
        written.is_ok()
    }

    fn lose(&self, bytes: &[u8]) {
        let lost = bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.lost.fetch_add(lost, Ordering::Relaxed);
        self.lost_untold.fetch_add(lost, Ordering::Relaxed);
    }

    /// Sends lines to the process that writes them, after those that wait already. Lines that it
    /// does not take wait, if there is room. Returns whether it has taken all.
    fn hand_on(&self, relay: &Relay, lines: &str) -> bool {
        let mut waiting = self.waiting();
        let handed = send(relay, &waiting);
        waiting.drain(..handed);
        let handed = if waiting.is_empty() { send(relay, lines) } else { 0 };
        let rest = &lines[handed..];
        if waiting.len() + rest.len() <= WAITING_MAX {
            waiting.push_str(rest);
        } else {
            self.lose(rest.as_bytes());
        }
        waiting.is_empty() && rest.is_empty()
    }

    /// Sends the waiting lines. Returns whether another process writes the file and has taken all.
    pub(super) fn flush(&self) -> bool {
        match &*self.target() {
            Target::Relay(relay) => self.hand_on(relay, ""),
            Target::Inherited(_) | Target::Socket(_) | Target::File(..) => false,
        }
    }

    /// Does the same at the end of a process, which waits a moment for the process that writes.
    pub(super) fn end(&self) {
        let Target::Relay(relay) = &*self.target() else { return };
        let begin = Instant::now();
        while !self.hand_on(relay, "") && begin.elapsed() < END_PATIENCE {
            relay.wait(END_PATIENCE);
        }
    }

    /// Drops the waiting lines and the count of lost lines in a forked child: its parent has both.
    pub(super) fn forked(&self) {
        self.waiting().clear();
        self.lost.store(0, Ordering::Relaxed);
        self.lost_untold.store(0, Ordering::Relaxed);
    }

    fn waiting(&self) -> MutexGuard<'_, String> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn target(&self) -> RwLockReadGuard<'_, Target> {
        self.target.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn fd(&self) -> Option<RawFd> {
        match &*self.target() {
            Target::File(file, _) => Some(file.as_raw_fd()),
            Target::Relay(relay) => Some(relay.fd()),
            Target::Inherited(_) | Target::Socket(_) => None,
        }
    }

    /// Returns the number of lost lines.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Takes the number of lost lines that were not reported yet; the caller reports them.
    pub(super) fn take_lost(&self) -> u64 {
        self.lost_untold.swap(0, Ordering::Relaxed)
    }

    /// Reopens the file, even if it is still the same. The old one stays in use if that fails.
    pub(super) fn reopen(&self) -> Result<(), LogError> {
        let Some(path) = &self.path else { return Ok(()) };
        let target = Target::open(path, self.patience)?;
        *self.target.write().unwrap_or_else(PoisonError::into_inner) = target;
        self.missing.store(false, Ordering::Relaxed);
        self.failures.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// Reopens the file if another file, or none, is at its path, and returns whether it did;
    /// checks once a second at most. A failure is reported once, at the second time: a new file may
    /// not belong to this user yet.
    pub(super) fn follow(&self) -> Result<bool, LogError> {
        let Some(path) = self.path.as_deref().filter(|_| self.is_time_to_look()) else {
            return Ok(false);
        };
        let moved = match metadata(path) {
            Ok(found) => self.is_another(&found),
            // logrotate makes the new file a moment after it has moved the old one, and would move
            // away a file that was there before. So a missing file is made only if it is missing
            // twice in a row.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.missing.swap(true, Ordering::Relaxed)
            }
            // An unreadable folder does not mean a moved file.
            Err(_) => false,
        };
        if !moved {
            return Ok(false);
        }
        match self.reopen() {
            Ok(()) => Ok(true),
            Err(error) if self.failures.fetch_add(1, Ordering::Relaxed) == 1 => Err(error),
            Err(_) => Ok(false),
        }
    }

    fn is_time_to_look(&self) -> bool {
        let now = u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        let last = self.looked_ms.load(Ordering::Relaxed);
        now.saturating_sub(last) >= LOOK_MS
            && self.looked_ms.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    fn is_another(&self, found: &Metadata) -> bool {
        self.missing.store(false, Ordering::Relaxed);
        matches!(&*self.target(), Target::File(_, open) if *open != identity(found))
    }
}

fn identity(file: &Metadata) -> Identity {
    Some((file.dev(), file.ino()))
}

/// Returns the length in bytes of the lines that the writing process takes now.
fn send(relay: &Relay, lines: &str) -> usize {
    let mut handed = 0;
    while handed < lines.len() {
        let rest = &lines[handed..];
        let piece = (0..=whole_lines(rest, MESSAGE_MAX).min(MESSAGE_MAX))
            .rev()
            .find(|len| rest.is_char_boundary(*len))
            .unwrap_or(rest.len());
        if relay.send(&rest.as_bytes()[..piece]).is_err() {
            break;
        }
        handed += piece;
    }
    handed
}

/// Returns the length in bytes of the whole lines that fit into `most` bytes, at least one line.
fn whole_lines(lines: &str, most: usize) -> usize {
    let within = &lines.as_bytes()[..lines.len().min(most)];
    let last = within.iter().rposition(|byte| *byte == b'\n');
    last.or_else(|| lines.find('\n')).map_or(lines.len(), |at| at + 1)
}

impl Target {
    fn open(path: &Path, patience: Patience) -> Result<Target, LogError> {
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o644);
        if patience == Patience::Never {
            options.custom_flags(O_NONBLOCK | O_NOCTTY);
        }
        let opened = options.open(path).and_then(|file| {
            let identity = identity(&file.metadata()?);
            Ok(Target::File(file, identity))
        });
        opened.map_err(|reason| LogError::Open { path: path.to_owned(), reason })
    }

    fn stream(stream: Stream, patience: Patience) -> Target {
        let path = match stream {
            Stream::Stdout => "/proc/self/fd/1",
            Stream::Stderr => "/proc/self/fd/2",
        };
        let kind = metadata(path).map(|found| found.file_type());
        match kind {
            _ if patience == Patience::Waits => Target::Inherited(stream),
            Ok(kind) if kind.is_socket() => Target::Socket(stream),
            Ok(kind) if kind.is_fifo() || kind.is_char_device() => {
                let mut options = OpenOptions::new();
                options.write(true).custom_flags(O_NONBLOCK | O_NOCTTY);
                // This process may write to another user's terminal, but not open it.
                options.open(path).map_or(Target::Inherited(stream), |file| Target::File(file, None))
            }
            _ => Target::Inherited(stream),
        }
    }

    /// Writes lines; an error holds the number of bytes written.
    fn write(&self, lines: &[u8]) -> Result<(), usize> {
        match self {
            Target::Inherited(stream) => {
                stream.borrowed(|fd| write_all(lines, |rest| nix::unistd::write(fd, rest)))
            }
            Target::Socket(stream) => {
                stream.borrowed(|fd| write_all(lines, |rest| send_to(fd.as_raw_fd(), rest, AT_ONCE)))
            }
            Target::File(file, _) => write_all(lines, |rest| nix::unistd::write(file.as_fd(), rest)),
            // Lines go to the writing process instead.
            Target::Relay(relay) => relay.send(lines).map_err(|_| 0),
        }
    }
}

impl Stream {
    fn borrowed<T>(self, work: impl FnOnce(BorrowedFd<'_>) -> T) -> T {
        match self {
            Stream::Stdout => work(io::stdout().as_fd()),
            Stream::Stderr => work(io::stderr().as_fd()),
        }
    }
}

/// Does one `write`; more only if the kernel took a part.
fn write_all(line: &[u8], write: impl Fn(&[u8]) -> Result<usize, Errno>) -> Result<(), usize> {
    let mut written = 0;
    while written < line.len() {
        match write(&line[written..]) {
            Ok(0) => return Err(written),
            Ok(count) => written += count,
            Err(Errno::EINTR) => {}
            Err(_) => return Err(written),
        }
    }
    Ok(())
}

#[cfg(test)]
impl Output {
    /// Creates an output into a descriptor that a test reads.
    pub(super) fn into_file(file: File) -> Output {
        let output = Output::open(None, Stream::Stderr, Patience::Never).unwrap();
        *output.target.write().unwrap() = Target::File(file, None);
        output
    }

    /// Makes the next check due.
    pub(super) fn forget_looking(&self) {
        self.looked_ms.store(0, Ordering::Relaxed);
        while self.begin.elapsed().as_millis() < u128::from(LOOK_MS) {
            std::thread::yield_now();
        }
    }
}
