//! The logs of all generations while the server runs.

use super::Master;
use super::generations::Generation;
use crate::config::Config;
use crate::telemetry::Log;

/// The log of a configuration for the last words of a master, which writes the file itself.
pub(super) fn open_log(config: &Config) -> Result<Log, String> {
    Log::start(&config.log, "master", "avalon.master").map_err(|error| format!("LOG_PATH: {error}"))
}

impl Master {
    /// Hands on what waits to be written, and looks after the processes that write.
    pub(super) fn look_after_logs(&mut self) {
        for Generation { log, .. } in self.generations.values() {
            log.flush();
        }
        self.log.flush();
        self.writers.look_after(self.log.logger());
    }

    /// Has all files opened again.
    pub(super) fn reopen_logs(&mut self) {
        self.writers.reopen();
    }
}
