//! What workers are handed while they run: logs opened anew, and addresses of hosts.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::unistd::Pid;

use crate::master::Master;
use crate::worker::Giver;

/// The ways to all workers, and what has not been handed over yet.
#[derive(Default)]
pub(crate) struct Handouts(BTreeMap<Pid, Way>);

struct Way {
    giver: Giver,
    generation: u64,
    owed: Owed,
}

/// What a worker is still to get.
#[derive(Clone, Copy, Default)]
pub(crate) struct Owed {
    pub(crate) log: bool,
    pub(crate) access_log: bool,
    pub(crate) names: bool,
    /// That of the generation that serves.
    pub(crate) snapshot: bool,
}

impl Handouts {
    /// Keeps the way to a worker that was just forked.
    pub(crate) fn add(&mut self, pid: Pid, generation: u64, giver: Giver) {
        self.0.insert(pid, Way { giver, generation, owed: Owed::default() });
    }

    /// Forgets a worker that has ended.
    pub(crate) fn remove(&mut self, pid: Pid) {
        self.0.remove(&pid);
    }

    /// Notes what the workers of some generations are to get.
    pub(crate) fn owe(&mut self, generations: impl Fn(u64) -> bool, more: Owed) {
        for way in self.0.values_mut().filter(|way| generations(way.generation)) {
            way.owed.log |= more.log;
            way.owed.access_log |= more.access_log;
            way.owed.names |= more.names;
            way.owed.snapshot |= more.snapshot;
        }
    }
}

/// Whether something is still owed after an attempt to hand it over. A worker that has gone gets nothing.
fn still_owed(owed: bool, give: impl FnOnce() -> io::Result<()>) -> bool {
    owed && give().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

impl Master {
    /// Hands over what workers are to get, as far as they have taken what they got before.
    pub(crate) fn hand_out(&mut self) {
        let newest =
            self.arbiter.current().and_then(|number| self.generations.get(&number)?.snapshot.as_ref());
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
                snapshot: still_owed(owed.snapshot, || {
                    newest.map_or(Ok(()), |newest| giver.snapshot(newest.as_fd()))
                }),
            };
        }
    }
}
