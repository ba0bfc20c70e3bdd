//! The relay of log lines to the process that writes a file. A hanging file system then cannot stop
//! a process that logs: such a file system blocks each `write`, and the `close` of each descriptor
//! when a process ends.
//!
//! The socket keeps the messages of all senders apart and in order. It holds some hundred kilobytes; further
//! lines wait in the sender (`output.rs`).

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, Shutdown, SockFlag, SockType, recv, sendmsg, setsockopt, shutdown, socketpair,
    sockopt,
};

/// Most bytes of lines in a message. A longer line takes several, and other lines may come between
/// them.
pub(super) const MESSAGE_MAX: usize = 64 * 1024;
/// Most bytes that the writer gathers for one `write`.
const GATHERED_MAX: usize = 256 * 1024;
/// Size of the queue that the program requests of the kernel, which may grant less.
const WAITING_MAX: usize = 1024 * 1024;
/// Time between two checks of an idle writer whether its file was moved.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// First byte of a message.
const LINES: u8 = b'L';
const REOPEN: u8 = b'R';

/// The sending end, in the master and all its children.
#[derive(Debug, Clone)]
pub struct Relay(Arc<OwnedFd>);

/// The receiving end, in the process that writes the file.
#[derive(Debug)]
pub struct Relayed {
    socket: OwnedFd,
    /// A received message that is not lines, and comes after received lines.
    pending: Option<Taken>,
}

/// A received message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Lines(String),
    /// The request to reopen the file.
    Reopen,
    /// No message within the given time.
    Nothing,
    /// No process can send any more.
    End,
}

/// Creates both ends.
///
/// # Errors
/// If the system has no descriptors left.
pub fn relay() -> io::Result<(Relay, Relayed)> {
    let (sends, takes) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    // With a smaller queue the senders keep lines a little earlier.
    let _ = setsockopt(&sends, sockopt::SndBuf, &WAITING_MAX);
    Ok((Relay(Arc::new(sends)), Relayed { socket: takes, pending: None }))
}

impl Relay {
    /// Sends lines if the kernel takes them at once.
    pub(super) fn send(&self, lines: &[u8]) -> Result<(), Errno> {
        self.message(LINES, lines)
    }

    /// Asks the writer to reopen its file, after the lines that were sent before.
    ///
    /// # Errors
    /// If the writer is too far behind. It checks the file itself when it continues.
    pub fn reopen(&self) -> io::Result<()> {
        Ok(self.message(REOPEN, &[])?)
    }

    /// Reports whether a log of this process still uses it.
    pub fn is_used(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Ends the writer once it has written all lines that were sent. No process may send lines after this.
    pub fn end(&self) {
        let _ = shutdown(self.0.as_raw_fd(), Shutdown::Write);
    }

    /// Waits until the kernel has room for lines (for most of its queue), for `patience` at most.
    pub(super) fn wait(&self, patience: Duration) {
        wait(self.0.as_fd(), PollFlags::POLLOUT, patience);
    }

    pub(super) fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    fn message(&self, kind: u8, lines: &[u8]) -> Result<(), Errno> {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let message = [IoSlice::new(std::slice::from_ref(&kind)), IoSlice::new(lines)];
        sendmsg::<()>(self.0.as_raw_fd(), &message, &[], flags, None).map(drop)
    }
}

impl Relayed {
    /// Clones the end for another process. Each message reaches only one of them.
    ///
    /// # Errors
    /// If the system has no descriptors left.
    pub fn try_clone(&self) -> io::Result<Relayed> {
        Ok(Relayed { socket: self.socket.try_clone()?, pending: None })
    }

    /// Returns the next lines, from all messages that have arrived.
    pub(super) fn take(&mut self, patience: Duration) -> Taken {
        if let Some(taken) = self.pending.take() {
            return taken;
        }
        if !wait(self.socket.as_fd(), PollFlags::POLLIN, patience) {
            return Taken::Nothing;
        }
        let mut bytes = vec![0; MESSAGE_MAX + 1];
        let mut gathered = String::new();
        while gathered.len() < GATHERED_MAX {
            match self.message(&mut bytes) {
                Taken::Lines(lines) => gathered += &lines,
                other if gathered.is_empty() => return other,
                Taken::Nothing => break,
                other => {
                    self.pending = Some(other);
                    break;
                }
            }
        }
        Taken::Lines(gathered)
    }

    fn message(&self, bytes: &mut [u8]) -> Taken {
        match recv(self.socket.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => Taken::End,
            Ok(_) if bytes[0] == REOPEN => Taken::Reopen,
            // Lines are split between characters.
            Ok(len) => Taken::Lines(String::from_utf8_lossy(&bytes[1..len]).into_owned()),
            Err(Errno::EAGAIN | Errno::EINTR) => Taken::Nothing,
            Err(_) => Taken::End,
        }
    }
}

/// Writes the received lines until the end, and regularly checks whether the file was moved.
pub(super) fn write_out(mut relayed: Relayed, write: impl Fn(&str), reopen: impl Fn(), look: impl Fn()) {
    loop {
        match relayed.take(LOOK_EVERY) {
            Taken::Lines(lines) => {
                look();
                write(&lines);
            }
            Taken::Reopen => reopen(),
            Taken::Nothing => look(),
            Taken::End => return,
        }
    }
}

impl AsFd for Relayed {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Waits for an event, and returns whether there is one.
fn wait(fd: BorrowedFd<'_>, what: PollFlags, patience: Duration) -> bool {
    let patience = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
    poll(&mut [PollFd::new(fd, what)], patience).is_ok_and(|count| count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_ONCE: Duration = Duration::ZERO;

    #[test]
    fn messages_come_out_in_order_and_together() {
        let (relay, mut relayed) = relay().unwrap();
        assert_eq!(relayed.take(AT_ONCE), Taken::Nothing);
        relay.send(b"one\n").unwrap();
        relay.send("tw\u{f6}\n".as_bytes()).unwrap();
        relay.reopen().unwrap();
        relay.send(b"three\n").unwrap();
        relay.end();
        assert_eq!(relay.send(b"late\n"), Err(Errno::EPIPE));
        for expected in [
            Taken::Lines("one\ntw\u{f6}\n".into()),
            Taken::Reopen,
            Taken::Lines("three\n".into()),
            Taken::End,
        ] {
            assert_eq!(relayed.take(AT_ONCE), expected);
        }
    }

    #[test]
    fn the_end_comes_when_no_process_can_send() {
        let (relay, mut relayed) = relay().unwrap();
        let other = relay.clone();
        assert!(relay.is_used());
        drop(other);
        assert!(!relay.is_used());
        drop(relay);
        assert_eq!(relayed.take(Duration::from_secs(60)), Taken::End);
    }

    #[test]
    fn no_process_waits_for_the_writer() {
        let (relay, mut relayed) = relay().unwrap();
        let piece = vec![b'x'; MESSAGE_MAX];
        let sent = (0..1000).take_while(|_| relay.send(&piece).is_ok()).count();
        assert!((2..1000).contains(&sent), "{sent}");
        assert_eq!(relay.send(&piece), Err(Errno::EAGAIN));
        while relayed.take(AT_ONCE) != Taken::Nothing {}
        relay.wait(Duration::from_secs(60));
        relay.send(&piece).unwrap();
    }
}
