//! Who calls, and which address they have called.

use std::net::IpAddr;

/// The address at the other end of a connection; `None` for a Unix socket.
pub(in crate::worker) type Peer = Option<IpAddr>;

/// What an address is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// For all endpoints.
    Api,
    /// For `METRICS_BIND`: for metrics, and nothing else.
    Metrics,
}

/// The client of a connection, as the socket or a PROXY header names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::worker) struct Caller {
    pub(in crate::worker) peer: Peer,
    /// What the called address is for.
    pub(in crate::worker) role: Role,
}
