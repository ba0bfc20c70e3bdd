//! Child processes: how they are forked, what they may do, what they say, how they end.

pub(crate) mod dispositions;
pub(crate) mod errands;
pub(crate) mod messages;
pub(crate) mod process;
pub(crate) mod sandbox;
pub(crate) mod signals;
