//! The logs of a generation. Those with a file are written by a process, which opens it as the master's user, as the
//! folder may belong to root.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use slog::Logger;

use crate::config::Config;
use crate::master::error::MasterError;
use crate::master::processes::writers::{LogFile, Writers};
use crate::telemetry::{AccessLog, AccessSettings, Log};

/// The longest wait of the first start for an open file.
pub(crate) const START_PATIENCE: Duration = Duration::from_secs(30);
/// The same for a reload, whose child has found a moment ago that the file system answers.
pub(crate) const RELOAD_PATIENCE: Duration = Duration::from_millis(700);

/// The logs of a generation.
pub(crate) struct Logs {
    /// The log of all its processes.
    pub(crate) log: Log,
    /// The access log of its workers, if there is one.
    pub(crate) access_log: Option<Arc<AccessLog>>,
}

/// Opens the log of a configuration for a master that panicked, which writes the file itself.
///
/// # Errors
/// The system does not open the file.
pub(crate) fn open_log(config: &Config) -> Result<Log, MasterError> {
    Log::start(&config.log, "master", "avalon.master")
        .map_err(|source| MasterError::Log { key: "LOG_PATH", source })
}

impl Logs {
    /// Opens the logs of a configuration. Each file has one of `writers`, which is waited for as long as
    /// `patience` lasts.
    ///
    /// # Errors
    /// The system does not open a file.
    pub(crate) fn open(config: &Config, writers: &Writers, patience: Duration) -> Result<Self, MasterError> {
        let log = match config.log.path {
            Some(_) => {
                let relay = writers.relay(LogFile::Log(config.log.clone()), config, None, patience)?;
                Log::relayed(&config.log, relay, "master", "avalon.master")
            }
            None => open_log(config)?,
        };
        let access_log = match &config.access_log {
            Some(settings @ AccessSettings { path: Some(_), .. }) => {
                let file = LogFile::Access(settings.clone());
                let relay = writers.relay(file, config, Some(&log), patience)?;
                Some(AccessLog::relayed(settings, relay))
            }
            Some(settings) => {
                let opened = AccessLog::open(settings);
                Some(opened.map_err(|source| MasterError::Log { key: "ACCESS_LOGFILE", source })?)
            }
            None => None,
        };
        Ok(Logs { log, access_log: access_log.map(Arc::new) })
    }

    /// Where to send records.
    pub(crate) fn logger(&self) -> &Logger {
        self.log.logger()
    }

    /// The descriptors of the logs, for a child that keeps both.
    pub(crate) fn fds(&self) -> impl Iterator<Item = RawFd> {
        self.log.fd().into_iter().chain(self.access_log.as_ref().and_then(|log| log.fd()))
    }
}
