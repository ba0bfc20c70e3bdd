//! Descriptors that this process was started with: sockets that systemd has bound or kept
//! (`LISTEN_FDS`), and a snapshot that it keeps for us from one start to the next.

use std::env;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use crate::master::handover::succession::Handover;
use crate::master::processes::process;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use socket2::Socket;

/// The name under which a snapshot is stored.
pub(crate) const SNAPSHOT: &str = "snapshot";

/// What was passed on.
#[derive(Default)]
pub(crate) struct Inherited {
    /// Listening sockets.
    pub(crate) sockets: Vec<Socket>,
    /// The last good snapshot of a former master.
    pub(crate) snapshot: Option<OwnedFd>,
    /// All that a former master had, if it has started this one in its place.
    pub(crate) handover: Option<Handover>,
}

impl Inherited {
    /// Takes what `LISTEN_FDS` says belongs to this process. To be called once.
    ///
    /// # Errors
    /// What is wrong with the variables or a descriptor.
    pub(crate) fn take() -> Result<Self, String> {
        let mut inherited = Inherited { handover: Handover::take()?, ..Inherited::default() };
        for (fd, name) in passed()? {
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

/// The first descriptor that is passed on (sd_listen_fds(3)).
const FIRST: RawFd = 3;

/// Numbers and names of what belongs to this process; of variables that were meant for another
/// one, a parent that did not clear them, nothing is believed.
fn passed() -> Result<Vec<(RawFd, String)>, String> {
    let variable = |name| env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    if variable("LISTEN_PID").is_none_or(|pid| pid != process::own_pid().to_string()) {
        return Ok(Vec::new());
    }
    let count = variable("LISTEN_FDS").unwrap_or_default();
    let count = count.parse::<u16>().map_err(|_| format!("LISTEN_FDS: expected a number, got {count:?}"))?;
    let mut names = vec!["unknown".to_owned(); usize::from(count)];
    if let Some(text) = variable("LISTEN_FDNAMES") {
        names = text.split(':').map(str::to_owned).collect();
    }
    if names.len() != usize::from(count) {
        return Err(format!("LISTEN_FDNAMES: there are {} names for {count} descriptors", names.len()));
    }
    Ok((FIRST..).zip(names).collect())
}

/// Takes a descriptor that was passed to this process.
#[allow(unsafe_code)]
pub(crate) fn own(fd: RawFd) -> nix::Result<OwnedFd> {
    // What is said may be wrong. A negative number is none at all, and -1 no value of a descriptor.
    if fd < 0 {
        return Err(Errno::EBADF);
    }
    // SAFETY: it is borrowed for one question, whether it is open, which changes nothing.
    fcntl(unsafe { BorrowedFd::borrow_raw(fd) }, FcntlArg::F_GETFD)?;
    // SAFETY: it is open, as just seen, and LISTEN_PID says that the service manager has passed
    // it to this very process, or our parent, a former master, says that it has. It is taken
    // once, before the program opens anything of its own, so that nobody else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // Whatever is executed later does not get it.
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
