//! Connections from the accept queue to hyper, and to their end.

pub(in crate::worker) mod accept;
mod interrupt;
mod linger;
mod proxy_protocol;
mod request_line;
pub(in crate::worker) mod serve;
mod socket;
