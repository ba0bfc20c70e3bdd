//! Avalon Music Server: the metadata of a music collection as JSON, from a
//! pre-forked server over one memory-mapped snapshot.
//!
//! The rooms, in the order data walks through them (ARCHITECTURE.md has the map):

/// What an operator chose: defaults, file, environment, flags; every check of it.
pub mod config;
/// Rows in and rows out of SQLite and PostgreSQL.
pub mod database;
/// Stable ids (UUID version 5) of names and paths.
pub mod ids;
/// The process that starts, watches, replaces and stops the others.
pub mod master;
/// Plain data: a collection of songs with their albums, artists and genres.
pub mod model;
/// Finding audio files, reading their tags, making rows of them.
pub mod scan;
/// The collection as one immutable, mapped, queryable object.
pub mod snapshot;
/// Logging, Sentry and statsd: called by all, calls nobody.
pub mod telemetry;
/// Lower case, search normalisation and words.
pub mod text;
/// One process that answers HTTP requests from a snapshot.
pub mod worker;
