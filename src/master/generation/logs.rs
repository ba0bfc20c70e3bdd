//! The log files of all generations: opened, given to whoever the workers become, opened anew.
//!
//! Opened in the master, as the folder may belong to root, and handed to workers after a rotation.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::libc;
use nix::unistd::fchown;
use slog::{Logger, error, warn};

use crate::config::{Account, Config};
use crate::master::Master;
use crate::master::generation::generations::Generation;
use crate::master::generation::workers::Owed;
use crate::telemetry::{AccessLog, Log};

/// The log of a configuration.
pub(crate) fn open_log(config: &Config) -> Result<Log, String> {
    Log::start(&config.log, "master", "avalon.master").map_err(|error| format!("LOG_PATH: {error}"))
}

/// The same, and the access log, if there is to be one, both given to the workers' account.
pub(crate) fn open_logs(config: &Config) -> Result<(Log, Option<AccessLog>), String> {
    let log = open_log(config)?;
    let access_log = config.access_log.as_ref().map(AccessLog::open).transpose();
    let access_log = access_log.map_err(|error| format!("ACCESS_LOGFILE: {error}"))?;
    give_logs(config, log.logger());
    Ok((log, access_log))
}

/// A log file belongs to whoever the workers become, as with Gunicorn, so that they can open it
/// again.
fn give_logs(config: &Config, log: &Logger) {
    let Some(account) = &config.account else { return };
    let access_log = config.access_log.as_ref().and_then(|settings| settings.path.as_ref());
    let files = [("LOG_PATH", config.log.path.as_ref()), ("ACCESS_LOGFILE", access_log)];
    for (key, path) in files.into_iter().filter_map(|(key, path)| Some((key, path?))) {
        match give(path, account) {
            // It is not there yet, or was just moved away.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                warn!(log, "{} cannot be given to USER, who may fail to open it again", key;
                    "error" => %error);
            }
            Ok(()) => {}
        }
    }
}

/// Only a file that has this name alone: an account that may write the folder could else have root
/// give it any file, by a link under this name.
fn give(path: &Path, account: &Account) -> io::Result<()> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = OpenOptions::new().append(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(());
    }
    if metadata.nlink() != 1 {
        return Err(io::Error::other("the file has other names as well"));
    }
    Ok(fchown(&file, Some(account.uid), Some(account.gid))?)
}

impl Master {
    /// Goes after log files that were moved.
    pub(crate) fn follow_logs(&mut self) {
        for (number, Generation { log, access_log, config, .. }) in &self.generations {
            let access_log_moved = access_log.as_ref().is_some_and(|access| access.follow(log.logger()));
            let moved = Owed { log: log.follow(), access_log: access_log_moved, ..Owed::default() };
            if moved.log || moved.access_log {
                give_logs(config, log.logger());
                self.handouts.owe(|generation| generation == *number, moved);
            }
        }
        self.log.follow();
    }

    /// Opens all of them anew.
    pub(crate) fn reopen_logs(&mut self) {
        for Generation { log, access_log, config, .. } in self.generations.values() {
            if let Err(error) = log.reopen() {
                error!(self.log.logger(), "the log could not be reopened: {}", error);
            }
            if let Some(Err(error)) = access_log.as_ref().map(|access| access.reopen()) {
                error!(self.log.logger(), "the access log could not be reopened: {}", error);
            }
            give_logs(config, log.logger());
        }
        if let Err(error) = self.log.reopen() {
            error!(self.log.logger(), "the log could not be reopened: {}", error);
        }
        self.handouts.owe(|_| true, Owed { log: true, access_log: true, ..Owed::default() });
    }
}
