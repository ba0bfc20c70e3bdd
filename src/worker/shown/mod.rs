//! The endpoints about the whole server: `status` and `metrics`, read from the scoreboard.

mod exposition;
pub(in crate::worker) mod metrics;
pub(in crate::worker) mod status;

/// The answer of `version`.
pub(in crate::worker) const PROGRAM_VERSION: &str = env!("CARGO_PKG_VERSION");
