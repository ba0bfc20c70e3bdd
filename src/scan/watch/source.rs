//! The source of events: a thread that only takes them from the kernel, because the kernel's queue
//! is short while a pass may take long. The thread also notices changed mounts, for which inotify
//! has no event. It sleeps while nothing happens.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{InitFlags, Inotify};

use super::dirty::Dirty;
use crate::scan::mounts::{MOUNTS, Mount, Mounts};

/// Pause after a failure of poll(2).
const RESPITE: Duration = Duration::from_secs(1);

/// The source, and the inotify instance for the watches, if the kernel grants one.
pub(super) type Started = (Arc<Source>, Result<Arc<Inotify>, Errno>);

/// The reason for the end of a wait.
pub(super) enum Wake {
    /// A pass over these changes is due.
    Due(Dirty),
    /// A pass is due soon.
    Soon,
    /// The time is over.
    Timer,
}

/// The changes that the watch has not taken yet.
#[derive(Debug, Default)]
pub(super) struct Source {
    dirty: Mutex<Dirty>,
    changed: Condvar,
}

impl Source {
    /// Starts the thread. Mounts around `folders` count as changes. Also returns the inotify
    /// instance for the watches; if the kernel refuses one, only mounts are reported.
    ///
    /// # Errors
    /// If no thread can be started.
    pub(super) fn start(folders: Vec<PathBuf>) -> io::Result<Started> {
        let source = Arc::new(Source::default());
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).map(Arc::new);
        let listener = Listener {
            source: source.clone(),
            inotify: inotify.clone().ok(),
            // Without it, the next whole pass notices mounts.
            mounts: File::open(MOUNTS).ok(),
            around: Mounts::read().map(|mounts| mounts.around(&folders)).unwrap_or_default(),
            folders,
        };
        thread::Builder::new().name("events".to_owned()).spawn(move || listener.run())?;
        Ok((source, inotify))
    }

    fn lock(&self) -> MutexGuard<'_, Dirty> {
        self.dirty.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a pass over the changes is due, until `lead` before that, or until `timer`. With
    /// `holds_back` it collects changes until `timer`.
    pub(super) fn wait(&self, timer: Instant, holds_back: bool, lead: Option<Duration>) -> Wake {
        let mut dirty = self.lock();
        loop {
            let now = Instant::now();
            let due = dirty.due().filter(|_| !holds_back);
            if due.is_some_and(|due| due <= now) {
                return Wake::Due(std::mem::take(&mut *dirty));
            }
            let soon = lead.and_then(|lead| dirty.soon(lead)).filter(|_| !holds_back);
            if soon.is_some_and(|soon| soon <= now) {
                return Wake::Soon;
            }
            if timer <= now {
                return Wake::Timer;
            }
            let until = [due, soon].into_iter().flatten().fold(timer, Instant::min);
            let waited = self.changed.wait_timeout(dirty, until - now);
            (dirty, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Returns the answer of `ask` about the changes, which stay.
    pub(super) fn peek<T>(&self, ask: impl FnOnce(&Dirty) -> T) -> T {
        ask(&self.lock())
    }
}

struct Listener {
    source: Arc<Source>,
    inotify: Option<Arc<Inotify>>,
    mounts: Option<File>,
    folders: Vec<PathBuf>,
    around: Vec<Mount>,
}

impl Listener {
    /// Runs until there is no source left to listen to.
    fn run(mut self) {
        while self.inotify.is_some() || self.mounts.is_some() {
            let (events, mounts) = self.wait();
            if events {
                self.drain();
            }
            if mounts {
                self.look_at_mounts();
            }
        }
    }

    /// Waits. Returns whether there are events, and whether mounts have changed.
    fn wait(&mut self) -> (bool, bool) {
        let ready = {
            let events = self.inotify.as_ref().map(|inotify| PollFd::new(inotify.as_fd(), PollFlags::POLLIN));
            // A change of mounts is urgent data; it is always an error, too.
            let mounts = self.mounts.as_ref().map(|file| PollFd::new(file.as_fd(), PollFlags::POLLPRI));
            let has_events = events.is_some();
            let mut fds: Vec<PollFd<'_>> = events.into_iter().chain(mounts).collect();
            poll(&mut fds, PollTimeout::NONE).map(|_| {
                let is_ready = |fd: &PollFd<'_>| fd.any().unwrap_or(true);
                let mut ready = fds.iter().map(is_ready);
                let events = has_events && ready.next().unwrap_or(false);
                (events, ready.next().unwrap_or(false))
            })
        };
        match ready {
            Ok(ready) => ready,
            Err(Errno::EINTR) => (false, false),
            Err(_) => {
                // The kernel lacks memory, and an immediate retry would not help. The watch misses
                // nothing: it looks at everything.
                thread::sleep(RESPITE);
                self.add_all("the kernel could not be asked for events");
                (false, false)
            }
        }
    }

    fn drain(&mut self) {
        let Some(inotify) = self.inotify.clone() else { return };
        loop {
            match inotify.read_events() {
                Ok(events) => {
                    let now = Instant::now();
                    let mut dirty = self.source.lock();
                    let mut is_first = false;
                    for event in events {
                        is_first |= dirty.add(event, now);
                    }
                    drop(dirty);
                    if is_first {
                        self.source.changed.notify_all();
                    }
                }
                Err(Errno::EAGAIN) => return,
                Err(Errno::EINTR) => {}
                Err(_) => return self.add_all("events could not be read"),
            }
        }
    }

    fn look_at_mounts(&mut self) {
        let Ok(mounts) = Mounts::read() else { return };
        let around = mounts.around(&self.folders);
        if around != self.around {
            self.around = around;
            self.add_all("something was mounted or unmounted");
        }
    }

    fn add_all(&self, why: &'static str) {
        self.source.lock().add_all(why, Instant::now());
        self.source.changed.notify_all();
    }
}
