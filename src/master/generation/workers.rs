//! The workers of all generations. The master forks them, hands them things while they run (addresses of hosts,
//! a newer snapshot), and tells them to leave. The arbiter counts them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use slog::{debug, error, warn};

use crate::master::exit::ExitCode;
use crate::master::generation::generations::{Generation, Generations};
use crate::master::processes::fork::fork;
use crate::master::processes::messages::{Mailbox, Message};
use crate::master::processes::sandbox;
use crate::scheduling::pause;
use crate::scoreboard::{Dismissal, Scoreboard, Slot};
use crate::snapshot::Mapping;
use crate::telemetry::sentry::{self, Lookup};
use crate::title;
use crate::worker::{Cause, Ending, Giver, Notice, Taker, Worker, ending_signals, handout_way};

/// The workers, by process.
pub(crate) struct Workers {
    scoreboard: Scoreboard,
    /// Messages of children.
    mailbox: Mailbox,
    ways: BTreeMap<Pid, Way>,
    /// The signal that tells workers to leave.
    dismissal: Dismissal,
}

/// The way to a worker.
struct Way {
    giver: Giver,
    generation: u64,
    slot: usize,
    owed: Owed,
}

/// Things that a worker has not got yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Owed {
    names: bool,
    /// Of the generation that is being made.
    next: Option<Next>,
    /// That of the generation that serves.
    snapshot: bool,
    /// The word that it may accept connections.
    turn: bool,
}

/// What workers get of the generation that is being made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Its snapshot, to be mapped ahead.
    Snapshot(u64),
    /// That it has failed.
    Failure,
}

impl Workers {
    /// No workers yet, on a new scoreboard.
    ///
    /// # Errors
    /// The kernel has no memory or no pipe for them.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Workers {
            scoreboard: Scoreboard::create()?,
            mailbox: Mailbox::open()?,
            ways: BTreeMap::new(),
            dismissal: Dismissal::Replaced,
        })
    }

    /// Where they write how they are.
    pub(crate) fn scoreboard(&self) -> Scoreboard {
        self.scoreboard
    }

    /// Where they, and a new master, tell something.
    pub(crate) fn mailbox(&mut self) -> &mut Mailbox {
        &mut self.mailbox
    }

    /// The same, to wait for it or to have a child write there.
    pub(crate) fn mail(&self) -> &Mailbox {
        &self.mailbox
    }

    /// Forks a worker of generation `number` on this slot. One that `waits` accepts no connections before
    /// [`Workers::owe_turn`].
    ///
    /// # Errors
    /// The generation has no snapshot, or an error of the kernel's.
    pub(crate) fn fork(&mut self, number: u64, of: &Generation, slot: usize, waits: bool) -> io::Result<Pid> {
        let (giver, taker) = handout_way()?;
        let served = of.served.as_ref().ok_or_else(|| io::Error::other("the generation has no snapshot"))?;
        // Copies made before the fork: the child closes the master's descriptors.
        let listeners = of.shared_listeners()?;
        let snapshot = served.snapshot.try_clone()?;
        let messages = File::from(self.mailbox.address().try_clone_to_owned()?);
        let first = of
            .first_steps()
            .on_master_death(Some(Signal::SIGTERM))
            .blocking(ending_signals())
            .keeping(listeners.iter().map(|(listener, _)| listener.as_fd()))
            .keeping([snapshot.as_fd(), messages.as_fd(), taker.as_fd()]);
        let at = self.scoreboard.assign(slot);
        let scoreboard = self.scoreboard;
        let pid = fork(&first, || {
            title::set(&format!("avalon: worker {slot} [gen {number}]"));
            let parts = Parts { listeners, snapshot, messages, taker, waits, master: first.master() };
            serve(parts, of, (number, slot), scoreboard, at)
        })?;
        self.ways.insert(pid, Way { giver, generation: number, slot, owed: Owed::default() });
        Ok(pid)
    }

    /// A process has ended. If it was a worker, its slot is free for the next one; says which generation it was of.
    pub(crate) fn ended(&mut self, pid: Pid) -> Option<u64> {
        let way = self.ways.remove(&pid)?;
        self.scoreboard.slot(way.slot).release();
        Some(way.generation)
    }

    /// Has a worker know that the SIGTERM that follows is its master's.
    pub(crate) fn dismiss(&self, pid: Pid) {
        if let Some(way) = self.ways.get(&pid) {
            self.scoreboard.slot(way.slot).dismiss(self.dismissal);
        }
    }

    /// From now on workers leave addresses that are closed for good.
    pub(crate) fn dismiss_as_last(&mut self) {
        self.dismissal = Dismissal::Last;
    }

    /// Addresses of hosts were found: all workers are to get them.
    pub(crate) fn owe_names(&mut self) {
        self.owe(|_| true, Owed { names: true, ..Owed::default() });
    }

    /// This generation proves itself: all workers are to map the pages of its snapshot ahead.
    pub(crate) fn owe_next(&mut self, next: u64) {
        self.owe(|_| true, Owed { next: Some(Next::Snapshot(next)), ..Owed::default() });
    }

    /// A generation has failed that was being made: workers are to let its snapshot go.
    pub(crate) fn owe_failure(&mut self) {
        self.owe(|_| true, Owed { next: Some(Next::Failure), ..Owed::default() });
    }

    /// Another generation serves: workers of all others are to get its snapshot.
    pub(crate) fn owe_snapshot(&mut self, current: u64) {
        self.owe(|other| other != current, Owed { snapshot: true, ..Owed::default() });
    }

    /// This generation serves: its workers are to accept connections.
    pub(crate) fn owe_turn(&mut self, current: u64) {
        self.owe(|of| of == current, Owed { turn: true, ..Owed::default() });
    }

    fn owe(&mut self, of: impl Fn(u64) -> bool, more: Owed) {
        for way in self.ways.values_mut().filter(|way| of(way.generation)) {
            way.owed.names |= more.names;
            way.owed.next = more.next.or(way.owed.next.filter(|_| !more.snapshot));
            way.owed.snapshot |= more.snapshot;
            way.owed.turn |= more.turn;
        }
    }

    /// Hands over the things that workers are owed, as far as they have taken the things before it. The snapshot is
    /// that of the generation that serves. All former workers have it before a new one gets its turn: then no client
    /// finds old rows after new ones.
    pub(crate) fn hand_out(&mut self, generations: &Generations) {
        let newest = generations.current().and_then(|current| current.served.as_ref());
        for Way { giver, owed, .. } in self.ways.values_mut() {
            owed.names = still_owed(owed.names, || giver.names());
            owed.next = owed.next.filter(|next| {
                still_owed(true, || {
                    pause();
                    match next {
                        Next::Snapshot(number) => give_ahead(giver, generations, *number),
                        Next::Failure => giver.forget(),
                    }
                })
            });
            owed.snapshot = still_owed(owed.snapshot, || {
                pause();
                newest.map_or(Ok(()), |newest| giver.snapshot(newest.snapshot.as_fd()))
            });
        }
        for Way { giver, owed, .. } in self.ways.values_mut() {
            owed.turn = still_owed(owed.turn, || {
                pause();
                giver.turn()
            });
        }
    }
}

/// Hands over the snapshot of a generation that is being made. One that has failed meanwhile has none.
fn give_ahead(giver: &Giver, generations: &Generations, number: u64) -> io::Result<()> {
    let of = generations.numbered(number).ok().and_then(|of| of.served.as_ref());
    of.map_or(Ok(()), |served| giver.ahead(served.snapshot.as_fd()))
}

/// Whether something is still owed after an attempt to hand it over. A worker that has gone gets nothing.
fn still_owed(owed: bool, give: impl FnOnce() -> io::Result<()>) -> bool {
    owed && give().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

/// The things that a worker takes with it from its master.
struct Parts {
    listeners: Vec<(socket2::Socket, crate::worker::Role)>,
    snapshot: OwnedFd,
    messages: File,
    taker: Taker,
    waits: bool,
    master: Pid,
}

/// The life of a worker, with this number and on this slot.
fn serve(
    parts: Parts,
    of: &Generation,
    (generation, number): (u64, usize),
    scoreboard: Scoreboard,
    slot: &'static Slot,
) -> ExitCode {
    let Parts { listeners, snapshot, messages, taker, waits, master } = parts;
    // While another generation serves, a boot keeps a processor for some tenths of a millisecond at a time.
    let let_others_run: fn() = if waits { pause } else { || {} };
    let_others_run();
    let log = of.logs.log.for_process(&format!("worker {number}"));
    of.logs.access_log.iter().for_each(|access_log| access_log.forked());
    if of.config.sandbox {
        match sandbox::confine(let_others_run) {
            Ok(how) => debug!(log.logger(), "confined"; "how" => how),
            // It serves all the same: the kernel may not know of it.
            Err(error) => warn!(log.logger(), "the worker is not fully confined: {}", error),
        }
    }
    let_others_run();
    let _sentry = sentry::start(&of.config.sentry, "worker", Some(generation), Some(number), Lookup::Known);
    slot.claim(std::process::id(), generation);
    let mapped = Mapping::of(&snapshot).and_then(|mapping| Ok((mapping.open()?, mapping)));
    let worker = mapped.map(|(snapshot, mapping)| Worker {
        config: of.config.clone(),
        mapping,
        snapshot,
        listeners,
        scoreboard,
        slot,
        log: log.clone(),
        access_log: of.logs.access_log.clone(),
        master,
        handouts: taker,
        waits,
        notify: Box::new(move |notice| message(notice).send(&messages)),
    });
    match worker.and_then(Worker::run) {
        Ok(Ending::Drained | Ending::Stopped) => ExitCode::Stopped,
        Err(error) => {
            error!(log.logger(), "a worker cannot serve: {}", error);
            ExitCode::Worker
        }
    }
}

fn message(notice: Notice) -> Message {
    match notice {
        Notice::Ready => Message::Ready,
        Notice::Retires(Cause::Requests) => Message::RetiresForRequests,
        Notice::Retires(Cause::Memory) => Message::RetiresForMemory,
        Notice::Deaf => Message::Deaf,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_workers(generations: &[u64]) -> (Workers, Vec<Taker>) {
        let mut workers = Workers::new().unwrap();
        let takers = generations.iter().enumerate().map(|(slot, generation)| {
            let (giver, taker) = handout_way().unwrap();
            // No process has numbers of this kind.
            let pid = Pid::from_raw(i32::MAX - slot as i32);
            workers.scoreboard.assign(slot).claim(1, *generation);
            workers.ways.insert(pid, Way { giver, generation: *generation, slot, owed: Owed::default() });
            taker
        });
        let takers = takers.collect();
        (workers, takers)
    }

    fn owed(workers: &Workers) -> Vec<(u64, Owed)> {
        let mut owed: Vec<_> = workers.ways.values().map(|way| (way.generation, way.owed)).collect();
        owed.sort_by_key(|(generation, _)| *generation);
        owed
    }

    #[test]
    fn debts_add_up_and_are_those_of_a_generation() {
        let (mut workers, _takers) = with_workers(&[1, 2]);
        workers.owe_snapshot(2);
        workers.owe_names();
        workers.owe_turn(2);
        let names = Owed { names: true, ..Owed::default() };
        assert_eq!(
            owed(&workers),
            [(1, Owed { snapshot: true, ..names }), (2, Owed { turn: true, ..names })]
        );
    }

    #[test]
    fn newest_news_of_the_next_generation_count() {
        let (mut workers, _takers) = with_workers(&[1, 2]);
        let next = |workers: &Workers| workers.ways.values().map(|way| way.owed.next).collect::<Vec<_>>();
        workers.owe_next(2);
        assert_eq!(next(&workers), [Some(Next::Snapshot(2)); 2]);
        workers.owe_failure();
        assert_eq!(next(&workers), [Some(Next::Failure); 2]);
        workers.owe_next(3);
        workers.owe_names();
        assert_eq!(next(&workers), [Some(Next::Snapshot(3)); 2]);
        // Those that get the snapshot need not hear of it before.
        workers.owe_snapshot(2);
        let mut owed: Vec<_> = workers.ways.values().map(|way| (way.generation, way.owed.next)).collect();
        owed.sort_by_key(|(generation, _)| *generation);
        assert_eq!(owed, [(1, None), (2, Some(Next::Snapshot(3)))]);
    }

    #[test]
    fn debt_that_would_block_stays_and_that_of_a_worker_that_has_gone_does_not() {
        let blocks = || Err(io::ErrorKind::WouldBlock.into());
        let gone = || Err(io::ErrorKind::BrokenPipe.into());
        assert!(still_owed(true, blocks) && !still_owed(false, blocks));
        assert!(!still_owed(true, gone) && !still_owed(true, || Ok(())));
    }

    #[test]
    fn slot_of_a_worker_that_has_ended_is_free() {
        let (mut workers, _takers) = with_workers(&[7]);
        let pid = Pid::from_raw(i32::MAX);
        assert_eq!(workers.scoreboard.living().count(), 1);
        assert_eq!((workers.ended(pid), workers.ended(pid)), (Some(7), None));
        assert_eq!(workers.scoreboard.living().count(), 0);
    }
}
