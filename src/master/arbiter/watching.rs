//! Signs of life and of death: messages of workers, time-outs, and the pace at which the arbiter replaces
//! workers that die.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use slog::Level;

use super::children::{DRAIN_MARGIN, IMMEDIATE_MARGIN};
use super::patience::HEALTHY_LIFE;
use super::state::{Arbiter, Child, Next, Phase, Stage};
use crate::master::arbiter::events::Action;
use crate::master::error::{Outlook, Reason};
use crate::master::exit::ExitCode;
use crate::scoreboard::RestartCause;

/// Time between SIGABRT and SIGKILL to a silent worker.
const ABORT_MARGIN: Duration = Duration::from_secs(2);

impl Arbiter {
    pub(super) fn ready(&mut self, pid: Pid) {
        let Some(child) = self.children.get_mut(&pid) else { return };
        if !matches!(child.phase, Phase::Booting { .. }) {
            return;
        }
        child.phase = Phase::Serving;
    }

    pub(super) fn deaf(&mut self, pid: Pid, now: Instant) {
        let Some(child) = self.children.get_mut(&pid) else { return };
        child.deaf = true;
        if child.phase == Phase::Serving {
            // Another process has told the worker to end: the arbiter replaces it while it drains.
            let deadline = now + self.settings.graceful_timeout + DRAIN_MARGIN;
            (child.phase, child.cause) = (Phase::Ending { deadline }, Some(RestartCause::Terminated));
        }
    }

    /// Notes that a worker retires. They are replaced one at a time, so there is never more than one extra
    /// worker.
    pub(super) fn retires(&mut self, pid: Pid, cause: RestartCause) {
        let serving = self.children.get(&pid).is_some_and(|child| child.phase == Phase::Serving);
        if serving && !self.retiring.iter().any(|(other, _)| *other == pid) {
            self.retiring.push_back((pid, cause));
        }
    }

    pub(super) fn child_exited(
        &mut self,
        pid: Pid,
        orderly: bool,
        killed: bool,
        how: &str,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let Some(child) = self.children.remove(&pid) else { return };
        let Child { generation, slot, born, phase, cause, .. } = child;
        let told = matches!(phase, Phase::Ending { .. });
        let level = if told || orderly { Level::Info } else { Level::Error };
        let cause =
            cause.or((!told).then_some(if orderly { RestartCause::Terminated } else { RestartCause::Died }));
        if let Some(cause) = cause {
            *self.restarts.entry(cause).or_default() += 1;
        }
        let age = now.saturating_duration_since(born);
        actions.push(Action::WorkerEnded { level, generation, slot, pid, how: how.to_owned(), age });
        if !told && self.is_next(generation) {
            let outlook = if killed { Outlook::Unreachable } else { Outlook::Lasting };
            let reason = Reason::new(format!("a new worker did not come up: {how}")).with(outlook);
            self.fail_next(reason, ExitCode::Worker, now, actions);
        } else if !told && !orderly && age < HEALTHY_LIFE {
            self.died_young(born, how, now, actions);
        } else if !told && !orderly {
            self.patience.forgive();
        }
        self.forget(generation, actions);
    }

    /// Handles the death of a worker that had not lived long: the next one may die as well.
    fn died_young(&mut self, born: Instant, how: &str, now: Instant, actions: &mut Vec<Action>) {
        let window = self.settings.failure_window;
        self.patience.died(born, how, window, now);
        let Some(message) = self.patience.in_words() else { return };
        let max = self.settings.failures_max;
        if max == 0 || self.patience.incidents() < max || self.stopping.is_some() || self.somebody_serves(now)
        {
            return actions.push(Action::Log(Level::Warning, message));
        }
        let message = format!("{message}; giving up after {max} times within {}s", window.as_secs());
        actions.push(Action::Log(Level::Critical, message));
        self.stop_with(ExitCode::Worker, Signal::SIGQUIT, IMMEDIATE_MARGIN, now, actions);
    }

    /// Whether the end of the master would lose requests of a worker, or a coming generation may do better.
    fn somebody_serves(&self, now: Instant) -> bool {
        let old = |child: &Child| now.saturating_duration_since(child.born) >= HEALTHY_LIFE;
        let former = |child: &Child| Some(child.generation) != self.current;
        self.next.is_some() || self.children.values().any(|child| old(child) || former(child))
    }

    pub(super) fn tick(&mut self, silent: &[(usize, Duration)], now: Instant, actions: &mut Vec<Action>) {
        if let Some(Next { stage: Stage::Loading { deadline, .. }, settings, .. }) = &self.next
            && now >= *deadline
        {
            let reason = format!("the loader took longer than LOAD_TIMEOUT ({:?})", settings.load_timeout);
            let reason = Reason::new(reason).with(Outlook::Unreachable);
            self.fail_next(reason, ExitCode::Snapshot, now, actions);
        }
        self.patience.tick(now);
        self.kill_late(now, actions);
        if let Some(timeout) = self.settings.timeout {
            self.abort_silent(silent, timeout, now, actions);
        }
    }

    pub(super) fn kill_late(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let late = self.pids(|child| match child.phase {
            Phase::Booting { deadline } | Phase::Ending { deadline } => now >= deadline,
            Phase::Serving => false,
        });
        for pid in late {
            let Some(child) = self.children.get_mut(&pid) else { continue };
            let (booting, generation) = (matches!(child.phase, Phase::Booting { .. }), child.generation);
            child.phase = Phase::Ending { deadline: now + IMMEDIATE_MARGIN };
            child.cause = Some(if booting { RestartCause::BootTimeout } else { RestartCause::EndTimeout });
            let why = if booting { "did not come up within BOOT_TIMEOUT" } else { "did not end in time" };
            actions.push(Action::Log(
                Level::Error,
                format!("worker {why} and is killed gen={generation} pid={pid}"),
            ));
            actions.push(Action::Kill { pid, signal: Signal::SIGKILL });
            if booting && self.is_next(generation) {
                // The machine was too busy for the workers to start.
                let reason = Reason::new("a new worker did not come up within BOOT_TIMEOUT");
                self.fail_next(reason.with(Outlook::Unreachable), ExitCode::Worker, now, actions);
            }
        }
    }

    pub(super) fn abort_silent(
        &mut self,
        silent: &[(usize, Duration)],
        timeout: Duration,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let silence =
            |slot: usize| silent.iter().find(|(other, _)| *other == slot).map(|(_, silence)| *silence);
        // A worker that drains shows signs of life as well, until it gets SIGABRT.
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
            child.cause = Some(RestartCause::Timeout);
            actions.push(Action::Stuck { pid, slot: child.slot });
            if self.children.get(&pid).is_some_and(|child| self.is_next(child.generation)) {
                let reason = Reason::new("a new worker is silent").with(Outlook::Unreachable);
                self.fail_next(reason, ExitCode::Worker, now, actions);
            }
            self.end(pid, Signal::SIGABRT, now + ABORT_MARGIN, actions);
        }
    }
}
