//! A shell in memory: it carries out the arbiter's actions, as `master/perform.rs` does, with processes that
//! live and die when a test says so, and checks after each event the invariants that must always hold.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use slog::Level;

use crate::master::arbiter::{Action, Arbiter, Event, Settings, Wish};
use crate::master::error::Reason;
use crate::master::exit::ExitCode;

/// The settings of [`World::new`].
pub(super) fn settings(workers: usize) -> Settings {
    Settings {
        workers,
        timeout: Some(Duration::from_secs(5)),
        graceful_timeout: Duration::from_secs(30),
        boot_timeout: Duration::from_secs(10),
        load_timeout: Duration::from_secs(60),
        probation: Duration::ZERO,
        failures_max: 0,
        failure_window: Duration::from_secs(60),
    }
}

/// A process.
#[derive(Debug, Clone)]
struct Process {
    generation: u64,
    /// `None` for a loader.
    slot: Option<usize>,
    ready: bool,
    silent_since: Option<Instant>,
    told: Vec<Signal>,
}

impl Process {
    fn told_to_end(&self) -> bool {
        !self.told.is_empty()
    }
}

pub(super) struct World {
    pub(super) arbiter: Arbiter,
    pub(super) now: Instant,
    processes: BTreeMap<Pid, Process>,
    last_pid: i32,
    /// The loader whose end the shell reports.
    loader: Option<Pid>,
    /// The result of the next reload.
    pub(super) configuration: Result<Settings, Reason>,
    /// The number of coming forks that fail.
    pub(super) forks_fail: u32,
    pub(super) loader_forks_fail: u32,
    pub(super) current: Option<u64>,
    /// Generations that have begun.
    pub(super) made: u64,
    pub(super) discarded: BTreeSet<u64>,
    /// Generations whose end was reported.
    pub(super) told_of: BTreeSet<u64>,
    /// The last generation that turned out to be unnecessary.
    confirmed: Option<u64>,
    pub(super) upgrades: usize,
    pub(super) listening: bool,
    pub(super) exit: Option<ExitCode>,
    stopping: bool,
    pub(super) logs_reopened: usize,
    pub(super) trace: Vec<Action>,
}

impl World {
    /// A master whose first loader is at work.
    pub(super) fn new(workers: usize) -> Self {
        World::begin(settings(workers), 0)
    }

    /// A master that could not even fork a loader.
    pub(super) fn with_failing_loader(workers: usize) -> Self {
        World::begin(settings(workers), 1)
    }

    /// A master whose first generation serves.
    pub(super) fn serving(workers: usize) -> Self {
        World::serving_with(settings(workers))
    }

    pub(super) fn serving_with(settings: Settings) -> Self {
        let mut world = World::begin(settings, 0);
        world.finish_reload();
        assert_eq!(world.current, Some(1));
        world
    }

    fn begin(settings: Settings, loader_forks_fail: u32) -> Self {
        let mut world = World {
            arbiter: Arbiter::new(settings.clone()),
            now: Instant::now(),
            processes: BTreeMap::new(),
            last_pid: 100,
            loader: None,
            configuration: Ok(settings.clone()),
            forks_fail: 0,
            loader_forks_fail,
            current: None,
            made: 1,
            discarded: BTreeSet::new(),
            told_of: BTreeSet::new(),
            confirmed: None,
            upgrades: 0,
            listening: true,
            exit: None,
            stopping: false,
            logs_reopened: 0,
            trace: Vec::new(),
        };
        world.send(Event::Started(settings));
        world
    }

    /// Handles an event, and everything that follows from it at once.
    pub(super) fn send(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for action in self.arbiter.handle(event, self.now) {
                self.trace.push(action.clone());
                events.extend(self.perform(action));
            }
        }
        self.check();
    }

    fn perform(&mut self, action: Action) -> Option<Event> {
        assert!(
            !self.stopping
                || matches!(
                    action,
                    Action::Kill { .. }
                        | Action::Log(..)
                        | Action::WorkerEnded { .. }
                        | Action::Exit(_)
                        | Action::Discard { .. }
                        | Action::CloseListeners
                        | Action::ReopenLog
                        | Action::Stuck { .. }
                        | Action::ReloadEnded { result: Err(_), .. }
                ),
            "{action:?} after the stop"
        );
        match action {
            Action::Configure { generation } => {
                self.made = generation;
                return Some(Event::Configured(self.configuration.clone()));
            }
            Action::StartLoader { generation } => {
                assert!(!self.discarded.contains(&generation), "loader for a discarded generation");
                let started = self.fork(generation, None);
                self.loader = started.clone().ok().or(self.loader);
                return Some(Event::LoaderStarted(started));
            }
            Action::Fork { generation, slot } => {
                assert!(!self.discarded.contains(&generation), "worker for a discarded generation");
                let result = self.fork(generation, Some(slot));
                return Some(Event::Forked { generation, slot, result });
            }
            Action::Kill { pid, signal } => {
                // A pid that has been reaped may belong to any other process.
                let process = self.processes.get_mut(&pid).expect("a child of ours");
                process.told.push(signal);
            }
            Action::Prove { generation } => {
                assert!(!self.discarded.contains(&generation), "proof of a discarded generation");
                assert!(self.current.is_some_and(|current| current < generation));
            }
            Action::Promote { generation } => self.promote(generation),
            Action::ReloadEnded { generation, result } => {
                assert!(self.told_of.insert(generation), "told twice what has become of {generation}");
                // Another generation may follow one that serves before the workers of its predecessors are
                // deaf.
                let serves = self.current >= Some(generation) || self.confirmed == Some(generation);
                assert_eq!(result.is_ok(), serves);
            }
            Action::Stuck { pid, slot } => assert_eq!(self.processes[&pid].slot, Some(slot)),
            Action::Upgrade => self.upgrades += 1,
            Action::Discard { generation } => {
                assert_ne!(self.current, Some(generation), "the generation that serves was discarded");
                self.discarded.insert(generation);
            }
            Action::CloseListeners => {
                self.listening = false;
                self.stopping = true;
            }
            Action::ReopenLog => self.logs_reopened += 1,
            Action::Log(..) | Action::WorkerEnded { .. } => {}
            Action::Exit(code) => {
                assert_eq!(self.exit.replace(code), None, "ended twice");
                assert_eq!(self.workers(), [], "workers were left behind");
            }
        }
        None
    }

    fn fork(&mut self, generation: u64, slot: Option<usize>) -> Result<Pid, Reason> {
        let fail = if slot.is_some() { &mut self.forks_fail } else { &mut self.loader_forks_fail };
        if *fail > 0 {
            *fail -= 1;
            return Err(Reason::new("no process"));
        }
        self.last_pid += 1;
        let pid = Pid::from_raw(self.last_pid);
        let process = Process { generation, slot, ready: false, silent_since: None, told: Vec::new() };
        self.processes.insert(pid, process);
        Ok(pid)
    }

    fn promote(&mut self, generation: u64) {
        let ready = self.processes.values().filter(|process| {
            process.generation == generation
                && process.slot.is_some()
                && process.ready
                && !process.told_to_end()
        });
        assert!(ready.count() >= self.arbiter.workers, "a generation serves before its workers do");
        assert!(self.current < Some(generation), "back to an older generation");
        self.current = Some(generation);
    }

    /// The invariants.
    fn check(&self) {
        let loaders =
            self.processes.values().filter(|process| process.slot.is_none() && !process.told_to_end());
        assert!(loaders.count() <= 1, "two loaders at work");
        let slots: Vec<usize> = self.processes.values().filter_map(|process| process.slot).collect();
        assert_eq!(
            slots.iter().collect::<BTreeSet<_>>().len(),
            slots.len(),
            "a slot is used twice: {slots:?}"
        );
        for (pid, process) in self.processes.iter().filter(|(_, process)| !process.told_to_end()) {
            assert!(!self.stopping, "{pid} was not told to stop");
            let generation = process.generation;
            let wanted = self.current == Some(generation) || self.arbiter.is_next(generation);
            assert!(wanted, "{pid} of generation {generation} was forgotten");
        }
        let mut used = slots;
        used.sort_unstable();
        let mut known = self.arbiter.slots();
        known.sort_unstable();
        assert_eq!(known, used, "the arbiter knows other children than there are");
        if let (Some(current), false) = (self.current, self.stopping) {
            let alive = self.untold(current).len();
            let wanted = if self.arbiter.drained { 0 } else { self.arbiter.workers };
            assert!(alive <= wanted + self.arbiter.retiring.len().min(1), "{alive} for {wanted} workers");
            let told_alone = self.processes.values().any(|process| {
                process.generation == current && process.told.first() == Some(&Signal::SIGTERM)
            });
            let waits = self.arbiter.patience.next_try().is_some();
            assert!(!told_alone || waits || alive >= wanted, "too many were told to end");
        }
        assert!(self.exit.is_none() || self.workers().is_empty(), "a child outlives the master");
    }

    pub(super) fn wish(&mut self, wish: Wish) {
        self.send(Event::Wished(wish));
    }

    /// The running loader.
    pub(super) fn loader(&self) -> Option<Pid> {
        self.loader.filter(|pid| self.processes.get(pid).is_some_and(|process| !process.told_to_end()))
    }

    /// The loader makes a snapshot and ends.
    pub(super) fn loaded(&mut self) {
        self.loader_ends(Ok(()));
    }

    pub(super) fn load_failed(&mut self, reason: &str) {
        self.loader_ends(Err(Reason::new(reason)));
    }

    /// The loader finds that the served rows are up to date, and ends.
    pub(super) fn found_unchanged(&mut self) {
        let pid = self.loader.take().expect("a loader");
        self.processes.remove(&pid);
        self.confirmed = Some(self.made);
        self.send(Event::Unchanged);
    }

    fn loader_ends(&mut self, result: Result<(), Reason>) {
        let pid = self.loader.take().expect("a loader");
        self.processes.remove(&pid);
        self.send(Event::LoaderEnded(result));
    }

    pub(super) fn ready(&mut self, pid: Pid) {
        self.processes.get_mut(&pid).expect("a worker").ready = true;
        self.send(Event::Ready(pid));
    }

    /// Any process ends.
    pub(super) fn die(&mut self, pid: Pid) {
        if self.loader == Some(pid) {
            return self.load_failed("killed");
        }
        self.processes.remove(&pid).expect("a process");
        self.send(Event::Exited { pid, orderly: false, killed: true, how: "killed".to_owned() });
    }

    /// A worker ends because another process told it to.
    pub(super) fn end_orderly(&mut self, pid: Pid) {
        self.processes.remove(&pid).expect("a worker");
        self.send(Event::Exited { pid, orderly: true, killed: false, how: "exit code 0".to_owned() });
    }

    /// Another process tells a worker to end, which accepts no connections from then on.
    pub(super) fn told_by_another(&mut self, pid: Pid) {
        self.processes.get_mut(&pid).expect("a worker").told.push(Signal::SIGTERM);
        self.send(Event::Deaf(pid));
    }

    /// Makes the worker of this slot silent from now on.
    pub(super) fn silence(&mut self, pid: Pid) {
        self.processes.get_mut(&pid).expect("a worker").silent_since = Some(self.now);
    }

    pub(super) fn all_alive(&mut self) {
        self.processes.values_mut().for_each(|process| process.silent_since = None);
    }

    /// Time passes, with the ticks of the shell.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end && self.exit.is_none() {
            let tick = self.now + Duration::from_millis(501);
            let deadline = self.arbiter.next_deadline().unwrap_or(tick).max(self.now);
            self.now = tick.min(deadline + Duration::from_millis(1)).min(end);
            self.tick();
        }
    }

    pub(super) fn tick(&mut self) {
        let silence = |process: &Process| {
            let since = process.silent_since.unwrap_or(self.now);
            process.slot.map(|slot| (slot, self.now.saturating_duration_since(since)))
        };
        let silent = self.processes.values().filter_map(silence).collect();
        self.send(Event::Tick { silent });
        let overdue = self.arbiter.next_deadline().is_some_and(|deadline| deadline <= self.now);
        assert!(!overdue, "a deadline that has passed would keep the master awake");
    }

    /// Ends each process that has the order to end.
    pub(super) fn obey(&mut self) {
        while let Some(pid) = self.alive().into_iter().find(|pid| self.processes[pid].told_to_end()) {
            self.die(pid);
        }
    }

    /// Makes all booting workers ready.
    pub(super) fn all_ready(&mut self) {
        while let Some(pid) = self.booting().first() {
            self.ready(*pid);
        }
    }

    /// The generation under way loads and boots.
    pub(super) fn finish_reload(&mut self) {
        self.loaded();
        self.all_ready();
    }

    /// A whole reload, to the end of the old generation.
    pub(super) fn reload(&mut self) {
        self.wish(Wish::Reload);
        self.finish_reload();
        self.obey();
    }

    pub(super) fn alive(&self) -> Vec<Pid> {
        self.processes.keys().copied().collect()
    }

    pub(super) fn workers(&self) -> Vec<Pid> {
        self.select(|process| process.slot.is_some())
    }

    pub(super) fn booting(&self) -> Vec<Pid> {
        self.select(|process| process.slot.is_some() && !process.ready && !process.told_to_end())
    }

    /// Workers of a generation without an order to end.
    pub(super) fn untold(&self, generation: u64) -> Vec<Pid> {
        self.select(|process| {
            process.generation == generation && process.slot.is_some() && !process.told_to_end()
        })
    }

    fn select(&self, which: impl Fn(&Process) -> bool) -> Vec<Pid> {
        self.processes.iter().filter(|(_, process)| which(process)).map(|(pid, _)| *pid).collect()
    }

    /// Signals that a living process has received.
    pub(super) fn told(&self, pid: Pid) -> Vec<Signal> {
        self.processes[&pid].told.clone()
    }

    /// The worst level among the logged lines.
    pub(super) fn worst(&self) -> Level {
        let levels = self.trace.iter().filter_map(|action| match action {
            Action::Log(level, _) | Action::WorkerEnded { level, .. } => Some(*level),
            _ => None,
        });
        levels.min_by_key(|level| level.as_usize()).unwrap_or(Level::Info)
    }

    /// Reloads that have failed, which the shell logs.
    pub(super) fn failed_reloads(&self) -> usize {
        let failed = |action: &&Action| matches!(action, Action::ReloadEnded { result: Err(_), .. });
        self.trace.iter().filter(failed).count()
    }

    /// Errors in the log, and those reported with the end of a reload.
    pub(super) fn errors_with(&self, text: &str) -> usize {
        let is = |action: &&Action| match action {
            Action::Log(Level::Error, line) => line.contains(text),
            Action::ReloadEnded { result: Err(reason), .. } => reason.as_str().contains(text),
            Action::WorkerEnded { level: Level::Error, .. } => "worker ended".contains(text),
            _ => false,
        };
        self.trace.iter().filter(is).count()
    }
}
