//! What a worker shows of the whole server: `status` and `metrics`, read from the scoreboard.

mod exposition;
pub(in crate::worker) mod metrics;
pub(in crate::worker) mod status;

/// What `version` answers.
pub(in crate::worker) const PROGRAM_VERSION: &str = env!("CARGO_PKG_VERSION");
