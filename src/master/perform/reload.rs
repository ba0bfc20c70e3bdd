//! The life of a generation, from its configuration to the report of its reload.

use std::time::{Instant, SystemTime};

use nix::unistd::Pid;
use slog::{error, info, warn};

use super::{Shell, random_share};
use crate::config::World;
use crate::master::arbiter::Arbiter;
use crate::master::arbiter::events::{Event, Settings};
use crate::master::error::{MasterError, Reason};
use crate::master::generation::before::Before;
use crate::master::generation::generations::Generation;
use crate::master::generation::loader::{Loader, Source};
use crate::master::generation::reading::Work;
use crate::master::generation::restored::{again, confirms};
use crate::master::generation::served::version;
use crate::master::processes::end::Ended;
use crate::master::processes::fork::FirstSteps;
use crate::master::scans::schedule::Scope;
use crate::publication::Had;
use crate::telemetry::sentry;

impl Shell {
    /// Begins to configure a generation; [`Shell::configure`] continues.
    pub(super) fn begin_configuration(
        &mut self,
        generation: u64,
        arbiter: &Arbiter,
        now: Instant,
    ) -> Result<(), MasterError> {
        self.desk.metrics.reload_begun();
        let status = format!("reloading; {}", self.view(arbiter).line());
        self.desk.systemd.reloading(&status);
        let Some(of) = self.generations.current_or_first() else {
            return Err(MasterError::Failed("there is no generation yet".to_owned()));
        };
        let first = FirstSteps::of(&of.config).keeping_account().giving_way(true);
        let open = self.generations.open_addresses();
        self.asking.begin(generation, self.generations.overrides(), &open, first, now)
    }

    /// Continues to configure a generation as soon as everything that the configuration needs is known.
    pub(crate) fn configure(&mut self, now: Instant) -> Option<Event> {
        let (generation, answers) = self.asking.outcome(now)?;
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

    pub(super) fn start_loader(&mut self, generation: u64, now: Instant) -> std::io::Result<Pid> {
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
                // Rows may differ without a revision: a reload that was wished reads all of them. So does the next try
                // for a scan's rows, as the log may be the fault.
                let by_log = self.freshness.only_asks(generation) && !self.scans.is_overdue(generation);
                let since = before.since.filter(|_| by_log);
                let served = self.generations.current().and_then(|current| current.served.as_ref());
                let watcher = served
                    .filter(|_| since.is_some())
                    .and_then(|served| self.watcher.questions(&of.config, served.contents.songs));
                let before = Before { is_patience_over, since, watcher, ..before };
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

    pub(super) fn promote(&mut self, number: u64, arbiter: &Arbiter, now: Instant) {
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
        self.freshness.keeps(self.generations.current().is_some_and(Generation::is_unconfirmed));
        if let Some(served) = self.generations.current().and_then(|current| current.served.as_ref()) {
            self.freshness.substitutes(served.source == Source::Substitute);
            served.version().into_iter().for_each(|version| self.freshness.serves(version, now));
        }
        self.freshness.confirm(number);
        self.publish_source(now);
        self.publish(arbiter);
        let Some(generation) = self.generations.current() else { return };
        sentry::start_aside(&generation.config.sentry);
        self.desk.metrics.configure(&generation.config);
        self.errands.forget_hosts();
        let (scan_every, scope) = (generation.config.scan_every, Scope::of(&generation.config));
        self.view(arbiter).introduce(number, self.logger());
        self.scans.schedule(number, scan_every, scope, &self.workers.scoreboard().header().scans);
    }

    /// Releases everything that a generation holds which has failed or ended.
    pub(super) fn discard(&mut self, number: u64) {
        if self.generations.current_number().is_some_and(|current| current < number) {
            self.workers.owe_failure();
        }
        self.generations.discard(number);
    }

    /// Reports the end of a reload to operators, systemd and a former master. After a generation of stale
    /// data the master makes one from the database.
    pub(super) fn reload_ended(
        &mut self,
        number: u64,
        result: Result<(), Reason>,
        arbiter: &Arbiter,
        now: Instant,
    ) {
        let serves = result.is_ok();
        let is_kept = self.generations.current().is_some_and(|current| current.is_unconfirmed());
        self.freshness.reload_ended(number, result.as_ref().map(|_| ()), is_kept, now, random_share());
        self.publish_source(now);
        self.desk.metrics.reload_ended(serves, self.workers.scoreboard().header());
        self.publish(arbiter);
        match (&result, self.generations.current_number()) {
            (Err(reason), Some(current)) => self.tell_failure(current, reason, now),
            // The rows are the same, and no workers were forked.
            (Ok(()), Some(current)) if current < number => {
                info!(self.logger(), "nothing has changed, generation {} goes on", current);
            }
            _ => {}
        }
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

    pub(super) fn loader_ended(&mut self, loader: Loader, ended: Ended, now: Instant) -> Event {
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
            self.scans.rows_serve(number);
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
}
