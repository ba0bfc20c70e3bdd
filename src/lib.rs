//! Avalon Music Server: the metadata of a music collection as JSON, from a pre-forked
//! server over one memory-mapped snapshot.
//!
//! The rooms, in the order in which data walks through them (ARCHITECTURE.md has the map):
//!
//! - [`cli`]: how all programs print
//! - [`config`]: what an operator chose (defaults, file, environment, flags), all of it checked
//! - [`model`], [`ids`], [`text`]: plain data, stable ids, text as the API compares it
//! - [`scan`]: finding audio files, reading their tags, making rows of them
//! - [`database`]: rows in and rows out of SQLite and PostgreSQL
//! - [`snapshot`]: the collection as one immutable, mapped, queryable object
//! - [`scoreboard`]: shared memory in which workers say how they are
//! - [`worker`]: one process that answers HTTP requests from a snapshot
//! - [`master`]: the process that starts, watches, replaces and stops the others
//! - [`title`]: what `ps` shows of a process
//! - [`control`]: how `avalonctl` talks to a master
//! - [`telemetry`]: logging, Sentry and statsd; called by all, calls nobody

pub mod cli;
pub mod config;
pub mod control;
pub mod database;
pub mod ids;
pub mod master;
pub mod model;
pub mod scan;
pub mod scoreboard;
pub mod snapshot;
pub mod telemetry;
pub mod text;
pub mod title;
pub mod worker;
