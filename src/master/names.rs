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

use super::events::Event;
use super::generations::Generation;
use super::listeners::{self, Listener, Manner};
use super::lookout::{Lookout, Name};
use super::pidfile::PidFile;
use super::{Control, Master};
use crate::config::World;
use crate::scoreboard::RestartCause;

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Device and inode of what has a name. The name of a link is that of the link itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity(u64, u64);

/// Who has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    /// We, or it cannot be seen that it is another.
    Ours,
    Nobody,
    Another,
}

/// What was found at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    Something(Identity),
    Nothing,
    /// It cannot be looked at.
    Unknown,
}

impl Seen {
    pub(super) fn at(path: &Path) -> Seen {
        match Identity::at(path) {
            Ok(found) => Seen::Something(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Seen::Nothing,
            Err(_) => Seen::Unknown,
        }
    }

    /// In a line, for [`Seen::parse`].
    pub(super) fn line(self) -> String {
        match self {
            Seen::Something(Identity(device, inode)) => format!("{device} {inode}"),
            Seen::Nothing => "nothing".to_owned(),
            Seen::Unknown => "unknown".to_owned(),
        }
    }

    pub(super) fn parse(line: &[u8]) -> Seen {
        let text = std::str::from_utf8(line).unwrap_or_default();
        let numbers = text.split_once(' ').and_then(|(device, inode)| {
            Some(Seen::Something(Identity(device.parse().ok()?, inode.parse().ok()?)))
        });
        numbers.unwrap_or(if text == "nothing" { Seen::Nothing } else { Seen::Unknown })
    }
}

impl Identity {
    /// Of what has this name.
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        fs::symlink_metadata(path).map(|found| Identity::of(&found))
    }

    pub(super) fn of(found: &fs::Metadata) -> Self {
        Identity(found.dev(), found.ino())
    }

    /// Who has the name that was given to this.
    pub(super) fn holder(self, path: &Path) -> Holder {
        self.holder_of(Seen::at(path))
    }

    /// The same by what was seen there.
    fn holder_of(self, seen: Seen) -> Holder {
        match seen {
            Seen::Something(found) if found == self => Holder::Ours,
            Seen::Something(_) => Holder::Another,
            Seen::Nothing => Holder::Nobody,
            Seen::Unknown => Holder::Ours,
        }
    }
}

/// What a name of ours is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    PidFile,
    Control,
    Address,
}

impl Kind {
    fn key(self) -> &'static str {
        match self {
            Kind::PidFile => "PIDFILE",
            Kind::Control => "CONTROL",
            Kind::Address => "an address of BIND",
        }
    }
}

/// Who looks and when, and what has been told.
#[derive(Default)]
pub(super) struct Names {
    pub(super) lookout: Lookout,
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
    pub(super) fn look_after_names(&mut self) {
        if self.arbiter.state() == "stopping" {
            return;
        }
        for ((path, identity), seen) in self.names.lookout.seen().into_iter().flatten() {
            // One that was made again since it was asked for is looked at the next time.
            if let Some((kind, _)) =
                self.own_names().into_iter().find(|(_, name)| *name == (path.clone(), identity))
            {
                self.look_after(kind, &path, identity.holder_of(seen));
            }
        }
        if !self.names.is_time() {
            return;
        }
        let names = self.own_names().into_iter().map(|(_, name)| name).collect();
        let current = self.arbiter.current().or_else(|| self.generations.keys().next().copied());
        let Some(of) = current.and_then(|number| self.generations.get(&number)) else { return };
        if let Err(error) = self.names.lookout.ask(names, &of.config)
            && self.names.is_news(Path::new(""))
        {
            warn!(self.log.logger(), "sockets and the pid file are not looked after"; "error" => %error);
        }
    }

    /// All that is ours by name. Workers have copies of what they accept on: a new socket needs new workers, of the
    /// same generation. While another one is made there is time: it gets the new socket, or this is done after it.
    fn own_names(&self) -> Vec<(Kind, Name)> {
        let pidfile = self.pidfile.as_ref().map(|file| (Kind::PidFile, file.name()));
        let control = self.control.as_ref().map(|control| (Kind::Control, control.name()));
        let serves = ["serving", "drained"].contains(&self.arbiter.state());
        let current = self.arbiter.current().and_then(|number| self.generations.get(&number));
        let listeners = current.filter(|_| serves).into_iter().flat_map(|current| &current.listeners);
        let addresses = listeners.filter_map(|listener| Some((Kind::Address, listener.name()?)));
        pidfile.into_iter().chain(control).chain(addresses).collect()
    }

    /// At SIGHUP, also where another has the name, if that one is of no use to anybody.
    pub(super) fn restore_names(&mut self) {
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

    fn look_after(&mut self, kind: Kind, path: &Path, holder: Holder) {
        let key = kind.key();
        match holder {
            Holder::Ours => drop(self.names.told.remove(path)),
            Holder::Nobody => match self.restore(kind, path) {
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

    fn restore(&mut self, kind: Kind, path: &Path) -> Result<(), String> {
        match kind {
            Kind::PidFile => self.restore_pidfile(),
            Kind::Control => self.restore_control(),
            Kind::Address => self.rebind(path),
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

    fn rebind(&mut self, path: &Path) -> Result<(), String> {
        let current = self.arbiter.current().and_then(|number| self.generations.get(&number));
        let Some(Generation { config, listeners, .. }) = current else { return Ok(()) };
        let is_at = |listener: &&Rc<Listener>| listener.name().is_some_and(|(at, _)| at == path);
        let Some(old) = listeners.iter().find(is_at).cloned() else { return Ok(()) };
        let address = [old.address().clone()];
        let made = listeners::open(&address, &[], &Manner::of(config), &World::live())?;
        let Some(new) = made.into_iter().next() else { return Ok(()) };
        // The queue of the old one is emptied by those who have it, and nobody can find it any more.
        old.set_owned(false);
        for listener in self.generations.values_mut().flat_map(|generation| &mut generation.listeners) {
            if Rc::ptr_eq(listener, &old) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_passes_through_a_line() {
        for seen in [Seen::Something(Identity(7, u64::MAX)), Seen::Nothing, Seen::Unknown] {
            assert_eq!(Seen::parse(seen.line().as_bytes()), seen);
        }
        assert_eq!(Seen::parse(b"7 x"), Seen::Unknown);
        let ours = Identity(1, 2);
        for (seen, holder) in [
            (Seen::Something(ours), Holder::Ours),
            (Seen::Something(Identity(1, 3)), Holder::Another),
            (Seen::Nothing, Holder::Nobody),
            (Seen::Unknown, Holder::Ours),
        ] {
            assert_eq!(ours.holder_of(seen), holder);
        }
    }
}
