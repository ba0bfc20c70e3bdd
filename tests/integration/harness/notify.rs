//! The end of the line at which systemd listens (sd_notify(3)), without systemd.

use std::io::{ErrorKind, IoSliceMut};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use super::DEADLINE;

/// A socket for NOTIFY_SOCKET.
pub(crate) struct Notified {
    socket: UnixDatagram,
}

/// One message.
#[derive(Debug)]
pub(crate) struct Said {
    states: Vec<(String, String)>,
    pub(crate) fd: Option<OwnedFd>,
}

impl Said {
    /// Returns the value of `name`.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.states.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// Of the status line.
    pub(crate) fn status(&self) -> &str {
        self.get("STATUS").unwrap_or_default()
    }
}

impl Notified {
    pub(crate) fn bind(path: &Path) -> Notified {
        let socket = UnixDatagram::bind(path).expect("a socket");
        Notified { socket }
    }

    /// The next message, if one comes in time.
    pub(crate) fn next_within(&self, time: Duration) -> Option<Said> {
        self.socket.set_read_timeout(Some(time.max(Duration::from_millis(1)))).expect("a time-out");
        let mut text = [0; 4096];
        let mut space = nix::cmsg_space!([std::os::fd::RawFd; 4]);
        let (len, fd) = {
            let mut pieces = [IoSliceMut::new(&mut text)];
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            let message = recvmsg::<()>(self.socket.as_raw_fd(), &mut pieces, Some(&mut space), flags);
            let message = match message.map_err(std::io::Error::from) {
                Ok(message) => message,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) => panic!("recvmsg: {error}"),
            };
            let fd = message.cmsgs().expect("whole messages").find_map(|part| match part {
                ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
                _ => None,
            });
            (message.bytes, fd)
        };
        let text = std::str::from_utf8(&text[..len]).expect("UTF-8");
        let states = text.lines().map(|line| line.split_once('=').expect("NAME=VALUE"));
        let states = states.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Some(Said { states, fd: fd.map(own) })
    }

    /// All messages up to the first that is as wished, which is the last of them.
    ///
    /// # Panics
    /// With `what`, if there is none before the deadline.
    pub(crate) fn until(&self, what: &str, wished: impl Fn(&Said) -> bool) -> Vec<Said> {
        let begin = Instant::now();
        let mut heard = Vec::new();
        while begin.elapsed() < DEADLINE {
            if let Some(said) = self.next_within(DEADLINE.saturating_sub(begin.elapsed())) {
                let last = wished(&said);
                heard.push(said);
                if last {
                    return heard;
                }
            }
        }
        panic!("waited in vain for {what}; heard {heard:?}");
    }

    /// All messages until it says that it is ready.
    pub(crate) fn until_ready(&self) -> Vec<Said> {
        self.until("READY=1", |said| said.get("READY") == Some("1"))
    }

    /// The snapshot that it gives away.
    pub(crate) fn until_stored(&self) -> OwnedFd {
        let mut heard = self.until("FDSTORE=1", |said| said.get("FDSTORE") == Some("1"));
        let stored = heard.pop().expect("a message");
        assert_eq!((stored.get("FDNAME"), stored.get("FDPOLL")), (Some("snapshot"), Some("0")));
        stored.fd.expect("a descriptor")
    }
}

/// Sends messages until the queue of the socket has no more room for anyone.
pub(crate) fn fill(path: &Path) {
    let sends = || {
        let socket = UnixDatagram::unbound().expect("a socket");
        socket.set_nonblocking(true).expect("a socket");
        socket.connect(path).expect("connected");
        std::iter::repeat_with(|| socket.send(b"X=1")).take_while(Result::is_ok).count()
    };
    // Each socket may send only so much itself.
    while sends() > 0 {}
}

#[allow(unsafe_code)]
fn own(fd: std::os::fd::RawFd) -> OwnedFd {
    // SAFETY: the kernel has just made this descriptor for us, and no other code knows of it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
