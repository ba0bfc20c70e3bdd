//! The client of a connection, and the address that it has called.

use std::net::IpAddr;

/// The address at the other end of a connection; `None` for a Unix socket.
pub(in crate::worker) type Peer = Option<IpAddr>;

/// The role of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// For all endpoints.
    Api,
    /// For `METRICS_BIND`: only for metrics.
    Metrics,
}

/// The client of a connection, as the socket or a PROXY header names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::worker) struct Caller {
    pub(in crate::worker) peer: Peer,
    /// The role of the called address.
    pub(in crate::worker) role: Role,
}
