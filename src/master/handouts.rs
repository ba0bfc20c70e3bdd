//! What workers are handed while they run: addresses of hosts, and to those that drain the newest snapshot.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;

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
    pub(super) names: bool,
    /// That of the generation that serves.
    pub(super) snapshot: bool,
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

    /// Notes what the workers of some generations are to get.
    pub(super) fn owe(&mut self, generations: impl Fn(u64) -> bool, more: Owed) {
        for way in self.0.values_mut().filter(|way| generations(way.generation)) {
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
    pub(super) fn hand_out(&mut self) {
        let newest =
            self.arbiter.current().and_then(|number| self.generations.get(&number)?.snapshot.as_ref());
        for way in self.handouts.0.values_mut() {
            let (giver, owed) = (&way.giver, way.owed);
            way.owed = Owed {
                names: still_owed(owed.names, || giver.names()),
                snapshot: still_owed(owed.snapshot, || {
                    newest.map_or(Ok(()), |newest| giver.snapshot(newest.as_fd()))
                }),
            };
        }
    }
}
