//! Messages of children to their master, through a pipe.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::OFlag;
use nix::unistd::{Pid, pipe2};

use crate::master::processes::fork::own_pid;

/// A message of a child to its master, one atomic write of eight bytes: its kind and the child's pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Message {
    /// It accepts connections, or will as soon as its generation serves.
    Ready = 1,
    /// It has served MAX_REQUESTS.
    RetiresForRequests = 2,
    /// Its memory exceeds MAX_RSS.
    RetiresForMemory = 5,
    /// It no longer accepts connections.
    Deaf = 4,
    /// A new master, started in place of this one, serves.
    TakenOver = 3,
}

/// Bytes of a message.
const LEN: usize = 8;

impl Message {
    /// Writes the message, with the pid of this process.
    ///
    /// # Errors
    /// The kernel's error with the pipe.
    pub(crate) fn send(self, mut to: &File) -> io::Result<()> {
        let mut bytes = [0; LEN];
        bytes[..4].copy_from_slice(&(self as i32).to_le_bytes());
        bytes[4..].copy_from_slice(&own_pid().as_raw().to_le_bytes());
        to.write_all(&bytes)
    }

    fn parse(bytes: [u8; LEN]) -> Option<(Message, Pid)> {
        let number = |from: usize| {
            i32::from_le_bytes([bytes[from], bytes[from + 1], bytes[from + 2], bytes[from + 3]])
        };
        let message = match number(0) {
            1 => Message::Ready,
            2 => Message::RetiresForRequests,
            3 => Message::TakenOver,
            4 => Message::Deaf,
            5 => Message::RetiresForMemory,
            _ => return None,
        };
        Some((message, Pid::from_raw(number(4))))
    }
}

/// The pipe through which all children send messages to their master.
pub(crate) struct Mailbox {
    messages: File,
    to: OwnedFd,
}

impl Mailbox {
    /// An empty mailbox.
    ///
    /// # Errors
    /// The kernel's error.
    pub(crate) fn open() -> io::Result<Self> {
        let (messages, to) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        Ok(Mailbox { messages: messages.into(), to })
    }

    /// The end of the pipe for children.
    pub(crate) fn address(&self) -> BorrowedFd<'_> {
        self.to.as_fd()
    }

    /// The messages that have arrived, each with its sender.
    pub(crate) fn received(&mut self) -> Vec<(Message, Pid)> {
        let mut received = Vec::new();
        let mut message = [0; LEN];
        while self.messages.read_exact(&mut message).is_ok() {
            received.extend(Message::parse(message));
        }
        received
    }
}

impl AsFd for Mailbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.messages.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_in_order_with_their_sender() {
        let mut mailbox = Mailbox::open().unwrap();
        let to = File::from(mailbox.address().try_clone_to_owned().unwrap());
        let all = [
            Message::Ready,
            Message::RetiresForRequests,
            Message::RetiresForMemory,
            Message::Deaf,
            Message::TakenOver,
        ];
        all.iter().for_each(|message| message.send(&to).unwrap());
        assert_eq!(mailbox.received(), all.map(|message| (message, own_pid())));
        assert_eq!(mailbox.received(), []);
    }

    #[test]
    fn message_of_another_release_is_passed_over() {
        let mut mailbox = Mailbox::open().unwrap();
        let to = File::from(mailbox.address().try_clone_to_owned().unwrap());
        (&to).write_all(&[99, 0, 0, 0, 1, 0, 0, 0]).unwrap();
        Message::Deaf.send(&to).unwrap();
        assert_eq!(mailbox.received(), [(Message::Deaf, own_pid())]);
    }
}
