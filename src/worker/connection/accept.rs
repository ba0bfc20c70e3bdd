//! Accepts connections from the shared queues, with one blocking thread per listener.
//!
//! A thread that blocks in `accept` waits in the kernel's queue. Each connection wakes one worker,
//! in turn, which epoll on a shared listener does not do. The thread only accepts a connection that
//! the runtime is ready to take and that the worker has room for. All others stay in the queue, and
//! another worker, or the next generation, takes them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc::{SOCK_CLOEXEC, SOCK_NONBLOCK};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use slog::{Logger, warn};
use socket2::Socket;
use std::os::fd::AsFd;
use std::os::unix::thread::JoinHandleExt;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::interrupt;
use crate::worker::watch::caller::{Caller, Role};

/// Pause before the next try after descriptors or memory have run out.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(200);
/// Pause between two attempts to wake a thread: one signal may come just before it blocks.
const WAKE_PAUSE: Duration = Duration::from_millis(2);

/// A connection, and the permit that it holds until its end.
pub(in crate::worker) struct AcceptedSocket {
    /// The socket, which is non-blocking.
    pub(in crate::worker) socket: Socket,
    pub(in crate::worker) caller: Caller,
    pub(in crate::worker) permit: OwnedSemaphorePermit,
}

/// The accept threads of a worker.
pub(in crate::worker) struct Acceptors {
    threads: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

impl Acceptors {
    /// Starts one thread per listener. Each has its own channel, so that an address without clients
    /// does not block the others.
    ///
    /// # Errors
    /// If a thread cannot be started, or the handler of the waking signal not be installed.
    pub(in crate::worker) fn start(
        listeners: Vec<(Socket, Role)>,
        connections_max: usize,
        log: &Logger,
    ) -> io::Result<(Self, Vec<mpsc::Receiver<AcceptedSocket>>)> {
        interrupt::prepare()?;
        let room = Arc::new(Semaphore::new(connections_max));
        let stop = Arc::new(AtomicBool::new(false));
        let mut channels = Vec::new();
        let spawn = |(listener, role)| {
            let (hand_over, accepted) = mpsc::channel(1);
            channels.push(accepted);
            let acceptor = Acceptor {
                listener,
                role,
                room: Arc::clone(&room),
                hand_over,
                stop: Arc::clone(&stop),
                runtime: Handle::current(),
                log: log.clone(),
            };
            thread::Builder::new().name("accept".to_owned()).spawn(move || acceptor.run()).map_err(no_thread)
        };
        let threads = listeners.into_iter().map(spawn).collect::<io::Result<_>>()?;
        Ok((Acceptors { threads, stop }, channels))
    }

    /// Takes the connections that wait in the queues now, then stops and closes the listeners.
    pub(in crate::worker) async fn stop(self) {
        self.stop.store(true, Ordering::Release);
        for thread in self.threads {
            while !thread.is_finished() {
                interrupt::wake(thread.as_pthread_t());
                tokio::time::sleep(WAKE_PAUSE).await;
            }
        }
    }
}

/// The limit of threads is the limit of processes.
fn no_thread(error: io::Error) -> io::Error {
    let message = format!(
        "a thread cannot be started: {error}; raise TasksMax= of the unit, pids.max of the cgroup or \
         RLIMIT_NPROC (ulimit -u)"
    );
    io::Error::new(error.kind(), message)
}

struct Acceptor {
    listener: Socket,
    role: Role,
    room: Arc<Semaphore>,
    hand_over: mpsc::Sender<AcceptedSocket>,
    stop: Arc<AtomicBool>,
    runtime: Handle,
    log: Logger,
}

impl Acceptor {
    fn run(self) {
        let mut short_before = false;
        loop {
            let Ok(permit) = self.runtime.block_on(Arc::clone(&self.room).acquire_owned()) else { return };
            // The runtime must have taken the last connection before the thread accepts the next
            // one, so that a stuck worker holds back at most one.
            let Ok(slot) = self.runtime.block_on(self.hand_over.reserve()) else { return };
            if self.stop.load(Ordering::Acquire) && !self.queue_holds_some() {
                return;
            }
            match self.listener.accept4(SOCK_CLOEXEC | SOCK_NONBLOCK) {
                Ok((socket, address)) => {
                    short_before = false;
                    let peer = address.as_socket().map(|address| address.ip());
                    let caller = Caller { peer, role: self.role };
                    slot.send(AcceptedSocket { socket, caller, permit });
                }
                Err(error) if is_shortage(&error) => {
                    if !short_before {
                        warn!(self.log, "connections wait, as the system lacks descriptors or memory"; "error" => %error);
                    }
                    short_before = true;
                    thread::sleep(SHORTAGE_PAUSE);
                }
                // The queue of a closed Unix socket is empty.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => return,
                // The call was interrupted, or the connection had gone before it was accepted.
                Err(_) => {}
            }
        }
    }

    fn queue_holds_some(&self) -> bool {
        let mut fds = [PollFd::new(self.listener.as_fd(), PollFlags::POLLIN)];
        matches!(poll(&mut fds, PollTimeout::ZERO), Ok(ready) if ready > 0)
    }
}

/// Reports whether an error of `accept` may pass with time (accept(2)).
fn is_shortage(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM))
}
