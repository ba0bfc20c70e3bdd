//! The way in which this program was started, so that an upgrade can start it again.

use std::env;
use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::unistd::{Pid, execve};
use socket2::Socket;

use crate::master::exit::ExitCode;
use crate::master::handover::letter::{Letter, VARIABLE, descriptors};
use crate::master::handover::listeners::Listener;
use crate::master::processes::dispositions::restore_faults;
use crate::master::processes::fork::{fork_only, own_pid};
use crate::scheduling::take_turns;

/// Variables in which systemd names one process by its number, so that they do not apply to the new master.
const NOT_PASSED_ON: [&str; 4] = [VARIABLE, "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// The program and its arguments, recorded before they can change.
pub(crate) struct Invocation {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Invocation {
    /// Records the path by which the program was called: if that is a link that leads elsewhere by the time
    /// of an upgrade, the new program starts.
    ///
    /// # Errors
    /// The path of the program or of the current folder is unknown.
    pub(crate) fn of_this_process() -> io::Result<Self> {
        let arguments: Vec<OsString> = env::args_os().collect();
        let called =
            arguments.first().map(Path::new).filter(|called| called.as_os_str().as_bytes().contains(&b'/'));
        let program = match called {
            Some(called) => std::path::absolute(called)?,
            None => env::current_exe()?,
        };
        Ok(Invocation { program, arguments })
    }

    /// Starts the program again, with copies of the listeners and of both pipes: the new master writes to one
    /// that it serves, and reads from the other that it is its turn.
    ///
    /// # Errors
    /// The fork fails. A program that cannot be executed shows in its exit code.
    pub(crate) fn start_again(
        &self,
        listeners: &[Rc<Listener>],
        tell: BorrowedFd<'_>,
        turn: BorrowedFd<'_>,
        nohup: bool,
    ) -> io::Result<Pid> {
        let listeners: Vec<(Socket, &Rc<Listener>)> =
            listeners.iter().map(|listener| Ok((listener.share()?, listener))).collect::<io::Result<_>>()?;
        let (tell, turn) = (tell.try_clone_to_owned()?, turn.try_clone_to_owned()?);
        let letter = Letter::by(own_pid(), &listeners, tell.as_fd(), turn.as_fd(), nohup);
        let letter = letter.to_text()?;
        fork_only(|| {
            if let Err(error) = self.execute(descriptors(&listeners, &tell, &turn), letter) {
                eprintln!("avalon-master: {} cannot be executed: {error}", self.program.display());
            }
            ExitCode::Failure
        })
    }

    fn execute<'f>(&self, fds: impl Iterator<Item = BorrowedFd<'f>>, letter: String) -> io::Result<()> {
        for fd in fds {
            fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
        }
        let text = |text: &OsString| CString::new(text.as_bytes());
        let program = CString::new(self.program.as_os_str().as_bytes())?;
        let arguments = self.arguments.iter().map(text).collect::<Result<Vec<_>, _>>()?;
        let inherited = env::vars_os().filter(|(name, _)| !NOT_PASSED_ON.iter().any(|other| name == other));
        let variables = inherited.map(|(name, value)| match name == "WATCHDOG_PID" {
            true => (name, own_pid().to_string().into()),
            false => (name, value),
        });
        let variables = variables
            .chain([(OsString::from(VARIABLE), OsString::from(letter))])
            .map(|(name, value)| CString::new([name.into_vec(), b"=".to_vec(), value.into_vec()].concat()));
        let variables = variables.collect::<Result<Vec<_>, _>>()?;
        restore_faults();
        // The new master lets others go first by itself. Without this call it works all the same.
        let _ = take_turns();
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
        execve(&program, &arguments, &variables)?;
        Ok(())
    }
}
