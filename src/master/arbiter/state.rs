//! The knowledge of the arbiter, by which the files beside this one decide.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use nix::unistd::Pid;

use super::events::Settings;
use super::patience::Patience;
use crate::master::exit::ExitCode;
use crate::scoreboard::RestartCause;

/// The state of the master.
#[derive(Debug)]
pub struct Arbiter {
    /// Of the generation that serves, or of the first while it is being made.
    pub(super) settings: Settings,
    /// How many workers there should be; differs from the settings after TTIN and TTOU.
    pub(super) workers: usize,
    pub(super) current: Option<u64>,
    pub(super) next: Option<Next>,
    pub(super) reload_pending: bool,
    pub(super) children: BTreeMap<Pid, Child>,
    /// Slots and generations of workers that have been asked for but not been forked yet.
    pub(super) forking: Vec<(usize, u64)>,
    pub(super) generations_made: u64,
    pub(super) restarts: BTreeMap<RestartCause, u64>,
    /// Workers that wish to be replaced; the first has, or will get, its replacement beside it.
    pub(super) retiring: VecDeque<(Pid, RestartCause)>,
    /// Another master serves: this one has no workers until its next generation does.
    pub(super) drained: bool,
    /// Generations that serve, or did, while workers of former ones may still accept connections.
    pub(super) unannounced: Vec<u64>,
    pub(super) patience: Patience,
    /// Set once the server stops: the exit code.
    pub(super) stopping: Option<ExitCode>,
    pub(super) exited: bool,
}

impl Arbiter {
    /// An arbiter to which nothing has happened yet.
    pub fn new(settings: Settings) -> Self {
        Arbiter {
            workers: settings.workers,
            settings,
            current: None,
            next: None,
            reload_pending: false,
            children: BTreeMap::new(),
            forking: Vec::new(),
            generations_made: 0,
            restarts: BTreeMap::new(),
            retiring: VecDeque::new(),
            drained: false,
            unannounced: Vec::new(),
            patience: Patience::default(),
            stopping: None,
            exited: false,
        }
    }
}

/// The phase of a worker's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Booting {
        deadline: Instant,
    },
    Serving,
    /// Told to end; killed at the deadline.
    Ending {
        deadline: Instant,
    },
}

/// A worker.
#[derive(Debug, Clone)]
pub(super) struct Child {
    pub(super) generation: u64,
    pub(super) slot: usize,
    pub(super) born: Instant,
    pub(super) phase: Phase,
    /// Why it was told to end, if it is to be replaced.
    pub(super) cause: Option<RestartCause>,
    /// It accepts no connections any more.
    pub(super) deaf: bool,
}

/// How far the next generation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Configuring,
    /// Waits for the loader, if that has been forked.
    Loading {
        loader: Option<Pid>,
        deadline: Instant,
    },
    Booting,
    /// All its workers are ready. The generation that serves goes on if one of them dies before this time.
    Proving {
        until: Instant,
    },
}

/// A generation that is being made.
#[derive(Debug, Clone)]
pub(super) struct Next {
    pub(super) generation: u64,
    pub(super) stage: Stage,
    pub(super) settings: Settings,
    pub(super) workers: usize,
}
