//! Where log lines go: stderr, or the file at `LOG_PATH`, which is followed when it is moved.
//!
//! No line is waited for in a server: what a full pipe or a full disk does not take is counted and lost. A
//! regular file is written as the kernel writes files.

use std::fs::{File, Metadata, OpenOptions, metadata};
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Instant;

use nix::errno::Errno;
use nix::libc::{O_NOCTTY, O_NONBLOCK};
use nix::sys::socket::{MsgFlags, send};

use super::LogError;

/// How often a process looks at most whether its log was moved.
const LOOK_MS: u64 = 1000;
/// How a socket is written to without waiting for its reader.
const AT_ONCE: MsgFlags = MsgFlags::MSG_DONTWAIT.union(MsgFlags::MSG_NOSIGNAL);

/// What a process writes its lines to. It is made in the master and used after every fork; the lock is taken
/// around one `write`, so it is free whenever a process of one thread forks.
#[derive(Debug)]
pub(super) struct Output {
    target: RwLock<Target>,
    path: Option<PathBuf>,
    patience: Patience,
    begin: Instant,
    /// Milliseconds from the beginning to the last look.
    looked_ms: AtomicU64,
    /// At the last look there was nothing at the path.
    missing: AtomicBool,
    /// How often in a row the file that is there now could not be opened.
    failures: AtomicU64,
    lost: AtomicU64,
    lost_untold: AtomicU64,
    /// The last line was cut off in the middle.
    torn: AtomicBool,
}

/// Whether a reader that does not read is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// In a command, whose lines may be all that somebody wants of it.
    Waits,
    /// In a server, whose requests must go on.
    Never,
}

#[derive(Debug)]
enum Target {
    /// As it was inherited.
    Stderr,
    /// stderr, if it is a socket: under systemd that of the journal.
    Socket,
    /// `LOG_PATH` with what tells it from another file there; or stderr opened anew, as whether a pipe or a
    /// terminal is waited for is shared with all who have the same descriptor.
    File(File, (u64, u64)),
}

impl Output {
    pub(super) fn open(path: Option<&Path>, patience: Patience) -> Result<Output, LogError> {
        let target = match path {
            Some(path) => Target::open(path, patience)?,
            None => Target::stderr(patience),
        };
        Ok(Output {
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
        })
    }

    /// Writes a line with its newline, or counts it. Says whether it was written.
    pub(super) fn write(&self, line: &str) -> bool {
        let target = self.target.read().unwrap_or_else(PoisonError::into_inner);
        let written = if self.torn.swap(false, Ordering::Relaxed) {
            // What is left of another line stays a line of its own.
            target.write(format!("\n{line}").as_bytes())
        } else {
            target.write(line.as_bytes())
        };
        if let Err(part) = written {
            self.torn.store(part > 0, Ordering::Relaxed);
            self.lost.fetch_add(1, Ordering::Relaxed);
            self.lost_untold.fetch_add(1, Ordering::Relaxed);
        }
        written.is_ok()
    }

    pub(super) fn fd(&self) -> Option<RawFd> {
        match &*self.target.read().unwrap_or_else(PoisonError::into_inner) {
            Target::File(file, _) => Some(file.as_raw_fd()),
            Target::Stderr | Target::Socket => None,
        }
    }

    /// How many lines were lost.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// How many lines were lost of which nobody has been told; now somebody is.
    pub(super) fn take_lost(&self) -> u64 {
        self.lost_untold.swap(0, Ordering::Relaxed)
    }

    /// Opens the file anew, whatever is there now. The old one stays in use if that fails.
    pub(super) fn reopen(&self) -> Result<(), LogError> {
        let Some(path) = &self.path else { return Ok(()) };
        let target = Target::open(path, self.patience)?;
        *self.target.write().unwrap_or_else(PoisonError::into_inner) = target;
        self.missing.store(false, Ordering::Relaxed);
        self.failures.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// Opens the file anew if another one has its name, or none, and says whether it did; looks once a second
    /// at most. That it cannot be opened is said once, at the second time: a file that was just made may not
    /// have been given to this user yet.
    pub(super) fn follow(&self) -> Result<bool, LogError> {
        let Some(path) = self.path.as_deref().filter(|_| self.is_time_to_look()) else { return Ok(false) };
        let moved = match metadata(path) {
            Ok(found) => self.is_another(&found),
            // logrotate makes the new file a moment after it has moved the old one, and would put away one
            // that was there before. So a name is taken only if it is free twice in a row.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.missing.swap(true, Ordering::Relaxed)
            }
            // A folder that cannot be looked into at the moment moves no file.
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
        let target = self.target.read().unwrap_or_else(PoisonError::into_inner);
        self.missing.store(false, Ordering::Relaxed);
        matches!(&*target, Target::File(_, open) if *open != identity(found))
    }
}

/// A file keeps it when it is moved, and no other gets it while it is open.
fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
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

    fn stderr(patience: Patience) -> Target {
        const PATH: &str = "/proc/self/fd/2";
        let kind = metadata(PATH).map(|stderr| stderr.file_type());
        match kind {
            _ if patience == Patience::Waits => Target::Stderr,
            Ok(kind) if kind.is_socket() => Target::Socket,
            Ok(kind) if kind.is_fifo() || kind.is_char_device() => {
                let mut options = OpenOptions::new();
                options.write(true).custom_flags(O_NONBLOCK | O_NOCTTY);
                // Another user's terminal may be written to, but not be opened.
                options.open(PATH).map_or(Target::Stderr, |file| Target::File(file, (0, 0)))
            }
            _ => Target::Stderr,
        }
    }

    /// Or how much of the line was written.
    fn write(&self, line: &[u8]) -> Result<(), usize> {
        match self {
            Target::Stderr => write_all(line, |rest| nix::unistd::write(io::stderr().as_fd(), rest)),
            Target::Socket => write_all(line, |rest| send(io::stderr().as_raw_fd(), rest, AT_ONCE)),
            Target::File(file, _) => write_all(line, |rest| nix::unistd::write(file.as_fd(), rest)),
        }
    }
}

/// One `write`; more only when the kernel took a part.
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
    /// Lines into a descriptor that a test reads.
    pub(super) fn into_file(file: File) -> Output {
        let output = Output::open(None, Patience::Never).unwrap();
        *output.target.write().unwrap() = Target::File(file, (0, 0));
        output
    }

    /// As if the last look were long ago.
    pub(super) fn forget_looking(&self) {
        self.looked_ms.store(0, Ordering::Relaxed);
        while self.begin.elapsed().as_millis() < u128::from(LOOK_MS) {
            std::thread::yield_now();
        }
    }
}
