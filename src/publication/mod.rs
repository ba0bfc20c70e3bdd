//! Snapshots in a store that many servers share: one program publishes, servers fetch.
//!
//! A store holds objects by name: `v2/HASH.snapshot.zst` are snapshots of format version 2, compressed, and
//! `v2/current.json` is the [`Pointer`] to the one that serves. A publisher writes an object before it
//! changes the pointer, and replaces the pointer as a whole and only if it has seen the former one. So a
//! reader finds a complete snapshot at any moment, and no publication is lost between two publishers at once.
//! Each pointer has a greater counter than the one before, so a server never goes back.
//!
//! Each version of the format has a pointer and objects of its own. A server reads those of its version, and
//! a publisher writes those of all versions that servers read, so an operator can upgrade a fleet server by
//! server.
//!
//! These functions may start threads and wait for the network: never call them in the master.

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
