//! The letter of a master to the new one that will replace it. The letter is in the environment and says
//! which descriptor has which purpose. Releases differ, so the reader accepts a letter with fewer or more
//! fields.

use std::env;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use nix::unistd::{Pid, getppid};
use serde::{Deserialize, Serialize};
use socket2::Socket;

use crate::config::BindAddress;
use crate::master::error::MasterError;
use crate::master::handover::listeners::Listener;
use crate::master::processes::fork::own;

/// The variable with the letter. It is not for people.
pub(crate) const VARIABLE: &str = "_AVALON_UPGRADE";

/// The letter, with descriptors by their numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Letter {
    listeners: Vec<PassedOn>,
    /// Whether nohup started the server; a release that lacks the field passes the disposition on.
    #[serde(default)]
    nohup: Option<bool>,
    /// The master that wrote the letter.
    parent: i32,
    /// The pipe for the message that the new master serves.
    tell: RawFd,
    /// The pipe for the message that it is the new master's turn to speak to systemd.
    turn: RawFd,
}

/// A listener in a letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct PassedOn {
    /// Whether systemd has bound it.
    #[serde(default)]
    activated: bool,
    address: String,
    fd: RawFd,
}

impl Letter {
    /// A letter from `parent`, which is this process or the one that has just forked it.
    pub(crate) fn by(
        parent: Pid,
        listeners: &[(Socket, &Rc<Listener>)],
        tell: BorrowedFd<'_>,
        turn: BorrowedFd<'_>,
        nohup: bool,
    ) -> Self {
        let passed_on = |(socket, listener): &(Socket, &Rc<Listener>)| PassedOn {
            activated: listener.is_activated(),
            address: listener.address().to_string(),
            fd: socket.as_raw_fd(),
        };
        Letter {
            listeners: listeners.iter().map(passed_on).collect(),
            nohup: Some(nohup),
            parent: parent.as_raw(),
            tell: tell.as_raw_fd(),
            turn: turn.as_raw_fd(),
        }
    }

    /// The letter as the value of [`VARIABLE`].
    ///
    /// # Errors
    /// No known one: the letter holds only texts and numbers.
    pub(crate) fn to_text(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }
}

/// The things that a former master has passed on to this one.
pub(crate) struct Handover {
    /// The pipe for the message that this master serves.
    pub(crate) tell: OwnedFd,
    /// The pipe in which the former master writes when this one is to speak to systemd, and which closes when
    /// the former master ends.
    pub(crate) turn: OwnedFd,
    /// Its listeners.
    pub(crate) listeners: Vec<Rc<Listener>>,
    /// Whether nohup started the server, if the letter says so.
    pub(crate) nohup: Option<bool>,
}

impl Handover {
    /// Takes the descriptors in the letter, if the parent of this process has written it. Call it once.
    ///
    /// # Errors
    /// The text is no letter, or a descriptor is not open.
    pub(crate) fn take() -> Result<Option<Self>, MasterError> {
        let Some(text) = env::var_os(VARIABLE) else { return Ok(None) };
        let problem = |problem: String| MasterError::PassedOn { variable: VARIABLE, problem };
        let wrong = || problem(format!("{text:?} was not written by avalon-master"));
        let letter: Letter = serde_json::from_slice(text.as_bytes()).map_err(|_| wrong())?;
        if Pid::from_raw(letter.parent) != getppid() {
            return Ok(None);
        }
        let own = |fd| own(fd).map_err(|errno| problem(format!("descriptor {fd}: {errno}")));
        let tell = own(letter.tell)?;
        let turn = own(letter.turn)?;
        let mut listeners = Vec::new();
        for PassedOn { activated, address, fd } in letter.listeners {
            let fd = own(fd)?;
            let address: BindAddress = address.parse().map_err(|_| wrong())?;
            listeners.push(Rc::new(Listener::passed_on(address, fd.into(), activated)));
        }
        Ok(Some(Handover { tell, turn, listeners, nohup: letter.nohup }))
    }
}

/// The descriptors that a new master needs.
pub(crate) fn descriptors<'a>(
    listeners: &'a [(Socket, &Rc<Listener>)],
    tell: &'a OwnedFd,
    turn: &'a OwnedFd,
) -> impl Iterator<Item = BorrowedFd<'a>> {
    listeners.iter().map(|(socket, _)| socket.as_fd()).chain([tell.as_fd(), turn.as_fd()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter() -> Letter {
        let web = PassedOn { activated: true, address: "127.0.0.1:80".to_owned(), fd: 7 };
        Letter { listeners: vec![web], nohup: Some(true), parent: 4711, tell: 5, turn: 6 }
    }

    #[test]
    fn letter_is_written_as_release_1_0_0_reads_it() {
        assert_eq!(
            letter().to_text().unwrap(),
            "{\"listeners\":[{\"activated\":true,\"address\":\"127.0.0.1:80\",\"fd\":7}],\"nohup\":true,\
             \"parent\":4711,\"tell\":5,\"turn\":6}"
        );
    }

    #[test]
    fn letter_with_fewer_or_more_fields_is_read() {
        let fewer =
            "{\"listeners\":[{\"address\":\"127.0.0.1:80\",\"fd\":7}],\"parent\":4711,\"tell\":5,\"turn\":6}";
        let read: Letter = serde_json::from_str(fewer).unwrap();
        assert_eq!((read.nohup, read.listeners[0].activated), (None, false));
        let more = letter().to_text().unwrap().replacen('{', "{\"later\":[1],", 2);
        assert_eq!(serde_json::from_str::<Letter>(&more).unwrap(), letter());
        assert!(serde_json::from_str::<Letter>("{\"parent\":4711}").is_err());
    }
}
