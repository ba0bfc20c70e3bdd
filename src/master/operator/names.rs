//! What is ours by name: sockets and the pid file. Cleaners of /run and /tmp remove names, and other programs
//! take them; a server that goes on without is reached and found by nobody.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use slog::{error, warn};

use crate::config::World;
use crate::master::Master;
use crate::master::arbiter::events::Event;
use crate::master::generation::generations::Generation;
use crate::master::handover::listeners::{self, Listener, Manner};
use crate::master::operator::control::Control;
use crate::master::operator::pidfile::PidFile;
use crate::scoreboard::RestartCause;

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Device and inode of what has a name. The name of a link is that of the link itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity(u64, u64);

/// Who has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    /// We, or it cannot be seen that it is another.
    Ours,
    Nobody,
    Another,
}

impl Identity {
    /// Of what has this name.
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        fs::symlink_metadata(path).map(|found| Identity::of(&found))
    }

    pub(crate) fn of(found: &fs::Metadata) -> Self {
        Identity(found.dev(), found.ino())
    }

    /// Who has the name that was given to this.
    pub(crate) fn holder(self, path: &Path) -> Holder {
        match Identity::at(path) {
            Ok(found) if found == self => Holder::Ours,
            Ok(_) => Holder::Another,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Holder::Nobody,
            Err(_) => Holder::Ours,
        }
    }
}

/// When to look, and what has been told.
#[derive(Default)]
pub(crate) struct Names {
    looked: Option<Instant>,
    /// Of these it was told that they are another's, or cannot be made again.
    told: BTreeSet<PathBuf>,
}

impl Names {
    fn is_time(&mut self) -> bool {
        let is_time = self.looked.is_none_or(|looked| looked.elapsed() >= LOOK_EVERY);
        if is_time {
            self.looked = Some(Instant::now());
        }
        is_time
    }

    /// Whether it is news that something is wrong with a name.
    fn is_news(&mut self, path: &Path) -> bool {
        self.told.insert(path.to_owned())
    }
}

impl Master {
    /// Makes names again that were removed, and tells of those that another has taken.
    pub(crate) fn look_after_names(&mut self) {
        if self.arbiter.state() == "stopping" || !self.names.is_time() {
            return;
        }
        if let Some((path, holder)) =
            self.pidfile.as_ref().map(|file| (file.path().to_owned(), file.holder()))
        {
            self.look_after("PIDFILE", &path, holder, |master| master.restore_pidfile());
        }
        if let Some((path, holder)) =
            self.control.as_ref().map(|control| (control.path().to_owned(), control.holder()))
        {
            self.look_after("CONTROL", &path, holder, |master| master.restore_control());
        }
        self.look_after_listeners();
    }

    /// At SIGHUP, also where another has the name, if that one is of no use to anybody.
    pub(crate) fn restore_names(&mut self) {
        if self.pidfile.as_ref().is_some_and(|file| file.holder() != Holder::Ours)
            && let Err(reason) = self.restore_pidfile()
        {
            warn!(self.log.logger(), "{}", reason);
        }
        if self.control.as_ref().is_some_and(|control| control.holder() != Holder::Ours)
            && let Err(reason) = self.restore_control()
        {
            warn!(self.log.logger(), "{}", reason);
        }
    }

    fn look_after(
        &mut self,
        key: &str,
        path: &Path,
        holder: Holder,
        restore: impl FnOnce(&mut Master) -> Result<(), String>,
    ) {
        match holder {
            Holder::Ours => drop(self.names.told.remove(path)),
            Holder::Nobody => match restore(self) {
                Ok(()) => {
                    warn!(self.log.logger(), "{} was removed, and is made again", key; "path" => %path.display())
                }
                Err(reason) if self.names.is_news(path) => {
                    error!(self.log.logger(), "{} was removed, and cannot be made again: {}", key, reason);
                }
                Err(_) => {}
            },
            Holder::Another if self.names.is_news(path) => {
                error!(self.log.logger(), "{} is another's by now; remove that, or send SIGHUP", key;
                    "path" => %path.display());
            }
            Holder::Another => {}
        }
    }

    fn restore_pidfile(&mut self) -> Result<(), String> {
        let Some(file) = &mut self.pidfile else { return Ok(()) };
        let path = file.path().to_owned();
        *file = PidFile::create(&path)?;
        Ok(())
    }

    fn restore_control(&mut self) -> Result<(), String> {
        self.control.as_mut().map_or(Ok(()), Control::restore)
    }

    /// Workers have copies of what they accept on: a new socket needs new workers, of the same generation. While
    /// another one is made there is time: it gets the new socket, or this is done after it.
    fn look_after_listeners(&mut self) {
        if !["serving", "drained"].contains(&self.arbiter.state()) {
            return;
        }
        let current = self.arbiter.current().and_then(|number| self.generations.get(&number));
        let listeners = current.map(|current| current.listeners.clone()).unwrap_or_default();
        for listener in listeners {
            if let Some((path, holder)) = listener.name() {
                let path = path.to_owned();
                self.look_after("an address of BIND", &path, holder, |master| master.rebind(&listener));
            }
        }
    }

    fn rebind(&mut self, old: &Rc<Listener>) -> Result<(), String> {
        let current = self.arbiter.current().and_then(|number| self.generations.get(&number));
        let Some(Generation { config, .. }) = current else { return Ok(()) };
        let address = [old.address().clone()];
        let made = listeners::open(&address, &[], &Manner::of(config), &World::live())?;
        let Some(new) = made.into_iter().next() else { return Ok(()) };
        // The queue of the old one is emptied by those who have it, and nobody can find it any more.
        old.set_owned(false);
        for listener in self.generations.values_mut().flat_map(|generation| &mut generation.listeners) {
            if Rc::ptr_eq(listener, old) {
                *listener = Rc::clone(&new);
            }
        }
        let workers: Vec<_> = self.arbiter.workers().map(|worker| worker.pid).collect();
        for pid in workers {
            self.dispatch(Event::Retires { pid, cause: RestartCause::Rebound });
        }
        Ok(())
    }
}
