//! Snapshots that outlive a master, in systemd's descriptor store or in the file at
//! `SNAPSHOT_PATH`: they serve at once after a start, until the database has been read.

use nix::sys::signal::Signal;
use slog::{Logger, info, warn};

use crate::config::Config;
use crate::master::Master;
use crate::master::arbiter::events::{Event, Wish};
use crate::master::generation::loader::{Kept, Loaded};
use crate::master::processes::process::FirstSteps;
use crate::snapshot::storage;

impl Master {
    /// Asks for what is in the database when it is time to.
    pub(crate) fn refresh(&mut self) {
        if self.refresh.is_due(self.clock.now()) {
            if !self.arbiter.is_making() {
                self.refreshing = Some(self.arbiter.reload_generation());
            }
            self.dispatch(Event::Wished(Wish::Reload));
        }
    }

    /// Whether the snapshot for a generation that nobody but us has asked for holds what is served
    /// already, so that there is nothing to change.
    pub(crate) fn confirms(&mut self, number: u64, loaded: &Loaded) -> bool {
        let asked = self.refreshing.take_if(|refreshing| *refreshing == number).is_some();
        let current = self.arbiter.current().and_then(|current| self.generations.get_mut(&current));
        let Some(current) = current.filter(|_| asked) else { return false };
        current.confirmed = current.hash() == loaded.summary.get("hash").and_then(|hash| hash.as_str());
        if current.confirmed {
            info!(self.log.logger(), "the database holds what is served from the snapshot that was kept");
        }
        current.confirmed
    }

    /// Passes the snapshot that is served on to the next master, if the database agrees with it.
    pub(crate) fn keep(&mut self) {
        let current = self.arbiter.current().and_then(|current| self.generations.get(&current));
        let Some(current) = current.filter(|current| !current.is_stale()) else { return };
        if let Some(snapshot) = &current.snapshot {
            self.systemd.keep(snapshot);
        }
        self.save();
    }

    /// Writes it to `SNAPSHOT_PATH`, unless it stands there already.
    pub(crate) fn save(&mut self) {
        let Some(number) = self.arbiter.current() else { return };
        let current = self.generations.get(&number);
        let Some(current) = current.filter(|current| !current.is_stale()) else { return };
        let snapshot = current.snapshot.as_ref().zip(current.hash());
        let Some((path, (snapshot, hash))) = current.config.snapshot_path.as_deref().zip(snapshot) else {
            return;
        };
        let first = FirstSteps { gives_way: true, ..current.first_steps(Signal::SIGKILL) };
        if let Err(error) = self.saving.save(snapshot, hash, path, &current.log, first) {
            warn!(self.log.logger(), "the snapshot cannot be saved: {}", error);
        }
    }
}

/// What a former master has saved; without it the database is read first.
pub(crate) fn saved_snapshot(config: &Config, log: &Logger) -> Option<Kept> {
    let path = config.snapshot_path.as_deref()?;
    storage::open_saved(path)
        .map_err(|error| warn!(log, "the saved snapshot is of no use: {}", error; "path" => %path.display()))
        .ok()?
        .map(Kept::Saved)
}
