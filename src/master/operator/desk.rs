//! The desk: the control socket, the pid file, messages to systemd, metrics, and the process title of a
//! master.

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use nix::unistd::Pid;
use slog::{Logger, warn};

use crate::config::Config;
use crate::control::{Command, Status, Unreadable};
use crate::master::arbiter::events::State;
use crate::master::clock::RunningClock;
use crate::master::error::{MasterError, Reason};
use crate::master::generation::generations::Generation;
use crate::master::handover::paths::{Holder, Name, Seen, first, second};
use crate::master::operator::control::{Control, Reply};
use crate::master::operator::metrics::Metrics;
use crate::master::operator::names::{Names, Purpose};
use crate::master::operator::pidfile::PidFile;
use crate::master::operator::status::{Ended, View};
use crate::master::operator::systemd::Systemd;
use crate::title;

/// A worker that has been silent for longer than this does not count as a sign of life to systemd.
const HEALTHY_SILENCE: Duration = Duration::from_millis(1500);

/// The operator's side of a master.
pub(crate) struct Desk {
    control: Option<Control>,
    pidfile: Option<PidFile>,
    names: Names,
    pub(crate) systemd: Systemd,
    pub(crate) metrics: Metrics,
    /// The number of workers that the process title shows.
    titled: Option<usize>,
    last_reload: Option<Ended>,
    /// The revision that all clients get, and its generation.
    serves: Option<(u64, u64)>,
    begin: Instant,
}

impl Desk {
    /// Writes the pid file, beside that of a former master if there is one.
    ///
    /// # Errors
    /// The master cannot write the pid file.
    pub(crate) fn open(config: &Config, has_predecessor: bool) -> Result<Self, MasterError> {
        let pidfile = config.pidfile.as_deref().map(|path| PidFile::create(&beside(path, has_predecessor)));
        Ok(Desk {
            control: None,
            pidfile: pidfile.transpose()?,
            names: Names::default(),
            systemd: Systemd::new(has_predecessor),
            metrics: Metrics::new(config),
            titled: None,
            last_reload: None,
            serves: None,
            begin: Instant::now(),
        })
    }

    /// Opens the control socket, beside that of a former master if there is one. A failure is no error: a
    /// second server on a machine has to work without it.
    pub(crate) fn listen(&mut self, config: &Config, has_predecessor: bool, log: &Logger) {
        let Some(path) = &config.control else { return };
        match Control::open(&beside(path, has_predecessor)) {
            Ok(control) => self.control = Some(control),
            Err(error) => warn!(log, "avalonctl cannot reach this server: {}", Reason::from(error)),
        }
    }

    /// The descriptors to wait for.
    pub(crate) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.control.iter().flat_map(Control::fds).chain(self.names.lookout.fd())
    }

    /// Commands that have arrived, each with the number of its client.
    pub(crate) fn commands(&mut self) -> Vec<(usize, Result<Command, Unreadable>)> {
        self.control.as_mut().map(Control::commands).unwrap_or_default()
    }

    /// Answers a client, now or later.
    pub(crate) fn reply(&mut self, client: usize, reply: Reply) {
        if let Some(control) = &mut self.control {
            control.reply(client, reply);
        }
    }

    /// Forgets clients that need no answer any more. All numbers of clients become invalid.
    pub(crate) fn sweep(&mut self) {
        if let Some(control) = &mut self.control {
            control.sweep();
        }
    }

    /// The status of the components in `view`.
    pub(crate) fn status(&self, view: &View<'_>, clock: &RunningClock) -> Status {
        view.status(clock, self.begin)
    }

    /// The result of the last attempt to make a generation.
    pub(crate) fn last_reload(&self) -> Option<&Ended> {
        self.last_reload.as_ref()
    }

    /// Answers the clients that wait for a reload, and remembers its result.
    pub(crate) fn reload_ended(&mut self, generation: u64, result: Result<(), Reason>) {
        if let Some(control) = &mut self.control {
            control.reload_ended(generation, &result);
        }
        self.last_reload = Some((SystemTime::now(), result));
    }

    /// Notes that this generation serves all clients, with rows of this revision; answers the clients that
    /// wait for it.
    pub(crate) fn revision_serves(&mut self, revision: Option<u64>, generation: u64) {
        self.serves = revision.map(|revision| (revision, generation));
        self.revision_is_confirmed();
    }

    /// Notes that the rows that serve are those of the source; answers the clients that wait for them.
    pub(crate) fn revision_is_confirmed(&mut self) {
        if let (Some(control), Some((revision, generation))) = (&mut self.control, self.serves) {
            control.revision_serves(revision, generation);
        }
    }

    /// The lowest revision for which a client waits.
    pub(crate) fn awaited_revision(&self) -> Option<u64> {
        self.control.as_ref()?.awaited_revision()
    }

    /// Tells the clients whose time is over why their revision does not serve.
    pub(crate) fn give_up_revisions(&mut self, now: Instant, why: impl Fn(u64) -> String) {
        if let Some(control) = &mut self.control {
            control.give_up_revisions(now, why);
        }
    }

    /// Answers the clients that wait for an upgrade.
    pub(crate) fn upgrade_ended(&mut self, result: &Result<(), Reason>) {
        if let Some(control) = &mut self.control {
            control.upgrade_ended(result);
        }
    }

    /// Gives systemd a sign of life, if it expects any and a worker shows one, and shows how many workers
    /// serve.
    pub(crate) fn show_life(&mut self, state: State, healthy: bool, workers: usize, line: &str) {
        let without = matches!(state, State::Starting | State::Stopping | State::Drained);
        if without || healthy {
            let busy = matches!(state, State::Starting | State::Reloading | State::Stopping);
            self.systemd.alive(Instant::now(), busy);
        }
        if self.titled != Some(workers) {
            self.titled = Some(workers);
            title::set(&format!("avalon: master [{workers} workers]"));
        }
        if matches!(state, State::Starting | State::Serving | State::Drained) {
            self.systemd.status(line);
        }
    }

    /// Makes this master the main one: from now on it speaks to systemd, which keeps its snapshot.
    pub(crate) fn speak(&mut self, current: Option<&Generation>, line: &str) {
        if !self.systemd.speak(Instant::now()) {
            return;
        }
        if let Some(served) = current.and_then(|current| current.served.as_ref()) {
            self.systemd.keep(&served.snapshot);
            self.systemd.ready(line);
        }
    }

    /// Tells systemd that this master ends, and which one continues, if there is one; `line` is the last
    /// status of a server that could not start.
    pub(crate) fn leave_systemd(&mut self, heir: Option<Pid>, line: Option<&str>) {
        match heir {
            Some(heir) => self.systemd.hand_over(heir),
            None => self.systemd.stopping(line.unwrap_or("stopping")),
        }
    }

    /// The paths of this master, with their purposes; `addresses` are those of its listeners.
    fn paths(&self, addresses: Vec<Name>) -> Vec<(Purpose, Name)> {
        let pidfile = self.pidfile.as_ref().map(|file| (Purpose::PidFile, file.name()));
        let control = self.control.as_ref().map(|control| (Purpose::Control, control.name()));
        let addresses = addresses.into_iter().map(|name| (Purpose::Address, name));
        pidfile.into_iter().chain(control).chain(addresses).collect()
    }

    /// Has a child look at the paths of this master, if that is due.
    pub(crate) fn look_at_paths(&mut self, addresses: Vec<Name>, config: &Config, log: &Logger) {
        let paths = self.paths(addresses).into_iter().map(|(_, name)| name);
        self.names.look(|| paths.collect(), config, log);
    }

    /// Creates the paths again that the child has not found. Listeners are created again with `rebind`; the
    /// result says whether there was one.
    pub(crate) fn look_after_paths(
        &mut self,
        addresses: Vec<Name>,
        rebind: impl FnMut(&Path) -> Result<(), MasterError>,
        log: &Logger,
    ) -> bool {
        let seen = self.names.seen();
        !seen.is_empty() && self.restore_missing(seen, addresses, rebind, log)
    }

    fn restore_missing(
        &mut self,
        seen: Vec<(Name, Seen)>,
        addresses: Vec<Name>,
        mut rebind: impl FnMut(&Path) -> Result<(), MasterError>,
        log: &Logger,
    ) -> bool {
        let paths = self.paths(addresses);
        let Desk { names, pidfile, control, .. } = self;
        let mut is_rebound = false;
        for (name, seen) in seen {
            // The path may have been created again since this look began; the next look covers it.
            let Some((purpose, (path, identity))) = paths.iter().find(|(_, known)| *known == name) else {
                continue;
            };
            let restore = || match purpose {
                Purpose::PidFile => pidfile.as_mut().map_or(Ok(()), PidFile::restore),
                Purpose::Control => control.as_mut().map_or(Ok(()), Control::restore),
                Purpose::Address => rebind(path),
            };
            let is_made = names.look_after(*purpose, path, identity.holder_of(seen), restore, log);
            is_rebound |= is_made && *purpose == Purpose::Address;
        }
        is_rebound
    }

    /// Forgets the last look: a server that stops creates no path again.
    pub(crate) fn forget_look(&mut self) {
        self.names.seen();
    }

    /// The child that looks at paths, if it runs.
    pub(crate) fn lookout(&self) -> Option<Pid> {
        self.names.lookout.pid()
    }

    /// Notes the end of a process; says whether it was that child.
    pub(crate) fn lookout_ended(&mut self, pid: Pid) -> bool {
        self.names.lookout.ended(pid)
    }

    /// At a reload: creates the pid file and the control socket again, even where another program has the
    /// path and does not serve it.
    pub(crate) fn restore_files(&mut self, config: &Config, log: &Logger) {
        if config.pidfile.as_deref() != self.pidfile.as_ref().map(PidFile::path) {
            warn!(log, "PIDFILE is not changed by a reload");
        }
        let pidfile = self.pidfile.as_mut().filter(|file| file.holder() != Holder::Ours);
        let control = self.control.as_mut().filter(|control| control.holder() != Holder::Ours);
        for restored in [pidfile.map(PidFile::restore), control.map(Control::restore)].into_iter().flatten() {
            if let Err(error) = restored {
                warn!(log, "{}", Reason::from(error));
            }
        }
    }

    /// Takes the paths of a former master, which has gone.
    pub(crate) fn take_paths(&mut self) {
        if let Some(pidfile) = &mut self.pidfile {
            pidfile.rename(&first(pidfile.path()));
        }
        if let Some(control) = &mut self.control {
            control.rename(&first(control.path()));
        }
    }
}

/// The path for a file of this master: the second one as long as a former master has the first.
fn beside(path: &Path, has_predecessor: bool) -> PathBuf {
    if has_predecessor { second(path) } else { path.to_owned() }
}

/// Whether a worker with this silence counts as alive.
pub(crate) fn is_healthy(silence: Duration) -> bool {
    silence < HEALTHY_SILENCE
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::master::handover::paths::Identity;

    fn desk(folder: &Path, has_predecessor: bool) -> (Desk, Config) {
        let mut config = crate::config::load(&Default::default()).unwrap();
        config.pidfile = Some(folder.join("pid"));
        config.control = Some(folder.join("control"));
        let log = Logger::root(slog::Discard, slog::o!());
        let mut desk = Desk::open(&config, has_predecessor).unwrap();
        desk.listen(&config, has_predecessor, &log);
        (desk, config)
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn new_master_has_second_paths_until_the_former_one_has_gone() {
        let folder = tempfile::tempdir().unwrap();
        let (former, _) = desk(folder.path(), false);
        let (mut new, _) = desk(folder.path(), true);
        assert_eq!(names(folder.path()), ["control", "control.2", "pid", "pid.2"]);
        drop(former);
        new.take_paths();
        assert_eq!(names(folder.path()), ["control", "pid"]);
        drop(new);
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn paths_that_were_removed_or_taken_come_back_with_a_reload() {
        let folder = tempfile::tempdir().unwrap();
        let (mut desk, config) = desk(folder.path(), false);
        let log = Logger::root(slog::Discard, slog::o!());
        let path = |name: &str| folder.path().join(name);
        let look_after = |desk: &mut Desk| {
            let paths = desk.paths(Vec::new()).into_iter();
            let seen = paths.map(|(_, name)| (name.clone(), Seen::at(&name.0))).collect();
            assert!(!desk.restore_missing(seen, Vec::new(), |_| Ok(()), &log), "no address");
        };
        ["control", "pid"].iter().for_each(|name| fs::remove_file(path(name)).unwrap());
        look_after(&mut desk);
        assert_eq!(names(folder.path()), ["control", "pid"]);
        // A number that another program has left, and a socket that none serves.
        fs::remove_file(path("pid")).unwrap();
        fs::write(path("pid"), "7\n").unwrap();
        look_after(&mut desk);
        assert_eq!(fs::read_to_string(path("pid")).unwrap(), "7\n");
        desk.restore_files(&config, &log);
        assert_eq!(fs::read_to_string(path("pid")).unwrap(), format!("{}\n", std::process::id()));
    }

    #[test]
    fn address_is_bound_again_unless_that_has_happened_since_the_look() {
        let folder = tempfile::tempdir().unwrap();
        let (mut desk, _) = desk(folder.path(), false);
        let log = Logger::root(slog::Discard, slog::o!());
        let name = |text: &str| {
            let path = folder.path().join(text);
            fs::write(&path, text).unwrap();
            (path.clone(), Identity::at(&path).unwrap())
        };
        let (old, new) = (name("old"), name("new"));
        let mut bound = Vec::new();
        let mut rebind = |path: &Path| {
            bound.push(path.to_owned());
            Ok(())
        };
        let mut look_after = |seen: &Name, found, known: &Name| {
            desk.restore_missing(vec![(seen.clone(), found)], vec![known.clone()], &mut rebind, &log)
        };
        assert!(look_after(&old, Seen::Nothing, &old));
        assert!(!look_after(&old, Seen::Nothing, &new), "another socket has the path");
        assert!(!look_after(&old, Seen::Something(old.1), &old), "still there");
        assert!(!look_after(&old, Seen::Unknown, &old), "its file system does not answer");
        assert_eq!(bound, [old.0]);
    }
}
