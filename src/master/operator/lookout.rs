//! The child that repeatedly looks at paths for the master. Where a file system does not answer, the child
//! waits and the master continues; it asks the child nothing more until the answer has come.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use nix::unistd::Pid;

use crate::config::Config;
use crate::master::exit::ExitCode;
use crate::master::handover::paths::{Name, Seen};
use crate::master::processes::fork::{FirstSteps, fork};
use crate::title;

/// Most bytes of a question or an answer.
const LEN_MAX: usize = 64 * 1024;

/// The child, which starts when the master first needs it.
#[derive(Default)]
pub(crate) struct Lookout(Option<Child>);

struct Child {
    pid: Pid,
    way: UnixDatagram,
    /// The paths that it is looking at.
    asked: Option<Vec<Name>>,
}

impl Lookout {
    /// The descriptor to wait for while an answer is outstanding.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.0.as_ref().filter(|child| child.asked.is_some()).map(|child| child.way.as_fd())
    }

    /// The child, if it runs.
    pub(crate) fn pid(&self) -> Option<Pid> {
        self.0.as_ref().map(|child| child.pid)
    }

    /// Notes the end of a process; says whether it was the child.
    pub(crate) fn ended(&mut self, pid: Pid) -> bool {
        self.0.take_if(|child| child.pid == pid).is_some()
    }

    /// Has the child look at paths, unless a look is under way.
    ///
    /// # Errors
    /// The child cannot start, or does not take the question.
    pub(crate) fn ask(&mut self, names: Vec<Name>, config: &Config) -> io::Result<()> {
        if names.is_empty() || self.0.as_ref().is_some_and(|child| child.asked.is_some()) {
            return Ok(());
        }
        let child = match &mut self.0 {
            Some(child) => child,
            none => none.insert(Child::start(config)?),
        };
        let paths: Vec<&[u8]> = names.iter().map(|(path, _)| path.as_os_str().as_bytes()).collect();
        child.way.send(&paths.join(&0))?;
        child.asked = Some(names);
        Ok(())
    }

    /// The files that the child has found, once it has answered.
    pub(crate) fn seen(&mut self) -> Option<Vec<(Name, Seen)>> {
        let child = self.0.as_mut().filter(|child| child.asked.is_some())?;
        let mut answer = vec![0; LEN_MAX];
        let len = child.way.recv(&mut answer).ok()?;
        let seen = answer[..len].split(|byte| *byte == b'\n').map(Seen::parse);
        Some(child.asked.take()?.into_iter().zip(seen).collect())
    }
}

impl Child {
    fn start(config: &Config) -> io::Result<Child> {
        let (way, its_way) = UnixDatagram::pair()?;
        way.set_nonblocking(true)?;
        // The child keeps the user of the master: other users may not see into its folders.
        let first = FirstSteps::of(config).keeping_account().keeping([its_way.as_fd()]);
        let pid = fork(&first, || {
            title::set("avalon: names");
            match look_again_and_again(&its_way) {
                Ok(()) => ExitCode::Stopped,
                Err(_) => ExitCode::Failure,
            }
        })?;
        Ok(Child { pid, way, asked: None })
    }
}

/// The life of the child, which ends with its master.
fn look_again_and_again(way: &UnixDatagram) -> io::Result<()> {
    let mut question = vec![0; LEN_MAX];
    loop {
        let len = way.recv(&mut question)?;
        let paths = question[..len].split(|byte| *byte == 0);
        let seen: Vec<String> =
            paths.map(|path| Seen::at(Path::new(OsStr::from_bytes(path))).line()).collect();
        way.send(seen.join("\n").as_bytes())?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::master::handover::paths::Identity;

    #[test]
    fn child_is_asked_again_once_it_has_answered() {
        let (way, its_way) = UnixDatagram::pair().unwrap();
        way.set_nonblocking(true).unwrap();
        let pid = Pid::from_raw(i32::MAX);
        let mut lookout = Lookout(Some(Child { pid, way, asked: None }));
        let config = crate::config::load(&Default::default()).unwrap();
        let identity = Identity::at(Path::new("/")).unwrap();
        let names = ["/", "/gone"].map(|path| (path.into(), identity)).to_vec();
        // No loop waits for a child that is not asked, and none is asked about nothing.
        lookout.ask(Vec::new(), &config).unwrap();
        assert!(lookout.fd().is_none());
        lookout.ask(names.clone(), &config).unwrap();
        lookout.ask(names.clone(), &config).unwrap();
        assert!(lookout.fd().is_some() && lookout.seen().is_none());
        let mut question = [0; 100];
        let len = its_way.recv(&mut question).unwrap();
        assert_eq!(&question[..len], b"/\0/gone");
        its_way.set_nonblocking(true).unwrap();
        assert!(its_way.recv(&mut question).is_err(), "it is asked once");
        its_way.send(format!("{}\nnothing", Seen::Something(identity).line()).as_bytes()).unwrap();
        let found = [Seen::Something(identity), Seen::Nothing];
        assert_eq!(lookout.seen(), Some(names.into_iter().zip(found).collect()));
        assert!(lookout.fd().is_none() && lookout.seen().is_none());
        assert!(lookout.ended(pid) && !lookout.ended(pid));
    }
}
