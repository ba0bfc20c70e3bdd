//! Generations: a configuration with its listeners, logs and snapshot, and the table of those that there are.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use nix::unistd::Pid;
use slog::{Level, Logger, crit, error, info, warn};

use crate::config::{self, BindAddress, Config, Overrides, World};
use crate::master::arbiter::events::Settings;
use crate::master::error::MasterError;
use crate::master::generation::before::Before;
use crate::master::generation::loader::Source;
use crate::master::generation::logs::{Logs, RELOAD_PATIENCE};
use crate::master::generation::served::Served;
use crate::master::handover::listeners::{self, Listener, Manner, open_wanted};
use crate::master::processes::fork::FirstSteps;
use crate::master::processes::writers::Writers;
use crate::publication::Had;
use crate::telemetry::Log;
use crate::worker::Role;

/// Workers that are ready must still live after this time, and a reload takes so much longer. They have answered
/// their own questions by then, so that those which crash with the first requests are dead.
const PROBATION: Duration = Duration::from_millis(200);

/// A generation: a configuration, its listeners and logs, and, once made, its snapshot.
pub(crate) struct Generation {
    pub(crate) config: Config,
    /// User and group of its children.
    pub(crate) account_names: (String, String),
    pub(crate) logs: Logs,
    listeners: Vec<Rc<Listener>>,
    /// Its snapshot, after the load.
    pub(crate) served: Option<Served>,
}

impl Generation {
    /// A generation without a snapshot, whose parts `world` helps to open.
    ///
    /// # Errors
    /// An address or a log file that cannot be had.
    pub(crate) fn open(
        config: Config,
        logs: Logs,
        activated: &[Rc<Listener>],
        open: &[Rc<Listener>],
        world: &World<'_>,
    ) -> Result<Self, MasterError> {
        let listeners = open_wanted(&config, activated, open, world)?;
        let account_names = config.account_names(world);
        Ok(Generation { config, account_names, logs, listeners, served: None })
    }

    /// Whether it serves the snapshot of a former master that no load has confirmed.
    pub(crate) fn is_unconfirmed(&self) -> bool {
        self.served.as_ref().is_some_and(|served| served.is_unconfirmed)
    }

    /// Whether there are no songs, as before the first scan.
    pub(crate) fn is_empty(&self) -> bool {
        self.served.as_ref().is_some_and(|served| served.contents.songs == 0)
    }

    /// The rows that it serves of the source that `next` names.
    pub(crate) fn before(&self, next: &Config) -> Before {
        let same_store = next.snapshot_url.is_some() && next.snapshot_url == self.config.snapshot_url;
        // Of a store the revision is the counter of its pointer.
        let fetched = self.served.as_ref().filter(|served| same_store && served.source != Source::Substitute);
        let counter = fetched.and_then(|served| served.contents.revision);
        let served =
            self.served.as_ref().filter(|_| same_store && self.config.database_url == next.database_url);
        let left = served.filter(|served| served.source == Source::Substitute).map(|served| served.origin);
        // Another folder is to have a snapshot of its own.
        let kept = self.served.as_ref().filter(|_| next.snapshot_dir == self.config.snapshot_dir);
        let hash = kept.and_then(|served| u128::from_str_radix(&served.contents.hash, 16).ok());
        Before {
            had_rows: !self.is_empty() && self.config.database_url == next.database_url,
            serves: true,
            had: Had {
                counter,
                hash,
                left: left.and_then(|left| left.counter),
                rows: left.and_then(|left| left.rows),
            },
            origin: served.map(|served| served.origin).unwrap_or_default(),
            snapshot: self.served.as_ref().and_then(|served| served.own(&self.config)?.try_clone().ok()),
            may_stay: next.snapshot_url.is_none()
                && next.snapshot_dir == self.config.snapshot_dir
                && next.snapshot_path == self.config.snapshot_path,
            since: self.served.as_ref().and_then(|served| served.since(&self.config, next)),
            ..Before::default()
        }
    }

    /// The first steps of its children, which keep its logs.
    pub(crate) fn first_steps(&self) -> FirstSteps<'_> {
        FirstSteps::of(&self.config).keeping_raw(self.logs.fds())
    }

    /// The purpose of an address: another configuration may use it otherwise.
    fn role(&self, listener: &Listener) -> Role {
        match self.config.metrics_bind.contains(listener.address()) {
            true => Role::Metrics,
            false => Role::Api,
        }
    }

    /// Copies of its listeners for a worker, each with its purpose.
    ///
    /// # Errors
    /// An error of the kernel's.
    pub(crate) fn shared_listeners(&self) -> io::Result<Vec<(socket2::Socket, Role)>> {
        let share = |listener: &Rc<Listener>| Ok((listener.share()?, self.role(listener)));
        self.listeners.iter().map(share).collect()
    }

    /// Its open addresses.
    pub(crate) fn listeners(&self) -> &[Rc<Listener>] {
        &self.listeners
    }

    /// The addresses that are for this, with the ports that were really bound.
    pub(crate) fn shown(&self, role: Role) -> Vec<String> {
        let with_role = self.listeners.iter().filter(|listener| self.role(listener) == role);
        with_role.map(|listener| listener.shown()).collect()
    }

    /// The part of its configuration that the arbiter needs.
    pub(crate) fn settings(&self) -> Settings {
        let config = &self.config;
        Settings {
            workers: config.workers,
            timeout: config.timeout,
            graceful_timeout: config.graceful_timeout,
            boot_timeout: config.boot_timeout,
            load_timeout: config.load_timeout,
            probation: PROBATION,
            failures_max: config.failures_max,
            failure_window: config.failure_window,
        }
    }
}

/// All generations that there are, by number, and the things that outlive each of them.
pub(crate) struct Generations {
    by_number: BTreeMap<u64, Generation>,
    /// The one that serves.
    current: Option<u64>,
    overrides: Overrides,
    /// Listeners that systemd has bound, which take the place of BIND.
    activated: Vec<Rc<Listener>>,
    /// The log of the master: that of the generation that serves, or of the first one.
    log: Log,
    /// The processes that write log files.
    writers: Writers,
}

impl Generations {
    /// The first one, which has number 1.
    pub(crate) fn new(
        first: Generation,
        overrides: Overrides,
        activated: Vec<Rc<Listener>>,
        writers: Writers,
    ) -> Self {
        let log = first.logs.log.clone();
        let by_number = BTreeMap::from([(1, first)]);
        Generations { by_number, current: None, overrides, activated, log, writers }
    }

    /// Where the master sends records.
    pub(crate) fn logger(&self) -> &Logger {
        self.log.logger()
    }

    /// Logs a message. One that is critical keeps a server from running, and goes to stderr too.
    pub(crate) fn say(&self, level: Level, message: &str) {
        let log = self.logger();
        match level {
            Level::Critical => {
                crit!(log, "{}", message);
                if self.all().any(|generation| generation.config.log.path.is_some()) {
                    eprintln!("avalon-master: {message}");
                }
            }
            Level::Error => error!(log, "{}", message),
            Level::Warning => warn!(log, "{}", message),
            _ => info!(log, "{}", message),
        }
    }

    /// The flags and variables that belong to each configuration.
    pub(crate) fn overrides(&self) -> &Overrides {
        &self.overrides
    }

    /// The generation with this number.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn numbered(&self, number: u64) -> io::Result<&Generation> {
        let generation = self.by_number.get(&number);
        generation.ok_or_else(|| io::Error::other(format!("there is no generation {number}")))
    }

    /// The same, to be changed, if there is one.
    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut Generation> {
        self.by_number.get_mut(&number)
    }

    /// The generation that serves.
    pub(crate) fn current(&self) -> Option<&Generation> {
        self.by_number.get(&self.current?)
    }

    /// The same, to be changed.
    pub(crate) fn current_mut(&mut self) -> Option<&mut Generation> {
        self.by_number.get_mut(&self.current?)
    }

    /// The number of the generation that serves.
    pub(crate) fn current_number(&self) -> Option<u64> {
        self.current
    }

    /// The generation that serves, or the first while none does.
    pub(crate) fn current_or_first(&self) -> Option<&Generation> {
        self.current().or_else(|| self.by_number.values().next())
    }

    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Generation> {
        self.by_number.values()
    }

    /// Reads the configuration as it is now; `world` has all answers that it needs.
    ///
    /// # Errors
    /// The configuration is wrong.
    pub(crate) fn read(&self, world: &World<'_>) -> Result<Config, MasterError> {
        let config = config::load_in(&self.overrides, world).map_err(MasterError::Configuration)?;
        warn_about(&config, self.logger());
        Ok(config)
    }

    /// Adds a generation with this configuration.
    ///
    /// # Errors
    /// An address or a log file cannot be had; open addresses stay as they are.
    pub(crate) fn add(
        &mut self,
        number: u64,
        config: Config,
        world: &World<'_>,
    ) -> Result<Settings, MasterError> {
        let logs = Logs::open(&config, &self.writers, RELOAD_PATIENCE)?;
        let open: Vec<_> = self.all().flat_map(|generation| generation.listeners.clone()).collect();
        let next = Generation::open(config, logs, &self.activated, &open, world)?;
        let settings = next.settings();
        self.by_number.insert(number, next);
        Ok(settings)
    }

    /// Has this generation serve: addresses that it does not want close here, and its log is the master's. Of the others
    /// only workers have the snapshot: the last of them frees it at its exit, which may take long, and not the master.
    pub(crate) fn promote(&mut self, number: u64) {
        self.current = Some(number);
        for (other, generation) in &mut self.by_number {
            match *other == number {
                true => self.log = generation.logs.log.clone(),
                false => {
                    generation.listeners.clear();
                    generation.served = None;
                }
            }
        }
    }

    /// Forgets a generation, and with it all that it holds.
    pub(crate) fn discard(&mut self, number: u64) {
        self.by_number.remove(&number);
    }

    /// Addresses that another generation can take over.
    pub(crate) fn open_addresses(&self) -> Vec<BindAddress> {
        let listeners = self.all().flat_map(|generation| &generation.listeners);
        listeners.chain(&self.activated).map(|listener| listener.address().clone()).collect()
    }

    /// Says whether this master takes care of the addresses, or another one.
    pub(crate) fn own_addresses(&self, owned: bool) {
        self.all()
            .flat_map(|generation| &generation.listeners)
            .for_each(|listener| listener.set_owned(owned));
    }

    /// Closes all addresses, for good if this master owns them; says whether callers of one are turned away.
    pub(crate) fn close_addresses(&mut self, owned: bool) -> bool {
        self.own_addresses(owned);
        let turned_away = owned
            && self
                .all()
                .flat_map(|generation| &generation.listeners)
                .any(|listener| !listener.is_activated());
        self.activated.clear();
        self.by_number.values_mut().for_each(|generation| generation.listeners.clear());
        turned_away
    }

    /// Binds a path of the generation that serves again, for all generations that have the old listener.
    ///
    /// # Errors
    /// The path cannot be had.
    pub(crate) fn rebind(&mut self, path: &Path) -> Result<(), MasterError> {
        let Some(current) = self.current() else { return Ok(()) };
        let is_there = |listener: &&Rc<Listener>| listener.name().is_some_and(|(at, _)| at == path);
        let Some(old) = current.listeners.iter().find(is_there).cloned() else { return Ok(()) };
        let address = [old.address().clone()];
        let made = listeners::open(&address, &[], &Manner::of(&current.config), &World::live())?;
        let Some(new) = made.into_iter().next() else { return Ok(()) };
        // Workers empty the queue of the old one, and no caller can find it any more.
        old.set_owned(false);
        for listener in self.by_number.values_mut().flat_map(|generation| &mut generation.listeners) {
            if Rc::ptr_eq(listener, &old) {
                *listener = Rc::clone(&new);
            }
        }
        Ok(())
    }

    /// Hands on the lines that wait to be written, and looks after the processes that write.
    pub(crate) fn look_after_logs(&self) {
        self.all().for_each(|generation| generation.logs.log.flush());
        self.log.flush();
        self.writers.look_after(self.logger());
    }

    /// Has all log files opened again.
    pub(crate) fn reopen_logs(&self) {
        self.writers.reopen();
    }

    /// A process has ended; says whether it was one that writes a log file.
    pub(crate) fn writer_ended(&self, pid: Pid) -> bool {
        self.writers.ended(pid)
    }

    /// Waits a moment for the hand-over of the last lines, when the master says nothing more.
    pub(crate) fn end_log(&self) {
        self.log.end();
    }
}

/// Logs the warnings about a configuration that is good.
pub(crate) fn warn_about(config: &Config, log: &Logger) {
    for warning in config.warnings.iter().map(String::as_str).chain(config.unreachable()) {
        warn!(log, "{}", warning);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::control::Contents;

    fn generation(folder: &std::path::Path, addresses: &[&str], open: &[Rc<Listener>]) -> Generation {
        let bind = addresses.iter().map(|name| format!("\"unix:{}\"", folder.join(name).display()));
        let text = format!("BIND = [{}]\n", bind.collect::<Vec<_>>().join(", "));
        let file = folder.join("settings.toml");
        std::fs::write(&file, text).unwrap();
        let mut overrides = Overrides::default();
        overrides.set_file(file);
        let world = World::live();
        let config = config::load_in(&overrides, &world).unwrap();
        let logs = Logs::open(&config, &Writers::default(), RELOAD_PATIENCE).unwrap();
        Generation::open(config, logs, &[], open, &world).unwrap()
    }

    fn generations(folder: &std::path::Path, addresses: &[&str]) -> Generations {
        let mut generations = Generations::new(
            generation(folder, addresses, &[]),
            Overrides::default(),
            Vec::new(),
            Writers::default(),
        );
        generations.promote(1);
        generations
    }

    #[test]
    fn promotion_closes_addresses_that_are_not_wanted_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let mut generations = generations(folder.path(), &["a", "b"]);
        let open = generations.current().unwrap().listeners().to_vec();
        generations.by_number.insert(2, generation(folder.path(), &["b", "c"], &open));
        drop(open);
        let there = || ["a", "b", "c"].map(|name| folder.path().join(name).exists());
        assert_eq!((there(), generations.open_addresses().len()), ([true; 3], 4));
        generations.promote(2);
        assert_eq!((there(), generations.current_number()), ([false, true, true], Some(2)));
        assert_eq!(generations.current().unwrap().shown(Role::Api).len(), 2);
        generations.discard(1);
        assert!(generations.numbered(1).is_err() && generations.numbered(2).is_ok());
        assert!(generations.close_addresses(true));
        assert_eq!(there(), [false; 3]);
    }

    #[test]
    fn addresses_that_another_master_owns_stay() {
        let folder = tempfile::tempdir().unwrap();
        let mut generations = generations(folder.path(), &["a"]);
        assert!(!generations.close_addresses(false));
        assert!(folder.path().join("a").exists());
    }

    #[test]
    fn path_that_was_removed_is_bound_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut generations = generations(folder.path(), &["a"]);
        let path = folder.path().join("a");
        std::fs::remove_file(&path).unwrap();
        generations.rebind(&path).unwrap();
        assert!(std::os::unix::net::UnixStream::connect(&path).is_ok());
        generations.close_addresses(true);
        assert!(!path.exists());
    }

    #[test]
    fn generation_without_a_snapshot_is_neither_stale_nor_empty() {
        let folder = tempfile::tempdir().unwrap();
        let mut generation = generation(folder.path(), &["a"], &[]);
        assert!(!generation.is_unconfirmed() && !generation.is_empty());
        generation.served = Some(Served {
            snapshot: tempfile::tempfile().unwrap().into(),
            contents: Contents::default(),
            source: Source::Saved,
            made: Instant::now(),
            build: Duration::ZERO,
            origin: Default::default(),
            is_unconfirmed: true,
        });
        assert!(generation.is_unconfirmed() && generation.is_empty());
    }
}
