//! The events that the arbiter receives, and the actions that it asks for: the language between its decisions
//! and the shell that carries them out.

use std::fmt;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use slog::Level;

use crate::master::error::Reason;
use crate::master::exit::ExitCode;
use crate::scoreboard::RestartCause;

/// The part of a configuration that the arbiter needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Number of workers.
    pub workers: usize,
    /// Silence after which a worker is replaced.
    pub timeout: Option<Duration>,
    /// Longest time for which a worker may drain.
    pub graceful_timeout: Duration,
    /// Longest time until a worker is ready.
    pub boot_timeout: Duration,
    /// Longest time of a loader.
    pub load_timeout: Duration,
    /// The time for which all workers of a new generation must have lived before it replaces one that serves.
    pub probation: Duration,
    /// Number of workers that may die young within `failure_window`, with no other worker to serve, before
    /// the master ends; 0 means any number.
    pub failures_max: usize,
    /// The time for which a death counts.
    pub failure_window: Duration,
}

/// A wish of an operator, by a signal or a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// SIGHUP.
    Reload,
    /// SIGTERM.
    Stop,
    /// SIGINT, SIGQUIT.
    StopNow,
    /// SIGTTIN.
    MoreWorkers,
    /// SIGTTOU.
    FewerWorkers,
    /// TTIN and TTOU in one step: this number of workers.
    Workers(usize),
    /// SIGUSR2.
    Upgrade,
    /// SIGWINCH.
    Drain,
    /// SIGUSR1.
    ReopenLogs,
}

/// An event.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The first configuration is good and its listeners are open.
    Started(Settings),
    /// An operator's wish.
    Wished(Wish),
    /// The answer to [`Action::Configure`].
    Configured(Result<Settings, Reason>),
    /// The answer to [`Action::StartLoader`].
    LoaderStarted(Result<Pid, Reason>),
    /// The loader has ended, with a snapshot or with the reason of its failure.
    LoaderEnded(Result<(), Reason>),
    /// The loader has ended, and its snapshot is the one that serves: the generation does not change.
    Unchanged,
    /// The answer to [`Action::Fork`].
    Forked {
        /// The generation of the worker.
        generation: u64,
        /// The slot of the worker.
        slot: usize,
        /// The child, or the reason why the fork failed.
        result: Result<Pid, Reason>,
    },
    /// A worker accepts connections, or will as soon as its generation serves.
    Ready(Pid),
    /// A worker that had the order to end no longer accepts connections.
    Deaf(Pid),
    /// A worker has reached its limit of requests or memory, and asks for a replacement.
    Retires {
        /// The worker.
        pid: Pid,
        /// The cause under which the restart counts.
        cause: RestartCause,
    },
    /// A worker has ended.
    Exited {
        /// The worker.
        pid: Pid,
        /// Whether it ended by itself and in good order, as after a SIGTERM from another process.
        orderly: bool,
        /// Whether another process has killed it, or the kernel because memory was short.
        killed: bool,
        /// A description of the end.
        how: String,
    },
    /// Time has passed; for each slot of a living worker, how long it has been silent.
    Tick {
        /// Slots and silences.
        silent: Vec<(usize, Duration)>,
    },
}

/// An action.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Read the configuration again, and open listeners that are new in it.
    Configure {
        /// The generation to configure.
        generation: u64,
    },
    /// Fork a loader.
    StartLoader {
        /// The generation to load.
        generation: u64,
    },
    /// Fork a worker.
    Fork {
        /// The generation of the worker.
        generation: u64,
        /// The slot of the worker.
        slot: usize,
    },
    /// Log that a worker has ended.
    WorkerEnded {
        /// An error if the worker had no order to end.
        level: Level,
        /// The generation of the worker.
        generation: u64,
        /// The slot of the worker.
        slot: usize,
        /// The worker.
        pid: Pid,
        /// A description of the end.
        how: String,
        /// The age of the worker at its end.
        age: Duration,
    },
    /// Send a signal.
    Kill {
        /// The child that gets it.
        pid: Pid,
        /// The signal.
        signal: Signal,
    },
    /// All workers of this generation are ready, and prove themselves for a time. Those that serve get ready for its
    /// rows.
    Prove {
        /// The generation.
        generation: u64,
    },
    /// This generation serves from now on.
    Promote {
        /// The generation.
        generation: u64,
    },
    /// Tell operators and systemd that a reload has ended. Either its generation serves, and no worker of a
    /// former one accepts connections any more; or the reload has failed.
    ReloadEnded {
        /// The generation that the reload was to make.
        generation: u64,
        /// The reason of a failure.
        result: Result<(), Reason>,
    },
    /// This generation has failed or ended: release everything that it holds.
    Discard {
        /// The generation.
        generation: u64,
    },
    /// Close every listener: the server stops.
    CloseListeners,
    /// Log that a worker has been silent for too long, and the request that it was in. The kill follows.
    Stuck {
        /// The worker.
        pid: Pid,
        /// Its slot on the scoreboard.
        slot: usize,
    },
    /// Start the program again beside this one.
    Upgrade,
    /// Open the log files again.
    ReopenLog,
    /// Write a line to the log.
    Log(Level, String),
    /// End the master.
    Exit(ExitCode),
}

/// The state of one worker.
#[derive(Debug, Clone, Copy)]
pub struct WorkerStatus {
    /// Its process.
    pub pid: Pid,
    /// Its slot on the scoreboard.
    pub slot: usize,
    /// Its generation.
    pub generation: u64,
    /// When it was forked.
    pub born: Instant,
    /// The state of the worker.
    pub state: WorkerState,
}

/// The state of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerState {
    /// It does not accept connections yet.
    Booting,
    /// It accepts connections.
    Serving,
    /// It has the order to end.
    Ending,
}

impl fmt::Display for WorkerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            WorkerState::Booting => "booting",
            WorkerState::Serving => "serving",
            WorkerState::Ending => "ending",
        })
    }
}

/// The state of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The first generation is being made.
    Starting,
    /// A generation serves.
    Serving,
    /// A generation serves, and the next one is being made.
    Reloading,
    /// No generation serves: its workers had the order to leave, and no other generation takes its place.
    Drained,
    /// The server ends.
    Stopping,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            State::Starting => "starting",
            State::Serving => "serving",
            State::Reloading => "reloading",
            State::Drained => "drained",
            State::Stopping => "stopping",
        })
    }
}
