//! Descriptors that this process was started with: sockets that systemd has bound or kept
//! (`LISTEN_FDS`), and a snapshot that it keeps for us from one start to the next.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use super::upgrade::Handover;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use socket2::Socket;

/// The name under which a snapshot is stored.
pub(super) const SNAPSHOT: &str = "snapshot";

/// What was passed on.
#[derive(Default)]
pub(super) struct Inherited {
    /// Listening sockets.
    pub(super) sockets: Vec<Socket>,
    /// The last good snapshot of a former master.
    pub(super) snapshot: Option<OwnedFd>,
    /// All that a former master had, if it has started this one in its place.
    pub(super) handover: Option<Handover>,
}

impl Inherited {
    /// Takes what `LISTEN_FDS` says belongs to this process. To be called once.
    ///
    /// # Errors
    /// What is wrong with the variables or a descriptor.
    pub(super) fn take() -> Result<Self, String> {
        let mut inherited = Inherited { handover: Handover::take()?, ..Inherited::default() };
        let passed = sd_notify::listen_fds_with_names().map_err(|error| format!("LISTEN_FDS: {error}"))?;
        for (fd, name) in passed {
            let fd = own(fd).map_err(|error| format!("LISTEN_FDS: descriptor {fd}: {error}"))?;
            if name == SNAPSHOT {
                inherited.snapshot = Some(fd);
            } else {
                inherited.sockets.push(listening(fd.into(), &name)?);
            }
        }
        Ok(inherited)
    }
}

/// Takes a descriptor that was passed to this process.
#[allow(unsafe_code)]
pub(super) fn own(fd: RawFd) -> nix::Result<OwnedFd> {
    // SAFETY: LISTEN_PID says that the service manager has passed this descriptor to this very
    // process, or our parent, a former master, says that it has. It is taken once, before the
    // program opens anything of its own, so that nobody else owns it. (What is said wrongly
    // and is not open is refused below.)
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // Fails if it is not open, and keeps it from whatever is executed later.
    fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    Ok(fd)
}

fn listening(socket: Socket, name: &str) -> Result<Socket, String> {
    match socket.is_listener() {
        Ok(true) => {}
        _ => return Err(format!("LISTEN_FDS: {name:?} is no listening socket")),
    }
    // Workers block in accept. The queue's length stays as whoever bound it has set it.
    let blocking = socket.set_nonblocking(false);
    blocking.map_err(|error| format!("LISTEN_FDS: {name:?}: {error}"))?;
    if socket.domain().is_ok_and(|domain| domain != socket2::Domain::UNIX) {
        // Accepted connections inherit it; it is an optimisation only.
        let _ = socket.set_tcp_nodelay(true);
    }
    Ok(socket)
}
