//! The next generation, from the request for it until it serves or has failed.

use std::time::Instant;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use slog::Level;

use super::children::{DRAIN_MARGIN, IMMEDIATE_MARGIN};
use super::state::{Arbiter, Next, Phase, Stage};
use crate::master::arbiter::events::{Action, Settings};
use crate::master::error::Reason;
use crate::master::exit::ExitCode;

impl Arbiter {
    pub(super) fn begin_next(&mut self, settings: Settings, actions: &mut Vec<Action>) {
        self.generations_made += 1;
        let generation = self.generations_made;
        self.next = Some(Next { generation, stage: Stage::Configuring, settings, workers: self.workers });
        actions.push(Action::Log(Level::Info, format!("making generation {generation}")));
    }

    pub(super) fn configured(
        &mut self,
        result: Result<Settings, Reason>,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let Some(next) = self.next.as_mut().filter(|next| next.stage == Stage::Configuring) else { return };
        match result {
            Ok(settings) => {
                // The effect of TTIN and TTOU outlives a reload unless the configuration has a new number.
                if settings.workers != self.settings.workers {
                    next.workers = settings.workers;
                }
                next.settings = settings;
                self.load(now, actions);
            }
            Err(reason) => self.fail_next(reason, ExitCode::Configuration, now, actions),
        }
    }

    pub(super) fn load(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let Some(next) = &mut self.next else { return };
        next.stage = Stage::Loading { loader: None, deadline: now + next.settings.load_timeout };
        actions.push(Action::StartLoader { generation: next.generation });
    }

    pub(super) fn loader_started(
        &mut self,
        result: Result<Pid, Reason>,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        match (result, &mut self.next) {
            (Ok(pid), Some(Next { stage: Stage::Loading { loader, .. }, .. })) => *loader = Some(pid),
            (Ok(pid), _) => actions.push(Action::Kill { pid, signal: Signal::SIGKILL }),
            (Err(reason), _) => self.fail_next(reason, ExitCode::Snapshot, now, actions),
        }
    }

    pub(super) fn loader_ended(
        &mut self,
        result: Result<(), Reason>,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let Some(next) = self.next.as_mut().filter(|next| matches!(next.stage, Stage::Loading { .. })) else {
            return;
        };
        match result {
            // The arbiter forks the workers after it has handled the event.
            Ok(()) => next.stage = Stage::Booting,
            Err(reason) => {
                // The loader is reaped: its pid may belong to another process now.
                next.stage = Stage::Loading { loader: None, deadline: now };
                self.fail_next(reason, ExitCode::Snapshot, now, actions);
            }
        }
    }

    pub(super) fn unchanged(&mut self, actions: &mut Vec<Action>) {
        let loading = |next: &mut Next| matches!(next.stage, Stage::Loading { .. });
        let Some(Next { generation, .. }) = self.next.take_if(loading) else { return };
        actions.push(Action::ReloadEnded { generation, result: Ok(()) });
        actions.push(Action::Discard { generation });
    }

    pub(super) fn complete_next(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let Some(next) = &self.next else { return };
        if !matches!(next.stage, Stage::Booting | Stage::Proving { .. }) {
            return;
        }
        let (generation, workers) = (next.generation, next.workers);
        let proves = self.current.is_some();
        let having = self.alive(generation).len() + self.forking(generation);
        let missing = workers.saturating_sub(having);
        // Workers that boot take processors from those that serve, so only one boots at a time.
        let boots = having > self.serving(generation);
        let count = if proves { missing.min(usize::from(!boots)) } else { missing };
        self.fork(generation, count, actions);
        let complete = self.serving(generation) >= workers && self.forking(generation) == 0;
        let Some(next) = &mut self.next else { return };
        match next.stage {
            _ if !complete => next.stage = Stage::Booting,
            Stage::Booting if proves => {
                next.stage = Stage::Proving { until: now + next.settings.probation };
                actions.push(Action::Prove { generation });
                self.complete_next(now, actions);
            }
            Stage::Proving { until } if now < until => {}
            _ => self.promote(now, actions),
        }
    }

    pub(super) fn promote(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let Some(next) = self.next.take() else { return };
        let graceful_timeout = self.settings.graceful_timeout;
        self.settings = next.settings;
        self.workers = next.workers;
        self.drained = false;
        let former = self.current.replace(next.generation);
        self.patience.forgive();
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
        // All workers of the former generation may be dead already, and then no event will end it.
        former.into_iter().for_each(|former| self.forget(former, actions));
    }

    /// Reports that a generation serves once no client can reach a former one any more.
    pub(super) fn announce(&mut self, actions: &mut Vec<Action>) {
        let children = &self.children;
        let alone = |of: &mut u64| children.values().all(|child| child.generation >= *of || child.deaf);
        let made = self.unannounced.extract_if(.., alone);
        actions.extend(made.map(|generation| Action::ReloadEnded { generation, result: Ok(()) }));
    }

    /// Gives up the next generation: the one before it continues, or, if there is none, the master ends.
    pub(super) fn fail_next(
        &mut self,
        reason: Reason,
        code: ExitCode,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let Some(next) = self.next.take() else { return };
        let last_words = self.current.is_none().then(|| format!("the server cannot start: {reason}"));
        actions.push(Action::ReloadEnded { generation: next.generation, result: Err(reason) });
        if let Stage::Loading { loader: Some(pid), .. } = next.stage {
            actions.push(Action::Kill { pid, signal: Signal::SIGKILL });
        }
        let graceful = now + next.settings.graceful_timeout + DRAIN_MARGIN;
        for pid in self.pids(|child| child.generation == next.generation) {
            self.end(pid, Signal::SIGTERM, graceful, actions);
        }
        match last_words {
            None => actions.push(Action::Discard { generation: next.generation }),
            Some(message) => {
                actions.push(Action::Log(Level::Critical, message));
                self.stop_with(code, Signal::SIGQUIT, IMMEDIATE_MARGIN, now, actions);
            }
        }
    }

    pub(super) fn is_next(&self, generation: u64) -> bool {
        self.next.as_ref().is_some_and(|next| next.generation == generation)
    }
}
