//! Descriptors that this process inherits: sockets that systemd has bound or kept (`LISTEN_FDS`), and a
//! snapshot that systemd keeps from one start to the next.

use std::env;
use std::os::fd::{OwnedFd, RawFd};

use socket2::Socket;

use crate::master::error::MasterError;
use crate::master::handover::letter::Handover;
use crate::master::processes::fork::{own, own_pid};

/// The name under which systemd keeps a snapshot.
pub(crate) const SNAPSHOT: &str = "snapshot";

/// All inherited descriptors.
#[derive(Default)]
pub(crate) struct Inherited {
    /// Listening sockets.
    pub(crate) sockets: Vec<Socket>,
    /// The last good snapshot of a former master.
    pub(crate) snapshot: Option<OwnedFd>,
    /// The things that a former master passes on, if it has started this one in its place.
    pub(crate) handover: Option<Handover>,
}

impl Inherited {
    /// Takes the descriptors that `LISTEN_FDS` names for this process. Call it once.
    ///
    /// # Errors
    /// The variables are wrong, or a descriptor is.
    pub(crate) fn take() -> Result<Self, MasterError> {
        let mut inherited = Inherited { handover: Handover::take()?, ..Inherited::default() };
        for (fd, name) in passed()? {
            let fd = own(fd).map_err(|errno| wrong(format!("descriptor {fd}: {errno}")))?;
            if name == SNAPSHOT {
                inherited.snapshot = Some(fd);
            } else {
                inherited.sockets.push(listening(fd.into(), &name)?);
            }
        }
        Ok(inherited)
    }
}

fn wrong(problem: String) -> MasterError {
    MasterError::PassedOn { variable: "LISTEN_FDS", problem }
}

/// The first inherited descriptor (sd_listen_fds(3)).
const FIRST: RawFd = 3;

/// Numbers and names of the descriptors that belong to this process. Variables for another process, which a
/// parent did not clear, have no effect, nor has a LISTEN_PID that is no number. (sd-notify parses the
/// variables as well, but refuses such a LISTEN_PID, and its errors do not name the descriptor or count the
/// names.)
fn passed() -> Result<Vec<(RawFd, String)>, MasterError> {
    let variable = |name| env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    if variable("LISTEN_PID").is_none_or(|pid| pid != own_pid().to_string()) {
        return Ok(Vec::new());
    }
    named(&variable("LISTEN_FDS").unwrap_or_default(), variable("LISTEN_FDNAMES").as_deref())
}

fn named(count: &str, names: Option<&str>) -> Result<Vec<(RawFd, String)>, MasterError> {
    let number = count.parse::<u16>().map_err(|_| wrong(format!("expected a number, got {count:?}")))?;
    let names = match names {
        Some(names) => names.split(':').map(str::to_owned).collect(),
        None => vec!["unknown".to_owned(); usize::from(number)],
    };
    if names.len() != usize::from(number) {
        let problem = format!("there are {} names for {number} descriptors", names.len());
        return Err(MasterError::PassedOn { variable: "LISTEN_FDNAMES", problem });
    }
    Ok((FIRST..).zip(names).collect())
}

fn listening(socket: Socket, name: &str) -> Result<Socket, MasterError> {
    if !socket.is_listener().is_ok_and(|listens| listens) {
        return Err(wrong(format!("{name:?} is no listening socket")));
    }
    // Workers block in accept. The length of the queue stays as set by the process that bound the socket.
    socket.set_nonblocking(false).map_err(|error| wrong(format!("{name:?}: {error}")))?;
    if socket.domain().is_ok_and(|domain| domain != socket2::Domain::UNIX) {
        // Accepted connections inherit it. A failure does no harm, as this is only an optimisation.
        let _ = socket.set_tcp_nodelay(true);
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_numbered_from_three_and_named() {
        let name = |fd, name: &str| (fd, name.to_owned());
        assert_eq!(named("2", Some("web:snapshot")).unwrap(), [name(3, "web"), name(4, "snapshot")]);
        assert_eq!(named("1", None).unwrap(), [name(3, "unknown")]);
        assert_eq!(named("0", None).unwrap(), []);
    }

    #[test]
    fn variables_that_do_not_agree_are_refused() {
        for (count, names, problem) in [
            ("many", None, "LISTEN_FDS: expected a number, got \"many\""),
            ("", None, "LISTEN_FDS: expected a number, got \"\""),
            ("70000", None, "LISTEN_FDS: expected a number, got \"70000\""),
            ("1", Some("a:b:c"), "LISTEN_FDNAMES: there are 3 names for 1 descriptors"),
        ] {
            assert_eq!(named(count, names).unwrap_err().to_string(), problem);
        }
    }
}
