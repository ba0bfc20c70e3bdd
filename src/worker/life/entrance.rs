//! The entrance for connections: closed until it is the worker's turn, open until it drains.

use std::io;
use std::sync::Arc;

use slog::Logger;
use socket2::Socket;
use tokio::task::JoinSet;

use crate::worker::connection::accept::Acceptors;
use crate::worker::connection::serve::serve_accepted;
use crate::worker::request::service::Service;
use crate::worker::watch::caller::Role;
use crate::worker::watch::connections::Connections;

/// The listeners of a worker.
pub(in crate::worker) struct Entrance {
    state: State,
    /// A task for each listener that still provides connections, or whose connections wait.
    tasks: JoinSet<()>,
}

enum State {
    Closed(Vec<(Socket, Role)>),
    Open(Acceptors),
    /// No listener is left, or soon none will be.
    Left,
}

impl Entrance {
    /// Creates a closed entrance: connections wait in the queues of these listeners, for other
    /// workers too.
    pub(in crate::worker) fn closed(listeners: Vec<(Socket, Role)>) -> Self {
        Entrance { state: State::Closed(listeners), tasks: JoinSet::new() }
    }

    /// Begins to accept connections, unless that has begun.
    ///
    /// # Errors
    /// If a thread cannot be started, or the handler of the waking signal not be installed.
    pub(in crate::worker) fn open(
        &mut self,
        connections_max: usize,
        service: &Arc<Service>,
        connections: &Arc<Connections>,
        log: &Logger,
    ) -> io::Result<()> {
        self.state = match std::mem::replace(&mut self.state, State::Left) {
            State::Closed(listeners) => {
                let (acceptors, channels) = Acceptors::start(listeners, connections_max, log)?;
                for accepted in channels {
                    self.tasks.spawn(serve_accepted(accepted, Arc::clone(service), Arc::clone(connections)));
                }
                State::Open(acceptors)
            }
            state => state,
        };
        Ok(())
    }

    /// Leaves the listeners. Returns the threads that accept, which the caller must stop, if there
    /// are any.
    pub(in crate::worker) fn leave(&mut self) -> Option<Acceptors> {
        match std::mem::replace(&mut self.state, State::Left) {
            State::Open(acceptors) => Some(acceptors),
            State::Closed(_) | State::Left => None,
        }
    }

    /// Reports whether there are listeners that have not been left.
    pub(in crate::worker) fn is_there(&self) -> bool {
        !matches!(self.state, State::Left)
    }

    /// Waits until all connections of one more listener are served; `None` if there is no other
    /// listener.
    pub(in crate::worker) async fn next_end(&mut self) -> Option<()> {
        self.tasks.join_next().await.map(drop)
    }

    /// Reports whether no connection can come any more.
    pub(in crate::worker) fn is_deaf(&self) -> bool {
        !matches!(self.state, State::Closed(_)) && self.tasks.is_empty()
    }
}
