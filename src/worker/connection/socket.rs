//! The socket below hyper: it records the events of the connection in its [`Activity`], encodes
//! characters in request lines that hyper would refuse, and completes the answers that hyper itself
//! gives.

use std::cell::RefCell;
use std::ops::Deref;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::linger::linger;
use super::request_line::RequestLines;
use crate::worker::answer::canned;
use crate::worker::request::refusal::Refusal;
use crate::worker::request::service::Service;
use crate::worker::watch::activity::Activity;
use crate::worker::watch::connections::has_bytes;

thread_local! {
    /// Buffer for arriving bytes before hyper reads them: one for all connections of a worker.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; 16 << 10]);
}

/// A socket that records its events, and completes hyper's own answers.
pub(in crate::worker) struct WatchedSocket<S> {
    io: TokioIo<S>,
    activity: Arc<Activity>,
    service: Arc<Service>,
    /// Bytes that arrived before hyper reads.
    early: Bytes,
    requests: RequestLines,
    replacement: Option<Replacement>,
    refusal: Option<Refusal>,
}

/// Bytes that are sent in place of others. The replaced bytes count as sent when all of these are.
struct Replacement {
    bytes: Vec<u8>,
    sent: usize,
    /// Number of bytes that this replaces.
    in_place_of: usize,
}

impl<S> WatchedSocket<S> {
    /// Wraps a socket from which `early` was read already.
    pub(in crate::worker) fn new(
        socket: S,
        activity: Arc<Activity>,
        service: Arc<Service>,
        early: Bytes,
    ) -> Self {
        let mut requests = RequestLines::new();
        let early = requests.encoded(&early).map_or(early, Bytes::from);
        let (replacement, refusal) = (None, None);
        WatchedSocket { io: TokioIo::new(socket), activity, service, early, requests, replacement, refusal }
    }

    /// Returns the answer that hyper itself has given, with which the connection ends.
    pub(in crate::worker) fn refusal(&mut self) -> Option<Refusal> {
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

impl<S: AsyncRead + AsyncWrite + AsRawFd + Unpin> WatchedSocket<S> {
    /// Ends a connection after its last answer, so that the client gets that answer.
    pub(in crate::worker) async fn end(self, refused: bool) {
        let socket = self.io.into_inner();
        let unread = refused || self.activity.has_refused_body();
        if unread || has_bytes(socket.as_raw_fd()) {
            linger(socket, &self.activity).await;
        }
    }
}

impl<S: AsyncWrite + Unpin> WatchedSocket<S> {
    /// Sends a replacement for `pieces`, if one is needed.
    fn poll_replace<P: Deref<Target = [u8]>>(
        &mut self,
        context: &mut Context<'_>,
        pieces: &[P],
    ) -> Option<Poll<std::io::Result<usize>>> {
        if self.replacement.is_none() {
            let mut canned = canned::find(pieces)?;
            if self.requests.is_in_line() {
                canned = canned.to_endless_line();
            }
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

impl<S: AsyncRead + Unpin> Read for WatchedSocket<S> {
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
        let WatchedSocket { io, requests, early, .. } = &mut *self;
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

impl<S: AsyncWrite + Unpin> Write for WatchedSocket<S> {
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

    /// Does nothing: [`WatchedSocket::end`] ends the socket.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
