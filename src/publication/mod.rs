//! Snapshots in a store that many servers share: one program publishes, servers fetch.
//!
//! A store holds objects by name: `v2/HASH.snapshot.zst` are snapshots of format version 2, compressed, and
//! `v2/current.json` is the [`Pointer`] to the one that serves. An object is written before the pointer names it, and
//! the pointer is replaced as a whole and only by a publisher that has seen the former one. So a reader finds a
//! complete snapshot at any moment, and of two publishers at once both are seen. Each pointer has a greater counter
//! than the one before: a server never goes back.
//!
//! Each version of the format has a pointer and objects of its own. A server reads those of its version, and a
//! publisher writes those of all versions that servers read, so that a fleet can be upgraded server by server.
//!
//! All of it may start threads and wait for the network: never call it in the master.

mod bucket;
mod download;
mod error;
mod fetch;
mod folder;
mod http;
mod object;
mod open;
mod parts;
mod pointer;
mod publish;
mod retention;
mod store;
mod web;

pub use error::{PublicationError, StoreError};
pub use fetch::{Fetched, Had, fetch, seen};
pub use object::Object;
pub use pointer::Pointer;
pub use publish::{Outcome, Publication, publish, roll_back};
