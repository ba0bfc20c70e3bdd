//! Connections on their way from the accept queue to hyper, and to their end.

use std::convert::Infallible;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use slog::{debug, warn};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;

use super::accept::Accepted;
use super::body::Payload;
use super::connection::{Activity, Connections, Watched};
use super::service::Service;
use super::status::Peer;
use super::{Role, proxy_protocol};

/// Hyper's own limit of header fields, up to which it parses them on the stack: any other costs each
/// request an allocation. It answers more of them with 431 as well.
const FIELDS_ON_STACK: usize = 100;

/// Serves the connections of one address until its listener is closed.
pub(super) async fn serve_accepted(
    mut accepted: mpsc::Receiver<Accepted>,
    service: Arc<Service>,
    connections: Arc<Connections>,
) {
    while let Some(accepted) = accepted.recv().await {
        if let Err(error) = begin(accepted, &service, &connections) {
            warn!(service.log, "a connection could not be served"; "error" => %error);
        }
    }
}

fn begin(accepted: Accepted, service: &Arc<Service>, connections: &Arc<Connections>) -> io::Result<()> {
    let Accepted { socket, peer, role, permit } = accepted;
    match peer {
        None => spawn(UnixStream::from_std(socket.into())?, peer, role, permit, service, connections),
        Some(_) => spawn(TcpStream::from_std(socket.into())?, peer, role, permit, service, connections),
    }
    Ok(())
}

fn spawn<S>(
    socket: S,
    peer: Peer,
    role: Role,
    permit: tokio::sync::OwnedSemaphorePermit,
    service: &Arc<Service>,
    connections: &Arc<Connections>,
) where
    S: AsyncRead + AsyncWrite + AsFd + std::os::fd::AsRawFd + Unpin + Send + 'static,
{
    let registration = connections.register(&socket);
    let id = registration.id();
    let service = Arc::clone(service);
    let task = tokio::spawn(async move {
        let mut socket = socket;
        let proxies = service.proxies.proxy_protocol.as_ref().filter(|_| role == Role::Api);
        let (peer, early) = match proxy_protocol::client(&mut socket, peer, proxies).await {
            Ok((client, early)) => (client, early.into()),
            Err(error) => {
                debug!(service.log, "a proxy's connection is refused"; "error" => %error);
                return;
            }
        };
        let io = Watched::new(socket, Arc::clone(&registration.activity), Arc::clone(&service), early);
        let activity = Arc::clone(&registration.activity);
        let mut builder = http1::Builder::new();
        builder.max_buf_size(service.limits.request_head).header_read_timeout(None);
        // Ours is right also when the clock was set back.
        builder.auto_date_header(false);
        // Not `pipeline_flush`: it keeps the last answer back when anything follows its request,
        // and buffers the answers to pipelined requests without limit.
        // Clients may end their side before they read (`nc -N`); the answer goes out all the same.
        builder.half_close(true);
        if service.limits.request_fields > FIELDS_ON_STACK {
            builder.max_headers(service.limits.request_fields + 1);
        }
        let answering = Answering { service: &service, peer, role, activity: &activity };
        let mut connection = builder.serve_connection(io, service_fn(|request| answering.to(request)));
        // Both end with the connection, also when its task is aborted.
        let (_permit, _registration) = (permit, registration);
        // An error here is a client that broke off or sent what is no HTTP, which hyper
        // has answered.
        let result = (&mut connection).await;
        let parts = connection.into_parts();
        let mut io = parts.io;
        let refusal = io.refusal();
        let refused = refusal.is_some();
        if let (Some(refusal), Err(reason)) = (refusal, &result) {
            service.refused_by_hyper(&refusal, &parts.read_buf, peer, reason);
        }
        if refused || result.is_ok() {
            io.end(refused).await;
        }
    });
    connections.attach(id, task.abort_handle());
}

/// What the answers of a connection have in common.
#[derive(Clone, Copy)]
struct Answering<'c> {
    service: &'c Service,
    peer: Peer,
    role: Role,
    activity: &'c Arc<Activity>,
}

impl Answering<'_> {
    async fn to(self, request: Request<Incoming>) -> Result<Response<Payload>, Infallible> {
        // Before a list is begun, or hyper would send the head meanwhile, by itself. It is tokio's own
        // way to yield, which looks for what has arrived on other connections; a task that wakes
        // itself is polled dozens of times before that.
        if self.activity.turn.end() {
            tokio::task::yield_now().await;
        }
        Ok(self.service.answer(&request, self.peer, self.role, self.activity))
    }
}
