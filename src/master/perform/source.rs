//! The source of the rows: the watcher's reports about it, and the time of the next read.

use std::time::{Duration, Instant, SystemTime};

use slog::{error, info};

use super::{Shell, random_share};
use crate::database::Version;
use crate::master::arbiter::Arbiter;
use crate::master::arbiter::events::{Event, State, Wish};
use crate::master::generation::watcher::Said;

impl Shell {
    /// Has a child watch the source, if the configuration asks for it, and takes its messages.
    pub(crate) fn watch(&mut self, arbiter: &Arbiter, now: Instant) {
        let serves = matches!(arbiter.state(), State::Serving | State::Reloading);
        let is_awaited = self.desk.awaited_revision().is_some();
        let current = self.generations.current().map(|current| &current.config);
        let watched = current.filter(|config| serves && (config.reload_on_change || is_awaited));
        self.watcher.look_after(watched, self.generations.logger(), now);
        let older = current.and_then(|config| config.accept_older_after);
        if let Some(config) = current {
            self.freshness.name_source(config.source_url().noun());
            let has_both = config.snapshot_url.is_some() && config.is_database_set;
            self.freshness.be_patient(config.publish_patience.filter(|_| has_both), now);
        }
        let changes = self.freshness.watch(watched.map(|config| config.watch_every), older, now);
        if is_awaited {
            self.watcher.hurry(now);
        }
        let said = self.watcher.said();
        let has_said = !said.is_empty();
        self.hear_of_source(said, now);
        if self.freshness.tick(now) || has_said || changes {
            self.publish_source(now);
        }
        // A load that is under way may bring the revision.
        if is_awaited && !arbiter.is_making() {
            let why = |revision| {
                format!("revision {revision} does not serve: {}", self.freshness.why_not(revision))
            };
            self.desk.give_up_revisions(Instant::now(), why);
        }
    }

    /// Takes the watcher's messages.
    pub(crate) fn hear_of_source(&mut self, said: Vec<Said>, now: Instant) {
        for said in said {
            match said {
                Said::Holds(version) => {
                    self.tell_unknown(&version);
                    let delay = self.delay(&version);
                    if self.freshness.seen(version, SystemTime::now(), now, delay) {
                        self.desk.revision_is_confirmed();
                    }
                }
                Said::Fails(reason) => self.freshness.missed(&reason),
            }
        }
        if let Some(news) = self.freshness.news_of_behind() {
            self.publish_source(now);
            error!(self.logger(), "{}", news);
        }
    }

    /// How long the master delays a load of this version; `None` if it does not load it.
    fn delay(&self, version: &Version) -> Option<Duration> {
        let awaited = self.desk.awaited_revision();
        if awaited.is_some() && version.revision >= awaited {
            return Some(Duration::ZERO);
        }
        let config = self.generations.current().map(|current| &current.config);
        let config = config.filter(|config| config.reload_on_change);
        config.map(|config| config.reload_jitter.mul_f64(random_share()))
    }

    /// Logs once that a source does not report its revision.
    fn tell_unknown(&mut self, version: &Version) {
        if version.revision.is_some() {
            self.is_unknown_told = false;
        } else if !std::mem::replace(&mut self.is_unknown_told, true) {
            let instead = match version.is_known() {
                true => "its file is watched instead",
                false => "a change of it is not noticed until it does",
            };
            info!(
                self.logger(),
                "the database does not report the revision of its rows (avalon_revision); {}", instead
            );
        }
    }

    /// The time at which to read the database again because the data are stale. There is none while a
    /// generation is made, as its end has newer information, or while workers are drained, as only SIGHUP
    /// brings them back.
    pub(crate) fn refresh_due(&self, arbiter: &Arbiter) -> Option<Instant> {
        let may = arbiter.state() == State::Serving && !arbiter.is_making();
        self.freshness.due().filter(|_| may)
    }

    /// A scan, by this server or by another program, asks for a reload that serves its rows, which begins next. One that
    /// has to wait may come together with others, which ask for more.
    pub(crate) fn rows_are_stored(&mut self, arbiter: &Arbiter) {
        if arbiter.state() == State::Serving && !arbiter.is_making() {
            self.freshness.rows_are_stored(arbiter.reload_generation());
        }
    }

    /// Reads the database again if that is due.
    pub(crate) fn refresh(&mut self, arbiter: &Arbiter, now: Instant) -> Option<Event> {
        self.refresh_due(arbiter)?;
        let asks = self.freshness.asks(arbiter.reload_generation(), now);
        if asks {
            self.publish_source(now);
        }
        asks.then_some(Event::Wished(Wish::Reload))
    }
}
