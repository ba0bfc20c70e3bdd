//! The process that starts, watches, replaces and stops the others.
//!
//! It has one thread for its whole life and never opens a database, starts a runtime or a
//! Sentry transport, so that it can fork at any time. [`arbiter`] decides; what is here
//! turns signals, deaths and reports into its events, and its actions into system calls.

pub mod arbiter;
mod control;
pub mod events;
mod inherited;
mod listeners;
mod loader;
mod pidfile;
mod process;
mod signals;
mod status;
mod systemd;
mod upgrade;

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, pipe2};

use slog::{Level, Logger, error, info, warn};
use socket2::Socket;

use crate::scoreboard::Scoreboard;
use arbiter::Arbiter;
use control::Control;
use events::{Action, Event, Settings, Wish};
use inherited::Inherited;
use listeners::Listener;
use loader::{Loader, Summary, in_words};
use pidfile::PidFile;
use process::FirstSteps;
use signals::{Arrived, Signals};
use systemd::Systemd;
use upgrade::{Invocation, Predecessor, Successor, second};

use crate::config::{self, Config, Overrides};
use crate::snapshot::{Snapshot, Verify, storage};
use crate::telemetry::{Log, sentry};
use crate::title;
use crate::worker::{Ending, Notice, Worker};

/// Longest time between two looks at the workers' signs of life.
const TICK: Duration = Duration::from_millis(500);

/// How a process of ours ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum ExitCode {
    /// Stopped as it was told to.
    Stopped = 0,
    /// An address or the pid file could not be had, or the system failed.
    Failure = 1,
    /// A wrong command line or configuration.
    Configuration = 2,
    /// At the first start the workers did not come up.
    Worker = 3,
    /// At the first start there was no snapshot: the database is unreachable or broken.
    Snapshot = 4,
    /// This program is wrong (EX_SOFTWARE).
    Panic = 70,
}

/// A generation: a configuration, its listeners and log, and, once made, its snapshot.
struct Generation {
    config: Config,
    log: Log,
    listeners: Vec<Rc<Listener>>,
    snapshot: Option<OwnedFd>,
    summary: Summary,
    made: Instant,
    /// Whether the snapshot was kept from a former master.
    stale: bool,
}

impl Generation {
    fn new(config: Config, log: Log, listeners: Vec<Rc<Listener>>) -> Self {
        let (summary, made) = (Summary::new(), Instant::now());
        Generation { config, log, listeners, snapshot: None, summary, made, stale: false }
    }
}

struct Master {
    overrides: Overrides,
    arbiter: Arbiter,
    generations: BTreeMap<u64, Generation>,
    log: Log,
    signals: Signals,
    scoreboard: Scoreboard,
    /// Workers write [`Message`]s here.
    messages: File,
    messages_to: OwnedFd,
    loader: Option<Loader>,
    pidfile: Option<PidFile>,
    control: Option<Control>,
    systemd: Systemd,
    /// Bound by systemd, in place of BIND.
    activated: Vec<Rc<Listener>>,
    /// A snapshot of a former master that nobody has looked at yet.
    kept: Option<OwnedFd>,
    invocation: Invocation,
    /// The number of workers that the process title shows.
    titled: Option<usize>,
    /// A new master that is to take our place.
    successor: Option<Successor>,
    /// The master whose place we are to take.
    predecessor: Option<Predecessor>,
    begin: Instant,
    /// How the last attempt to make a generation went, and when.
    last_made: Option<(SystemTime, Result<(), String>)>,
    exit: Option<ExitCode>,
    /// Whether to outlive the new master, which is to stop as well.
    ends_last: bool,
}

/// What a child tells its master, as one atomic write of eight bytes: the kind, and its pid.
#[derive(Clone, Copy)]
enum Message {
    /// It accepts connections.
    Ready = 1,
    /// It has served MAX_REQUESTS.
    Retires = 2,
    /// It accepts no connections any more.
    Deaf = 4,
    /// A new master, started in place of this one, serves.
    TakenOver = 3,
}

impl Message {
    fn send(self, to: &File) -> io::Result<()> {
        let pid = process::own_pid().as_raw();
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&(self as i32).to_le_bytes());
        bytes[4..].copy_from_slice(&pid.to_le_bytes());
        let mut to = to;
        to.write_all(&bytes)
    }

    fn parse(bytes: [u8; 8]) -> Option<(Message, Pid)> {
        let number = |from: usize| {
            i32::from_le_bytes([bytes[from], bytes[from + 1], bytes[from + 2], bytes[from + 3]])
        };
        let pid = Pid::from_raw(number(4));
        match number(0) {
            1 => Some((Message::Ready, pid)),
            2 => Some((Message::Retires, pid)),
            3 => Some((Message::TakenOver, pid)),
            4 => Some((Message::Deaf, pid)),
            _ => None,
        }
    }
}

/// Runs a master until it is told to stop.
pub fn run(overrides: Overrides, config: Config) -> ExitCode {
    let (inherited, log, signals) = match prepare(&config) {
        Ok(prepared) => prepared,
        Err((code, message)) => {
            eprintln!("avalon-master: {message}");
            return code;
        }
    };
    let said_on_stderr = config.log.path.is_none();
    let logger = log.logger().clone();
    match Master::open(overrides, config, log, signals, inherited) {
        Ok((master, settings)) => master.run(settings),
        Err(message) => {
            slog::crit!(logger, "the server cannot start: {}", message);
            if !said_on_stderr {
                eprintln!("avalon-master: {message}");
            }
            ExitCode::Failure
        }
    }
}

/// What was passed on, log and signals: what must be there before anything can fail in an
/// orderly way.
fn prepare(config: &Config) -> Result<(Inherited, Log, Signals), (ExitCode, String)> {
    let inherited = Inherited::take().map_err(|message| (ExitCode::Failure, message))?;
    let log = Log::start(&config.log, "master", "avalon.master")
        .map_err(|error| (ExitCode::Configuration, format!("LOG_PATH: {error}")))?;
    let signals = Signals::block()
        .map_err(|error| (ExitCode::Failure, format!("signals cannot be received: {error}")))?;
    Ok((inherited, log, signals))
}

impl Master {
    fn open(
        overrides: Overrides,
        config: Config,
        log: Log,
        signals: Signals,
        inherited: Inherited,
    ) -> Result<(Self, Settings), String> {
        warn_about(&config, log.logger());
        raise_descriptor_limit(log.logger());
        let Inherited { sockets, snapshot: kept, handover } = inherited;
        let (passed_on, predecessor) = handover.map(Predecessor::of).unzip();
        let passed_on = passed_on.unwrap_or_default();
        // The names are taken until the former master has gone.
        let beside = |path: &Path| if predecessor.is_some() { second(path) } else { path.to_owned() };
        let pidfile = config.pidfile.as_deref().map(|path| PidFile::create(&beside(path))).transpose()?;
        let mut activated = listeners::inherit(sockets);
        activated.extend(passed_on.iter().filter(|listener| listener.is_activated()).cloned());
        let listeners = open_listeners(&config, &activated, &passed_on)?;
        for listener in &listeners {
            info!(log.logger(), "listening on {}", listener.shown());
        }
        let system = |error: io::Error| format!("the system refuses what a master needs: {error}");
        let (messages, messages_to) =
            pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).map_err(|errno| system(errno.into()))?;
        let settings = settings(&config);
        let control = config.control.as_deref().and_then(|path| open_control(&beside(path), log.logger()));
        let first = Generation::new(config, log.clone(), listeners);
        let master = Master {
            overrides,
            arbiter: Arbiter::new(settings.clone()),
            generations: BTreeMap::from([(1, first)]),
            log,
            signals,
            scoreboard: Scoreboard::create().map_err(system)?,
            messages: messages.into(),
            messages_to,
            loader: None,
            pidfile,
            control,
            systemd: Systemd::new(predecessor.is_some()),
            activated,
            kept,
            invocation: Invocation::of_this_process().map_err(system)?,
            titled: None,
            successor: None,
            predecessor,
            begin: Instant::now(),
            last_made: None,
            exit: None,
            ends_last: false,
        };
        Ok((master, settings))
    }

    fn run(mut self, settings: Settings) -> ExitCode {
        self.dispatch(Event::Started(settings));
        while !self.has_ended() {
            self.wait();
            while let Some(arrived) = self.signals.next() {
                if let Arrived::Wished(wish) = arrived {
                    self.dispatch(Event::Wished(wish));
                }
            }
            for (message, pid) in self.received_messages() {
                match message {
                    Message::Ready => self.dispatch(Event::Ready(pid)),
                    Message::Retires => self.dispatch(Event::Retires(pid)),
                    Message::Deaf => self.dispatch(Event::Deaf(pid)),
                    Message::TakenOver => self.taken_over(pid),
                }
            }
            self.succeed();
            while let Some((pid, ended)) = process::reap() {
                self.reaped(pid, ended);
            }
            self.obey();
            self.show_life();
            let silence = |slot| (slot, self.scoreboard.silence(slot));
            let silent = self.arbiter.slots().into_iter().map(silence).collect();
            self.dispatch(Event::Tick { silent });
        }
        let code = self.exit.unwrap_or(ExitCode::Failure);
        info!(self.log.logger(), "stopped"; "exit_code" => code as i32);
        code
    }

    /// Waits for a signal, a ready worker, or the time of the next tick.
    fn wait(&self) {
        let until = self.arbiter.next_deadline();
        let tick = self.systemd.pause().map_or(TICK, |pause| pause.min(TICK));
        let wait = until.map_or(tick, |until| until.saturating_duration_since(Instant::now()).min(tick));
        // One millisecond more, so that a deadline has passed when poll returns.
        let wait = PollTimeout::try_from(wait + Duration::from_millis(1)).unwrap_or(PollTimeout::ZERO);
        let own = [self.signals.as_fd(), self.messages.as_fd()];
        let control = self.control.iter().flat_map(Control::fds);
        let turn = self.predecessor.iter().map(Predecessor::turn);
        let mut fds: Vec<PollFd<'_>> =
            own.into_iter().chain(control).chain(turn).map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        if let Err(errno) = poll(&mut fds, wait)
            && errno != Errno::EINTR
        {
            error!(self.log.logger(), "poll failed"; "error" => %errno);
        }
    }

    fn received_messages(&mut self) -> Vec<(Message, Pid)> {
        let mut messages = Vec::new();
        let mut message = [0; 8];
        while self.messages.read_exact(&mut message).is_ok() {
            messages.extend(Message::parse(message));
        }
        messages
    }

    fn reaped(&mut self, pid: Pid, ended: process::Ended) {
        if self.successor.as_ref().is_some_and(|successor| successor.pid == pid) {
            return self.successor_ended(ended);
        }
        let Some(loader) = self.loader.take_if(|loader| loader.pid == pid) else {
            let slot = self.arbiter.workers().find(|worker| worker.pid == pid).map(|worker| worker.slot);
            let orderly = ended == process::Ended::Code(0);
            // First, as the next worker may get the same slot.
            slot.into_iter().for_each(|slot| self.scoreboard.retire(slot));
            return self.dispatch(Event::Exited { pid, orderly, how: ended.to_string() });
        };
        let (generation, kept) = (loader.generation, loader.is_kept());
        let result = loader.finish(ended);
        if let (true, Err(reason)) = (kept, &result) {
            warn!(self.log.logger(), "the snapshot that was kept is of no use: {}", reason);
            let started = self.start_loader(generation).map_err(|error| error.to_string());
            return self.dispatch(Event::LoaderStarted(started));
        }
        let result = result.map(|loaded| {
            info!(self.log.logger(), "snapshot made gen={} {}", generation, in_words(&loaded.summary));
            if let Some(generation) = self.generations.get_mut(&generation) {
                generation.snapshot = Some(loaded.snapshot);
                generation.summary = loaded.summary;
                generation.made = Instant::now();
                generation.stale = loaded.stale;
            }
        });
        self.dispatch(Event::LoaderEnded(result));
    }

    fn dispatch(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for action in self.arbiter.handle(event, Instant::now()) {
                events.extend(self.perform(action));
            }
        }
    }

    /// Does what the arbiter says; some of it has an answer.
    fn perform(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Configure { generation } => {
                let status = format!("reloading; {}", self.status_line());
                self.systemd.reloading(&status);
                return Some(Event::Configured(self.configure(generation)));
            }
            Action::StartLoader { generation } => {
                let started = self.start_loader(generation);
                return Some(Event::LoaderStarted(started.map_err(|error| error.to_string())));
            }
            Action::Fork { generation, slot } => {
                let result = self.fork_worker(generation, slot).map_err(|error| error.to_string());
                return Some(Event::Forked { generation, slot, result });
            }
            Action::Kill { pid, signal } => self.kill(pid, signal),
            Action::Promote { generation } => self.promote(generation),
            Action::Made { generation, result } => return self.made(generation, result),
            Action::Stuck { pid, slot } => {
                let request = self.scoreboard.slot(slot).request();
                error!(self.log.logger(), "worker is silent for longer than TIMEOUT and is killed pid={}", pid;
                    "request" => request.as_deref().unwrap_or("none"));
            }
            Action::Discard { generation } => drop(self.generations.remove(&generation)),
            Action::CloseListeners => {
                self.leave_systemd();
                self.activated.clear();
                self.generations.values_mut().for_each(|generation| generation.listeners.clear());
            }
            Action::Upgrade => {
                // Nobody waits for it; the log says why not.
                let _ = self.upgrade(false);
            }
            Action::ReopenLog => self.reopen_logs(),
            Action::Log(level, message) => self.say(level, &message),
            Action::Exit(code) => self.exit = Some(code),
        }
        None
    }

    fn configure(&mut self, generation: u64) -> Result<Settings, String> {
        let config = config::load(&self.overrides).map_err(|error| chain(&error))?;
        warn_about(&config, self.log.logger());
        if config.pidfile.as_deref() != self.pidfile.as_ref().map(PidFile::path) {
            warn!(self.log.logger(), "PIDFILE is not changed by a reload");
        }
        let log = Log::start(&config.log, "master", "avalon.master")
            .map_err(|error| format!("LOG_PATH: {error}"))?;
        let open: Vec<Rc<Listener>> =
            self.generations.values().flat_map(|generation| generation.listeners.clone()).collect();
        let listeners = open_listeners(&config, &self.activated, &open)?;
        let settings = settings(&config);
        self.generations.insert(generation, Generation::new(config, log, listeners));
        Ok(settings)
    }

    fn start_loader(&mut self, generation: u64) -> io::Result<Pid> {
        let kept = self.kept.take();
        let close = self.descriptors();
        let Generation { config, log, .. } = self.generation(generation)?;
        let first = first_steps(&close, config, Signal::SIGKILL);
        let loader = match kept {
            Some(kept) => Loader::verify(generation, config, log, &first, kept)?,
            None => Loader::start(generation, config, log, &first)?,
        };
        let pid = loader.pid;
        self.loader = Some(loader);
        Ok(pid)
    }

    fn fork_worker(&self, generation: u64, slot: usize) -> io::Result<Pid> {
        let close = self.descriptors();
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
            let _sentry =
                sentry::start(of.config.sentry_dsn.as_deref(), "worker", Some(generation), Some(slot));
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
                    Notice::Retires => Message::Retires.send(&messages),
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

    fn generation(&self, number: u64) -> io::Result<&Generation> {
        self.generations
            .get(&number)
            .ok_or_else(|| io::Error::other(format!("there is no generation {number}")))
    }

    /// Descriptors that no child needs.
    fn descriptors(&self) -> Vec<RawFd> {
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
            .collect();
        // Generations share listeners; nothing may be closed twice.
        fds.extend(
            self.generations.values().flat_map(|of| of.listeners.iter().map(|listener| listener.fd())),
        );
        fds.sort_unstable();
        fds.dedup();
        fds
    }

    fn kill(&self, pid: Pid, signal: Signal) {
        match kill(pid, signal) {
            // It has ended, and will be reaped.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => {
                warn!(self.log.logger(), "signal not sent"; "pid" => pid.as_raw(), "error" => %errno);
            }
        }
    }

    fn promote(&mut self, number: u64) {
        for (other, generation) in &mut self.generations {
            if *other != number {
                // Addresses that the new generation does not want close here.
                generation.listeners.clear();
            }
        }
        let Some(generation) = self.generations.get(&number) else { return };
        self.log = generation.log.clone();
        let addresses: Vec<String> = generation.listeners.iter().map(|listener| listener.shown()).collect();
        info!(self.log.logger(), "generation {} serves on {}", number, addresses.join(", ");
            "workers" => self.arbiter.workers_wanted());
    }

    /// Tells all who wait for it; a generation from a kept snapshot is followed by one from
    /// the database.
    fn made(&mut self, number: u64, result: Result<(), String>) -> Option<Event> {
        if let Some(control) = &mut self.control {
            control.made(number, &result);
        }
        let serves = result.is_ok();
        if let (true, Some(predecessor)) = (serves, &mut self.predecessor)
            && let Some(tell) = predecessor.tell.take()
            && let Err(error) = Message::TakenOver.send(&tell)
        {
            warn!(self.log.logger(), "the former master cannot be told"; "error" => %error);
        }
        self.last_made = Some((SystemTime::now(), result));
        let status = self.status_line();
        if self.arbiter.current().is_some() {
            self.systemd.ready(&status);
        } else {
            self.systemd.status(&status);
        }
        let generation = self.generations.get(&number).filter(|_| serves)?;
        if generation.stale {
            return Some(Event::Wished(Wish::Reload));
        }
        if let Some(snapshot) = &generation.snapshot {
            self.systemd.keep(snapshot);
        }
        None
    }

    fn reopen_logs(&self) {
        let logs = self.generations.values().map(|generation| &generation.log).chain([&self.log]);
        for log in logs {
            if let Err(error) = log.reopen() {
                error!(self.log.logger(), "the log could not be reopened: {}", error);
            }
        }
    }

    /// What keeps a server from starting is said on stderr too.
    fn say(&self, level: Level, message: &str) {
        let log = self.log.logger();
        match level {
            Level::Critical => {
                slog::crit!(log, "{}", message);
                if self.generations.values().any(|generation| generation.config.log.path.is_some()) {
                    eprintln!("avalon-master: {message}");
                }
            }
            Level::Error => error!(log, "{}", message),
            Level::Warning => warn!(log, "{}", message),
            _ => info!(log, "{}", message),
        }
    }
}

fn open_listeners(
    config: &Config,
    activated: &[Rc<Listener>],
    open: &[Rc<Listener>],
) -> Result<Vec<Rc<Listener>>, String> {
    if activated.is_empty() {
        return listeners::open(&config.bind, open, config.backlog, config.umask);
    }
    Ok(activated.to_vec())
}

/// A server can do without; a second one on the machine has to.
fn open_control(path: &Path, log: &Logger) -> Option<Control> {
    Control::open(path).map_err(|error| warn!(log, "avalonctl cannot reach this server: {}", error)).ok()
}

/// An error with its causes, in one line.
fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line = format!("{line}: {error}");
        cause = error.source();
    }
    line
}

fn settings(config: &Config) -> Settings {
    Settings {
        workers: config.workers,
        timeout: config.timeout,
        graceful_timeout: config.graceful_timeout,
        boot_timeout: config.boot_timeout,
        load_timeout: config.load_timeout,
    }
}

fn first_steps<'a>(close: &'a [RawFd], config: &'a Config, on_master_death: Signal) -> FirstSteps<'a> {
    let account = config.account.as_ref();
    FirstSteps { master: process::own_pid(), close, account, umask: config.umask, on_master_death }
}

/// The snapshot for the rest of the process's life. The loader has verified all of it, and
/// it is sealed since.
fn open_snapshot(sealed: &OwnedFd) -> io::Result<&'static Snapshot<'static>> {
    let map: &'static memmap2::Mmap = Box::leak(Box::new(storage::map(sealed)?));
    let snapshot = Snapshot::open(map, Verify::Structure).map_err(io::Error::other)?;
    Ok(Box::leak(Box::new(snapshot)))
}

fn warn_about(config: &Config, log: &Logger) {
    for warning in &config.warnings {
        warn!(log, "{}", warning);
    }
}

/// A worker needs a descriptor per connection; the soft limit is often 1024 for the sake of
/// programs that use select(2).
fn raise_descriptor_limit(log: &Logger) {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(errno) = raised {
        warn!(log, "the limit of open files could not be raised"; "error" => %errno);
    }
}
