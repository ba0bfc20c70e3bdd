//! The decisions of the master, as a pure state machine: events in, actions out.
//!
//! The arbiter knows children by pid, generations by number and time by the clock of its events. It never
//! reads a configuration, forks or logs: the shell (`perform.rs`) performs its actions, and reports their
//! outcome. So tests can play every order of signals, deaths and time-outs in memory.

mod children;
pub mod events;
mod making;
mod patience;
mod state;
mod watching;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use slog::Level;

use crate::control::WORKERS;
use crate::master::exit::ExitCode;
use crate::scoreboard::{RestartCause, SLOTS};
use children::{DRAIN_MARGIN, IMMEDIATE_MARGIN};
use events::{Action, Event, Settings, State, Wish, WorkerState, WorkerStatus};
pub use state::Arbiter;
use state::{Next, Phase, Stage};

/// Most generations that may drain at the same time, as each pins its snapshot. A further reload waits,
/// because ending a generation early would lose requests.
const DRAINING_MAX: usize = 2;
/// Every worker has a slot: those of the generation that serves, of the next one and of those that drain.
const _: () = assert!(*WORKERS.end() * (2 + DRAINING_MAX) <= SLOTS);

impl Arbiter {
    /// Takes an event and returns the actions that follow from it, in their order.
    pub fn handle(&mut self, event: Event, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Started(settings) => self.started(settings, now, &mut actions),
            Event::Wished(wish) => self.wished(wish, now, &mut actions),
            Event::Configured(result) => self.configured(result, now, &mut actions),
            Event::LoaderStarted(result) => self.loader_started(result, now, &mut actions),
            Event::LoaderEnded(result) => self.loader_ended(result, now, &mut actions),
            Event::Unchanged => self.unchanged(&mut actions),
            Event::Forked { generation, slot, result } => {
                self.forked(generation, slot, result, now, &mut actions);
            }
            Event::Ready(pid) => self.ready(pid),
            Event::Retires { pid, cause } => self.retires(pid, cause),
            Event::Deaf(pid) => self.deaf(pid, now),
            Event::Exited { pid, orderly, killed, how } => {
                self.child_exited(pid, orderly, killed, &how, now, &mut actions);
            }
            Event::Tick { silent } => self.tick(&silent, now, &mut actions),
        }
        self.reconcile(now, &mut actions);
        actions
    }

    /// The time of the next tick that a deadline needs, if a deadline is running.
    pub fn next_deadline(&self) -> Option<Instant> {
        let making = self.next.as_ref().and_then(|next| match next.stage {
            Stage::Loading { deadline, .. } => Some(deadline),
            Stage::Proving { until } => Some(until),
            Stage::Configuring | Stage::Booting => None,
        });
        let children = self.children.values().filter_map(|child| match child.phase {
            Phase::Booting { deadline } | Phase::Ending { deadline } => Some(deadline),
            Phase::Serving => None,
        });
        children.chain(making).chain(self.patience.next_try()).min()
    }

    /// The generation that will answer a request to reload that comes now.
    pub fn reload_generation(&self) -> u64 {
        self.generations_made + 1
    }

    /// Whether a generation is being made, so that a request to reload would wait.
    pub fn is_making(&self) -> bool {
        self.next.is_some() || self.draining() >= DRAINING_MAX
    }

    /// The state of the server.
    pub fn state(&self) -> State {
        match (self.stopping, self.current, &self.next) {
            (Some(_), ..) => State::Stopping,
            (None, None, _) => State::Starting,
            (None, Some(_), Some(_)) => State::Reloading,
            (None, Some(_), None) if self.drained => State::Drained,
            (None, Some(_), None) => State::Serving,
        }
    }

    /// The generation that serves.
    pub fn current(&self) -> Option<u64> {
        self.current
    }

    /// A sentence about workers that die repeatedly, if they do.
    pub fn trouble(&self) -> Option<String> {
        self.patience.in_words()
    }

    /// The intended number of workers.
    pub fn workers_wanted(&self) -> usize {
        self.workers
    }

    /// The number of workers of the generation that serves which accept connections.
    pub fn workers_serving(&self) -> usize {
        self.current.map_or(0, |current| self.serving(current))
    }

    /// The number of replaced workers, by cause.
    pub fn restarts(&self) -> &BTreeMap<RestartCause, u64> {
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
                Phase::Booting { .. } => WorkerState::Booting,
                Phase::Serving => WorkerState::Serving,
                Phase::Ending { .. } => WorkerState::Ending,
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
            Wish::ReopenLogs => actions.push(Action::ReopenLog),
            _ if self.stopping.is_some() => {}
            Wish::Reload => self.reload(actions),
            Wish::MoreWorkers => self.scale(|workers| workers + 1, actions),
            Wish::FewerWorkers => self.scale(|workers| workers - 1, actions),
            Wish::Workers(count) => self.scale(|_| count, actions),
            Wish::Upgrade => actions.push(Action::Upgrade),
            Wish::Drain => self.drain(actions),
        }
    }

    /// Changes the intended number of workers, also in the generation that is being made, whose number may
    /// differ.
    fn scale(&mut self, change: impl Fn(usize) -> usize, actions: &mut Vec<Action>) {
        let wanted = self.next.as_mut().map_or(&mut self.workers, |next| &mut next.workers);
        if !WORKERS.contains(&change(*wanted)) {
            let message = format!("{wanted} workers are the limit");
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
        if self.is_making() {
            self.reload_pending = true;
            let message = "reload waits for the one under way, or for workers that drain";
            return actions.push(Action::Log(Level::Info, message.to_owned()));
        }
        self.begin_next(self.settings.clone(), actions);
        let generation = self.generations_made;
        actions.push(Action::Configure { generation });
    }

    /// Begins the reload that has waited, once it may run.
    fn reload_pending(&mut self, actions: &mut Vec<Action>) {
        if self.reload_pending && !self.is_making() {
            self.reload_pending = false;
            self.reload(actions);
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

    /// Brings the numbers of workers to the intended ones, lets a complete generation serve, and ends the
    /// master when nothing is left to wait for.
    fn reconcile(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.patience.forget_past(now);
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
}

#[cfg(test)]
mod tests;
