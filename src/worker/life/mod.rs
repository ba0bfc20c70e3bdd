//! The parts of a worker's life: what ends it, what the master hands to it, what it has of memory.

pub(in crate::worker) mod drain;
pub(in crate::worker) mod entrance;
pub(in crate::worker) mod handout;
pub(in crate::worker) mod memory;
pub(in crate::worker) mod proof;
pub(in crate::worker) mod retirement;
pub(in crate::worker) mod signals;
