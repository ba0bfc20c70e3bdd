//! Child processes: how they are forked, what they may do, what they say, how they end.

pub(crate) mod dispositions;
pub(crate) mod end;
pub(crate) mod errands;
pub(crate) mod fork;
pub(crate) mod messages;
pub(crate) mod report;
pub(crate) mod sandbox;
pub(crate) mod signals;
pub(crate) mod terminal;
