//! Events that the arbiter is told, and actions that it asks for: the language between its decisions and the
//! shell that carries them out.

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
    /// How long a worker may drain.
    pub graceful_timeout: Duration,
    /// How long a worker may take to be ready.
    pub boot_timeout: Duration,
    /// How long the loader may take.
    pub load_timeout: Duration,
    /// How long all workers of a new generation must have lived before it takes the place of
    /// one that serves.
    pub probation: Duration,
    /// How often workers may die young within `failure_window`, with no other worker to serve, before
    /// the master ends; 0 for any number of times.
    pub failures_max: usize,
    /// How long a death counts.
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
    /// This number of workers.
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
    /// The loader has ended, with a snapshot or a reason why not.
    LoaderEnded(Result<(), Reason>),
    /// The loader has ended, and its snapshot is served already: nothing is to change.
    Unchanged,
    /// The answer to [`Action::Fork`].
    Forked {
        /// Of this generation.
        generation: u64,
        /// On this slot.
        slot: usize,
        /// The child, or why there is none.
        result: Result<Pid, Reason>,
    },
    /// A worker accepts connections, or will as soon as its generation serves.
    Ready(Pid),
    /// A worker that was told to end accepts no connections any more.
    Deaf(Pid),
    /// A worker has served as many requests, or taken as much memory, as it may, and wishes to be
    /// replaced.
    Retires {
        /// Which.
        pid: Pid,
        /// Why, as restarts are counted.
        cause: RestartCause,
    },
    /// A worker has ended.
    Exited {
        /// Which.
        pid: Pid,
        /// Whether it was by itself and in good order, as after a SIGTERM by another process.
        orderly: bool,
        /// Whether another process, or the kernel for want of memory, has killed it.
        killed: bool,
        /// How, in words.
        how: String,
    },
    /// Time has passed; for each slot of a living worker, how long it has been silent.
    Tick {
        /// Slot and silence.
        silent: Vec<(usize, Duration)>,
    },
}

/// An action.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Read the configuration again, and open listeners that are new in it.
    Configure {
        /// For this generation.
        generation: u64,
    },
    /// Fork a loader.
    StartLoader {
        /// For this generation.
        generation: u64,
    },
    /// Fork a worker.
    Fork {
        /// Of this generation.
        generation: u64,
        /// On this slot.
        slot: usize,
    },
    /// Log that a worker has ended.
    WorkerEnded {
        /// An error if the master had not told it to.
        level: Level,
        /// Of this generation.
        generation: u64,
        /// On this slot.
        slot: usize,
        /// Which.
        pid: Pid,
        /// How, in words.
        how: String,
        /// How long it lived.
        age: Duration,
    },
    /// Send a signal.
    Kill {
        /// To this child.
        pid: Pid,
        /// Which signal.
        signal: Signal,
    },
    /// This generation serves from now on.
    Promote {
        /// Which.
        generation: u64,
    },
    /// Tell operators and systemd that a reload has ended: its generation serves, and no worker of a former one
    /// accepts connections any more, or there is no such generation.
    ReloadEnded {
        /// The generation that it was to make.
        generation: u64,
        /// Why there is none, if so.
        result: Result<(), Reason>,
    },
    /// This generation has failed or ended: let go of all that it holds.
    Discard {
        /// Which.
        generation: u64,
    },
    /// Close every listener: the server stops.
    CloseListeners,
    /// Log that a worker has been silent for too long, and in which request; it is killed.
    Stuck {
        /// Which.
        pid: Pid,
        /// Its slot on the scoreboard.
        slot: usize,
    },
    /// Start the program again beside this one.
    Upgrade,
    /// Open the log files again.
    ReopenLog,
    /// Say something.
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
    /// It was told to end.
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
    /// A generation serves no more, as its workers were told to leave, and none takes its place.
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
