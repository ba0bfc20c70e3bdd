//! The workers of all generations: how many exist, which of them the arbiter wants, and how it ends each one.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use slog::Level;

use super::state::{Arbiter, Child, Phase};
use crate::master::arbiter::events::Action;
use crate::master::error::Reason;
use crate::master::exit::ExitCode;
use crate::scoreboard::{RestartCause, SLOTS};

/// The time between a worker's own deadline and its kill, in which it can end by itself.
pub(super) const DRAIN_MARGIN: Duration = Duration::from_secs(2);
/// The time that processes have to end immediately before they are killed.
pub(super) const IMMEDIATE_MARGIN: Duration = Duration::from_secs(2);

impl Arbiter {
    /// Asks for `count` workers, or for as many as there are free slots.
    pub(super) fn fork(&mut self, generation: u64, count: usize, actions: &mut Vec<Action>) {
        let mut used = [false; SLOTS];
        let forking = self.forking.iter().map(|(slot, _)| *slot);
        forking.chain(self.children.values().map(|child| child.slot)).for_each(|slot| used[slot] = true);
        for slot in (0..SLOTS).filter(|slot| !used[*slot]).take(count) {
            self.forking.push((slot, generation));
            actions.push(Action::Fork { generation, slot });
        }
    }

    pub(super) fn forked(
        &mut self,
        generation: u64,
        slot: usize,
        result: Result<Pid, Reason>,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        self.forking.retain(|(other, _)| *other != slot);
        let pid = match result {
            Ok(pid) => pid,
            Err(reason) if self.is_next(generation) => {
                return self.fail_next(reason, ExitCode::Worker, now, actions);
            }
            Err(reason) => {
                actions.push(Action::Log(Level::Error, format!("a worker could not be forked: {reason}")));
                return self.patience.fork_failed(now);
            }
        };
        self.patience.forked();
        let wanted = self.is_next(generation) || self.current == Some(generation);
        let boot_timeout = match &self.next {
            Some(next) if next.generation == generation => next.settings.boot_timeout,
            _ => self.settings.boot_timeout,
        };
        let phase = Phase::Booting { deadline: now + boot_timeout };
        self.children.insert(pid, Child { generation, slot, born: now, phase, cause: None, deaf: false });
        if !wanted || self.stopping.is_some() {
            self.end(pid, Signal::SIGTERM, now + IMMEDIATE_MARGIN, actions);
        }
    }

    pub(super) fn forking(&self, generation: u64) -> usize {
        self.forking.iter().filter(|(_, of)| *of == generation).count()
    }

    /// Tells a worker to end, and sets the deadline of its kill. If a deadline is set already, the earlier
    /// one applies.
    pub(super) fn end(&mut self, pid: Pid, signal: Signal, deadline: Instant, actions: &mut Vec<Action>) {
        let Some(child) = self.children.get_mut(&pid) else { return };
        let deadline = match child.phase {
            Phase::Ending { deadline: before } => before.min(deadline),
            _ => deadline,
        };
        child.phase = Phase::Ending { deadline };
        actions.push(Action::Kill { pid, signal });
    }

    /// Ends the first worker that wishes to retire, once its replacement serves.
    pub(super) fn end_retiring(&mut self, current: u64, now: Instant, actions: &mut Vec<Action>) {
        let children = &self.children;
        let serves = |(pid, _): &(Pid, RestartCause)| {
            let child = children.get(pid);
            child.is_some_and(|child| child.generation == current && child.phase == Phase::Serving)
        };
        self.retiring.retain(serves);
        if self.serving(current) > self.workers
            && let Some((pid, cause)) = self.retiring.pop_front()
        {
            if let Some(child) = self.children.get_mut(&pid) {
                child.cause = Some(cause);
            }
            let deadline = now + self.settings.graceful_timeout + DRAIN_MARGIN;
            self.end(pid, Signal::SIGTERM, deadline, actions);
        }
    }

    pub(super) fn complete_current(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let Some(current) = self.current else { return };
        self.end_retiring(current, now, actions);
        let wanted = if self.drained { 0 } else { self.workers + self.retiring.len().min(1) };
        let alive = self.alive(current);
        let having = alive.len() + self.forking(current);
        let missing = wanted.saturating_sub(having);
        let allowed = self.patience.allow(missing, now);
        self.fork(current, allowed, actions);
        for pid in alive.into_iter().rev().take(having.saturating_sub(wanted)) {
            let deadline = now + self.settings.graceful_timeout + DRAIN_MARGIN;
            self.end(pid, Signal::SIGTERM, deadline, actions);
        }
    }

    /// Workers of a generation that have no order to end; those that serve come first.
    pub(super) fn alive(&self, generation: u64) -> Vec<Pid> {
        let mut alive =
            self.pids(|child| child.generation == generation && !matches!(child.phase, Phase::Ending { .. }));
        alive.sort_by_key(|pid| self.children[pid].phase != Phase::Serving);
        alive
    }

    pub(super) fn serving(&self, generation: u64) -> usize {
        let serving = |child: &&Child| child.generation == generation && child.phase == Phase::Serving;
        self.children.values().filter(serving).count()
    }

    pub(super) fn pids(&self, which: impl Fn(&Child) -> bool) -> Vec<Pid> {
        self.children.iter().filter(|(_, child)| which(child)).map(|(pid, _)| *pid).collect()
    }

    /// Discards an old generation with its last worker.
    pub(super) fn forget(&mut self, generation: u64, actions: &mut Vec<Action>) {
        let alive = self.children.values().any(|child| child.generation == generation);
        if !alive && self.current != Some(generation) && !self.is_next(generation) {
            actions.push(Action::Discard { generation });
        }
    }

    /// How many former generations still have workers.
    pub(super) fn draining(&self) -> usize {
        let generations: BTreeSet<u64> = self.children.values().map(|child| child.generation).collect();
        generations.into_iter().filter(|of| self.current != Some(*of) && !self.is_next(*of)).count()
    }
}
