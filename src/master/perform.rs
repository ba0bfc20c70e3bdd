//! The components of a master, and the arbiter's actions as their methods.

mod source;

use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use slog::{Level, Logger, error, info, warn};

use crate::config::World;
use crate::master::arbiter::Arbiter;
use crate::master::arbiter::events::{Action, Event, Settings, State, Wish};
use crate::master::error::{MasterError, Reason};
use crate::master::exit::ExitCode;
use crate::master::generation::asking::Asking;
use crate::master::generation::before::Before;
use crate::master::generation::freshness::Freshness;
use crate::master::generation::generations::{Generation, Generations};
use crate::master::generation::loader::{Loader, Source};
use crate::master::generation::reading::Work;
use crate::master::generation::restored::{Restored, again, confirms};
use crate::master::generation::served::{Served, version};
use crate::master::generation::watcher::Watcher;
use crate::master::generation::workers::Workers;
use crate::master::handover::paths::Name;
use crate::master::handover::succession::{Succession, Word};
use crate::master::operator::desk::{Desk, is_healthy};
use crate::master::operator::metrics::Metrics;
use crate::master::operator::status::View;
use crate::master::processes::end::{self, Ended};
use crate::master::processes::errands::{Errand, Errands};
use crate::master::processes::fork::FirstSteps;
use crate::master::scans::schedule::{Ending, Scans, Scope};
use crate::publication::Had;
use crate::scoreboard::RestartCause;
use crate::telemetry::sentry;

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
        match action {
            Action::Configure { generation } => {
                let begun = self.begin_configuration(generation, arbiter).map_err(Reason::from);
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
            Action::Promote { generation } => self.promote(generation, arbiter, now),
            Action::ReloadEnded { generation, result } => self.reload_ended(generation, result, arbiter, now),
            Action::Stuck { pid, slot } => {
                let request = self.workers.scoreboard().slot(slot).request();
                error!(self.logger(), "worker is silent for longer than TIMEOUT and is killed pid={}", pid;
                    "worker" => slot, "request" => request.as_deref().unwrap_or("none"));
            }
            Action::Discard { generation } => self.generations.discard(generation),
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

    /// Begins to configure a generation; [`Shell::configure`] continues.
    fn begin_configuration(&mut self, generation: u64, arbiter: &Arbiter) -> Result<(), MasterError> {
        self.desk.metrics.reload_begun();
        let status = format!("reloading; {}", self.view(arbiter).line());
        self.desk.systemd.reloading(&status);
        let Some(of) = self.generations.current_or_first() else {
            return Err(MasterError::Failed("there is no generation yet".to_owned()));
        };
        let first = FirstSteps::of(&of.config).keeping_account();
        let open = self.generations.open_addresses();
        self.asking.begin(generation, self.generations.overrides(), &open, first)
    }

    /// Continues to configure a generation as soon as everything that the configuration needs is known.
    pub(crate) fn configure(&mut self) -> Option<Event> {
        let (generation, answers) = self.asking.outcome(Instant::now())?;
        let configured =
            answers.and_then(|answers| self.add_generation(generation, &World::replaying(answers)));
        Some(Event::Configured(configured.map_err(Reason::from)))
    }

    fn add_generation(&mut self, generation: u64, world: &World<'_>) -> Result<Settings, MasterError> {
        let config = self.generations.read(world)?;
        let log = self.logger().clone();
        self.desk.restore_files(&config, &log);
        self.generations.add(generation, config, world)
    }

    fn start_loader(&mut self, generation: u64, now: Instant) -> std::io::Result<Pid> {
        // While clients wait for the first generation, its loader may use all processors. Later loaders give
        // way to the workers.
        let gives_way = self.generations.current().is_some() || self.succession.has_predecessor();
        let of = self.generations.numbered(generation)?;
        let first = of.first_steps().giving_way(gives_way);
        let loader = match self.restored.take() {
            Some(kept) => Loader::verify(generation, &of.config, &of.logs.log, first, kept)?,
            None => {
                let before = self
                    .generations
                    .current()
                    .map_or_else(Before::default, |current| current.before(&of.config));
                let before = match self.freshness.accepts_older(generation) {
                    true => {
                        Before { since: None, had: Had { hash: before.had.hash, ..Had::default() }, ..before }
                    }
                    false => before,
                };
                let is_patience_over = self.freshness.is_patience_over(now);
                // Rows may differ without a revision: a reload that was wished reads all of them.
                let since = before.since.filter(|_| self.freshness.only_asks(generation));
                let before = Before { is_patience_over, since, ..before };
                Loader::start(generation, &of.config, &of.logs.log, first, before)?
            }
        };
        if loader.source() == Source::Origin {
            self.freshness.load_begun(generation);
        }
        let pid = loader.pid;
        self.loader = Some(loader);
        Ok(pid)
    }

    fn promote(&mut self, number: u64, arbiter: &Arbiter, now: Instant) {
        // This comes before the workers are told to leave: a proxy may keep a connection to one of them,
        // which must not answer with old rows.
        self.workers.owe_snapshot(number);
        self.workers.owe_turn(number);
        let source = |of: &Generation| of.config.source_url();
        let former = self.generations.current().map(source);
        self.generations.promote(number);
        if former != self.generations.current().map(source) {
            self.freshness.forget_source(now);
        }
        self.workers.hand_out(&self.generations);
        let Some(generation) = self.generations.current() else { return };
        let source = generation.served.as_ref().map(|served| served.source);
        self.freshness.substitutes(source == Some(Source::Substitute));
        if let Some(version) = generation.served.as_ref().and_then(Served::version) {
            self.freshness.serves(version, now);
        }
        sentry::start_aside(&generation.config.sentry);
        self.desk.metrics.configure(&generation.config);
        self.errands.forget_hosts();
        let (scan_every, scope) = (generation.config.scan_every, Scope::of(&generation.config));
        self.view(arbiter).introduce(number, self.logger());
        self.scans.schedule(number, scan_every, scope, &self.workers.scoreboard().header().scans);
    }

    /// Reports the end of a reload to operators, systemd and a former master. After a generation of stale
    /// data the master makes one from the database.
    fn reload_ended(&mut self, number: u64, result: Result<(), Reason>, arbiter: &Arbiter, now: Instant) {
        let serves = result.is_ok();
        let is_kept = self.generations.current().is_some_and(|current| current.is_unconfirmed());
        self.freshness.reload_ended(number, result.as_ref().map(|_| ()), is_kept, now, random_share());
        if let (Err(reason), Some(current)) = (&result, self.generations.current_number()) {
            self.tell_failure(current, reason, now);
        }
        let header = self.workers.scoreboard().header();
        Metrics::publish_source(&self.freshness, now, &header.source);
        self.desk.metrics.reload_ended(serves, header);
        // This comes before the answer, as a client that has the answer may ask for the metrics at once.
        self.desk.metrics.publish(arbiter, &self.generations, header);
        self.desk.reload_ended(number, result);
        if serves {
            let served = self.generations.current().and_then(|current| current.served.as_ref());
            let revision = served.and_then(|served| served.contents.revision);
            self.desk.revision_serves(revision, number);
        }
        if serves && let Err(error) = self.succession.tell_serving() {
            warn!(self.logger(), "the former master did not hear that this one serves"; "error" => %error);
        }
        let status = self.view(arbiter).line();
        match self.generations.current() {
            Some(_) => self.desk.systemd.ready(&status),
            None => self.desk.systemd.status(&status),
        }
        let current = self.generations.current();
        if serves && !is_kept {
            if let Some(served) = current.and_then(|current| current.served.as_ref()) {
                self.desk.systemd.keep(&served.snapshot);
            }
            self.restored.save(current);
        }
    }

    /// Logs that a reload has failed, and when the master tries again by itself.
    fn tell_failure(&mut self, current: u64, reason: &Reason, now: Instant) {
        let message = format!("reload failed, generation {current} goes on serving: {reason}");
        if self.freshness.is_behind() {
            // Each load finds the same older rows: only the first is an error in the log.
            return match self.freshness.news_of_behind() {
                Some(_) => error!(self.logger(), "{}", message),
                None => info!(self.logger(), "{}", message),
            };
        }
        match self.freshness.due() {
            Some(due) => {
                let wait = due.saturating_duration_since(now).as_secs_f32();
                warn!(self.logger(), "{}; next try in {:.1} s", message, wait);
            }
            None => error!(self.logger(), "{}; it is not tried again before the next SIGHUP", message),
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

    fn loader_ended(&mut self, loader: Loader, ended: Ended, now: Instant) -> Event {
        let (number, source, took) = (loader.generation, loader.source(), loader.begin.elapsed());
        let finished = loader.finish(ended);
        let was_read = finished.as_ref().map_or_else(|failed| failed.was_read, |_| true);
        if source == Source::Origin && was_read {
            self.freshness.source_read(number, SystemTime::now());
        }
        let loaded = match finished {
            Ok(loaded) => loaded,
            Err(failed) if source == Source::Origin => return Event::LoaderEnded(Err(failed.reason())),
            Err(failed) => {
                warn!(self.logger(), "the snapshot that was kept is of no use: {}", failed.reason());
                return Event::LoaderStarted(self.start_loader(number, now).map_err(Reason::from));
            }
        };
        let log = self.logger().clone();
        if source == Source::Origin && loaded.work != Work::Substitute && self.is_of_the_same_source(number) {
            let version = version(&loaded.contents);
            if let Some(refusal) = self.freshness.refusal(&version, number, now) {
                return Event::LoaderEnded(Err(refusal));
            }
        }
        let noun = self.generations.numbered(number).map_or("source", |of| of.config.source_url().noun());
        let current = self.generations.current_mut().and_then(|current| current.served.as_mut());
        let is_of_source = loaded.work != Work::Substitute;
        if is_of_source
            && self.freshness.only_asks(number)
            && confirms(&loaded.contents, loaded.origin, current, noun, &log)
        {
            self.freshness.substitutes(false);
            self.freshness.serves(version(&loaded.contents), now);
            return Event::Unchanged;
        }
        let served = match loaded.work {
            Work::Same => {
                let current = self.generations.current().and_then(|current| current.served.as_ref());
                again(&loaded.contents, loaded.origin, current).map_err(Reason::from)
            }
            Work::Made | Work::Substitute => {
                info!(log, "snapshot made gen={} {}", number, loaded.contents);
                let config = self.generations.numbered(number).map(|generation| &generation.config);
                config.map(|config| self.restored.serve(loaded, source, took, config)).map_err(Reason::from)
            }
        };
        Event::LoaderEnded(served.map(|served| {
            if let Some(generation) = self.generations.get_mut(number) {
                generation.served = Some(served);
            }
        }))
    }

    /// Whether the rows of a generation come from the same source as the rows that serve.
    fn is_of_the_same_source(&self, number: u64) -> bool {
        let source = |of: &Generation| of.config.source_url();
        let next = self.generations.numbered(number).ok().map(source);
        next.is_some() && next == self.generations.current().map(source)
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
        let header = self.workers.scoreboard().header();
        self.desk.metrics.publish(arbiter, &self.generations, header);
        self.desk.metrics.send(arbiter, header);
        events
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
