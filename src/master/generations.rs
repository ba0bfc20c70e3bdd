//! Generations, and the making of their parts: configuration, log and listeners, the loader, the
//! workers.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::Value;
use slog::{debug, error, warn};

use super::events::Settings;
use super::listeners::{self, Listener, Manner};
use super::loader::{Loader, Source, Summary};
use super::messages::Message;
use super::pidfile::PidFile;
use super::process::{self, FirstSteps};
use super::sandbox;
use super::start::warn_about;
use super::writers::RELOAD_PATIENCE;
use super::{ExitCode, Master, chain};
use crate::config::{self, BindAddress, Config, World};
use crate::snapshot;
use crate::telemetry::sentry::{self, Lookup};
use crate::telemetry::{AccessLog, Log};
use crate::title;
use crate::worker::{Cause, Ending, Notice, Role, Worker, handout_way};

/// A worker that crashes as soon as it has something to do does so within this time, and a reload
/// takes so much longer.
const PROBATION: Duration = Duration::from_millis(200);

/// A generation: a configuration, its listeners and logs, and, once made, its snapshot.
pub(super) struct Generation {
    pub(super) config: Config,
    /// User and group of its children.
    pub(super) account_names: (String, String),
    pub(super) log: Log,
    pub(super) access_log: Option<Arc<AccessLog>>,
    pub(super) listeners: Vec<Rc<Listener>>,
    pub(super) snapshot: Option<OwnedFd>,
    pub(super) summary: Summary,
    pub(super) made: Instant,
    /// How long its loader took; zero for a snapshot that was kept.
    pub(super) build: Duration,
    /// Where the snapshot comes from, once there is one.
    pub(super) source: Option<Source>,
    /// Whether the database has been found to hold the same.
    pub(super) confirmed: bool,
}

impl Generation {
    pub(super) fn new(
        config: Config,
        account_names: (String, String),
        log: Log,
        access_log: Option<AccessLog>,
        listeners: Vec<Rc<Listener>>,
    ) -> Self {
        Generation {
            config,
            account_names,
            log,
            access_log: access_log.map(Arc::new),
            listeners,
            snapshot: None,
            summary: Summary::new(),
            made: Instant::now(),
            build: Duration::ZERO,
            source: None,
            confirmed: false,
        }
    }

    /// Whether the database may know better.
    pub(super) fn is_stale(&self) -> bool {
        self.source.is_some_and(|source| source != Source::Database) && !self.confirmed
    }

    /// Whether there are no songs, as before the first scan.
    pub(super) fn is_empty(&self) -> bool {
        self.summary.get("songs").and_then(Value::as_u64) == Some(0)
    }

    /// The first steps of its children, which keep its logs and nothing else.
    pub(super) fn first_steps(&self, on_master_death: Signal) -> FirstSteps<'_> {
        let logs = [self.log.fd(), self.access_log.as_ref().and_then(|log| log.fd())];
        let keep = logs.into_iter().flatten().collect();
        FirstSteps { keep, ..first_steps(&self.config, on_master_death) }
    }

    /// What an address is for: another configuration may use it otherwise.
    pub(super) fn role(&self, listener: &Listener) -> Role {
        match self.config.metrics_bind.contains(listener.address()) {
            true => Role::Metrics,
            false => Role::Api,
        }
    }

    /// The addresses that are for this, with the ports that were really bound.
    pub(super) fn shown(&self, role: Role) -> Vec<String> {
        let with_role = self.listeners.iter().filter(|listener| self.role(listener) == role);
        with_role.map(|listener| listener.shown()).collect()
    }

    /// The name of its content.
    pub(super) fn hash(&self) -> Option<&str> {
        self.summary.get("hash")?.as_str()
    }
}

impl Master {
    /// Makes the next generation of a configuration for which `world` has all answers.
    pub(super) fn configure(&mut self, generation: u64, world: &World<'_>) -> Result<Settings, String> {
        let config = config::load_in(&self.overrides, world).map_err(|error| chain(&error))?;
        warn_about(&config, self.log.logger());
        if config.pidfile.as_deref() != self.pidfile.as_ref().map(PidFile::path) {
            warn!(self.log.logger(), "PIDFILE is not changed by a reload");
        }
        self.restore_names();
        let (log, access_log) = self.writers.open(&config, RELOAD_PATIENCE)?;
        let open: Vec<Rc<Listener>> =
            self.generations.values().flat_map(|generation| generation.listeners.clone()).collect();
        let listeners = open_listeners(&config, &self.activated, &open, world)?;
        let settings = settings(&config);
        let account_names = config.account_names(world);
        let next = Generation::new(config, account_names, log, access_log, listeners);
        self.generations.insert(generation, next);
        Ok(settings)
    }

    /// Addresses that need not be opened for another generation.
    pub(super) fn open_addresses(&self) -> Vec<BindAddress> {
        let listeners = self.generations.values().flat_map(|generation| &generation.listeners);
        listeners.chain(&self.activated).map(|listener| listener.address().clone()).collect()
    }

    pub(super) fn start_loader(&mut self, generation: u64) -> io::Result<Pid> {
        let kept = self.kept.take();
        // Nobody waits for the first one in vain; later ones have workers beside them.
        let gives_way = self.arbiter.current().is_some() || self.predecessor.is_some();
        let of = self.generation(generation)?;
        let first = FirstSteps { gives_way, ..of.first_steps(Signal::SIGKILL) };
        let loader = match kept {
            Some(kept) => Loader::verify(generation, &of.config, &of.log, first, kept)?,
            None => Loader::start(generation, &of.config, &of.log, first)?,
        };
        let pid = loader.pid;
        self.loader = Some(loader);
        Ok(pid)
    }

    pub(super) fn fork_worker(&mut self, generation: u64, slot: usize) -> io::Result<Pid> {
        let (giver, taker) = handout_way()?;
        let of = self.generation(generation)?;
        let mut first = of.first_steps(Signal::SIGTERM);
        // Copies made before the fork: the child closes the master's own descriptors.
        let share = |listener: &Rc<Listener>| Ok((listener.share()?, of.role(listener)));
        let listeners = of.listeners.iter().map(share).collect::<io::Result<Vec<_>>>()?;
        let snapshot =
            of.snapshot.as_ref().ok_or_else(|| io::Error::other("the generation has no snapshot"))?;
        let snapshot = snapshot.try_clone()?;
        let messages = File::from(self.messages_to.try_clone()?);
        first.keep.extend(listeners.iter().map(|(listener, _)| listener.as_raw_fd()));
        first.keep.extend([snapshot.as_raw_fd(), messages.as_raw_fd(), taker.as_fd().as_raw_fd()]);
        let scoreboard_slot = self.scoreboard.assign(slot);
        let forked = process::fork(&first, || {
            title::set(&format!("avalon: worker {slot} [gen {generation}]"));
            let log = of.log.for_process(&format!("worker {slot}"));
            of.access_log.iter().for_each(|access_log| access_log.forked());
            if of.config.sandbox {
                match sandbox::confine() {
                    Ok(how) => debug!(log.logger(), "confined"; "how" => how),
                    // It serves all the same: the kernel may not know of it.
                    Err(error) => warn!(log.logger(), "the worker is not fully confined: {}", error),
                }
            }
            let _sentry =
                sentry::start(&of.config.sentry, "worker", Some(generation), Some(slot), Lookup::Known);
            scoreboard_slot.claim(std::process::id(), generation);
            let worker = snapshot::open_sealed(&snapshot).map(|snapshot| Worker {
                config: of.config.clone(),
                snapshot,
                listeners,
                scoreboard: self.scoreboard,
                slot: scoreboard_slot,
                log: log.clone(),
                access_log: of.access_log.clone(),
                master: first.master,
                handouts: taker,
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
        });
        forked.inspect(|pid| self.handouts.add(*pid, generation, giver))
    }

    pub(super) fn generation(&self, number: u64) -> io::Result<&Generation> {
        self.generations
            .get(&number)
            .ok_or_else(|| io::Error::other(format!("there is no generation {number}")))
    }
}

/// All addresses that a configuration names.
pub(super) fn addresses_wanted(config: &Config) -> impl Iterator<Item = &BindAddress> {
    config.bind.iter().chain(&config.metrics_bind)
}

/// What a configuration wants to be open: what is `activated` takes the place of `BIND`, but for what
/// `METRICS_BIND` names, and what is `open` already is used again. Without metrics none of
/// `METRICS_BIND` is opened; what is activated stays, for metrics that are not there: whoever reaches
/// it was not meant to reach the rest.
pub(super) fn open_listeners(
    config: &Config,
    activated: &[Rc<Listener>],
    open: &[Rc<Listener>],
    world: &World<'_>,
) -> Result<Vec<Rc<Listener>>, String> {
    let manner = Manner::of(config);
    let bind =
        |addresses: &[BindAddress], open: &[Rc<Listener>]| listeners::open(addresses, open, &manner, world);
    let is_wanted = |address: &&BindAddress| {
        config.metrics || activated.iter().any(|listener| listener.address() == *address)
    };
    let metrics: Vec<_> = config.metrics_bind.iter().filter(is_wanted).cloned().collect();
    let metrics = bind(&metrics, &[activated, open].concat())?;
    let is_other = |listener: &&Rc<Listener>| !config.metrics_bind.contains(listener.address());
    let mut listeners: Vec<_> = activated.iter().filter(is_other).cloned().collect();
    if listeners.is_empty() {
        listeners = bind(&config.bind, open)?;
    }
    listeners.extend(metrics);
    Ok(listeners)
}

/// The first steps of a child that needs no descriptor.
pub(super) fn first_steps(config: &Config, on_master_death: Signal) -> FirstSteps<'_> {
    FirstSteps {
        master: process::own_pid(),
        keep: Vec::new(),
        account: config.account.as_ref(),
        umask: config.umask,
        on_master_death: Some(on_master_death),
        gives_way: false,
    }
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
