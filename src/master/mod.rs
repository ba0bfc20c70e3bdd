//! The process that starts, watches, replaces and stops the others.
//!
//! It has one thread for its whole life and never opens a database, starts a runtime or a
//! Sentry transport, so that it can fork at any time. [`arbiter`] decides; what is here
//! turns signals, deaths and reports into its events, and its actions into system calls.

pub mod arbiter;
mod asking;
mod clock;
mod control;
mod dispositions;
mod errands;
pub mod events;
mod generations;
mod handouts;
mod inherited;
mod kept;
mod listeners;
mod loader;
mod logs;
mod lookout;
mod messages;
mod metrics;
mod names;
mod parent;
mod perform;
mod pidfile;
mod process;
mod refresh;
mod sandbox;
mod saver;
mod scanner;
mod scans;
mod signals;
mod start;
mod status;
mod systemd;
mod terminal;
mod upgrade;
mod writers;

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use slog::{crit, error, info, warn};

use crate::scoreboard::{Dismissal, RestartCause, Scoreboard};
use arbiter::Arbiter;
use asking::Asking;
use clock::RunningClock;
use control::Control;
pub use dispositions::Dispositions;
use errands::{Errand, Errands, report_last};
use events::{Event, Settings, Wish};
use generations::Generation;
use handouts::{Handouts, Owed};
use listeners::Listener;
use loader::{Kept, Loader, Source, in_words};
use logs::open_log;
use messages::Message;
use metrics::Metrics;
use names::Names;
use parent::Parent;
use pidfile::PidFile;
use refresh::Refresh;
use saver::Saving;
use scans::Scans;
use signals::{Arrived, Signals};
use start::Prepared;
use systemd::Systemd;
use terminal::{Meaning, Terminal};
use upgrade::{Invocation, Predecessor, Successor};
use writers::Writers;

use crate::config::{Config, Overrides};
use crate::telemetry::{Log, sentry};

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
    /// At the first start the workers did not come up, or they die again and again.
    Worker = 3,
    /// At the first start there was no snapshot: the database is unreachable or broken.
    Snapshot = 4,
    /// This program is wrong (EX_SOFTWARE).
    Panic = 70,
}

struct Master {
    overrides: Overrides,
    arbiter: Arbiter,
    generations: BTreeMap<u64, Generation>,
    log: Log,
    writers: Writers,
    signals: Signals,
    terminal: Terminal,
    scoreboard: Scoreboard,
    /// Workers write [`Message`]s here.
    messages: File,
    messages_to: OwnedFd,
    loader: Option<Loader>,
    /// What the next generation waits for to be configured.
    asking: Option<Asking>,
    /// Children that nobody listens to any more, and that have not ended yet.
    hanging: Vec<Pid>,
    pidfile: Option<PidFile>,
    names: Names,
    control: Option<Control>,
    systemd: Systemd,
    /// Bound by systemd, in place of BIND.
    activated: Vec<Rc<Listener>>,
    /// A snapshot of a former master that nobody has looked at yet.
    kept: Option<Kept>,
    refresh: Refresh,
    /// The generation that is made only to see whether the database has something new.
    refreshing: Option<u64>,
    saving: Saving,
    scans: Scans,
    errands: Errands,
    metrics: Metrics,
    handouts: Handouts,
    invocation: Invocation,
    parent: Parent,
    /// The number of workers that the process title shows.
    titled: Option<usize>,
    /// A new master that is to take our place.
    successor: Option<Successor>,
    /// The master whose place we are to take.
    predecessor: Option<Predecessor>,
    begin: Instant,
    /// By which the arbiter measures.
    clock: RunningClock,
    /// How the last attempt to make a generation went, and when.
    last_made: Option<(SystemTime, Result<(), String>)>,
    exit: Option<ExitCode>,
    /// Whether to outlive the new master, which is to stop as well.
    ends_last: bool,
    /// How workers are told to leave.
    dismissal: Dismissal,
}

/// Runs a master until it is told to stop; `dispositions` are put in order already.
pub fn run(overrides: Overrides, config: Config, dispositions: Dispositions) -> ExitCode {
    let prepared = match Prepared::of(&config, dispositions) {
        Ok(prepared) => prepared,
        Err((code, message)) => {
            eprintln!("avalon-master: {message}");
            return code;
        }
    };
    let logger = prepared.log.logger().clone();
    let writers = prepared.writers.clone();
    let first = config.clone();
    let code = match Master::open(overrides, config, prepared) {
        Ok((master, settings)) => {
            // It would keep the first log file open for as long as the server runs.
            drop(logger);
            catch_unwind(AssertUnwindSafe(|| master.run(settings))).unwrap_or_else(|_| panicked(&first))
        }
        Err(message) => {
            crit!(logger, "the server cannot start: {}", message);
            report_last(&first, &logger);
            if first.log.path.is_some() {
                eprintln!("avalon-master: {message}");
            }
            ExitCode::Failure
        }
    };
    writers.end();
    code
}

/// The end of a master that is wrong; its workers see that it has gone, and drain.
fn panicked(first: &Config) -> ExitCode {
    if let Ok(log) = open_log(first) {
        crit!(log.logger(), #sentry::REPORTED, "the master panicked");
        report_last(first, log.logger());
    }
    ExitCode::Panic
}

impl Master {
    fn run(mut self, settings: Settings) -> ExitCode {
        self.dispatch(Event::Started(settings));
        while !self.has_ended() {
            self.wait();
            self.clock.round(Instant::now());
            while let Some((arrived, by_kernel)) = self.signals.next() {
                if let Arrived::Wished(wish) = arrived {
                    self.wished_by_signal(wish, by_kernel);
                }
            }
            self.terminal.look(Instant::now());
            for (message, pid) in self.received_messages() {
                match message {
                    Message::Ready => self.dispatch(Event::Ready(pid)),
                    Message::RetiresForRequests => {
                        self.dispatch(Event::Retires { pid, cause: RestartCause::MaxRequests })
                    }
                    Message::RetiresForMemory => {
                        self.dispatch(Event::Retires { pid, cause: RestartCause::MaxRss })
                    }
                    Message::Deaf => self.dispatch(Event::Deaf(pid)),
                    Message::TakenOver => self.taken_over(pid),
                }
            }
            self.succeed();
            self.proceed_with_configuration();
            while let Some((pid, ended)) = process::reap() {
                self.reaped(pid, ended);
            }
            self.obey();
            self.show_life();
            self.refresh();
            self.scan();
            self.look_after_logs();
            self.look_after_names();
            self.run_errands();
            self.hand_out();
            self.measure();
            let now = Instant::now();
            let silence = |slot| (slot, self.clock.counted(self.scoreboard.silence(slot), now));
            let silent = self.arbiter.slots().into_iter().map(silence).collect();
            self.dispatch(Event::Tick { silent });
        }
        // Nobody needs what they make any more. Killed and reaped here, not left to whoever reaps
        // orphans.
        self.scans.end();
        let others = self.loader.iter().map(|loader| loader.pid).chain(self.saving.saver());
        let others = others.chain(self.errands.looking_up()).chain(self.asking.iter().map(Asking::pid));
        let others = others.chain(self.names.lookout.pid());
        others.for_each(process::end);
        let code = self.exit.unwrap_or(ExitCode::Failure);
        self.end_errands();
        info!(self.log.logger(), "stopped"; "exit_code" => code as i32);
        self.log.end();
        code
    }

    /// Waits for a signal, a ready worker, or the time of the next tick.
    fn wait(&self) {
        let scan = self.scan_due().map(|due| self.clock.at(due));
        let until = self.arbiter.next_deadline().into_iter().chain(self.refresh.due()).chain(scan).min();
        let tick = self.systemd.pause().map_or(TICK, |pause| pause.min(TICK));
        let wait = until.map_or(tick, |until| until.saturating_duration_since(self.clock.now()).min(tick));
        // One millisecond more, so that a deadline has passed when poll returns.
        let wait = PollTimeout::try_from(wait + Duration::from_millis(1)).unwrap_or(PollTimeout::ZERO);
        let own = [self.signals.as_fd(), self.messages.as_fd()];
        let control = self.control.iter().flat_map(Control::fds);
        let turn = self.predecessor.iter().map(Predecessor::turn);
        let asking = self.asking.iter().map(Asking::fd);
        let mut fds: Vec<PollFd<'_>> = own
            .into_iter()
            .chain(control)
            .chain(turn)
            .chain(asking)
            .chain(self.names.lookout.fd())
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        if let Err(errno) = poll(&mut fds, wait)
            && errno != Errno::EINTR
        {
            error!(self.log.logger(), "poll failed"; "error" => %errno);
        }
    }

    /// A signal may be the terminal's, and then means something else.
    fn wished_by_signal(&mut self, wish: Wish, by_kernel: bool) {
        match self.terminal.meaning(wish, by_kernel) {
            Meaning::Wished(wish) => self.dispatch(Event::Wished(wish)),
            Meaning::HungUp => {
                warn!(
                    self.log.logger(),
                    "the terminal was closed, and the server stops; nohup or a service \
                    manager lets it outlive one"
                );
                self.dispatch(Event::Wished(Wish::Stop));
            }
            Meaning::Nothing(Some(message)) => info!(self.log.logger(), "{}", message),
            Meaning::Nothing(None) => {}
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
        if let Some(at) = self.hanging.iter().position(|hanging| *hanging == pid) {
            self.hanging.swap_remove(at);
            return;
        }
        if self.writers.ended(pid) || self.names.lookout.ended(pid) {
            return;
        }
        if self.saving.ended(pid) {
            return self.save();
        }
        if let Some(scanner) = self.take_scanner(pid) {
            return self.scan_ended(scanner, ended);
        }
        match self.errands.ended(pid) {
            Some(Errand::Told) => return,
            Some(Errand::LookedUp(answers)) => return self.learn(answers),
            None => {}
        }
        match self.loader.take_if(|loader| loader.pid == pid) {
            Some(loader) => self.loader_ended(loader, ended),
            None => self.worker_ended(pid, ended),
        }
    }

    fn worker_ended(&mut self, pid: Pid, ended: process::Ended) {
        let worker = self.arbiter.workers().find(|worker| worker.pid == pid);
        let orderly = ended == process::Ended::Code(0);
        self.handouts.remove(pid);
        // First, as the next worker may get the same slot.
        worker.iter().for_each(|worker| self.scoreboard.slot(worker.slot).release());
        let source = worker.and_then(|worker| self.generations.get(&worker.generation)?.source);
        self.dispatch(Event::Exited { pid, orderly, how: ended.to_string() });
        let from_file = source.is_some_and(|source| source != Source::Database);
        if from_file && ended == process::Ended::Signal(Signal::SIGBUS) {
            warn!(self.log.logger(), "the snapshot's file was cut while it was in use");
            self.dispatch(Event::Wished(Wish::Reload));
        }
    }

    fn loader_ended(&mut self, loader: Loader, ended: process::Ended) {
        let (number, source, took) = (loader.generation, loader.source(), loader.begin.elapsed());
        let result = loader.finish(ended);
        if let (true, Err(reason)) = (source != Source::Database, &result) {
            warn!(self.log.logger(), "the snapshot that was kept is of no use: {}", reason);
            let started = self.start_loader(number).map_err(|error| error.to_string());
            return self.dispatch(Event::LoaderStarted(started));
        }
        if let Ok(loaded) = &result
            && self.confirms(number, loaded)
        {
            return self.dispatch(Event::Unchanged);
        }
        let result = result.map(|loaded| {
            info!(self.log.logger(), "snapshot made gen={} {}", number, in_words(&loaded.summary));
            if let Some(generation) = self.generations.get_mut(&number) {
                generation.snapshot = Some(loaded.snapshot);
                generation.summary = loaded.summary;
                generation.made = Instant::now();
                generation.build = if source == Source::Database { took } else { Duration::ZERO };
                generation.source = Some(source);
                let path = generation.config.snapshot_path.as_deref().filter(|_| source == Source::Saved);
                path.zip(generation.hash())
                    .into_iter()
                    .for_each(|(path, hash)| self.saving.holds(path, hash));
            }
        });
        self.dispatch(Event::LoaderEnded(result));
    }

    fn dispatch(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for action in self.arbiter.handle(event, self.clock.now()) {
                events.extend(self.perform(action));
            }
        }
    }
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
