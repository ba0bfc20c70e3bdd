//! The child that looks at names for the master, again and again. Where a file system does not answer, it waits,
//! and the master goes on; it is asked nothing more until it has answered.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::ExitCode;
use super::generations::first_steps;
use super::names::{Identity, Seen};
use super::process::{self, FirstSteps};
use crate::config::Config;
use crate::title;

/// Bytes of a question or an answer.
const LEN_MAX: usize = 64 * 1024;

/// A name of ours, and what it was given to.
pub(super) type Name = (PathBuf, Identity);

/// The child, once it is needed.
#[derive(Default)]
pub(super) struct Lookout(Option<Child>);

struct Child {
    pid: Pid,
    way: UnixDatagram,
    /// What it looks at now.
    asked: Option<Vec<Name>>,
}

impl Lookout {
    /// What to wait for.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.0.as_ref().map(|child| child.way.as_fd())
    }

    pub(super) fn pid(&self) -> Option<Pid> {
        self.0.as_ref().map(|child| child.pid)
    }

    /// Whether this was the child; it has ended.
    pub(super) fn ended(&mut self, pid: Pid) -> bool {
        self.0.take_if(|child| child.pid == pid).is_some()
    }

    /// Has the child look at names, if it is not about it already.
    ///
    /// # Errors
    /// It cannot be started or asked.
    pub(super) fn ask(&mut self, names: Vec<Name>, config: &Config) -> io::Result<()> {
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

    /// What was seen, once the child has looked.
    pub(super) fn seen(&mut self) -> Option<Vec<(Name, Seen)>> {
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
        let keep = vec![its_way.as_raw_fd()];
        // As the master itself: a folder may be for its files only.
        let first = FirstSteps { account: None, keep, ..first_steps(config, Signal::SIGKILL) };
        let pid = process::fork(&first, || {
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
