//! Another program in place of this one, without closing an address: the new master is executed as a child,
//! with the listeners, and serves beside this one until one of the two goes. So a master may have a successor,
//! a predecessor, or both. Two pipes are between them:
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
    /// Whether the server outlives its terminal, and so its next master does.
    nohup: bool,
    parent: Parent,
    /// A new master that is to take the place of this one.
    successor: Option<Successor>,
    /// The master whose place this one is to take.
    predecessor: Option<Predecessor>,
    /// Whether this master outlives the new one, which is to stop as well.
    ends_last: bool,
}

/// A new master that was started beside this one.
struct Successor {
    pid: Pid,
    serves: bool,
    /// Whether this master ends once the new one serves.
    replaces: bool,
    /// Where to write when the new master's turn to speak to systemd has come. Until this one
    /// begins to go it is the main one, as it may take its place back.
    turn: File,
}

/// A master that has started this one beside it.
struct Predecessor {
    /// Where to tell it that this one serves; taken when that is done.
    tell: Option<File>,
    /// Holds a byte when this master's turn to speak to systemd has come, and ends with the former
    /// master.
    turn: File,
}

/// A message of a former master to the new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    /// To speak to systemd from now on.
    YourTurn,
    /// By its end: that it is gone.
    Gone,
}

impl Succession {
    /// Of a master that was started by `invocation`, and by a former master if there is one. With `nohup` the server
    /// outlives its terminal.
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

    /// Starts the program again beside this one, with the listeners of the generation that serves, if one does.
    /// `tell` is where the new master tells that it serves; `replaces` says whether this one ends then.
    ///
    /// # Errors
    /// Why it was not started.
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

    /// The process `pid` says that it serves. If it is the successor, says whether it replaces this master.
    pub(crate) fn serves(&mut self, pid: Pid) -> Option<bool> {
        let successor = self.successor.as_mut().filter(|successor| successor.pid == pid)?;
        successor.serves = true;
        Some(successor.replaces)
    }

    /// The process `pid` has ended. If it was the successor, says whether it had served.
    pub(crate) fn ended(&mut self, pid: Pid) -> Option<bool> {
        let ended = self.successor.take_if(|successor| successor.pid == pid);
        ended.map(|successor| successor.serves)
    }

    /// The descriptors to wait for.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.predecessor.as_ref().map(|predecessor| predecessor.turn.as_fd())
    }

    /// The next message of the former master, if there is one. One that is gone is no predecessor any more.
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
    /// An error of the kernel's with the pipe.
    pub(crate) fn tell_serving(&mut self) -> std::io::Result<()> {
        let tell = self.predecessor.as_mut().and_then(|predecessor| predecessor.tell.take());
        tell.map_or(Ok(()), |tell| Message::TakenOver.send(&tell))
    }

    /// Stays until the successor has ended, which is to be told to; returns it.
    pub(crate) fn end_last(&mut self) -> Option<Pid> {
        self.ends_last = true;
        self.successor.as_ref().map(|successor| successor.pid)
    }

    /// Whether this master must wait for the end of its successor.
    pub(crate) fn holds_up_the_end(&self) -> bool {
        self.ends_last && self.successor.is_some()
    }

    /// The master that stays when this one goes, if one serves.
    pub(crate) fn heir(&self) -> Option<Pid> {
        let heir = self.successor.as_ref().filter(|successor| successor.serves && !self.ends_last);
        heir.map(|successor| successor.pid)
    }

    /// Tells the successor that its turn to speak to systemd has come.
    pub(crate) fn pass_the_turn(&mut self) {
        if let Some(successor) = &mut self.successor {
            // If it is gone, its end will be noticed.
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

    /// Whether no other master serves the addresses once this one has gone.
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
