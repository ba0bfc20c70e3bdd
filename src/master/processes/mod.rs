//! Child processes: their start, rights, reports and end; those that write log files; and the signals of this process.

pub(crate) mod dispositions;
pub(crate) mod end;
pub(crate) mod errands;
pub(crate) mod fork;
pub(crate) mod messages;
pub(crate) mod report;
pub(crate) mod sandbox;
pub(crate) mod signals;
pub(crate) mod terminal;
pub(crate) mod writers;
