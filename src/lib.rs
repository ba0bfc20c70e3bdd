//! Avalon Music Server: the metadata of a music collection as JSON, from a pre-forked
//! server over one memory-mapped snapshot.
//!
//! The rooms, in the order in which data passes through them (ARCHITECTURE.md has the map):
//!
//! - [`config`]: the operator's settings (defaults, file, environment, flags), all of them checked
//! - [`api`], [`model`], [`ids`], [`text`]: names of the API, plain data, stable ids, text as the API
//!   compares it
//! - [`scan`]: finds audio files, reads their tags, makes rows of them
//! - [`database`]: reads rows from SQLite and PostgreSQL, and writes them
//! - [`snapshot`]: the collection as one immutable, mapped, queryable object
//! - [`publication`]: snapshots in a store that many servers share
//! - [`scoreboard`]: shared memory in which workers report their state
//! - [`worker`]: one process that answers HTTP requests from a snapshot
//! - [`master`]: the process that starts, watches, replaces and stops the others
//! - [`title`]: the title of a process, as `ps` shows it
//! - [`scheduling`]: how much a process lets others go first
//! - [`control`]: the protocol between `avalonctl` and a master
//! - [`fleet`]: the state of several servers, as `avalonctl fleet` sees them over HTTP
//! - [`ctl`]: the commands of `avalonctl`
//! - [`telemetry`]: logging, Sentry and statsd; all rooms call it, it calls none
//! - [`cli`]: the output of all programs

#![cfg_attr(test, allow(clippy::cast_possible_truncation, reason = "a test may panic or fail instead"))]

pub mod api;
#[cfg(test)]
mod chance;
pub mod cli;
pub mod config;
pub mod control;
pub mod ctl;
pub mod database;
pub mod fleet;
pub mod ids;
pub mod master;
pub mod model;
pub mod publication;
pub mod rows;
pub mod scan;
pub mod scheduling;
pub mod scoreboard;
#[allow(
    clippy::cast_possible_truncation,
    reason = "counts and offsets fit: the builder refuses larger ones, and open checks every section"
)]
pub mod snapshot;
pub mod telemetry;
pub mod text;
pub mod title;
pub mod worker;
