//! The clock of the scoreboard, the same for all processes that share one.

use std::sync::OnceLock;
use std::time::Instant;

/// The time at which the first scoreboard of this process, or of its master, was made.
static BEGIN: OnceLock<Instant> = OnceLock::new();

/// Starts the clock, unless it runs already.
pub(super) fn start() {
    BEGIN.get_or_init(Instant::now);
}

/// Returns the milliseconds since then.
pub(super) fn now_ms() -> u64 {
    BEGIN.get().map_or(0, |begin| u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX))
}
