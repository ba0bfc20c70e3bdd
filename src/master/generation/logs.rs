//! The log files of a generation. The master opens them, as the folder may belong to root, gives them to the
//! account of the workers, and opens them again after a rotation.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::RawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use nix::libc;
use nix::unistd::fchown;
use slog::{Logger, error, warn};

use crate::config::{Account, Config};
use crate::master::error::MasterError;
use crate::telemetry::{AccessLog, Log};

/// The logs of a generation.
pub(crate) struct Logs {
    /// The log of all its processes.
    pub(crate) log: Log,
    /// The access log of its workers, if there is one.
    pub(crate) access_log: Option<Arc<AccessLog>>,
}

/// Which logs go to another file than before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Moved {
    /// The log.
    pub(crate) log: bool,
    /// The access log.
    pub(crate) access_log: bool,
}

/// Opens the log of a configuration.
///
/// # Errors
/// The file cannot be opened.
pub(crate) fn open_log(config: &Config) -> Result<Log, MasterError> {
    Log::start(&config.log, "master", "avalon.master")
        .map_err(|source| MasterError::Log { key: "LOG_PATH", source })
}

impl Logs {
    /// Opens the logs of a configuration, and gives them to the account of its workers.
    ///
    /// # Errors
    /// A file cannot be opened.
    pub(crate) fn open(config: &Config) -> Result<Self, MasterError> {
        let log = open_log(config)?;
        let access_log = config.access_log.as_ref().map(AccessLog::open).transpose();
        let access_log = access_log.map_err(|source| MasterError::Log { key: "ACCESS_LOGFILE", source })?;
        give_logs(config, log.logger());
        Ok(Logs { log, access_log: access_log.map(Arc::new) })
    }

    /// Where to send records.
    pub(crate) fn logger(&self) -> &Logger {
        self.log.logger()
    }

    /// The descriptors of the files, for a child that keeps both.
    pub(crate) fn fds(&self) -> impl Iterator<Item = RawFd> {
        self.log.fd().into_iter().chain(self.access_log.as_ref().and_then(|log| log.fd()))
    }

    /// Opens the files of `config` again that were moved; says which.
    pub(crate) fn follow(&self, config: &Config) -> Moved {
        let access_log = self.access_log.as_ref().is_some_and(|access| access.follow(self.logger()));
        let moved = Moved { log: self.log.follow(), access_log };
        if moved != Moved::default() {
            give_logs(config, self.logger());
        }
        moved
    }

    /// Opens all files of `config` again. One that cannot be opened stays as it is.
    pub(crate) fn reopen(&self, config: &Config) {
        reopen(&self.log);
        if let Some(Err(error)) = self.access_log.as_ref().map(|access| access.reopen()) {
            error!(self.logger(), "the access log could not be reopened: {}", error);
        }
        give_logs(config, self.logger());
    }
}

/// Opens the file of a log again.
pub(crate) fn reopen(log: &Log) {
    if let Err(error) = log.reopen() {
        error!(log.logger(), "the log could not be reopened: {}", error);
    }
}

/// A log file belongs to the account of the workers, as with Gunicorn, so that they can open it again.
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

/// Only a file that has no other name: an account that may write the folder could otherwise make root give it any
/// file, by a link with this name.
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::{self, Overrides, World};

    fn config(folder: &Path) -> Config {
        let file = folder.join("settings.toml");
        let text = format!("LOG_PATH = \"{0}/log\"\nACCESS_LOGFILE = \"{0}/access\"\n", folder.display());
        fs::write(&file, text).unwrap();
        let mut overrides = Overrides::default();
        overrides.set_file(file);
        config::load_in(&overrides, &World::live()).unwrap()
    }

    #[test]
    fn moved_files_are_opened_again_on_request() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let logs = Logs::open(&config).unwrap();
        assert_eq!(logs.fds().count(), 2);
        for name in ["log", "access"] {
            fs::rename(folder.path().join(name), folder.path().join(format!("{name}.1"))).unwrap();
        }
        logs.reopen(&config);
        assert!(folder.path().join("log").exists() && folder.path().join("access").exists());
        slog::info!(logs.logger(), "after the rotation");
        assert!(fs::read_to_string(folder.path().join("log")).unwrap().contains("after the rotation"));
        assert_eq!(logs.follow(&config), Moved::default());
    }

    #[test]
    fn file_that_cannot_be_opened_is_named_with_its_setting() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        fs::create_dir(folder.path().join("access")).unwrap();
        let error = Logs::open(&config).err().unwrap();
        assert_eq!(error.to_string(), "ACCESS_LOGFILE");
        assert!(crate::cli::chain(&error).contains("/access"), "{error}");
    }
}
