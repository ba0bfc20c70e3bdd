//! The decisions of the master, as a pure state machine: events in, actions out.
//!
//! It knows children by pid, generations by number and time by what it is told. It never
//! reads a configuration, forks or logs: the shell in [`super`] does what it says, and
//! tells how that went. So every order of signals, deaths and time-outs can be tested in
//! memory.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use slog::Level;

use super::ExitCode;
use super::events::{Action, Event, Settings, Wish, WorkerStatus};
use crate::scoreboard::SLOTS;

/// What a worker gets after its own deadline before it is killed, so that it can end by itself.
const DRAIN_MARGIN: Duration = Duration::from_secs(2);
/// Between SIGABRT and SIGKILL to a silent worker.
const ABORT_MARGIN: Duration = Duration::from_secs(2);
/// What processes get to end at once before they are killed.
const IMMEDIATE_MARGIN: Duration = Duration::from_secs(2);
/// First and longest wait before a worker that died is replaced again.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// A shorter time between two ticks is no sign that the master was suspended; well above the
/// usual one.
const SUSPENDED_LEAST: Duration = Duration::from_secs(1);
/// Numbers of workers that TTIN and TTOU may lead to.
const WORKERS: RangeInclusive<usize> = 1..=256;
/// Generations that may drain at the same time: each pins its snapshot. A reload waits until
/// there is room, as ending one early would lose requests.
const DRAINING_MAX: usize = 2;
/// A worker that lived so long was no failure to start.
const HEALTHY_LIFE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Booting {
        deadline: Instant,
    },
    Serving,
    /// Told to end; killed at the deadline.
    Ending {
        deadline: Instant,
    },
}

#[derive(Debug, Clone)]
struct Child {
    generation: u64,
    slot: usize,
    born: Instant,
    phase: Phase,
    /// Logs were reopened while it could not be told, as it did not handle signals yet.
    reopen: bool,
    /// Why it was told to end, if it is to be replaced.
    cause: Option<&'static str>,
    /// It accepts no connections any more.
    deaf: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Configuring,
    /// Waits for the loader, if that has been forked.
    Loading {
        loader: Option<Pid>,
        deadline: Instant,
    },
    Booting,
}

/// A generation that is being made.
#[derive(Debug, Clone)]
struct Next {
    generation: u64,
    stage: Stage,
    settings: Settings,
    workers: usize,
}

/// The state of the master.
#[derive(Debug)]
pub struct Arbiter {
    /// Of the generation that serves, or of the first while it is being made.
    settings: Settings,
    /// How many workers there should be; differs from the settings after TTIN and TTOU.
    workers: usize,
    current: Option<u64>,
    next: Option<Next>,
    reload_pending: bool,
    children: BTreeMap<Pid, Child>,
    /// Slots and generations of workers that have been asked for but not been forked yet.
    forking: Vec<(usize, u64)>,
    generations_made: u64,
    restarts: BTreeMap<&'static str, u64>,
    /// Workers that wish to be replaced; the first has, or will get, its replacement beside it.
    retiring: VecDeque<Pid>,
    /// Another master serves: this one has no workers until its next generation does.
    drained: bool,
    /// Generations that serve, or did, while workers of former ones may still accept connections.
    unannounced: Vec<u64>,
    /// Deaths in a row of workers that had lived shortly, and until when to wait.
    failures: u32,
    backoff_until: Option<Instant>,
    /// Set once the server stops: the exit code.
    stopping: Option<ExitCode>,
    exited: bool,
    last_tick: Option<Instant>,
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
            failures: 0,
            backoff_until: None,
            stopping: None,
            exited: false,
            last_tick: None,
        }
    }

    /// Takes an event and says what is to be done, in this order.
    pub fn handle(&mut self, event: Event, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Started(settings) => self.started(settings, now, &mut actions),
            Event::Wished(wish) => self.wished(wish, now, &mut actions),
            Event::Configured(result) => self.configured(result, now, &mut actions),
            Event::LoaderStarted(result) => self.loader_started(result, now, &mut actions),
            Event::LoaderEnded(result) => self.loader_ended(result, now, &mut actions),
            Event::Forked { generation, slot, result } => {
                self.forked(generation, slot, result, now, &mut actions);
            }
            Event::Ready(pid) => self.ready(pid, &mut actions),
            Event::Retires(pid) => self.retires(pid),
            Event::Deaf(pid) => self.deaf(pid, now),
            Event::Exited { pid, orderly, how } => {
                self.child_exited(pid, orderly, &how, now, &mut actions);
            }
            Event::Tick { silent } => self.tick(&silent, now, &mut actions),
        }
        self.reconcile(now, &mut actions);
        actions
    }

    /// When the next tick is needed for a deadline to be kept, if any is running.
    pub fn next_deadline(&self) -> Option<Instant> {
        let loading = self.next.as_ref().and_then(|next| match next.stage {
            Stage::Loading { deadline, .. } => Some(deadline),
            _ => None,
        });
        let children = self.children.values().filter_map(|child| match child.phase {
            Phase::Booting { deadline } | Phase::Ending { deadline } => Some(deadline),
            Phase::Serving => None,
        });
        children.chain(loading).chain(self.backoff_until).min()
    }

    /// The generation that will answer a wish to reload that is made now.
    pub fn reload_generation(&self) -> u64 {
        self.generations_made + 1
    }

    /// What the server is doing, in a word.
    pub fn state(&self) -> &'static str {
        match (self.stopping, self.current, &self.next) {
            (Some(_), ..) => "stopping",
            (None, None, _) => "starting",
            (None, Some(_), Some(_)) => "reloading",
            (None, Some(_), None) if self.drained => "drained",
            (None, Some(_), None) => "serving",
        }
    }

    /// The generation that serves.
    pub fn current(&self) -> Option<u64> {
        self.current
    }

    /// How many workers there should be.
    pub fn workers_wanted(&self) -> usize {
        self.workers
    }

    /// How many workers of the generation that serves accept connections.
    pub fn workers_serving(&self) -> usize {
        self.current.map_or(0, |current| self.serving(current))
    }

    /// How often a worker was replaced, by cause.
    pub fn restarts(&self) -> &BTreeMap<&'static str, u64> {
        &self.restarts
    }

    /// The living workers, by pid.
    pub fn workers(&self) -> impl Iterator<Item = WorkerStatus> {
        self.children.iter().map(|(pid, child)| WorkerStatus {
            pid: *pid,
            slot: child.slot,
            generation: child.generation,
            born: child.born,
            state: match child.phase {
                Phase::Booting { .. } => "booting",
                Phase::Serving => "serving",
                Phase::Ending { .. } => "ending",
            },
        })
    }

    /// The slots of living workers.
    pub fn slots(&self) -> Vec<usize> {
        self.children.values().map(|child| child.slot).collect()
    }

    /// The process that makes a snapshot, if there is one.
    pub fn loader(&self) -> Option<Pid> {
        match self.next.as_ref()?.stage {
            Stage::Loading { loader, .. } => loader,
            _ => None,
        }
    }

    fn started(&mut self, settings: Settings, now: Instant, actions: &mut Vec<Action>) {
        self.workers = settings.workers;
        self.settings = settings.clone();
        self.begin_next(settings, actions);
        self.load(now, actions);
    }

    fn wished(&mut self, wish: Wish, now: Instant, actions: &mut Vec<Action>) {
        match wish {
            Wish::Stop => {
                self.stop(Signal::SIGTERM, self.settings.graceful_timeout + DRAIN_MARGIN, now, actions)
            }
            Wish::StopNow => self.stop(Signal::SIGQUIT, IMMEDIATE_MARGIN, now, actions),
            Wish::ReopenLogs => {
                actions.push(Action::ReopenLog);
                for (pid, child) in &mut self.children {
                    match child.phase {
                        Phase::Booting { .. } => child.reopen = true,
                        _ => actions.push(Action::Kill { pid: *pid, signal: Signal::SIGUSR1 }),
                    }
                }
            }
            _ if self.stopping.is_some() => {}
            Wish::Reload => self.reload(actions),
            Wish::MoreWorkers => self.scale(|workers| workers + 1, actions),
            Wish::FewerWorkers => self.scale(|workers| workers - 1, actions),
            Wish::Workers(count) => self.scale(|_| count, actions),
            Wish::Upgrade => actions.push(Action::Upgrade),
            Wish::Drain => self.drain(actions),
        }
    }

    /// Changes how many workers there should be, in the generation under way as well, which
    /// may have another number.
    fn scale(&mut self, change: impl Fn(usize) -> usize, actions: &mut Vec<Action>) {
        let wanted = self.next.as_mut().map_or(&mut self.workers, |next| &mut next.workers);
        if !WORKERS.contains(&change(*wanted)) {
            let message = format!("{wanted} workers are as far as it goes");
            return actions.push(Action::Log(Level::Warning, message));
        }
        *wanted = change(*wanted);
        actions.push(Action::Log(Level::Info, format!("{wanted} workers are wanted")));
        if self.next.is_some() && WORKERS.contains(&change(self.workers)) {
            self.workers = change(self.workers);
        }
    }

    fn drain(&mut self, actions: &mut Vec<Action>) {
        self.drained = self.current.is_some();
        let message =
            if self.drained { "all workers drain; SIGHUP brings new ones" } else { "nothing serves yet" };
        actions.push(Action::Log(Level::Info, message.to_owned()));
    }

    fn reload(&mut self, actions: &mut Vec<Action>) {
        if self.next.is_some() || self.draining() >= DRAINING_MAX {
            self.reload_pending = true;
            let message = "reload waits for the one under way, or for workers that drain";
            return actions.push(Action::Log(Level::Info, message.to_owned()));
        }
        self.begin_next(self.settings.clone(), actions);
        let generation = self.generations_made;
        actions.push(Action::Configure { generation });
    }

    fn begin_next(&mut self, settings: Settings, actions: &mut Vec<Action>) {
        self.generations_made += 1;
        let generation = self.generations_made;
        self.next = Some(Next { generation, stage: Stage::Configuring, settings, workers: self.workers });
        actions.push(Action::Log(Level::Info, format!("making generation {generation}")));
    }

    fn configured(&mut self, result: Result<Settings, String>, now: Instant, actions: &mut Vec<Action>) {
        let Some(next) = self.next.as_mut().filter(|next| next.stage == Stage::Configuring) else { return };
        match result {
            Ok(settings) => {
                // TTIN and TTOU outlive a reload unless the configuration asks for something new.
                if settings.workers != self.settings.workers {
                    next.workers = settings.workers;
                }
                next.settings = settings;
                self.load(now, actions);
            }
            Err(reason) => self.fail_next(&reason, ExitCode::Configuration, now, actions),
        }
    }

    fn load(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let Some(next) = &mut self.next else { return };
        next.stage = Stage::Loading { loader: None, deadline: now + next.settings.load_timeout };
        actions.push(Action::StartLoader { generation: next.generation });
    }

    fn loader_started(&mut self, result: Result<Pid, String>, now: Instant, actions: &mut Vec<Action>) {
        match (result, &mut self.next) {
            (Ok(pid), Some(Next { stage: Stage::Loading { loader, .. }, .. })) => *loader = Some(pid),
            (Ok(pid), _) => actions.push(Action::Kill { pid, signal: Signal::SIGKILL }),
            (Err(reason), _) => self.fail_next(&reason, ExitCode::Snapshot, now, actions),
        }
    }

    fn loader_ended(&mut self, result: Result<(), String>, now: Instant, actions: &mut Vec<Action>) {
        let Some(next) = self.next.as_mut().filter(|next| matches!(next.stage, Stage::Loading { .. })) else {
            return;
        };
        match result {
            // Its workers are forked when the event has been handled.
            Ok(()) => next.stage = Stage::Booting,
            Err(reason) => {
                // Reaped already: its pid may be anybody's.
                next.stage = Stage::Loading { loader: None, deadline: now };
                self.fail_next(&reason, ExitCode::Snapshot, now, actions);
            }
        }
    }

    /// Asks for so many workers, or as many as there are free slots.
    fn fork(&mut self, generation: u64, count: usize, actions: &mut Vec<Action>) {
        let mut used = [false; SLOTS];
        let forking = self.forking.iter().map(|(slot, _)| *slot);
        forking.chain(self.children.values().map(|child| child.slot)).for_each(|slot| used[slot] = true);
        for slot in (0..SLOTS).filter(|slot| !used[*slot]).take(count) {
            self.forking.push((slot, generation));
            actions.push(Action::Fork { generation, slot });
        }
    }

    fn forked(
        &mut self,
        generation: u64,
        slot: usize,
        result: Result<Pid, String>,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        self.forking.retain(|(other, _)| *other != slot);
        let pid = match result {
            Ok(pid) => pid,
            Err(reason) if self.is_next(generation) => {
                return self.fail_next(&reason, ExitCode::Worker, now, actions);
            }
            Err(reason) => {
                actions.push(Action::Log(Level::Error, format!("a worker could not be forked: {reason}")));
                return self.back_off(now);
            }
        };
        let wanted = self.is_next(generation) || self.current == Some(generation);
        let boot_timeout = match &self.next {
            Some(next) if next.generation == generation => next.settings.boot_timeout,
            _ => self.settings.boot_timeout,
        };
        let phase = Phase::Booting { deadline: now + boot_timeout };
        self.children.insert(
            pid,
            Child { generation, slot, born: now, phase, reopen: false, cause: None, deaf: false },
        );
        if !wanted || self.stopping.is_some() {
            self.end(pid, Signal::SIGTERM, now + IMMEDIATE_MARGIN, actions);
        }
    }

    fn ready(&mut self, pid: Pid, actions: &mut Vec<Action>) {
        let Some(child) = self.children.get_mut(&pid) else { return };
        if !matches!(child.phase, Phase::Booting { .. }) {
            return;
        }
        child.phase = Phase::Serving;
        if std::mem::take(&mut child.reopen) {
            actions.push(Action::Kill { pid, signal: Signal::SIGUSR1 });
        }
    }

    /// One at a time, so that there is never more than one worker too many.
    fn retires(&mut self, pid: Pid) {
        let serving = self.children.get(&pid).is_some_and(|child| child.phase == Phase::Serving);
        if serving && !self.retiring.contains(&pid) {
            self.retiring.push_back(pid);
        }
    }

    fn promote(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let Some(next) = self.next.take() else { return };
        let graceful_timeout = self.settings.graceful_timeout;
        self.settings = next.settings;
        self.workers = next.workers;
        self.drained = false;
        let former = self.current.replace(next.generation);
        (self.failures, self.backoff_until) = (0, None);
        actions.push(Action::Promote { generation: next.generation });
        self.unannounced.push(next.generation);
        let old = self.pids(|child| child.generation != next.generation && child.phase == Phase::Serving);
        for pid in old {
            self.end(pid, Signal::SIGTERM, now + graceful_timeout + DRAIN_MARGIN, actions);
        }
        let booting = self.pids(|child| {
            child.generation != next.generation && matches!(child.phase, Phase::Booting { .. })
        });
        for pid in booting {
            self.end(pid, Signal::SIGTERM, now + IMMEDIATE_MARGIN, actions);
        }
        // Its workers may all be dead already, and tell of its end no more.
        former.into_iter().for_each(|former| self.forget(former, actions));
    }

    fn deaf(&mut self, pid: Pid, now: Instant) {
        let Some(child) = self.children.get_mut(&pid) else { return };
        child.deaf = true;
        if child.phase == Phase::Serving {
            // Somebody else has told it to end: it is replaced while it drains.
            let deadline = now + self.settings.graceful_timeout + DRAIN_MARGIN;
            (child.phase, child.cause) = (Phase::Ending { deadline }, Some("terminated"));
        }
    }

    /// Tells that a generation serves once nobody can meet a former one any more.
    fn announce(&mut self, actions: &mut Vec<Action>) {
        let children = &self.children;
        let alone = |of: &mut u64| children.values().all(|child| child.generation >= *of || child.deaf);
        let made = self.unannounced.extract_if(.., alone);
        actions.extend(made.map(|generation| Action::Made { generation, result: Ok(()) }));
    }

    /// Begins the reload that has waited, when its time has come.
    fn reload_pending(&mut self, actions: &mut Vec<Action>) {
        if self.reload_pending && self.next.is_none() && self.draining() < DRAINING_MAX {
            self.reload_pending = false;
            self.reload(actions);
        }
    }

    /// How many former generations still have workers.
    fn draining(&self) -> usize {
        let generations: BTreeSet<u64> = self.children.values().map(|child| child.generation).collect();
        generations.into_iter().filter(|of| self.current != Some(*of) && !self.is_next(*of)).count()
    }

    /// Gives up the next generation: the one before goes on, or there is none and the
    /// master ends.
    fn fail_next(&mut self, reason: &str, code: ExitCode, now: Instant, actions: &mut Vec<Action>) {
        let Some(next) = self.next.take() else { return };
        actions.push(Action::Made { generation: next.generation, result: Err(reason.to_owned()) });
        if let Stage::Loading { loader: Some(pid), .. } = next.stage {
            actions.push(Action::Kill { pid, signal: Signal::SIGKILL });
        }
        let graceful = now + next.settings.graceful_timeout + DRAIN_MARGIN;
        for pid in self.pids(|child| child.generation == next.generation) {
            self.end(pid, Signal::SIGTERM, graceful, actions);
        }
        match self.current {
            Some(current) => {
                let message = format!("reload failed, generation {current} goes on serving: {reason}");
                actions.push(Action::Log(Level::Error, message));
                actions.push(Action::Discard { generation: next.generation });
            }
            None => {
                actions.push(Action::Log(Level::Critical, format!("the server cannot start: {reason}")));
                self.stop_with(code, Signal::SIGQUIT, IMMEDIATE_MARGIN, now, actions);
            }
        }
    }

    fn child_exited(&mut self, pid: Pid, orderly: bool, how: &str, now: Instant, actions: &mut Vec<Action>) {
        let Some(child) = self.children.remove(&pid) else { return };
        let Child { generation, slot, born, phase, cause, .. } = child;
        let told = matches!(phase, Phase::Ending { .. });
        let level = if told || orderly { Level::Info } else { Level::Error };
        let cause = cause.or((!told).then_some(if orderly { "terminated" } else { "died" }));
        if let Some(cause) = cause {
            *self.restarts.entry(cause).or_default() += 1;
        }
        let age = now.saturating_duration_since(born).as_secs_f32();
        let message = format!("worker ended: {how} worker={slot} gen={generation} pid={pid} age={age:.1}s");
        actions.push(Action::Log(level, message));
        if !told && self.is_next(generation) {
            let reason = format!("a new worker did not come up: {how}");
            self.fail_next(&reason, ExitCode::Worker, now, actions);
        } else if !told && !orderly && age < HEALTHY_LIFE.as_secs_f32() {
            self.back_off(now);
        } else if !told && !orderly {
            (self.failures, self.backoff_until) = (0, None);
        }
        self.forget(generation, actions);
    }

    /// Discards an old generation with its last worker.
    fn forget(&mut self, generation: u64, actions: &mut Vec<Action>) {
        let alive = self.children.values().any(|child| child.generation == generation);
        if !alive && self.current != Some(generation) && !self.is_next(generation) {
            actions.push(Action::Discard { generation });
        }
    }

    /// The first death is repaired at once, those that follow soon after it are not.
    fn back_off(&mut self, now: Instant) {
        if self.failures > 0 {
            let wait = BACKOFF_FIRST * 2_u32.saturating_pow(self.failures - 1).min(1 << 10);
            self.backoff_until = Some(now + wait.min(BACKOFF_MAX));
        }
        self.failures = self.failures.saturating_add(1);
    }

    fn tick(&mut self, silent: &[(usize, Duration)], now: Instant, actions: &mut Vec<Action>) {
        let asleep = self.last_tick.is_some_and(|last| {
            let timeout = self.settings.timeout.unwrap_or(Duration::MAX);
            now.saturating_duration_since(last) > (timeout / 2).max(SUSPENDED_LEAST)
        });
        self.last_tick = Some(now);
        if let Some(Next { stage: Stage::Loading { deadline, .. }, settings, .. }) = &self.next
            && now >= *deadline
        {
            let reason = format!("the loader took longer than LOAD_TIMEOUT ({:?})", settings.load_timeout);
            self.fail_next(&reason, ExitCode::Snapshot, now, actions);
        }
        self.kill_late(now, actions);
        // A master that was itself suspended has seen no signs of life, but there may be some.
        if let (Some(timeout), false) = (self.settings.timeout, asleep) {
            self.abort_silent(silent, timeout, now, actions);
        }
    }

    fn kill_late(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let late = self.pids(|child| match child.phase {
            Phase::Booting { deadline } | Phase::Ending { deadline } => now >= deadline,
            Phase::Serving => false,
        });
        for pid in late {
            let Some(child) = self.children.get_mut(&pid) else { continue };
            let (booting, generation) = (matches!(child.phase, Phase::Booting { .. }), child.generation);
            child.phase = Phase::Ending { deadline: now + IMMEDIATE_MARGIN };
            child.cause = Some(if booting { "boot_timeout" } else { "end_timeout" });
            let why = if booting { "did not come up within BOOT_TIMEOUT" } else { "did not end in time" };
            actions.push(Action::Log(
                Level::Error,
                format!("worker {why} and is killed gen={generation} pid={pid}"),
            ));
            actions.push(Action::Kill { pid, signal: Signal::SIGKILL });
            if booting && self.is_next(generation) {
                self.fail_next(
                    "a new worker did not come up within BOOT_TIMEOUT",
                    ExitCode::Worker,
                    now,
                    actions,
                );
            }
        }
    }

    fn abort_silent(
        &mut self,
        silent: &[(usize, Duration)],
        timeout: Duration,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let silence =
            |slot: usize| silent.iter().find(|(other, _)| *other == slot).map(|(_, silence)| *silence);
        // One that drains shows signs of life as well, until it is on its way to be killed.
        let may_hang = |phase: Phase| match phase {
            Phase::Booting { .. } => false,
            Phase::Serving => true,
            Phase::Ending { deadline } => deadline > now + ABORT_MARGIN,
        };
        let stuck = self.pids(|child| {
            may_hang(child.phase) && silence(child.slot).is_some_and(|silence| silence > timeout)
        });
        for pid in stuck {
            let Some(child) = self.children.get_mut(&pid) else { continue };
            child.cause = Some("timeout");
            actions.push(Action::Stuck { pid, slot: child.slot });
            if self.children.get(&pid).is_some_and(|child| self.is_next(child.generation)) {
                self.fail_next("a new worker is silent", ExitCode::Worker, now, actions);
            }
            self.end(pid, Signal::SIGABRT, now + ABORT_MARGIN, actions);
        }
    }

    fn stop(&mut self, signal: Signal, margin: Duration, now: Instant, actions: &mut Vec<Action>) {
        let code = self.stopping.unwrap_or(ExitCode::Stopped);
        let how = if signal == Signal::SIGTERM { "gracefully" } else { "at once" };
        actions.push(Action::Log(Level::Info, format!("stopping {how}")));
        self.stop_with(code, signal, margin, now, actions);
    }

    fn stop_with(
        &mut self,
        code: ExitCode,
        signal: Signal,
        margin: Duration,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        self.stopping = Some(code);
        self.reload_pending = false;
        if let Some(Next { stage: Stage::Loading { loader: Some(pid), .. }, .. }) = self.next.take() {
            actions.push(Action::Kill { pid, signal: Signal::SIGKILL });
        }
        actions.push(Action::CloseListeners);
        for pid in self.pids(|_| true) {
            self.end(pid, signal, now + margin, actions);
        }
    }

    /// Tells a worker to end, and remembers when to lose patience: a nearer deadline wins.
    fn end(&mut self, pid: Pid, signal: Signal, deadline: Instant, actions: &mut Vec<Action>) {
        let Some(child) = self.children.get_mut(&pid) else { return };
        let deadline = match child.phase {
            Phase::Ending { deadline: before } => before.min(deadline),
            _ => deadline,
        };
        child.phase = Phase::Ending { deadline };
        actions.push(Action::Kill { pid, signal });
    }

    /// Brings the numbers of workers to what is wanted, lets a generation serve that is
    /// complete, and ends the master when there is nothing left to wait for.
    fn reconcile(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.backoff_until = self.backoff_until.filter(|until| now < *until);
        if let Some(code) = self.stopping {
            if self.children.is_empty() && self.forking.is_empty() && !self.exited {
                self.exited = true;
                actions.push(Action::Exit(code));
            }
            return;
        }
        self.complete_next(now, actions);
        self.complete_current(now, actions);
        self.announce(actions);
        self.reload_pending(actions);
    }

    fn complete_next(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let Some(next) = self.next.as_ref().filter(|next| next.stage == Stage::Booting) else { return };
        let (generation, workers) = (next.generation, next.workers);
        let having = self.alive(generation).len() + self.forking(generation);
        self.fork(generation, workers.saturating_sub(having), actions);
        if self.serving(generation) >= workers && self.forking(generation) == 0 {
            self.promote(now, actions);
        }
    }

    /// Ends the first worker that wishes to retire, once its replacement serves.
    fn end_retiring(&mut self, current: u64, now: Instant, actions: &mut Vec<Action>) {
        let children = &self.children;
        let serves = |pid: &Pid| {
            let child = children.get(pid);
            child.is_some_and(|child| child.generation == current && child.phase == Phase::Serving)
        };
        self.retiring.retain(serves);
        if self.serving(current) > self.workers
            && let Some(pid) = self.retiring.pop_front()
        {
            if let Some(child) = self.children.get_mut(&pid) {
                child.cause = Some("max_requests");
            }
            let deadline = now + self.settings.graceful_timeout + DRAIN_MARGIN;
            self.end(pid, Signal::SIGTERM, deadline, actions);
        }
    }

    fn complete_current(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let Some(current) = self.current else { return };
        self.end_retiring(current, now, actions);
        let wanted = if self.drained { 0 } else { self.workers + self.retiring.len().min(1) };
        let alive = self.alive(current);
        let having = alive.len() + self.forking(current);
        if having < wanted && self.backoff_until.is_none() {
            self.fork(current, wanted - having, actions);
        }
        for pid in alive.into_iter().rev().take(having.saturating_sub(wanted)) {
            let deadline = now + self.settings.graceful_timeout + DRAIN_MARGIN;
            self.end(pid, Signal::SIGTERM, deadline, actions);
        }
    }

    /// Workers of a generation that have not been told to end; those that serve first.
    fn alive(&self, generation: u64) -> Vec<Pid> {
        let mut alive =
            self.pids(|child| child.generation == generation && !matches!(child.phase, Phase::Ending { .. }));
        alive.sort_by_key(|pid| self.children[pid].phase != Phase::Serving);
        alive
    }

    fn forking(&self, generation: u64) -> usize {
        self.forking.iter().filter(|(_, of)| *of == generation).count()
    }

    fn serving(&self, generation: u64) -> usize {
        let serving = |child: &&Child| child.generation == generation && child.phase == Phase::Serving;
        self.children.values().filter(serving).count()
    }

    fn is_next(&self, generation: u64) -> bool {
        self.next.as_ref().is_some_and(|next| next.generation == generation)
    }

    fn pids(&self, which: impl Fn(&Child) -> bool) -> Vec<Pid> {
        self.children.iter().filter(|(_, child)| which(child)).map(|(pid, _)| *pid).collect()
    }
}

#[cfg(test)]
mod tests;
