//! One connection: hyper over a socket, watched for clients that send, read or stay too
//! slowly.
//!
//! There is no timer per connection. What happens on it leaves a tick (of the worker's
//! clock) in its [`Activity`], and the worker sweeps over all of them with each tick.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Deref;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use nix::sys::socket::{MsgFlags, recv};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::AbortHandle;

use super::canned;
use super::request_line::RequestLines;
use super::turn::Turn;
use crate::config::Limits;

/// Time between two sweeps; the resolution of all time-outs of connections.
pub(super) const TICK: Duration = Duration::from_millis(250);

/// Waits for a request.
const IDLE: u8 = 0;
/// Has sent a part of a request, or nothing yet on a new connection.
const ASKING: u8 = 1;
/// Waits for our answer, or reads it.
const ANSWERING: u8 = 2;

/// What a connection is doing, and since when.
pub(super) struct Activity {
    clock: Arc<AtomicU32>,
    state: AtomicU8,
    since: AtomicU32,
    /// Tick since which a write has waited for the client, plus one; zero: none waits.
    write_waits: AtomicU32,
    pub(super) turn: Turn,
}

impl Activity {
    fn new(clock: Arc<AtomicU32>) -> Self {
        let since = clock.load(Ordering::Relaxed).into();
        let (write_waits, turn) = (AtomicU32::new(0), Turn::default());
        Activity { clock, state: AtomicU8::new(ASKING), since, write_waits, turn }
    }

    fn now(&self) -> u32 {
        self.clock.load(Ordering::Relaxed)
    }

    fn enter(&self, state: u8) {
        self.since.store(self.now(), Ordering::Relaxed);
        self.state.store(state, Ordering::Relaxed);
    }

    /// A request has arrived.
    pub(super) fn asked(&self) {
        self.enter(ANSWERING);
    }

    /// Its answer has been handed over.
    pub(super) fn answered(&self) {
        self.enter(IDLE);
    }

    fn read_some(&self) {
        if self.state.load(Ordering::Relaxed) == IDLE {
            self.enter(ASKING);
        }
    }

    fn write_waits(&self) {
        if self.write_waits.load(Ordering::Relaxed) == 0 {
            self.write_waits.store(self.now() + 1, Ordering::Relaxed);
        }
    }

    fn wrote(&self) {
        if self.write_waits.load(Ordering::Relaxed) != 0 {
            self.write_waits.store(0, Ordering::Relaxed);
        }
        // The last bytes of an answer leave after it was handed over: only now it is idle.
        if self.state.load(Ordering::Relaxed) == IDLE {
            self.since.store(self.now(), Ordering::Relaxed);
        }
    }

    fn verdict(&self, limits: &Limits) -> Verdict {
        let waited = |since: u32| TICK * self.now().wrapping_sub(since);
        let write_waits = self.write_waits.load(Ordering::Relaxed);
        if write_waits != 0 {
            let late = waited(write_waits - 1) > limits.write_timeout;
            return if late { Verdict::TooSlow } else { Verdict::Fine };
        }
        let since = waited(self.since.load(Ordering::Relaxed));
        match self.state.load(Ordering::Relaxed) {
            IDLE if since > limits.keepalive => Verdict::Idle,
            ASKING if since > limits.header_timeout => Verdict::TooSlow,
            _ => Verdict::Fine,
        }
    }
}

enum Verdict {
    Fine,
    /// Its keep-alive time is up.
    Idle,
    /// Sends or reads too slowly.
    TooSlow,
}

/// The connections of a worker.
#[derive(Default)]
pub(super) struct Connections {
    clock: Arc<AtomicU32>,
    next: AtomicU64,
    open: Mutex<HashMap<u64, Watch>>,
}

struct Watch {
    activity: Arc<Activity>,
    socket: RawFd,
    task: Option<AbortHandle>,
}

impl Watch {
    fn is_answered(&self) -> bool {
        self.activity.state.load(Ordering::Relaxed) == ANSWERING
    }
}

/// Takes a connection off the list when it ends, before its socket is closed.
pub(super) struct Registration {
    connections: Arc<Connections>,
    id: u64,
    pub(super) activity: Arc<Activity>,
}

impl Connections {
    /// Begins to watch a connection.
    pub(super) fn register(self: &Arc<Self>, socket: &impl AsRawFd) -> Registration {
        let activity = Arc::new(Activity::new(Arc::clone(&self.clock)));
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let watch = Watch { activity: Arc::clone(&activity), socket: socket.as_raw_fd(), task: None };
        self.list().insert(id, watch);
        Registration { connections: Arc::clone(self), id, activity }
    }

    /// Says which task serves a connection.
    pub(super) fn attach(&self, id: u64, task: AbortHandle) {
        if let Some(watch) = self.list().get_mut(&id) {
            watch.task = Some(task);
        }
    }

    /// Lets a tick pass and ends the connections whose time is up.
    pub(super) fn sweep(&self, limits: &Limits) {
        self.clock.fetch_add(1, Ordering::Relaxed);
        for watch in self.list().values() {
            let end = match watch.activity.verdict(limits) {
                Verdict::Fine => false,
                // A request that is already here is served; the next sweep looks again.
                Verdict::Idle => !has_bytes(watch.socket),
                Verdict::TooSlow => true,
            };
            if let (true, Some(task)) = (end, &watch.task) {
                task.abort();
            }
        }
    }

    /// Ends all that are left, and says how many of them were in the middle of a request.
    pub(super) fn abort(&self) -> usize {
        let list = self.list();
        for task in list.values().filter_map(|watch| watch.task.as_ref()) {
            task.abort();
        }
        list.values().filter(|watch| watch.is_answered()).count()
    }

    /// How many there are, and how many of them are in the middle of a request.
    pub(super) fn counts(&self) -> (usize, usize) {
        let list = self.list();
        (list.len(), list.values().filter(|watch| watch.is_answered()).count())
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.list().len()
    }

    fn list(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Watch>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registration {
    pub(super) fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.connections.list().remove(&self.id);
    }
}

fn has_bytes(socket: RawFd) -> bool {
    recv(socket, &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT).is_ok_and(|len| len > 0)
}

thread_local! {
    /// Where bytes of a socket arrive before hyper reads them: one for all connections of a worker.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; 16 << 10]);
}

/// A socket that tells what happens on it, and where hyper's own answers get their bodies.
pub(super) struct Watched<S> {
    io: TokioIo<S>,
    activity: Arc<Activity>,
    /// What was read before hyper reads.
    early: Bytes,
    requests: RequestLines,
    replacement: Option<Replacement>,
}

/// Bytes that are sent in place of others, which are done when all of these are.
struct Replacement {
    bytes: Vec<u8>,
    sent: usize,
    /// How many bytes hyper takes them for.
    in_place_of: usize,
}

impl<S> Watched<S> {
    /// A socket from which `early` was read already.
    pub(super) fn new(socket: S, activity: Arc<Activity>, early: Bytes) -> Self {
        let mut requests = RequestLines::new();
        let early = requests.encoded(&early).map_or(early, Bytes::from);
        Watched { io: TokioIo::new(socket), activity, early, requests, replacement: None }
    }

    fn note<T>(&self, result: Poll<T>) -> Poll<T> {
        match result {
            Poll::Pending => self.activity.write_waits(),
            Poll::Ready(_) => self.activity.wrote(),
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> Watched<S> {
    /// Sends a replacement for `pieces`, if there is to be one.
    fn poll_replace<P: Deref<Target = [u8]>>(
        &mut self,
        context: &mut Context<'_>,
        pieces: &[P],
    ) -> Option<Poll<std::io::Result<usize>>> {
        if self.replacement.is_none() {
            let bytes = canned::replaced(pieces)?;
            let in_place_of = pieces.iter().map(|piece| piece.len()).sum();
            self.replacement = Some(Replacement { bytes, sent: 0, in_place_of });
        }
        let Replacement { bytes, sent, in_place_of } = self.replacement.as_mut()?;
        while *sent < bytes.len() {
            match Pin::new(&mut self.io).poll_write(context, &bytes[*sent..]) {
                Poll::Ready(Ok(0)) => return Some(Poll::Ready(Ok(0))),
                Poll::Ready(Ok(len)) => *sent += len,
                other => return Some(other),
            }
        }
        let len = *in_place_of;
        self.replacement = None;
        Some(Poll::Ready(Ok(len)))
    }
}

impl<S: AsyncRead + Unpin> Read for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        if !self.early.is_empty() {
            let len = self.early.len().min(buffer.remaining());
            buffer.put_slice(&self.early[..len]);
            self.early.advance(len);
            self.activity.read_some();
            return Poll::Ready(Ok(()));
        }
        let Watched { io, requests, early, .. } = &mut *self;
        let result = SCRATCH.with_borrow_mut(|scratch| {
            let room = scratch.len().min(buffer.remaining());
            let mut read = ReadBuf::new(&mut scratch[..room]);
            ready!(Pin::new(io.inner_mut()).poll_read(context, &mut read))?;
            match requests.encoded(read.filled()) {
                None => buffer.put_slice(read.filled()),
                Some(bytes) => {
                    let len = bytes.len().min(buffer.remaining());
                    buffer.put_slice(&bytes[..len]);
                    *early = Bytes::from(bytes).slice(len..);
                }
            }
            Poll::Ready(Ok(()))
        });
        if result.is_ready() {
            self.activity.read_some();
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> Write for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let result = match self.poll_replace(context, &[bytes]) {
            Some(result) => result,
            None => Pin::new(&mut self.io).poll_write(context, bytes),
        };
        self.note(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let result = match self.poll_replace(context, pieces) {
            Some(result) => result,
            None => Pin::new(&mut self.io).poll_write_vectored(context, pieces),
        };
        self.note(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
