//! The start of a master: everything that it inherits, opens and remembers before its loop begins.

use std::io;
use std::rc::Rc;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use slog::{Logger, info, warn};

use crate::config::{Config, Overrides, World};
use crate::master::arbiter::events::Settings;
use crate::master::clock::now_ms;
use crate::master::error::MasterError;
use crate::master::exit::ExitCode;
use crate::master::generation::asking::Asking;
use crate::master::generation::freshness::Freshness;
use crate::master::generation::generations::{Generation, Generations, warn_about};
use crate::master::generation::logs::{Logs, START_PATIENCE};
use crate::master::generation::restored::Restored;
use crate::master::generation::watcher::Watcher;
use crate::master::generation::workers::Workers;
use crate::master::handover::inherited::Inherited;
use crate::master::handover::invocation::Invocation;
use crate::master::handover::listeners::{self, Listener};
use crate::master::handover::succession::Succession;
use crate::master::operator::desk::Desk;
use crate::master::perform::Shell;
use crate::master::processes::dispositions::Dispositions;
use crate::master::processes::errands::Errands;
use crate::master::processes::signals::Signals;
use crate::master::processes::writers::Writers;
use crate::master::scans::schedule::Scans;
use crate::scheduling::let_others_first;
use crate::telemetry::sentry;

/// The parts that a master needs before it can report and handle any failure.
pub(crate) struct Prepared {
    inherited: Inherited,
    pub(crate) logs: Logs,
    pub(crate) writers: Writers,
    signals: Signals,
    nohup: bool,
}

impl Prepared {
    /// Takes the inherited descriptors, blocks the signals and opens the logs.
    ///
    /// # Errors
    /// The error, and the exit code.
    pub(crate) fn of(config: &Config, dispositions: Dispositions) -> Result<Self, (ExitCode, MasterError)> {
        let inherited = Inherited::take().map_err(|error| (ExitCode::Failure, error))?;
        // A former master ignores SIGHUP for itself, and passes on whether nohup was the reason.
        let nohup =
            inherited.handover.as_ref().and_then(|handover| handover.nohup).unwrap_or(dispositions.nohup);
        let signals = Signals::block(nohup).map_err(|source| {
            (ExitCode::Failure, MasterError::System { what: "signals cannot be received", source })
        })?;
        // Workers that serve and their clients need not wait while the master or a child of it works, or a new worker
        // boots. All succeeds without.
        let _ = let_others_first();
        let writers = Writers::default();
        let logs = Logs::open(config, &writers, START_PATIENCE);
        let logs = logs.map_err(|error| (ExitCode::Configuration, error))?;
        sentry::start_aside(&config.sentry);
        Ok(Prepared { inherited, logs, writers, signals, nohup })
    }

    /// Opens everything that the first generation needs and that outlives it.
    ///
    /// # Errors
    /// The address, the file or the memory that is not available.
    pub(crate) fn open(
        self,
        overrides: Overrides,
        config: Config,
    ) -> Result<(Signals, Shell, Settings), MasterError> {
        let Prepared { inherited: Inherited { sockets, snapshot, handover }, logs, writers, signals, nohup } =
            self;
        let log = logs.logger().clone();
        config.notes.iter().for_each(|note| info!(log, "{}", note));
        warn_about(&config, &log);
        raise_descriptor_limit(&log);
        let restored = Restored::find(snapshot, &config, &log);
        let passed_on: Vec<Rc<Listener>> =
            handover.as_ref().map(|handover| handover.listeners.clone()).unwrap_or_default();
        let mut desk = Desk::open(&config, handover.is_some())?;
        let mut activated = listeners::inherit(sockets);
        activated.extend(passed_on.iter().filter(|listener| listener.is_activated()).cloned());
        let first = Generation::open(config, logs, &activated, &passed_on, &World::live())?;
        drop(passed_on);
        for listener in first.listeners() {
            info!(log, "listening on {}", listener.shown());
        }
        let system = |source: io::Error| MasterError::System {
            what: "the system refuses what a master needs",
            source,
        };
        let workers = Workers::new().map_err(system)?;
        workers.scoreboard().header().started_ms.set(now_ms());
        desk.listen(&first.config, handover.is_some(), &log);
        let settings = first.settings();
        let invocation = Invocation::of_this_process().map_err(system)?;
        let shell = Shell {
            generations: Generations::new(first, overrides, activated, writers),
            workers,
            asking: Asking::default(),
            loader: None,
            restored,
            freshness: Freshness::new(),
            watcher: Watcher::new(),
            is_unknown_told: false,
            scans: Scans::default(),
            errands: Errands::default(),
            succession: Succession::new(invocation, nohup, handover),
            desk,
            exit: None,
        };
        Ok((signals, shell, settings))
    }
}

/// Raises the soft limit of descriptors. A worker needs one per connection; the soft limit is often 1024 for
/// the sake of programs that use select(2).
fn raise_descriptor_limit(log: &Logger) {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(errno) = raised {
        warn!(log, "the limit of open files could not be raised"; "error" => %errno);
    }
}
