//! Messages to systemd (sd_notify(3)): ready, reloading, stopping, a status line, signs of life, and the snapshot
//! to keep for the next start. Without systemd nothing happens.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::unistd::Pid;
use sd_notify::NotifyState;

use crate::master::handover::inherited::SNAPSHOT;
use crate::telemetry::notify_socket::NotifySocket;

/// Additional time for a start, counted from each message that asks for more.
const EXTENSION: Duration = Duration::from_secs(10);

/// Time between two signs of life during work that could delay the master.
const BUSY_PAUSE: Duration = Duration::from_millis(500);

/// The connection to systemd.
pub(crate) struct Systemd {
    socket: NotifySocket,
    present: bool,
    /// Whether another master speaks to systemd, so that this one must not.
    silent: bool,
    /// Half of the watchdog time of the unit.
    watchdog: Option<Duration>,
    last_sign: Option<Instant>,
    status: String,
}

impl Systemd {
    /// Reads `NOTIFY_SOCKET` and `WATCHDOG_USEC`. The connection is silent as long as another master speaks.
    pub(crate) fn new(silent: bool) -> Self {
        Systemd {
            socket: NotifySocket::default(),
            present: std::env::var_os("NOTIFY_SOCKET").is_some(),
            silent,
            watchdog: sd_notify::watchdog_enabled().map(|allowed| allowed / 2),
            last_sign: None,
            status: String::new(),
        }
    }

    /// Reports that a generation serves, or continues after a failed reload.
    pub(crate) fn ready(&mut self, status: &str) {
        self.status = status.to_owned();
        self.tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// Reports that a reload has begun.
    pub(crate) fn reloading(&mut self, status: &str) {
        self.status = status.to_owned();
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            // systemd expects the time in the same message.
            self.tell(&[NotifyState::Reloading, now, NotifyState::Status(status)]);
        }
    }

    /// Reports that the end has begun.
    pub(crate) fn stopping(&mut self, status: &str) {
        self.status = status.to_owned();
        self.tell(&[NotifyState::Stopping, NotifyState::Status(status)]);
    }

    /// Sends the status line, if it has changed.
    pub(crate) fn status(&mut self, status: &str) {
        if self.status != status {
            self.status = status.to_owned();
            self.tell(&[NotifyState::Status(status)]);
        }
    }

    /// Sends a sign of life, if one is due. `busy` asks for more time as well, for a start, a reload or a
    /// stop: the server's own time-outs limit those.
    pub(crate) fn alive(&mut self, now: Instant, busy: bool) {
        // A new master speaks, but systemd may have had no room for the last words of this one.
        self.socket.send_unsent();
        let usual = self.watchdog.unwrap_or(EXTENSION / 4);
        let pause = if busy { usual.min(BUSY_PAUSE) } else { usual };
        let is_due = self.last_sign.is_none_or(|last| now.saturating_duration_since(last) >= pause);
        // A silent master sends no sign of life, so its first one comes as soon as it speaks.
        if self.silent || !is_due {
            return;
        }
        let extension =
            NotifyState::ExtendTimeoutUsec(u32::try_from(EXTENSION.as_micros()).unwrap_or(u32::MAX));
        let states: Vec<_> = self
            .watchdog
            .map(|_| NotifyState::Watchdog)
            .into_iter()
            .chain(busy.then_some(extension))
            .collect();
        // Without room for it, the next round of the master tries again.
        if !self.present || states.is_empty() || self.socket.send_now(&states) {
            self.last_sign = Some(now);
        }
    }

    /// Makes another process the main one. systemd listens only to that one afterwards, so this is the last
    /// message. It is a sign of life too: the watchdog's time continues, and must not end before the other
    /// process has its turn.
    pub(crate) fn hand_over(&mut self, pid: Pid) {
        let main = NotifyState::MainPid(pid.as_raw().unsigned_abs());
        match self.watchdog {
            Some(_) => self.tell(&[main, NotifyState::Watchdog]),
            None => self.tell(&[main]),
        }
        self.silent = true;
    }

    /// Makes this process the main one, with its first sign of life; says whether that is new.
    pub(crate) fn speak(&mut self, now: Instant) -> bool {
        let is_new = std::mem::take(&mut self.silent);
        if is_new {
            self.alive(now, false);
        }
        is_new
    }

    /// The longest time between two calls of [`Systemd::alive`].
    pub(crate) fn pause(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Gives a snapshot to systemd for the next start, in place of the one before.
    pub(crate) fn keep(&mut self, snapshot: &OwnedFd) {
        self.tell(&[NotifyState::FdStoreRemove, NotifyState::FdName(SNAPSHOT)]);
        let store = [NotifyState::FdStore, NotifyState::FdName(SNAPSHOT), NotifyState::Custom("FDPOLL=0")];
        self.tell_with(&store, Some(snapshot.as_fd()));
    }

    fn tell(&mut self, states: &[NotifyState<'_>]) {
        self.tell_with(states, None);
    }

    /// Sends a message. The server works without a manager that listens.
    fn tell_with(&mut self, states: &[NotifyState<'_>], fd: Option<BorrowedFd<'_>>) {
        if self.present && !self.silent {
            self.socket.send(states, fd);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A line to no systemd, of a unit that wants a sign of life every four seconds.
    fn systemd(silent: bool) -> Systemd {
        let (socket, status, watchdog) = (NotifySocket::default(), String::new(), Some(2 * SECOND));
        Systemd { socket, present: false, silent, watchdog, last_sign: None, status }
    }

    #[test]
    fn signs_of_life_come_in_time_and_more_often_while_busy() {
        let (mut systemd, begin) = (systemd(false), Instant::now());
        systemd.alive(begin, false);
        assert_eq!(systemd.last_sign, Some(begin));
        systemd.alive(begin + SECOND, false);
        assert_eq!(systemd.last_sign, Some(begin), "too early");
        systemd.alive(begin + SECOND, true);
        assert_eq!(systemd.last_sign, Some(begin + SECOND));
        systemd.alive(begin + 3 * SECOND, false);
        assert_eq!((systemd.last_sign, systemd.pause()), (Some(begin + 3 * SECOND), Some(2 * SECOND)));
    }

    #[test]
    fn master_is_silent_while_another_is_the_main_one() {
        let (mut systemd, begin) = (systemd(true), Instant::now());
        systemd.alive(begin, true);
        assert_eq!(systemd.last_sign, None);
        assert!(systemd.speak(begin) && !systemd.speak(begin));
        assert_eq!(systemd.last_sign, Some(begin));
        systemd.hand_over(Pid::from_raw(7));
        systemd.alive(begin + 9 * SECOND, true);
        assert_eq!(systemd.last_sign, Some(begin), "the other one speaks");
    }
}
