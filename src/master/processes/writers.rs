//! The processes that write the log files, one for each file. A file system that does not answer stops only
//! the process that writes there, never the master or a worker: these have no descriptor of the file, so even
//! their end does not wait for it.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::{Pid, fchown, pipe2};
use slog::{Logger, warn};

use crate::config::{Account, Config};
use crate::master::error::MasterError;
use crate::master::exit::ExitCode;
use crate::master::processes::end::wait_until;
use crate::master::processes::fork::{FirstSteps, fork};
use crate::telemetry::{AccessLog, AccessSettings, Log, LogError, LogSettings, Relay, Relayed, relay};
use crate::title;

/// How long a master waits at its end for the last lines to reach their files.
const END_PATIENCE: Duration = Duration::from_secs(2);
/// Time between two starts of a process that ends by itself.
const START_EVERY: Duration = Duration::from_secs(1);
/// The message of a process that has opened its file.
const OPEN: &str = "open";

/// All writers that run. A clone shares them.
#[derive(Clone, Default)]
pub(crate) struct Writers(Rc<RefCell<All>>);

#[derive(Default)]
struct All {
    writers: Vec<Writer>,
    /// Writers that end when they have written the last lines of old workers.
    leaving: Vec<Pid>,
}

struct Writer {
    file: LogFile,
    account: Option<Account>,
    relay: Relay,
    /// The master's copy of the pipe, for the next process if this one is killed: no line in the pipe is
    /// lost.
    relayed: Relayed,
    /// The log that reports how many lines the access log has lost.
    log: Option<Log>,
    pid: Option<Pid>,
    started: Instant,
}

/// A file, with the settings of its lines.
#[derive(Clone, PartialEq)]
pub(crate) enum LogFile {
    /// `LOG_PATH`.
    Log(LogSettings),
    /// `ACCESS_LOGFILE`.
    Access(AccessSettings),
}

/// The destination of a process.
enum Opened {
    Log(Log),
    Access(AccessLog, Log),
}

impl Writers {
    /// Returns the way to the process that writes a file of `config`. A process that does not run yet starts;
    /// one that runs opens its file again. `log` takes the messages about an access log.
    ///
    /// # Errors
    /// The process does not open the file within `patience`.
    pub(crate) fn relay(
        &self,
        file: LogFile,
        config: &Config,
        log: Option<&Log>,
        patience: Duration,
    ) -> Result<Relay, MasterError> {
        self.0.borrow_mut().relay(file, config, log, patience)
    }

    /// Has all writers open their files again.
    pub(crate) fn reopen(&self) {
        // A writer that is too far behind checks its file by itself when it continues.
        self.0.borrow().writers.iter().for_each(|writer| drop(writer.relay.reopen()));
    }

    /// Ends the writers that no log uses any more, and starts killed ones again.
    pub(crate) fn look_after(&self, log: &Logger) {
        let All { writers, leaving } = &mut *self.0.borrow_mut();
        leaving
            .extend(writers.extract_if(.., |writer| !writer.relay.is_used()).filter_map(|writer| writer.pid));
        for writer in writers.iter_mut().filter(|writer| writer.pid.is_none()) {
            if writer.started.elapsed() < START_EVERY {
                continue;
            }
            writer.started = Instant::now();
            match writer.start() {
                Ok((pid, _)) => writer.pid = Some(pid),
                Err(error) => warn!(log, "{} cannot be written", writer.file.key(); "error" => %error),
            }
        }
    }

    /// Handles the end of a child; says whether it was a writer.
    pub(crate) fn ended(&self, pid: Pid) -> bool {
        let All { writers, leaving } = &mut *self.0.borrow_mut();
        if let Some(at) = leaving.iter().position(|other| *other == pid) {
            leaving.swap_remove(at);
            return true;
        }
        let writer = writers.iter_mut().find(|writer| writer.pid == Some(pid));
        writer.is_some_and(|writer| writer.pid.take().is_some())
    }

    /// Waits a moment until the writers have written all lines. The caller logs nothing more.
    pub(crate) fn end(&self) {
        let All { writers, leaving } = &mut *self.0.borrow_mut();
        let until = Instant::now() + END_PATIENCE;
        // The access log comes later in the list and ends first, as it may still report to the log.
        for writer in writers.drain(..).rev() {
            writer.relay.end();
            let written = writer.pid.is_none_or(|pid| wait_until(pid, until));
            if !written {
                let (key, path) = (writer.file.key(), writer.file.path().display());
                eprintln!("avalon-master: {key}: {path} does not answer; its last lines may be missing");
            }
        }
        for pid in leaving.drain(..) {
            wait_until(pid, until);
        }
    }
}

impl All {
    /// Returns the way to the writer of a file.
    fn relay(
        &mut self,
        file: LogFile,
        config: &Config,
        log: Option<&Log>,
        patience: Duration,
    ) -> Result<Relay, MasterError> {
        let same = |writer: &&Writer| writer.file == file && writer.account == config.account;
        if let Some(writer) = self.writers.iter().find(same) {
            let _ = writer.relay.reopen();
            return Ok(writer.relay.clone());
        }
        let key = file.key();
        let failed = |problem: String| MasterError::LogWriter { key, problem };
        let system = |error: io::Error| failed(error.to_string());
        let (relay, relayed) = relay().map_err(system)?;
        let (account, log) = (config.account.clone(), log.cloned());
        let started = Instant::now();
        let mut writer = Writer { file, account, relay, relayed, log, pid: None, started };
        let (pid, said) = writer.start().map_err(system)?;
        match heard(said, started + patience).as_deref() {
            Some(OPEN) => {}
            answer => {
                // The master does not wait for the end: not even SIGKILL ends a process that waits for a file
                // system.
                let _ = kill(pid, Signal::SIGKILL);
                self.leaving.push(pid);
                let path = writer.file.path().display();
                return Err(failed(match answer {
                    Some(reason) if !reason.is_empty() => reason.to_owned(),
                    Some(_) => format!("the process that writes {path} has ended at once"),
                    None => format!("{path} does not answer within {patience:?}"),
                }));
            }
        }
        writer.pid = Some(pid);
        let relay = writer.relay.clone();
        self.writers.push(writer);
        Ok(relay)
    }
}

impl Writer {
    /// Starts a writer, which says through the pipe whether it has opened its file.
    fn start(&self) -> io::Result<(Pid, OwnedFd)> {
        let (said, says) = pipe2(OFlag::O_CLOEXEC)?;
        let relayed = self.relayed.try_clone()?;
        let log_fd = self.log.as_ref().and_then(Log::fd);
        // The writer stays the master's user, as other users may not write in the folder, and outlives the
        // master until it has written all lines.
        let first = FirstSteps::outliving().keeping([relayed.as_fd(), says.as_fd()]).keeping_raw(log_fd);
        let pid = fork(&first, || self.write(relayed, File::from(says)))?;
        Ok((pid, said))
    }

    /// The life of a writer.
    fn write(&self, relayed: Relayed, mut says: File) -> ExitCode {
        // The writer ends when nothing is left to write, even if a signal tells its whole group to stop.
        let _ = SigSet::all().thread_block();
        title::set(&format!("avalon: log writer {}", self.file.path().display()));
        let opened = match self.file.open(self.log.as_ref()) {
            Ok(opened) => opened,
            Err(error) => {
                let _ = says.write_all(error.to_string().as_bytes());
                return ExitCode::Configuration;
            }
        };
        let logger = opened.log().logger();
        let give = || {
            if let Some(account) = &self.account {
                give(self.file.key(), self.file.path(), account, logger);
            }
        };
        give();
        let _ = says.write_all(OPEN.as_bytes());
        drop(says);
        match &opened {
            Opened::Log(log) => log.write_relayed(relayed, give),
            Opened::Access(access_log, log) => {
                access_log.write_relayed(relayed, log.logger(), give);
                log.end();
            }
        }
        ExitCode::Stopped
    }
}

impl LogFile {
    fn key(&self) -> &'static str {
        match self {
            LogFile::Log(_) => "LOG_PATH",
            LogFile::Access(_) => "ACCESS_LOGFILE",
        }
    }

    fn path(&self) -> &Path {
        let path = match self {
            LogFile::Log(settings) => &settings.path,
            LogFile::Access(settings) => &settings.path,
        };
        path.as_deref().unwrap_or(Path::new(""))
    }

    fn open(&self, log: Option<&Log>) -> Result<Opened, LogError> {
        match (self, log) {
            (LogFile::Log(settings), _) => {
                Ok(Opened::Log(Log::start(settings, "log writer", "avalon.master")?))
            }
            (LogFile::Access(settings), Some(log)) => {
                let access_log = AccessLog::open(settings)?;
                Ok(Opened::Access(access_log, log.for_process("access log writer")))
            }
            (LogFile::Access(_), None) => Err(LogError::Open {
                path: self.path().to_owned(),
                reason: io::Error::other("there is no log beside it"),
            }),
        }
    }
}

impl Opened {
    fn log(&self) -> &Log {
        match self {
            Opened::Log(log) | Opened::Access(_, log) => log,
        }
    }
}

/// Returns the output of a process until it closed its end, if it did so in time.
fn heard(said: OwnedFd, until: Instant) -> Option<String> {
    let mut text = String::new();
    fcntl(&said, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).ok()?;
    let mut said = File::from(said);
    loop {
        match said.read_to_string(&mut text) {
            Ok(_) => return Some(text),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return None,
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        let left = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        let _ = poll(&mut [PollFd::new(said.as_fd(), PollFlags::POLLIN)], left);
    }
}

/// Gives a log file to the workers' account, as Gunicorn does.
fn give(key: &str, path: &Path, account: &Account, log: &Logger) {
    match give_file(path, account) {
        // The file is not there yet, or was just moved away.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => warn!(log, "{} cannot be given to USER", key; "error" => %error),
        Ok(()) => {}
    }
}

/// Changes the owner only if the file has no other name: an account that may write in the folder could
/// otherwise make root give it any file, by a link under this name.
fn give_file(path: &Path, account: &Account) -> io::Result<()> {
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

    use nix::unistd::{Gid, Uid};

    use super::*;

    #[test]
    fn word_of_a_process_is_heard_at_its_end_or_not_in_time() {
        let soon = || Instant::now() + Duration::from_secs(30);
        let (said, says) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let mut says = File::from(says);
        says.write_all(OPEN.as_bytes()).unwrap();
        assert_eq!(heard(said.try_clone().unwrap(), Instant::now()), None, "it may go on");
        says.write_all(b" again").unwrap();
        drop(says);
        assert_eq!(heard(said, soon()).as_deref(), Some(" again"), "the first word was read");
        let (said, says) = pipe2(OFlag::O_CLOEXEC).unwrap();
        drop(says);
        assert_eq!(heard(said, soon()).as_deref(), Some(""), "it has ended without a word");
    }

    #[test]
    fn only_a_file_with_one_name_is_given_away() {
        let folder = tempfile::tempdir().unwrap();
        let [file, link, other] = ["log", "link", "other"].map(|name| folder.path().join(name));
        let account = Account { uid: Uid::current(), gid: Gid::current(), groups: Vec::new() };
        assert_eq!(give_file(&file, &account).unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::write(&file, "").unwrap();
        give_file(&file, &account).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(give_file(&link, &account).is_err());
        fs::hard_link(&file, &other).unwrap();
        let error = give_file(&file, &account).unwrap_err();
        assert!(error.to_string().contains("other names"), "{error}");
    }
}
