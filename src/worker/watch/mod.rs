//! A worker's knowledge of its connections while they last: the caller, the state of each connection,
//! and since when. Answers report here as they leave.

pub(in crate::worker) mod activity;
pub(in crate::worker) mod caller;
pub(in crate::worker) mod clock;
pub(in crate::worker) mod connections;
pub(in crate::worker) mod exchange;
pub(in crate::worker) mod turn;
