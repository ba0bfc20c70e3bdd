//! Generations, and the making of their parts: configuration, log and listeners, the loader, the
//! workers.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, fchown};
use slog::{debug, error, warn};
use socket2::Socket;

use super::control::Control;
use super::events::Settings;
use super::listeners::{self, Listener};
use super::loader::{Loader, Source, Summary};
use super::messages::Message;
use super::pidfile::PidFile;
use super::process::{self, FirstSteps};
use super::sandbox;
use super::upgrade::{Predecessor, Successor};
use super::{ExitCode, Master, chain, warn_about};
use crate::config::{self, Account, Config};
use crate::snapshot::{Snapshot, Verify, storage};
use crate::telemetry::{Log, sentry};
use crate::title;
use crate::worker::{Cause, Ending, Notice, Worker};

/// A worker that crashes as soon as it has something to do does so within this time, and a reload
/// takes so much longer.
const PROBATION: Duration = Duration::from_millis(200);

/// A generation: a configuration, its listeners and log, and, once made, its snapshot.
pub(super) struct Generation {
    pub(super) config: Config,
    pub(super) log: Log,
    pub(super) listeners: Vec<Rc<Listener>>,
    pub(super) snapshot: Option<OwnedFd>,
    pub(super) summary: Summary,
    pub(super) made: Instant,
    /// Where the snapshot comes from, once there is one.
    pub(super) source: Option<Source>,
    /// Whether the database has been found to hold the same.
    pub(super) confirmed: bool,
}

impl Generation {
    pub(super) fn new(config: Config, log: Log, listeners: Vec<Rc<Listener>>) -> Self {
        let (summary, made) = (Summary::new(), Instant::now());
        Generation { config, log, listeners, snapshot: None, summary, made, source: None, confirmed: false }
    }

    /// Whether the database may know better.
    pub(super) fn is_stale(&self) -> bool {
        self.source.is_some_and(|source| source != Source::Database) && !self.confirmed
    }

    /// The name of its content.
    pub(super) fn hash(&self) -> Option<&str> {
        self.summary.get("hash")?.as_str()
    }
}

impl Master {
    pub(super) fn configure(&mut self, generation: u64) -> Result<Settings, String> {
        let config = config::load(&self.overrides).map_err(|error| chain(&error))?;
        warn_about(&config, self.log.logger());
        if config.pidfile.as_deref() != self.pidfile.as_ref().map(PidFile::path) {
            warn!(self.log.logger(), "PIDFILE is not changed by a reload");
        }
        let log = open_log(&config)?;
        let open: Vec<Rc<Listener>> =
            self.generations.values().flat_map(|generation| generation.listeners.clone()).collect();
        let listeners = open_listeners(&config, &self.activated, &open)?;
        let settings = settings(&config);
        self.generations.insert(generation, Generation::new(config, log, listeners));
        Ok(settings)
    }

    pub(super) fn start_loader(&mut self, generation: u64) -> io::Result<Pid> {
        let kept = self.kept.take();
        // Nobody waits for the first one in vain; later ones have workers beside them.
        let gives_way = self.arbiter.current().is_some() || self.predecessor.is_some();
        let close = self.descriptors(generation);
        let Generation { config, log, .. } = self.generation(generation)?;
        let first = FirstSteps { gives_way, ..first_steps(&close, config, Signal::SIGKILL) };
        let loader = match kept {
            Some(kept) => Loader::verify(generation, config, log, &first, kept)?,
            None => Loader::start(generation, config, log, &first)?,
        };
        let pid = loader.pid;
        self.loader = Some(loader);
        Ok(pid)
    }

    pub(super) fn fork_worker(&self, generation: u64, slot: usize) -> io::Result<Pid> {
        let close = self.descriptors(generation);
        let of = self.generation(generation)?;
        let first = first_steps(&close, &of.config, Signal::SIGTERM);
        // Copies made before the fork: the child closes the master's own descriptors.
        let listeners =
            of.listeners.iter().map(|listener| listener.share()).collect::<io::Result<Vec<Socket>>>()?;
        let snapshot =
            of.snapshot.as_ref().ok_or_else(|| io::Error::other("the generation has no snapshot"))?;
        let snapshot = snapshot.try_clone()?;
        let messages = File::from(self.messages_to.try_clone()?);
        let scoreboard_slot = self.scoreboard.slot(slot);
        scoreboard_slot.reset();
        process::fork(&first, || {
            title::set(&format!("avalon: worker {slot} [gen {generation}]"));
            let log = of.log.for_process(&format!("worker {slot}"));
            if of.config.sandbox {
                match sandbox::confine(of.config.log.path.as_deref()) {
                    Ok(how) => debug!(log.logger(), "confined"; "how" => how),
                    // It serves all the same: the kernel may not know of it.
                    Err(error) => warn!(log.logger(), "the worker is not fully confined: {}", error),
                }
            }
            let _sentry = sentry::start(&of.config.sentry, "worker", Some(generation), Some(slot));
            scoreboard_slot.claim(std::process::id(), generation);
            let worker = open_snapshot(&snapshot).map(|snapshot| Worker {
                config: of.config.clone(),
                snapshot,
                listeners,
                scoreboard: self.scoreboard,
                slot: scoreboard_slot,
                log: log.clone(),
                master: first.master,
                notify: Box::new(move |notice| match notice {
                    Notice::Ready => Message::Ready.send(&messages),
                    Notice::Retires(Cause::Requests) => Message::RetiresForRequests.send(&messages),
                    Notice::Retires(Cause::Memory) => Message::RetiresForMemory.send(&messages),
                    Notice::Deaf => Message::Deaf.send(&messages),
                }),
            });
            match worker.and_then(Worker::run) {
                Ok(Ending::Drained | Ending::Stopped) => ExitCode::Stopped,
                Err(error) => {
                    error!(log.logger(), "a worker cannot serve: {}", error);
                    ExitCode::Worker
                }
            }
        })
    }

    pub(super) fn generation(&self, number: u64) -> io::Result<&Generation> {
        self.generations
            .get(&number)
            .ok_or_else(|| io::Error::other(format!("there is no generation {number}")))
    }

    /// Descriptors that no child of this generation needs.
    pub(super) fn descriptors(&self, generation: u64) -> Vec<RawFd> {
        let own = [self.signals.as_fd().as_raw_fd(), self.messages.as_raw_fd()];
        let snapshots =
            self.generations.values().filter_map(|of| of.snapshot.as_ref()).map(AsRawFd::as_raw_fd);
        let loader = self.loader.iter().flat_map(Loader::fds);
        let pidfile = self.pidfile.iter().map(PidFile::fd);
        let control = self.control.iter().flat_map(Control::raw_fds);
        let turns = self.successor.iter().map(Successor::turn);
        let turns = turns.chain(self.predecessor.iter().map(Predecessor::turn));
        let turns = turns.map(|turn| turn.as_raw_fd());
        let mut fds: Vec<RawFd> = own
            .into_iter()
            .chain(snapshots)
            .chain(loader)
            .chain(pidfile)
            .chain(control)
            .chain(turns)
            .chain(self.errands.fds())
            .collect();
        // Generations share listeners; nothing may be closed twice.
        fds.extend(
            self.generations.values().flat_map(|of| of.listeners.iter().map(|listener| listener.fd())),
        );
        // A child opens only the log of its own generation anew, and would keep another's file for ever.
        let logs = self.generations.values().map(|of| &of.log).chain([&self.log]);
        let own_log = self.generations.get(&generation).and_then(|of| of.log.fd());
        fds.extend(logs.filter_map(Log::fd).filter(|fd| Some(*fd) != own_log));
        fds.sort_unstable();
        fds.dedup();
        fds
    }
}

/// The log of a configuration.
pub(super) fn open_log(config: &Config) -> Result<Log, String> {
    let log = Log::start(&config.log, "master", "avalon.master");
    let log = log.map_err(|error| format!("LOG_PATH: {error}"))?;
    give_log(config, &log);
    Ok(log)
}

/// A log file belongs to whoever the workers become, as with Gunicorn, so that they can open it
/// again.
pub(super) fn give_log(config: &Config, log: &Log) {
    if let (Some(path), Some(account)) = (&config.log.path, &config.account)
        && let Err(error) = give(path, account)
    {
        warn!(log.logger(), "LOG_PATH cannot be given to USER, who may fail to open it again";
            "error" => %error);
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

pub(super) fn open_listeners(
    config: &Config,
    activated: &[Rc<Listener>],
    open: &[Rc<Listener>],
) -> Result<Vec<Rc<Listener>>, String> {
    if activated.is_empty() {
        return listeners::open(&config.bind, open, config.backlog, config.umask, config.reuse_port);
    }
    Ok(activated.to_vec())
}

pub(super) fn settings(config: &Config) -> Settings {
    Settings {
        workers: config.workers,
        timeout: config.timeout,
        graceful_timeout: config.graceful_timeout,
        boot_timeout: config.boot_timeout,
        load_timeout: config.load_timeout,
        probation: PROBATION,
        failures_max: config.failures_max,
        failure_window: config.failure_window,
    }
}

pub(super) fn first_steps<'a>(
    close: &'a [RawFd],
    config: &'a Config,
    on_master_death: Signal,
) -> FirstSteps<'a> {
    let account = config.account.as_ref();
    let on_master_death = Some(on_master_death);
    FirstSteps {
        master: process::own_pid(),
        close,
        account,
        umask: config.umask,
        on_master_death,
        gives_way: false,
    }
}

/// The snapshot for the rest of the process's life. The loader has verified all of it, and
/// it is sealed since.
fn open_snapshot(sealed: &OwnedFd) -> io::Result<&'static Snapshot<'static>> {
    let map: &'static memmap2::Mmap = Box::leak(Box::new(storage::map(sealed)?));
    let snapshot = Snapshot::open(map, Verify::Structure).map_err(io::Error::other)?;
    Ok(Box::leak(Box::new(snapshot)))
}
