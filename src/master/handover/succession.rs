//! An upgrade: another program replaces this one without closing an address. The new master runs as a child
//! with the listeners, and serves beside this one until one of the two ends. So a master may have a
//! successor, a predecessor, or both. Two pipes connect them:
//!
//! ```text
//!     former master                              new master
//!     mailbox    <------------- tell -------------  writes "it serves", once
//!     Successor::turn ----------- turn ----------->  reads a byte: systemd hears from it from now on
//!                                                    reads the end: the former master is gone
//! ```

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{Pid, pipe2};

use crate::master::error::MasterError;
use crate::master::handover::invocation::Invocation;
use crate::master::handover::letter::Handover;
use crate::master::handover::listeners::Listener;
use crate::master::handover::parent::Parent;
use crate::master::processes::messages::Message;

/// The masters beside this one.
pub(crate) struct Succession {
    invocation: Invocation,
    /// Whether the server outlives its terminal. The next master inherits this.
    nohup: bool,
    parent: Parent,
    /// A new master that will replace this one.
    successor: Option<Successor>,
    /// The master that this one will replace.
    predecessor: Option<Predecessor>,
    /// Whether this master ends after the new one, which is to stop as well.
    ends_last: bool,
}

/// A new master beside this one, which has started it.
struct Successor {
    pid: Pid,
    serves: bool,
    /// Whether this master ends once the new one serves.
    replaces: bool,
    /// The pipe for the message that it is the new master's turn to speak to systemd. Until this master
    /// begins to end it is the main one, as it may continue alone.
    turn: File,
}

/// The master that has started this one beside it.
struct Predecessor {
    /// The pipe for the message that this one serves; `None` once that is sent.
    tell: Option<File>,
    /// The pipe that holds a byte when it is this master's turn to speak to systemd, and that closes when the
    /// former master ends.
    turn: File,
}

/// A message of a former master to the new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    /// The new master speaks to systemd from now on.
    YourTurn,
    /// The former master has ended: the pipe is closed.
    Gone,
}

impl Succession {
    /// The succession of a master that `invocation` started, by a former master if there is one. With `nohup`
    /// the server outlives its terminal.
    pub(crate) fn new(invocation: Invocation, nohup: bool, predecessor: Option<Handover>) -> Self {
        let predecessor = predecessor
            .map(|handover| Predecessor { tell: Some(handover.tell.into()), turn: handover.turn.into() });
        Succession {
            invocation,
            nohup,
            parent: Parent::of_this_process(),
            successor: None,
            predecessor,
            ends_last: false,
        }
    }

    /// Starts the program again beside this one, with the listeners of the generation that serves, if there
    /// is one. `tell` is the pipe for the new master's message that it serves; `replaces` says whether this
    /// master ends then.
    ///
    /// # Errors
    /// The reason why it did not start.
    pub(crate) fn start(
        &mut self,
        listeners: Option<&[Rc<Listener>]>,
        tell: BorrowedFd<'_>,
        replaces: bool,
    ) -> Result<Pid, MasterError> {
        let refused = |reason: &str| MasterError::Failed(reason.to_owned());
        if self.successor.is_some() {
            return Err(refused("a new master has been started already"));
        }
        let Some(listeners) = listeners else { return Err(refused("nothing serves yet")) };
        if let Some(reason) = self.parent.obstacle() {
            return Err(MasterError::Failed(reason));
        }
        let (its_turn, turn) = pipe2(OFlag::O_CLOEXEC).map_err(std::io::Error::from)?;
        let pid = self.invocation.start_again(listeners, tell, its_turn.as_fd(), self.nohup)?;
        self.successor = Some(Successor { pid, serves: false, replaces, turn: turn.into() });
        Ok(pid)
    }

    /// Handles the message of process `pid` that it serves. If that is the successor, says whether it
    /// replaces this master.
    pub(crate) fn serves(&mut self, pid: Pid) -> Option<bool> {
        let successor = self.successor.as_mut().filter(|successor| successor.pid == pid)?;
        successor.serves = true;
        Some(successor.replaces)
    }

    /// Handles the end of process `pid`. If that was the successor, says whether it had served.
    pub(crate) fn ended(&mut self, pid: Pid) -> Option<bool> {
        let ended = self.successor.take_if(|successor| successor.pid == pid);
        ended.map(|successor| successor.serves)
    }

    /// The descriptor to wait for.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.predecessor.as_ref().map(|predecessor| predecessor.turn.as_fd())
    }

    /// The next message of the former master, if there is one. After its end it is no predecessor any more.
    pub(crate) fn word(&mut self) -> Option<Word> {
        let word = self.predecessor.as_mut().and_then(Predecessor::word);
        if word == Some(Word::Gone) {
            self.predecessor = None;
        }
        word
    }

    /// Tells the former master, once, that this one serves.
    ///
    /// # Errors
    /// The kernel's error with the pipe.
    pub(crate) fn tell_serving(&mut self) -> std::io::Result<()> {
        let tell = self.predecessor.as_mut().and_then(|predecessor| predecessor.tell.take());
        tell.map_or(Ok(()), |tell| Message::TakenOver.send(&tell))
    }

    /// Makes this master stay until its successor has ended, and returns the successor, which the caller
    /// tells to stop.
    pub(crate) fn end_last(&mut self) -> Option<Pid> {
        self.ends_last = true;
        self.successor.as_ref().map(|successor| successor.pid)
    }

    /// Whether this master must wait for the end of its successor.
    pub(crate) fn holds_up_the_end(&self) -> bool {
        self.ends_last && self.successor.is_some()
    }

    /// The master that serves after the end of this one, if there is one.
    pub(crate) fn heir(&self) -> Option<Pid> {
        let heir = self.successor.as_ref().filter(|successor| successor.serves && !self.ends_last);
        heir.map(|successor| successor.pid)
    }

    /// Tells the successor that it is its turn to speak to systemd.
    pub(crate) fn pass_the_turn(&mut self) {
        if let Some(successor) = &mut self.successor {
            // If it is gone, the master notices its end elsewhere.
            let _ = successor.turn.write_all(b"!");
        }
    }

    /// Whether a former master still runs.
    pub(crate) fn has_predecessor(&self) -> bool {
        self.predecessor.is_some()
    }

    /// Whether no other master runs beside this one.
    pub(crate) fn is_alone(&self) -> bool {
        self.predecessor.is_none() && self.successor.is_none()
    }

    /// Whether no other master serves the addresses after the end of this one.
    pub(crate) fn leaves_none(&self) -> bool {
        self.predecessor.is_none() && (self.successor.is_none() || self.ends_last)
    }
}

impl Predecessor {
    fn word(&mut self) -> Option<Word> {
        let mut fds = [PollFd::new(self.turn.as_fd(), PollFlags::POLLIN)];
        if !matches!(poll(&mut fds, PollTimeout::ZERO), Ok(ready) if ready > 0) {
            return None;
        }
        match self.turn.read(&mut [0]) {
            Ok(0) => Some(Word::Gone),
            Ok(_) => Some(Word::YourTurn),
            Err(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use super::*;
    use crate::master::processes::messages::Mailbox;

    fn pipe() -> (OwnedFd, OwnedFd) {
        pipe2(OFlag::O_CLOEXEC).unwrap()
    }

    fn alone() -> Succession {
        Succession::new(Invocation::of_this_process().unwrap(), false, None)
    }

    fn with_successor(serves: bool) -> Succession {
        let successor = Successor { pid: Pid::from_raw(7), serves, replaces: true, turn: pipe().1.into() };
        Succession { successor: Some(successor), ..alone() }
    }

    #[test]
    fn nothing_is_started_while_nothing_serves_or_another_has_been() {
        let (_from, to) = pipe();
        let start = |mut succession: Succession, listeners| {
            let started = succession.start(listeners, to.as_fd(), true);
            started.unwrap_err().to_string()
        };
        assert_eq!(start(alone(), None), "nothing serves yet");
        assert_eq!(start(with_successor(false), Some(&[])), "a new master has been started already");
    }

    #[test]
    fn successor_that_serves_inherits_unless_it_is_to_end_first() {
        let pid = Pid::from_raw(7);
        let mut succession = with_successor(false);
        assert_eq!((succession.heir(), succession.leaves_none()), (None, false));
        assert_eq!((succession.serves(Pid::from_raw(8)), succession.serves(pid)), (None, Some(true)));
        assert_eq!(succession.heir(), Some(pid));
        assert_eq!((succession.end_last(), succession.heir()), (Some(pid), None));
        assert!(succession.holds_up_the_end() && succession.leaves_none());
        assert_eq!((succession.ended(Pid::from_raw(8)), succession.ended(pid)), (None, Some(true)));
        assert!(!succession.holds_up_the_end() && succession.is_alone());
    }

    #[test]
    fn former_master_gives_its_turn_and_is_gone_with_its_pipe() {
        let mut mailbox = Mailbox::open().unwrap();
        let tell = mailbox.address().try_clone_to_owned().unwrap();
        let (turn, its_end) = pipe();
        let handover = Handover { tell, turn, listeners: Vec::new(), nohup: None };
        let mut succession = Succession::new(Invocation::of_this_process().unwrap(), false, Some(handover));
        assert_eq!(succession.word(), None);
        (0..2).for_each(|_| succession.tell_serving().unwrap());
        assert_eq!(mailbox.received().len(), 1);
        File::from(its_end.try_clone().unwrap()).write_all(b"!").unwrap();
        assert_eq!((succession.word(), succession.has_predecessor()), (Some(Word::YourTurn), true));
        drop(its_end);
        // A process that another test forks just now may hold a copy until it executes its program.
        let word = std::iter::from_fn(|| Some(succession.word())).find_map(|word| word);
        assert_eq!((word, succession.is_alone()), (Some(Word::Gone), true));
    }
}
