//! The clock of the scoreboard, which all processes that share one read alike.

use std::sync::OnceLock;
use std::time::Instant;

/// When the first scoreboard of this process, or of its master, was made.
static BEGIN: OnceLock<Instant> = OnceLock::new();

/// Starts the clock, unless it runs.
pub(super) fn start() {
    BEGIN.get_or_init(Instant::now);
}

/// Milliseconds since then.
pub(super) fn now_ms() -> u64 {
    BEGIN.get().map_or(0, |begin| u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX))
}
