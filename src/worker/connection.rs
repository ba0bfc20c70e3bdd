//! One connection: hyper over a socket, watched for clients that send, read or stay too
//! slowly.
//!
//! There is no timer per connection. What happens on it leaves the time (of the worker's
//! clock) in its [`Activity`], and the worker sweeps over all of them with each tick.
//!
//! That clock stands still while the worker is stopped, by a freezer or a paused machine: the
//! client could not know. Nor does a client answer for bytes that wait in its socket, so the
//! socket is looked at before a connection is ended.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Deref;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use nix::sys::socket::{MsgFlags, recv};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::AbortHandle;

use super::canned;
use super::clock::Clock;
use super::linger::{SILENCE_MAX, linger};
use super::refusal::Refusal;
use super::request_line::RequestLines;
use super::service::Service;
use super::turn::Turn;
use crate::config::Limits;

/// Waits for a request.
const IDLE: u8 = 0;
/// Has sent a part of a request, or nothing yet on a new connection.
const ASKING: u8 = 1;
/// Waits for our answer, or reads it.
const ANSWERING: u8 = 2;
/// Has had its last answer, and may still be sending.
const LINGERING: u8 = 3;

/// What a connection is doing, and since when.
pub(super) struct Activity {
    clock: Arc<Clock>,
    state: AtomicU8,
    /// When that began, in the clock's milliseconds.
    since: AtomicU32,
    /// Since when a write has waited for the client, to an odd millisecond; zero: none waits.
    write_waits: AtomicU32,
    /// Whether the time to ask was over once already while bytes waited.
    spared: AtomicBool,
    /// Whether a request has a body, which nobody reads.
    refused_body: AtomicBool,
    pub(super) turn: Turn,
}

impl Activity {
    fn new(clock: Arc<Clock>) -> Self {
        Activity {
            state: AtomicU8::new(ASKING),
            since: clock.now_ms().into(),
            clock,
            write_waits: AtomicU32::new(0),
            spared: AtomicBool::new(false),
            refused_body: AtomicBool::new(false),
            turn: Turn::default(),
        }
    }

    fn enter(&self, state: u8) {
        self.since.store(self.clock.now_ms(), Ordering::Relaxed);
        self.state.store(state, Ordering::Relaxed);
    }

    /// The worker's clock.
    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// A request has a body that is not read.
    pub(super) fn refuses_body(&self) {
        self.refused_body.store(true, Ordering::Relaxed);
    }

    /// Our side has ended, and the client has just sent something, or that was just now.
    pub(super) fn lingers(&self) {
        self.enter(LINGERING);
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
            self.spared.store(false, Ordering::Relaxed);
            self.enter(ASKING);
        }
    }

    fn write_waits(&self) {
        if self.write_waits.load(Ordering::Relaxed) == 0 {
            self.write_waits.store(self.clock.now_ms() | 1, Ordering::Relaxed);
        }
    }

    fn wrote(&self) {
        if self.write_waits.load(Ordering::Relaxed) != 0 {
            self.write_waits.store(0, Ordering::Relaxed);
        }
        // The last bytes of an answer leave after it was handed over: only now it is idle.
        if self.state.load(Ordering::Relaxed) == IDLE {
            self.since.store(self.clock.now_ms(), Ordering::Relaxed);
        }
    }

    fn verdict(&self, limits: &Limits) -> Verdict {
        let write_waits = self.write_waits.load(Ordering::Relaxed);
        if write_waits != 0 {
            // Less than a millisecond may be missing.
            let late = self.clock.since(write_waits & !1) > limits.write_timeout;
            return if late { Verdict::ReadsTooSlowly } else { Verdict::Fine };
        }
        let since = self.clock.since(self.since.load(Ordering::Relaxed));
        match self.state.load(Ordering::Relaxed) {
            IDLE if since > limits.keepalive => Verdict::Idle,
            ASKING if since > limits.header_timeout => Verdict::AsksTooSlowly,
            LINGERING if since > SILENCE_MAX => Verdict::Silent,
            _ => Verdict::Fine,
        }
    }
}

enum Verdict {
    Fine,
    /// Its keep-alive time is up.
    Idle,
    AsksTooSlowly,
    ReadsTooSlowly,
    /// Has had its last answer, and leaves it at that.
    Silent,
}

/// The connections of a worker.
#[derive(Default)]
pub(super) struct Connections {
    clock: Arc<Clock>,
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

    /// The clock by which they are measured.
    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Ends the connections whose time is up.
    pub(super) fn sweep(&self, limits: &Limits) {
        for watch in self.list().values() {
            let end = match watch.activity.verdict(limits) {
                Verdict::Fine => false,
                // A request that is already here is served; the next sweep looks again.
                Verdict::Idle => !has_bytes(watch.socket),
                // Once: who sends a byte at a time has always sent one.
                Verdict::AsksTooSlowly => {
                    watch.activity.spared.swap(true, Ordering::Relaxed) || !has_bytes(watch.socket)
                }
                Verdict::ReadsTooSlowly | Verdict::Silent => true,
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

/// A socket that tells what happens on it, and where hyper's own answers are completed.
pub(super) struct Watched<S> {
    io: TokioIo<S>,
    activity: Arc<Activity>,
    service: Arc<Service>,
    /// What was read before hyper reads.
    early: Bytes,
    requests: RequestLines,
    replacement: Option<Replacement>,
    refusal: Option<Refusal>,
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
    pub(super) fn new(socket: S, activity: Arc<Activity>, service: Arc<Service>, early: Bytes) -> Self {
        let mut requests = RequestLines::new();
        let early = requests.encoded(&early).map_or(early, Bytes::from);
        let (replacement, refusal) = (None, None);
        Watched { io: TokioIo::new(socket), activity, service, early, requests, replacement, refusal }
    }

    /// The answer of hyper's own with which the connection ends.
    pub(super) fn refusal(&mut self) -> Option<Refusal> {
        self.refusal.take()
    }

    fn note<T>(&self, result: Poll<T>) -> Poll<T> {
        match result {
            Poll::Pending => self.activity.write_waits(),
            Poll::Ready(_) => self.activity.wrote(),
        }
        result
    }
}

impl<S: AsyncRead + AsyncWrite + AsRawFd + Unpin> Watched<S> {
    /// Ends a connection on which everything is answered that will be, so that the client gets it.
    pub(super) async fn end(self, refused: bool) {
        let socket = self.io.into_inner();
        let unread = refused || self.activity.refused_body.load(Ordering::Relaxed);
        if unread || has_bytes(socket.as_raw_fd()) {
            linger(socket, &self.activity).await;
        }
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
            let canned = canned::find(pieces)?;
            let (request_id, fields) = self.service.refusal_fields();
            let (bytes, len) = canned.completed(pieces, &fields);
            self.refusal = Some(Refusal { status: canned.status, request_id, len });
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

    /// Leaves it to [`Watched::end`].
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
