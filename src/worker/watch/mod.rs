//! The state of a worker's connections: the client, the activity of each connection, and its times.
//! Answers report here as they leave.

pub(in crate::worker) mod activity;
pub(in crate::worker) mod caller;
pub(in crate::worker) mod clock;
pub(in crate::worker) mod connections;
pub(in crate::worker) mod exchange;
pub(in crate::worker) mod turn;
