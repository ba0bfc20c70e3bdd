//! What a worker knows of its connections while they last: who calls, what each connection is doing,
//! and since when. Answers report here as they leave.

pub(in crate::worker) mod activity;
pub(in crate::worker) mod caller;
pub(in crate::worker) mod clock;
pub(in crate::worker) mod connections;
pub(in crate::worker) mod exchange;
pub(in crate::worker) mod turn;
