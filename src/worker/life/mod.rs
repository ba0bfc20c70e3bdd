//! The parts of a worker's life: its end, the messages of the master, its memory.

pub(in crate::worker) mod drain;
pub(in crate::worker) mod entrance;
pub(in crate::worker) mod handout;
pub(in crate::worker) mod memory;
pub(in crate::worker) mod proof;
pub(in crate::worker) mod retirement;
pub(in crate::worker) mod signals;
