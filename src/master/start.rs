//! The start of a master: what it inherits, opens and remembers before its loop begins.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Instant;

use nix::fcntl::OFlag;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::pipe2;
use slog::{Logger, info, warn};

use super::arbiter::Arbiter;
use super::clock::RunningClock;
use super::control::Control;
use super::errands::Errands;
use super::events::Settings;
use super::generations::{Generation, open_listeners, settings};
use super::handouts::Handouts;
use super::inherited::Inherited;
use super::kept::saved_snapshot;
use super::loader::Kept;
use super::metrics::{self, Metrics};
use super::names::Names;
use super::parent::Parent;
use super::pidfile::PidFile;
use super::refresh::Refresh;
use super::saver::Saving;
use super::scans::Scans;
use super::signals::Signals;
use super::systemd::Systemd;
use super::terminal::Terminal;
use super::upgrade::{Invocation, Predecessor, second};
use super::writers::{START_PATIENCE, Writers};
use super::{Dispositions, ExitCode, Master, listeners};
use crate::config::{Config, Overrides, World};
use crate::scoreboard::{Dismissal, Scoreboard};
use crate::telemetry::{AccessLog, Log, sentry};

/// What must be there before anything can fail in an orderly way.
pub(super) struct Prepared {
    inherited: Inherited,
    pub(super) log: Log,
    access_log: Option<AccessLog>,
    pub(super) writers: Writers,
    signals: Signals,
    terminal: Terminal,
}

impl Prepared {
    pub(super) fn of(config: &Config, dispositions: Dispositions) -> Result<Prepared, (ExitCode, String)> {
        let inherited = Inherited::take().map_err(|message| (ExitCode::Failure, message))?;
        let signals = Signals::block()
            .map_err(|error| (ExitCode::Failure, format!("signals cannot be received: {error}")))?;
        let writers = Writers::default();
        let (log, access_log) =
            writers.open(config, START_PATIENCE).map_err(|error| (ExitCode::Configuration, error))?;
        sentry::start_aside(&config.sentry);
        // A former master has ignored SIGHUP, and says whether that was for nohup.
        let nohup =
            inherited.handover.as_ref().and_then(|handover| handover.nohup).unwrap_or(dispositions.nohup);
        Ok(Prepared { inherited, log, access_log, writers, signals, terminal: Terminal::new(nohup) })
    }
}

impl Master {
    pub(super) fn open(
        overrides: Overrides,
        config: Config,
        prepared: Prepared,
    ) -> Result<(Self, Settings), String> {
        let Prepared { inherited, log, access_log, writers, signals, terminal } = prepared;
        config.notes.iter().for_each(|note| info!(log.logger(), "{}", note));
        warn_about(&config, log.logger());
        raise_descriptor_limit(log.logger());
        let Inherited { sockets, snapshot, handover } = inherited;
        let kept = snapshot.map(Kept::Stored).or_else(|| saved_snapshot(&config, log.logger()));
        let (passed_on, predecessor) = handover.map(Predecessor::of).unzip();
        let passed_on = passed_on.unwrap_or_default();
        // The names are taken until the former master has gone.
        let beside = |path: &Path| if predecessor.is_some() { second(path) } else { path.to_owned() };
        let pidfile = config.pidfile.as_deref().map(|path| PidFile::create(&beside(path))).transpose()?;
        let mut activated = listeners::inherit(sockets);
        activated.extend(passed_on.iter().filter(|listener| listener.is_activated()).cloned());
        let world = World::live();
        let listeners = open_listeners(&config, &activated, &passed_on, &world)?;
        let account_names = config.account_names(&world);
        for listener in &listeners {
            info!(log.logger(), "listening on {}", listener.shown());
        }
        let system = |error: io::Error| format!("the system refuses what a master needs: {error}");
        let (messages, messages_to) =
            pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).map_err(|errno| system(errno.into()))?;
        let settings = settings(&config);
        let control = config.control.as_deref().and_then(|path| open_control(&beside(path), log.logger()));
        let metrics = Metrics::new(&config);
        let scoreboard = Scoreboard::create().map_err(system)?;
        scoreboard.header().started_ms.set(metrics::now_ms());
        let first = Generation::new(config, account_names, log.clone(), access_log, listeners);
        let master = Master {
            overrides,
            arbiter: Arbiter::new(settings.clone()),
            generations: BTreeMap::from([(1, first)]),
            log,
            writers,
            signals,
            terminal,
            scoreboard,
            messages: messages.into(),
            messages_to,
            loader: None,
            asking: None,
            hanging: Vec::new(),
            pidfile,
            names: Names::default(),
            control,
            systemd: Systemd::new(predecessor.is_some()),
            activated,
            kept,
            refresh: Refresh::default(),
            refreshing: None,
            saving: Saving::default(),
            scans: Scans::default(),
            errands: Errands::default(),
            metrics,
            handouts: Handouts::default(),
            invocation: Invocation::of_this_process().map_err(system)?,
            parent: Parent::of_this_process(),
            titled: None,
            successor: None,
            predecessor,
            begin: Instant::now(),
            clock: RunningClock::new(Instant::now()),
            last_made: None,
            exit: None,
            ends_last: false,
            dismissal: Dismissal::Replaced,
        };
        Ok((master, settings))
    }
}

/// A server can do without; a second one on the machine has to.
fn open_control(path: &Path, log: &Logger) -> Option<Control> {
    Control::open(path).map_err(|error| warn!(log, "avalonctl cannot reach this server: {}", error)).ok()
}

pub(super) fn warn_about(config: &Config, log: &Logger) {
    for warning in config.warnings.iter().map(String::as_str).chain(config.unreachable()) {
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
