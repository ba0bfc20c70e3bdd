//! The socket at which a service manager listens (`NOTIFY_SOCKET`, sd_notify(3)). No message waits for the manager: its
//! queue is full if it is suspended or has too much to do.

use std::collections::VecDeque;
use std::env;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use sd_notify::NotifyState;

use super::datagram;

const VARIABLE: &str = "NOTIFY_SOCKET";
/// The most messages that wait. The newest ones count.
const UNSENT_MAX: usize = 32;

/// The messages for which the manager has had no room yet, the oldest first.
#[derive(Debug, Default)]
pub struct NotifySocket {
    unsent: VecDeque<Message>,
}

#[derive(Debug)]
struct Message {
    text: String,
    fd: Option<OwnedFd>,
}

impl NotifySocket {
    /// Sends a message after those that wait, with a descriptor if there is one. If the manager has no room, the message
    /// waits as well. Without a manager nothing happens.
    pub fn send(&mut self, states: &[NotifyState<'_>], fd: Option<BorrowedFd<'_>>) {
        // A message without its descriptor would say nothing.
        let Ok(fd) = fd.map(|fd| fd.try_clone_to_owned()).transpose() else { return };
        if fd.is_some() {
            // It replaces the descriptors before it, which would hold the memory of former snapshots.
            self.unsent.retain(|message| message.fd.is_none());
        }
        self.unsent.push_back(Message { text: text(states), fd });
        if self.unsent.len() > UNSENT_MAX {
            self.unsent.pop_front();
        }
        self.send_unsent();
    }

    /// Sends the messages that wait, as far as there is room.
    pub fn send_unsent(&mut self) {
        while let Some(Message { text, fd }) = self.unsent.front() {
            if !is_done(&deliver(text, fd.as_ref().map(AsFd::as_fd))) {
                return;
            }
            self.unsent.pop_front();
        }
    }

    /// Sends a message that is worth something only now, such as a sign of life; says whether the manager had room for
    /// it and all before it.
    pub fn send_now(&mut self, states: &[NotifyState<'_>]) -> bool {
        self.send_unsent();
        self.unsent.is_empty() && is_done(&deliver(&text(states), None))
    }
}

fn text(states: &[NotifyState<'_>]) -> String {
    states.iter().fold(String::new(), |mut text, state| {
        // A string takes everything.
        let _ = writeln!(text, "{state}");
        text
    })
}

/// Whether it makes no sense to try again. Errors other than a full queue stay: the manager is gone.
fn is_done(result: &io::Result<()>) -> bool {
    !matches!(result, Err(error) if error.kind() == ErrorKind::WouldBlock)
}

fn deliver(text: &str, fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let Some(name) = env::var_os(VARIABLE) else { return Ok(()) };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address(&name)?)?;
    datagram::send(&socket, text.as_bytes(), fd)
}

/// A path, or a name in the abstract namespace, which begins with an `@`.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_lines() {
        assert_eq!(
            text(&[NotifyState::Ready, NotifyState::Status("all is well")]),
            "READY=1\nSTATUS=all is well\n"
        );
    }

    #[test]
    fn addresses_are_paths_or_abstract_names() {
        let path = address(OsStr::new("/run/systemd/notify")).unwrap();
        assert_eq!(path.as_pathname(), Some(std::path::Path::new("/run/systemd/notify")));
        assert_eq!(address(OsStr::new("@name")).unwrap().as_abstract_name(), Some(&b"name"[..]));
    }
}
