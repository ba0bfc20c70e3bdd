//! The components of a master, and the arbiter's actions as their methods.

mod reload;
mod source;

use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use slog::{Level, Logger, error, info, warn};

use crate::master::arbiter::Arbiter;
use crate::master::arbiter::events::{Action, Event, State, Wish};
use crate::master::error::Reason;
use crate::master::exit::ExitCode;
use crate::master::generation::asking::Asking;
use crate::master::generation::freshness::Freshness;
use crate::master::generation::generations::Generations;
use crate::master::generation::loader::{Loader, Source};
use crate::master::generation::restored::Restored;
use crate::master::generation::watcher::Watcher;
use crate::master::generation::workers::Workers;
use crate::master::handover::paths::Name;
use crate::master::handover::succession::{Succession, Word};
use crate::master::operator::desk::{Desk, is_healthy};
use crate::master::operator::metrics::Metrics;
use crate::master::operator::status::View;
use crate::master::processes::end::{self, Ended};
use crate::master::processes::errands::{Errand, Errands};
use crate::master::scans::schedule::{Ending, Scans};
use crate::scoreboard::RestartCause;

/// Time before each action for the requests under way: an action takes a good part of a millisecond, and a client or a
/// worker that shares its processor waits.
const PAUSE: Duration = Duration::from_millis(1);

/// The components of a master. Each owns its state and its descriptors; the shell connects them.
pub(crate) struct Shell {
    pub(crate) generations: Generations,
    pub(crate) workers: Workers,
    pub(crate) asking: Asking,
    pub(crate) loader: Option<Loader>,
    pub(crate) restored: Restored,
    pub(crate) freshness: Freshness,
    pub(crate) watcher: Watcher,
    /// Whether the log already says that the source does not report its revision.
    pub(crate) is_unknown_told: bool,
    pub(crate) scans: Scans,
    pub(crate) errands: Errands,
    pub(crate) desk: Desk,
    /// The exit code, from the moment when the arbiter has decided to end.
    pub(crate) exit: Option<ExitCode>,
    /// Dropped last: a new master takes the paths of the desk when the pipe to this master closes.
    pub(crate) succession: Succession,
}

impl Shell {
    /// Performs an action, and returns the event that answers it, if there is one.
    pub(crate) fn perform(&mut self, action: Action, arbiter: &Arbiter, now: Instant) -> Option<Event> {
        if self.generations.current().is_some() {
            thread::sleep(PAUSE);
        }
        match action {
            Action::Configure { generation } => {
                let begun = self.begin_configuration(generation, arbiter, now).map_err(Reason::from);
                return begun.err().map(|reason| Event::Configured(Err(reason)));
            }
            Action::StartLoader { generation } => {
                return Some(Event::LoaderStarted(self.start_loader(generation, now).map_err(Reason::from)));
            }
            Action::Fork { generation, slot } => {
                // A generation that does not serve yet leaves all connections to the one that serves.
                let waits = self.generations.current_number().is_some_and(|current| current != generation);
                let of = self.generations.numbered(generation);
                let forked = of.and_then(|of| self.workers.fork(generation, of, slot, waits));
                let result = forked.map_err(Reason::from);
                return Some(Event::Forked { generation, slot, result });
            }
            Action::Kill { pid, signal } => {
                if signal == Signal::SIGTERM {
                    self.workers.dismiss(pid);
                }
                self.kill(pid, signal);
            }
            Action::WorkerEnded { level, generation, slot, pid, how, age } => {
                let log = self.logger().new(slog::o!("worker" => slot, "gen" => generation,
                    "pid" => pid.as_raw(), "age" => format!("{:.1}s", age.as_secs_f32())));
                match level {
                    Level::Error => error!(log, "worker ended: {}", how),
                    _ => info!(log, "worker ended: {}", how),
                }
            }
            Action::Prove { generation } => {
                self.workers.owe_next(generation);
                self.workers.hand_out(&self.generations);
            }
            Action::Promote { generation } => self.promote(generation, arbiter, now),
            Action::ReloadEnded { generation, result } => self.reload_ended(generation, result, arbiter, now),
            Action::Stuck { pid, slot } => {
                let request = self.workers.scoreboard().slot(slot).request();
                error!(self.logger(), "worker is silent for longer than TIMEOUT and is killed pid={}", pid;
                    "worker" => slot, "request" => request.as_deref().unwrap_or("none"));
            }
            Action::Discard { generation } => self.discard(generation),
            Action::CloseListeners => self.leave(arbiter),
            Action::Upgrade => {
                // No client waits for the answer. The log has the reason of a failure.
                let _ = self.upgrade(false);
            }
            Action::ReopenLog => self.generations.reopen_logs(),
            Action::Log(level, message) => self.generations.say(level, &message),
            Action::Exit(code) => self.exit = Some(code),
        }
        None
    }

    pub(crate) fn logger(&self) -> &Logger {
        self.generations.logger()
    }

    /// The components that a status is made of.
    pub(crate) fn view<'a>(&'a self, arbiter: &'a Arbiter) -> View<'a> {
        View {
            arbiter,
            generations: &self.generations,
            scoreboard: self.workers.scoreboard(),
            last_reload: self.desk.last_reload(),
            freshness: &self.freshness,
            scan_failure: self.scans.failure(),
        }
    }

    pub(crate) fn kill(&self, pid: Pid, signal: Signal) {
        match kill(pid, signal) {
            // The process has ended, and the master will reap it.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => {
                warn!(self.logger(), "signal not sent"; "pid" => pid.as_raw(), "error" => %errno);
            }
        }
    }

    /// Starts the program again beside this one. If `replaces` is true, this master ends when the new one
    /// serves.
    ///
    /// # Errors
    /// The reason why the program did not start; it is in the log already.
    pub(crate) fn upgrade(&mut self, replaces: bool) -> Result<(), Reason> {
        let listeners = self.generations.current().map(|current| current.listeners());
        let started = self.succession.start(listeners, self.workers.mail().address(), replaces);
        match started.map_err(Reason::from) {
            Ok(pid) => {
                info!(self.logger(), "a new master was started"; "pid" => pid.as_raw());
                Ok(())
            }
            Err(reason) => {
                let reason = Reason::new(format!("upgrade failed: {reason}"));
                error!(self.logger(), "{}", reason);
                Err(reason)
            }
        }
    }

    /// Handles the message of a process that serves in place of this one.
    pub(crate) fn taken_over(&mut self, pid: Pid) -> Option<Event> {
        let replaces = self.succession.serves(pid)?;
        info!(self.logger(), "the new master serves"; "pid" => pid.as_raw());
        self.generations.own_addresses(false);
        self.desk.upgrade_ended(&Ok(()));
        replaces.then_some(Event::Wished(Wish::Stop))
    }

    /// Handles the end of the new master: this master has all responsibilities again.
    fn successor_ended(&mut self, served: bool, ended: Ended, state: State) -> Vec<Event> {
        self.generations.own_addresses(!self.succession.has_predecessor());
        if served {
            warn!(self.logger(), "the new master has gone again ({})", ended);
        } else {
            let reason = Reason::new(format!("upgrade failed: the new master ended ({ended})"));
            error!(self.logger(), "{}", reason);
            self.desk.upgrade_ended(&Err(reason));
        }
        Vec::from_iter((state == State::Drained).then_some(Event::Wished(Wish::Reload)))
    }

    /// Stops this master and the one beside it. This master ends after the other one.
    pub(crate) fn stop_all(&mut self) -> Event {
        self.generations.own_addresses(true);
        if let Some(successor) = self.succession.end_last() {
            self.kill(successor, Signal::SIGTERM);
        }
        Event::Wished(Wish::Stop)
    }

    /// Prepares the end of the server: no child begins new work, and this master closes all addresses. They
    /// stay open only if another master serves them.
    fn leave(&mut self, arbiter: &Arbiter) {
        self.scans.interrupt();
        self.asking.give_up();
        // The status keeps the reason why a server could not start until the process ends.
        let failed = self.generations.current().is_none() && self.desk.last_reload().is_some();
        let line = failed.then(|| self.view(arbiter).line());
        let heir = self.succession.heir();
        self.desk.leave_systemd(heir, line.as_deref());
        if heir.is_some() {
            self.succession.pass_the_turn();
        }
        if self.generations.close_addresses(self.succession.leaves_none()) {
            self.workers.dismiss_as_last();
        }
    }

    /// Takes over from a former master: reports to systemd once that one has stopped doing so, and takes its
    /// paths once it has ended.
    pub(crate) fn succeed(&mut self, arbiter: &Arbiter) {
        let Some(word) = self.succession.word() else { return };
        if word == Word::Gone {
            // A scan of the former master may have stored rows after this master had read the database.
            self.scans.owe_rows(arbiter.reload_generation());
        }
        let line = self.view(arbiter).line();
        self.desk.speak(self.generations.current(), &line);
        if word == Word::Gone {
            self.generations.own_addresses(true);
            self.desk.take_paths();
            info!(self.logger(), "the former master has gone");
        }
    }

    /// Handles the end of a child.
    pub(crate) fn reaped(&mut self, pid: Pid, ended: Ended, arbiter: &Arbiter, now: Instant) -> Vec<Event> {
        if let Some(served) = self.succession.ended(pid) {
            return self.successor_ended(served, ended, arbiter.state());
        }
        if self.asking.ended(pid) || self.generations.writer_ended(pid) || self.desk.lookout_ended(pid) {
            return Vec::new();
        }
        if self.restored.saver_ended(pid) {
            self.restored.save(self.generations.current());
            return Vec::new();
        }
        if let Some(ending) = self.scans.ended(pid, ended) {
            return self.scan_ended(&ending, arbiter);
        }
        match self.errands.ended(pid) {
            Some(Errand::Reported) => return Vec::new(),
            Some(Errand::LookedUp(answers)) => {
                if self.errands.learn(answers, self.generations.logger()) {
                    self.workers.owe_names();
                }
                return Vec::new();
            }
            None => {}
        }
        match self.loader.take_if(|loader| loader.pid == pid) {
            Some(loader) => vec![self.loader_ended(loader, ended, now)],
            None => match self.watcher.ended(pid, ended, self.generations.logger(), now) {
                Some(said) => {
                    self.hear_of_source(said, now);
                    Vec::new()
                }
                None => self.worker_ended(pid, ended),
            },
        }
    }

    fn worker_ended(&mut self, pid: Pid, ended: Ended) -> Vec<Event> {
        // This comes first, as the next worker may get the same slot.
        let generation = self.workers.ended(pid);
        let orderly = ended == Ended::Code(0);
        let killed = ended == Ended::Signal(Signal::SIGKILL);
        let mut events = vec![Event::Exited { pid, orderly, killed, how: ended.to_string() }];
        let of = generation.and_then(|number| self.generations.numbered(number).ok());
        let from_file = of
            .and_then(|of| of.served.as_ref())
            .is_some_and(|served| matches!(served.source, Source::Stored | Source::Saved));
        if from_file && ended == Ended::Signal(Signal::SIGBUS) {
            warn!(self.logger(), "the snapshot's file was cut while it was in use");
            events.push(Event::Wished(Wish::Reload));
        }
        events
    }

    /// The time of the next scan; `None` if no scan may begin, because another master would not learn of its
    /// rows.
    pub(crate) fn scan_due(&self, state: State) -> Option<Instant> {
        let serves = matches!(state, State::Serving | State::Reloading);
        self.scans.due().filter(|_| serves && self.succession.is_alone())
    }

    /// Begins a scan if it is due.
    pub(crate) fn scan(&mut self, arbiter: &Arbiter) -> Vec<Event> {
        if self.scan_due(arbiter.state()).is_none_or(|due| Instant::now() < due) {
            return Vec::new();
        }
        let Some(of) = self.generations.current() else { return Vec::new() };
        let board = &self.workers.scoreboard().header().scans;
        match self.scans.begin(of, board, self.generations.logger()) {
            Some(ending) => self.scan_ended(&ending, arbiter),
            None => Vec::new(),
        }
    }

    fn scan_ended(&mut self, ending: &Ending, arbiter: &Arbiter) -> Vec<Event> {
        self.scans.record(ending, &self.workers.scoreboard().header().scans);
        self.desk.metrics.scanned(ending.is_good(), ending.took());
        if arbiter.state() == State::Stopping {
            return Vec::new();
        }
        let reload = self.scans.judge(ending, arbiter.reload_generation(), self.generations.logger());
        // If an operator has drained the workers, only SIGHUP brings them back.
        let reload = reload && arbiter.state() != State::Drained;
        if reload {
            self.rows_are_stored(arbiter);
        }
        Vec::from_iter(reload.then_some(Event::Wished(Wish::Reload)))
    }

    /// Does the work of each round of the loop that needs no event: logs, paths, errands, hand-outs, metrics.
    pub(crate) fn look_after(&mut self, arbiter: &Arbiter) -> Vec<Event> {
        self.generations.look_after_logs();
        let events = self.look_after_paths(arbiter);
        if let Some(of) = self.generations.current_or_first() {
            let configs = self.generations.all().map(|generation| &generation.config);
            self.errands.run(&of.config, configs, of.logs.logger());
        }
        self.workers.hand_out(&self.generations);
        self.publish(arbiter);
        self.desk.metrics.send(arbiter, self.workers.scoreboard().header());
        events
    }

    /// Writes the state of the server on the scoreboard. This comes before each line of the log and before each answer
    /// that tells of a change, as a client that has seen it may ask a worker at once.
    pub(crate) fn publish(&mut self, arbiter: &Arbiter) {
        self.desk.metrics.publish(arbiter, &self.generations, self.workers.scoreboard().header());
    }

    /// Writes the state of the source on the scoreboard, as [`Shell::publish`] does with that of the server.
    fn publish_source(&self, now: Instant) {
        Metrics::publish_source(&self.freshness, now, &self.workers.scoreboard().header().source);
    }

    /// Shows systemd and `ps` that the server lives.
    pub(crate) fn show_life(&mut self, arbiter: &Arbiter) {
        let scoreboard = self.workers.scoreboard();
        let healthy = arbiter.slots().into_iter().any(|slot| is_healthy(scoreboard.silence(slot)));
        let line = self.view(arbiter).line();
        self.desk.show_life(arbiter.state(), healthy, arbiter.workers_serving(), &line);
    }

    /// Creates removed paths again, and has a child check them again.
    fn look_after_paths(&mut self, arbiter: &Arbiter) -> Vec<Event> {
        if arbiter.state() == State::Stopping {
            self.desk.forget_look();
            return Vec::new();
        }
        let log = self.logger().clone();
        let addresses = self.paths_bound(arbiter.state());
        let rebind = |path: &Path| self.generations.rebind(path);
        let is_rebound = self.desk.look_after_paths(addresses, rebind, &log);
        let addresses = self.paths_bound(arbiter.state());
        if let Some(of) = self.generations.current_or_first() {
            self.desk.look_at_paths(addresses, &of.config, &log);
        }
        let retires = |pid| Event::Retires { pid, cause: RestartCause::Rebound };
        let workers = arbiter.workers().filter(|_| is_rebound);
        workers.map(|worker| retires(worker.pid)).collect()
    }

    /// The paths of listeners that the master can bind again now. Workers have copies of their listeners, so
    /// a new socket needs new workers of the same generation. While another generation is being made, the
    /// bind can wait: the new generation gets the new socket, or the bind follows after it.
    fn paths_bound(&self, state: State) -> Vec<Name> {
        let serves = matches!(state, State::Serving | State::Drained);
        let current = self.generations.current().filter(|_| serves);
        let listeners = current.into_iter().flat_map(|current| current.listeners());
        listeners.filter_map(|listener| listener.name()).collect()
    }

    /// How long the loop may wait at most, so that systemd has its signs of life.
    pub(crate) fn longest_pause(&self) -> Option<Duration> {
        self.desk.systemd.pause()
    }

    /// Whether the master has nothing left to wait for.
    pub(crate) fn has_ended(&self) -> bool {
        self.exit.is_some() && !self.succession.holds_up_the_end()
    }

    /// Ends the master. It kills and reaps children whose work has no use any more, rather than leave them to
    /// the process that reaps orphans; children that report to Sentry may finish.
    pub(crate) fn end(mut self) -> ExitCode {
        self.scans.end();
        self.watcher.end();
        let others = self.loader.iter().map(|loader| loader.pid).chain(self.restored.saver());
        let others = others.chain(self.errands.looking_up()).chain(self.asking.pid());
        others.chain(self.desk.lookout()).for_each(end::end);
        let code = self.exit.unwrap_or(ExitCode::Failure);
        if let Some(of) = self.generations.current_or_first() {
            self.errands.finish(&of.config, of.logs.logger());
        }
        info!(self.logger(), "stopped"; "exit_code" => code as i32);
        self.generations.end_log();
        code
    }
}

/// A random number from 0 to 1. The kernel seeds the hashers of the standard library, which is enough for a
/// number that keeps no secret, and saves a crate.
fn random_share() -> f64 {
    RandomState::new().hash_one(()) as f64 / u64::MAX as f64
}
