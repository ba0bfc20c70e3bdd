//! What workers are handed while they run: logs opened anew, and addresses of hosts.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use nix::unistd::Pid;

use super::Master;
use crate::worker::Giver;

/// The ways to all workers, and what has not been handed over yet.
#[derive(Default)]
pub(super) struct Handouts(BTreeMap<Pid, Way>);

struct Way {
    giver: Giver,
    generation: u64,
    owed: Owed,
}

/// What a worker is still to get.
#[derive(Clone, Copy, Default)]
pub(super) struct Owed {
    pub(super) log: bool,
    pub(super) access_log: bool,
    pub(super) names: bool,
}

impl Handouts {
    /// Keeps the way to a worker that was just forked.
    pub(super) fn add(&mut self, pid: Pid, generation: u64, giver: Giver) {
        self.0.insert(pid, Way { giver, generation, owed: Owed::default() });
    }

    /// Forgets a worker that has ended.
    pub(super) fn remove(&mut self, pid: Pid) {
        self.0.remove(&pid);
    }

    /// Notes what the workers of a generation are to get; none means all generations.
    pub(super) fn owe(&mut self, generation: Option<u64>, more: Owed) {
        for way in self.0.values_mut().filter(|way| generation.is_none_or(|number| way.generation == number))
        {
            way.owed.log |= more.log;
            way.owed.access_log |= more.access_log;
            way.owed.names |= more.names;
        }
    }

    /// Descriptors that no child needs.
    pub(super) fn fds(&self) -> impl Iterator<Item = RawFd> {
        self.0.values().map(|way| way.giver.as_fd().as_raw_fd())
    }
}

/// Whether something is still owed after an attempt to hand it over. A worker that has gone gets nothing.
fn still_owed(owed: bool, give: impl FnOnce() -> io::Result<()>) -> bool {
    owed && give().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

impl Master {
    /// Hands over what workers are to get, as far as they have taken what they got before.
    pub(super) fn hand_out(&mut self) {
        for way in self.handouts.0.values_mut() {
            let Some(of) = self.generations.get(&way.generation) else { continue };
            let (giver, owed) = (&way.giver, way.owed);
            let share =
                |file: io::Result<OwnedFd>, give: &dyn Fn(OwnedFd) -> io::Result<()>| file.and_then(give);
            way.owed = Owed {
                log: still_owed(owed.log, || share(of.log.share(), &|file| giver.log(file.as_fd()))),
                access_log: still_owed(owed.access_log, || match &of.access_log {
                    Some(log) => share(log.share(), &|file| giver.access_log(file.as_fd())),
                    None => Ok(()),
                }),
                names: still_owed(owed.names, || giver.names()),
            };
        }
    }
}
