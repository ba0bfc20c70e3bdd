//! Keeps the last message of a server before it ends a session over TLS.
//!
//! The blocking client checks the connection before it reads the answers that came through it. With TLS the
//! end of a connection is a message that follows the reason immediately; the client then finds both, and only
//! reports that the connection is closed. So this stream holds the end back until the client has read once
//! more. Without TLS the end comes milliseconds later, when the server's process has gone.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use ::postgres::Socket;
use ::postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::require_auth::Greeting;
use crate::config::database_url::AuthMethod;

type Inner = <MakeRustlsConnect as MakeTlsConnect<Socket>>::TlsConnect;

/// The connector for TLS.
#[derive(Clone)]
pub(super) struct Connector {
    tls: MakeRustlsConnect,
    /// The methods by which the server may authenticate the client; `None`: any.
    allowed: Option<Arc<[AuthMethod]>>,
    /// Whether a server has agreed to use TLS.
    used: Arc<AtomicBool>,
}

impl Connector {
    pub(super) fn new(tls: MakeRustlsConnect, allowed: Option<Arc<[AuthMethod]>>) -> Self {
        Connector { tls, allowed, used: Arc::default() }
    }

    /// Whether a server has agreed to use TLS.
    pub(super) fn was_used(&self) -> bool {
        self.used.load(Ordering::Relaxed)
    }
}

impl MakeTlsConnect<Socket> for Connector {
    type Stream = HeardStream;
    type TlsConnect = Connect;
    type Error = Infallible;

    fn make_tls_connect(&mut self, host: &str) -> Result<Connect, Infallible> {
        let inner = MakeTlsConnect::<Socket>::make_tls_connect(&mut self.tls, host)?;
        Ok(Connect { inner, allowed: self.allowed.clone(), used: Arc::clone(&self.used) })
    }
}

/// The connector for one host.
pub(super) struct Connect {
    inner: Inner,
    allowed: Option<Arc<[AuthMethod]>>,
    used: Arc<AtomicBool>,
}

impl TlsConnect<Socket> for Connect {
    type Stream = HeardStream;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<HeardStream>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        self.used.store(true, Ordering::Relaxed);
        Box::pin(async {
            let inner = self.inner.connect(socket).await?;
            Ok(HeardStream { inner, end_was_held_back: false, greeting: self.allowed.map(Greeting::new) })
        })
    }
}

/// An encrypted connection.
pub(super) struct HeardStream {
    inner: <Inner as TlsConnect<Socket>>::Stream,
    end_was_held_back: bool,
    /// The server's first message; `None` as soon as it has passed the check.
    greeting: Option<Greeting>,
}

impl AsyncRead for HeardStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buffer.remaining();
        let outcome = Pin::new(&mut self.inner).poll_read(context, buffer);
        let is_end = matches!(outcome, Poll::Ready(Ok(()))) && buffer.remaining() == room;
        if is_end && !self.end_was_held_back {
            self.end_was_held_back = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let start = buffer.capacity() - room;
        if let Some(greeting) = &mut self.greeting
            && greeting.is_right(&buffer.filled()[start..])?
        {
            self.greeting = None;
        }
        outcome
    }
}

impl AsyncWrite for HeardStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

impl TlsStream for HeardStream {
    fn channel_binding(&self) -> ChannelBinding {
        self.inner.channel_binding()
    }
}
