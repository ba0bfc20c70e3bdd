//! The knowledge of the arbiter, on which the files beside this one base their decisions.

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
    /// The settings of the generation that serves, or of the first one while it is being made.
    pub(super) settings: Settings,
    /// The intended number of workers; it differs from the settings after TTIN and TTOU.
    pub(super) workers: usize,
    pub(super) current: Option<u64>,
    pub(super) next: Option<Next>,
    pub(super) reload_pending: bool,
    pub(super) children: BTreeMap<Pid, Child>,
    /// Slots and generations of workers that the arbiter has asked for and that are not forked yet.
    pub(super) forking: Vec<(usize, u64)>,
    pub(super) generations_made: u64,
    pub(super) restarts: BTreeMap<RestartCause, u64>,
    /// Workers that ask for a replacement. The first one has its replacement, or gets it next.
    pub(super) retiring: VecDeque<(Pid, RestartCause)>,
    /// Another master serves: this one has no workers until its own next generation serves.
    pub(super) drained: bool,
    /// Generations whose service is not announced yet, as workers of former ones may still accept
    /// connections.
    pub(super) unannounced: Vec<u64>,
    pub(super) patience: Patience,
    /// The exit code, set once the server stops.
    pub(super) stopping: Option<ExitCode>,
    pub(super) exited: bool,
}

impl Arbiter {
    /// An arbiter that has handled no event yet.
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
    /// Has the order to end; the arbiter kills it at the deadline.
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
    /// The cause of its restart, if the arbiter replaces it.
    pub(super) cause: Option<RestartCause>,
    /// It no longer accepts connections.
    pub(super) deaf: bool,
}

/// The stage of the next generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Configuring,
    /// Waits for the loader, if there is one already.
    Loading {
        loader: Option<Pid>,
        deadline: Instant,
    },
    Booting,
    /// All its workers are ready. If one of them dies before this time, the generation that serves continues.
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
