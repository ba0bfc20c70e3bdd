//! The end of a worker.

use std::sync::atomic::Ordering;
use std::time::Duration;

use nix::unistd::{Pid, getppid};
use slog::{Logger, warn};

use super::entrance::Entrance;
use crate::scoreboard::{Dismissal, Slot};
use crate::title;
use crate::worker::request::service::Service;
use crate::worker::watch::clock::Clock;
use crate::worker::watch::connections::Connections;

/// The outcome of a worker's life.
#[derive(Debug, PartialEq, Eq)]
pub enum Ending {
    /// It drained, and no connection was lost.
    Drained,
    /// It had the order to stop immediately, or its drain took too long.
    Stopped,
}

/// Time for which a worker still accepts after a SIGTERM that its master has not announced. If the signal
/// went to a whole process group, the master may be about to turn clients away.
const DISMISSAL_WAIT: Duration = Duration::from_secs(1);
/// Time for which a worker still accepts after new connections stopped entering the queues:
/// connections whose handshake has begun get there within a round trip.
const HANDSHAKE: Duration = Duration::from_millis(100);

/// The end of a worker. It serves the accepted connections, and every answer announces the end of
/// its connection. Idle connections stay until a client uses them or their time is up.
pub(in crate::worker) struct Drain {
    timeout: Duration,
    /// Time of its beginning, in the clock's milliseconds.
    pub(in crate::worker) begun: Option<u32>,
}

impl Drain {
    pub(in crate::worker) fn new(timeout: Duration) -> Self {
        Drain { timeout, begun: None }
    }

    /// Begins to drain, unless the worker already drains.
    pub(in crate::worker) fn begin(&mut self, service: &Service, clock: &Clock) {
        service.draining.store(true, Ordering::Relaxed);
        title::set("avalon: worker [draining]");
        self.begun.get_or_insert_with(|| clock.now_ms());
    }

    /// Stops accepting, as soon as that loses no connection.
    pub(in crate::worker) fn proceed(
        &self,
        entrance: &mut Entrance,
        slot: &Slot,
        master: Pid,
        clock: &Clock,
    ) {
        let Some(begun) = self.begun.filter(|_| entrance.is_there()) else { return };
        let pause = match slot.dismissal() {
            Some(Dismissal::Replaced) => Duration::ZERO,
            Some(Dismissal::Last) => HANDSHAKE,
            None if clock.since(begun) >= DISMISSAL_WAIT || getppid() != master => Duration::ZERO,
            None => return,
        };
        entrance.leave().into_iter().for_each(|acceptors| {
            tokio::spawn(async move {
                tokio::time::sleep(pause).await;
                acceptors.stop().await;
            });
        });
    }

    /// Reports whether the drain is over. `deaf` means that the counted connections include all accepted
    /// ones.
    pub(in crate::worker) fn ending(
        &self,
        deaf: bool,
        connections: &Connections,
        log: &Logger,
    ) -> Option<Ending> {
        let begun = self.begun?;
        if deaf && connections.count() == 0 {
            return Some(Ending::Drained);
        }
        if connections.clock().since(begun) < self.timeout {
            return None;
        }
        let cut = connections.abort();
        if cut == 0 {
            return Some(Ending::Drained);
        }
        warn!(log, "requests took longer than GRACEFUL_TIMEOUT and were cut off"; "requests" => cut);
        Some(Ending::Stopped)
    }
}
