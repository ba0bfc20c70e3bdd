//! Connections on their way from the accept queue to hyper, and to their end.

use std::convert::Infallible;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use slog::{debug, warn};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::accept::AcceptedSocket;
use super::proxy_protocol;
use super::socket::WatchedSocket;
use crate::worker::answer::body::Payload;
use crate::worker::request::service::Service;
use crate::worker::watch::activity::Activity;
use crate::worker::watch::caller::{Caller, Role};
use crate::worker::watch::connections::{Connections, Registration};

/// Hyper's own limit of header fields, up to which it parses them on the stack: any other limit
/// costs an allocation per request. It answers more fields with 431 as well.
const FIELDS_ON_STACK: usize = 100;

/// Serves the connections of one address until its listener is closed.
pub(in crate::worker) async fn serve_accepted(
    mut accepted: mpsc::Receiver<AcceptedSocket>,
    service: Arc<Service>,
    connections: Arc<Connections>,
) {
    while let Some(accepted) = accepted.recv().await {
        if let Err(error) = begin(accepted, &service, &connections) {
            warn!(service.log, "a connection could not be served"; "error" => %error);
        }
    }
}

fn begin(accepted: AcceptedSocket, service: &Arc<Service>, connections: &Arc<Connections>) -> io::Result<()> {
    let AcceptedSocket { socket, caller, permit } = accepted;
    match caller.peer {
        None => spawn(UnixStream::from_std(socket.into())?, caller, permit, service, connections),
        Some(_) => spawn(TcpStream::from_std(socket.into())?, caller, permit, service, connections),
    }
    Ok(())
}

/// Serves a connection of this process with itself, to its end.
pub(in crate::worker) async fn serve_own(
    socket: UnixStream,
    service: &Arc<Service>,
    connections: &Arc<Connections>,
) {
    let registration = connections.register(&socket);
    serve(socket, Caller { peer: None, role: Role::Api }, service, &registration).await;
}

/// Serves a connection in a task that the sweep can end.
fn spawn<S>(
    socket: S,
    caller: Caller,
    permit: OwnedSemaphorePermit,
    service: &Arc<Service>,
    connections: &Arc<Connections>,
) where
    S: AsyncRead + AsyncWrite + AsFd + AsRawFd + Unpin + Send + 'static,
{
    let registration = connections.register(&socket);
    let id = registration.id();
    let service = Arc::clone(service);
    let task = tokio::spawn(async move {
        serve(socket, caller, &service, &registration).await;
        // Both end with the connection, also if its task is aborted.
        drop((permit, registration));
    });
    connections.attach(id, task.abort_handle());
}

async fn serve<S>(mut socket: S, mut caller: Caller, service: &Arc<Service>, registration: &Registration)
where
    S: AsyncRead + AsyncWrite + AsFd + AsRawFd + Unpin + Send + 'static,
{
    let proxies = service.proxies.proxy_protocol.as_ref().filter(|_| caller.role == Role::Api);
    let early = match proxy_protocol::client(&mut socket, caller.peer, proxies).await {
        Ok((client, early)) => {
            caller.peer = client;
            early.into()
        }
        Err(error) => {
            debug!(service.log, "a proxy's connection is refused"; "error" => %error);
            return;
        }
    };
    let activity = &registration.activity;
    let io = WatchedSocket::new(socket, Arc::clone(activity), Arc::clone(service), early);
    let answering = Answering { service, caller, activity };
    let mut connection = builder(service).serve_connection(io, service_fn(|request| answering.to(request)));
    // An error here means that the client broke off or sent bytes that are not HTTP, which hyper
    // has answered.
    let result = (&mut connection).await;
    let parts = connection.into_parts();
    let mut io = parts.io;
    let refusal = io.refusal();
    let refused = refusal.is_some();
    if let (Some(refusal), Err(reason)) = (refusal, &result) {
        service.refused_by_hyper(&refusal, &parts.read_buf, caller.peer, reason);
    }
    if refused || result.is_ok() {
        io.end(refused).await;
    }
}

/// Returns hyper's settings for a connection.
fn builder(service: &Service) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(service.limits.request_head).header_read_timeout(None);
    // The service's own date stays right if the clock is set back.
    builder.auto_date_header(false);
    // Not `pipeline_flush`: it withholds the last answer if any bytes follow its request, and
    // buffers the answers to pipelined requests without limit. Clients may end their side before
    // they read (`nc -N`); they still get the answer.
    builder.half_close(true);
    if service.limits.request_fields > FIELDS_ON_STACK {
        builder.max_headers(service.limits.request_fields + 1);
    }
    builder
}

/// The settings that all answers of a connection share.
#[derive(Clone, Copy)]
struct Answering<'c> {
    service: &'c Service,
    caller: Caller,
    activity: &'c Arc<Activity>,
}

impl Answering<'_> {
    async fn to(self, request: Request<Incoming>) -> Result<Response<Payload>, Infallible> {
        // A turn must end before a list begins. Otherwise hyper would send the head alone in the meantime.
        // This is tokio's own way to yield, which polls the other connections; a task that wakes itself is
        // polled dozens of times before that.
        if self.activity.turn.end() {
            tokio::task::yield_now().await;
        }
        Ok(self.service.answer(&request, self.caller, self.activity))
    }
}
