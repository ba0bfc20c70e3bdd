//! Avalon Music Server: the metadata of a music collection as JSON, from a pre-forked
//! server over one memory-mapped snapshot.
//!
//! The rooms, in the order in which data walks through them (ARCHITECTURE.md has the map):
//!
//! - [`config`]: what an operator chose (defaults, file, environment, flags), all of it checked
//! - [`api`], [`model`], [`ids`], [`text`]: names of the API, plain data, stable ids, text as the API compares it
//! - [`scan`]: finding audio files, reading their tags, making rows of them
//! - [`database`]: rows in and rows out of SQLite and PostgreSQL
//! - [`snapshot`]: the collection as one immutable, mapped, queryable object
//! - [`publication`]: snapshots in a store that many servers share
//! - [`scoreboard`]: shared memory in which workers say how they are
//! - [`worker`]: one process that answers HTTP requests from a snapshot
//! - [`master`]: the process that starts, watches, replaces and stops the others
//! - [`title`]: what `ps` shows of a process
//! - [`control`]: how `avalonctl` talks to a master
//! - [`fleet`]: what several servers serve, as `avalonctl fleet` sees them over HTTP
//! - [`telemetry`]: logging, Sentry and statsd; called by all rooms, calls none
//! - [`cli`]: how all programs print

#![cfg_attr(test, allow(clippy::cast_possible_truncation, reason = "a test may panic or fail instead"))]

pub mod api;
#[cfg(test)]
mod chance;
pub mod cli;
pub mod config;
pub mod control;
pub mod database;
pub mod fleet;
pub mod ids;
pub mod master;
pub mod model;
pub mod publication;
pub mod rows;
pub mod scan;
pub mod scoreboard;
#[allow(
    clippy::cast_possible_truncation,
    reason = "counts and offsets fit: the builder refuses what does not, and open checks every section"
)]
pub mod snapshot;
pub mod telemetry;
pub mod text;
pub mod title;
pub mod worker;
