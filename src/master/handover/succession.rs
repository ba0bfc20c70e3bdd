//! Another binary in place of this one, without closing an address: the new master is
//! executed as a child, with the listeners, and serves beside us until one of the two goes.

use std::env;
use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::unistd::{Pid, execve, getppid, pipe2};
use serde_json::{Value, json};
use slog::{error, info, warn};
use socket2::Socket;

use crate::master::Master;
use crate::master::arbiter::events::{Event, Wish};
use crate::master::exit::ExitCode;
use crate::master::generation::generations::Generation;
use crate::master::handover::inherited::own;
use crate::master::handover::listeners::Listener;
use crate::master::processes::dispositions::restore_faults;
use crate::master::processes::process;
use crate::scoreboard::Dismissal;

/// The variable that tells a new master what it was given. Not for people.
const VARIABLE: &str = "_AVALON_UPGRADE";
/// What systemd says to a process by number, which the new one must not take for itself.
const NOT_PASSED_ON: [&str; 4] = [VARIABLE, "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// How this program was started, remembered before anything can change.
pub(crate) struct Invocation {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Invocation {
    /// The program by the path it was called by, so that a link that leads elsewhere by now is
    /// followed again.
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

    /// Starts the program anew, with copies of the listeners, of the pipe in which it tells that
    /// it serves, and of the one in which it is told that its turn has come.
    ///
    /// # Errors
    /// If there is no process to be had. That the program cannot be executed shows in its exit
    /// code.
    pub(crate) fn start_anew(
        &self,
        listeners: &[Rc<Listener>],
        tell: BorrowedFd<'_>,
        turn: BorrowedFd<'_>,
        nohup: bool,
    ) -> io::Result<Pid> {
        let listeners: Vec<(Socket, &Rc<Listener>)> =
            listeners.iter().map(|listener| Ok((listener.share()?, listener))).collect::<io::Result<_>>()?;
        let (tell, turn) = (tell.try_clone_to_owned()?, turn.try_clone_to_owned()?);
        let parent = process::own_pid();
        process::fork_only(|| {
            let fds = listeners.iter().map(|(socket, _)| socket.as_fd()).chain([tell.as_fd(), turn.as_fd()]);
            if let Err(error) = self.execute(fds, &handover(parent, &listeners, &tell, &turn, nohup)) {
                eprintln!("avalon-master: {} cannot be executed: {error}", self.program.display());
            }
            ExitCode::Failure
        })
    }

    fn execute<'f>(&self, fds: impl Iterator<Item = BorrowedFd<'f>>, handover: &Value) -> io::Result<()> {
        for fd in fds {
            fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
        }
        let text = |text: &OsString| CString::new(text.as_bytes());
        let program = CString::new(self.program.as_os_str().as_bytes())?;
        let arguments = self.arguments.iter().map(text).collect::<Result<Vec<_>, _>>()?;
        let inherited = env::vars_os().filter(|(name, _)| !NOT_PASSED_ON.iter().any(|other| name == other));
        let variables = inherited.map(|(name, value)| match name == "WATCHDOG_PID" {
            true => (name, process::own_pid().to_string().into()),
            false => (name, value),
        });
        let own = (OsString::from(VARIABLE), OsString::from(handover.to_string()));
        let variables = variables
            .chain([own])
            .map(|(name, value)| CString::new([name.into_vec(), b"=".to_vec(), value.into_vec()].concat()));
        let variables = variables.collect::<Result<Vec<_>, _>>()?;
        restore_faults();
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
        execve(&program, &arguments, &variables)?;
        Ok(())
    }
}

fn handover(
    parent: Pid,
    listeners: &[(Socket, &Rc<Listener>)],
    tell: &OwnedFd,
    turn: &OwnedFd,
    nohup: bool,
) -> Value {
    let listeners: Vec<Value> = listeners
        .iter()
        .map(|(socket, listener)| {
            json!({
                "fd": socket.as_raw_fd(),
                "address": listener.address().to_string(),
                "activated": listener.is_activated(),
            })
        })
        .collect();
    json!({
        "parent": parent.as_raw(),
        "tell": tell.as_raw_fd(),
        "turn": turn.as_raw_fd(),
        "listeners": listeners,
        "nohup": nohup,
    })
}

/// What a former master has passed on to this one.
pub(crate) struct Handover {
    /// Where to tell it that this one serves.
    pub(crate) tell: OwnedFd,
    /// A pipe in which the former master writes when it leaves systemd to this one, and that ends
    /// with it.
    pub(crate) turn: OwnedFd,
    /// Its listeners.
    pub(crate) listeners: Vec<Rc<Listener>>,
    /// Whether it was started by nohup; a version that does not say passes the disposition on.
    pub(crate) nohup: Option<bool>,
}

impl Handover {
    /// Takes what the variable says, if a former master is our parent. To be called once.
    pub(crate) fn take() -> Result<Option<Self>, String> {
        let Some(text) = env::var_os(VARIABLE) else { return Ok(None) };
        let wrong = || format!("{VARIABLE}: {text:?} was not written by avalon-master");
        let value: Value = serde_json::from_slice(text.as_bytes()).map_err(|_| wrong())?;
        let number = |value: &Value| value.as_i64().and_then(|number| i32::try_from(number).ok());
        let parent = Pid::from_raw(number(&value["parent"]).ok_or_else(wrong)?);
        if parent != getppid() {
            return Ok(None);
        }
        let own = |fd| own(fd).map_err(|errno| format!("{VARIABLE}: descriptor {fd}: {errno}"));
        let tell = own(number(&value["tell"]).ok_or_else(wrong)?)?;
        let turn = own(number(&value["turn"]).ok_or_else(wrong)?)?;
        let mut listeners = Vec::new();
        for listener in value["listeners"].as_array().ok_or_else(wrong)? {
            let fd = own(number(&listener["fd"]).ok_or_else(wrong)?)?;
            let address = listener["address"].as_str().and_then(|address| address.parse().ok());
            let activated = listener["activated"].as_bool().unwrap_or(false);
            listeners.push(Rc::new(Listener::passed_on(address.ok_or_else(wrong)?, fd.into(), activated)));
        }
        let nohup = value["nohup"].as_bool();
        Ok(Some(Handover { tell, turn, listeners, nohup }))
    }
}

/// A new master that was started beside this one.
pub(crate) struct Successor {
    pub(crate) pid: Pid,
    pub(crate) serves: bool,
    /// Whether this master ends once the new one serves, and who waits for that.
    pub(crate) wanted: bool,
    /// Where to write when the new master's turn to speak to systemd has come. Until this one
    /// begins to go it is the main one, as it may take its place back.
    turn: File,
}

/// A master that has started this one beside it.
pub(crate) struct Predecessor {
    /// Where to tell it that this one serves; taken when that is done.
    pub(crate) tell: Option<File>,
    /// Holds a byte when this master's turn to speak to systemd has come, and ends with the former
    /// master.
    turn: File,
}

impl Predecessor {
    pub(crate) fn of(handover: Handover) -> (Vec<Rc<Listener>>, Predecessor) {
        let Handover { tell, turn, listeners, .. } = handover;
        (listeners, Predecessor { tell: Some(tell.into()), turn: turn.into() })
    }

    /// What to wait for.
    pub(crate) fn turn(&self) -> BorrowedFd<'_> {
        self.turn.as_fd()
    }

    /// What the former master says, if anything.
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

/// What a new master is told by the former one.
enum Word {
    /// To speak to systemd from now on.
    YourTurn,
    /// By its end: that it is no more.
    Gone,
}

/// The name of a file of a new master as long as the former one has the name itself.
pub(crate) fn second(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".2");
    name.into()
}

/// The name that [`second`] was made of.
fn first(path: &Path) -> PathBuf {
    if path.extension().is_some_and(|extension| extension == "2") {
        path.with_extension("")
    } else {
        path.to_owned()
    }
}

impl Master {
    /// Starts the program anew beside this one; `wanted` ends this one when that serves.
    ///
    /// # Errors
    /// Why it was not started, which has been logged.
    pub(crate) fn upgrade(&mut self, wanted: bool) -> Result<(), String> {
        let serving = self.arbiter.current().and_then(|number| self.generations.get(&number));
        let started = match (&self.successor, serving) {
            (Some(_), _) => Err("a new master has been started already".to_owned()),
            (None, None) => Err("nothing serves yet".to_owned()),
            (None, Some(generation)) => match self.parent.obstacle() {
                Some(reason) => Err(reason),
                None => self.start_successor(generation, wanted).map_err(|error| error.to_string()),
            },
        };
        match started {
            Ok(successor) => {
                info!(self.log.logger(), "a new master was started"; "pid" => successor.pid.as_raw());
                self.successor = Some(successor);
                Ok(())
            }
            Err(reason) => {
                let reason = format!("upgrade failed: {reason}");
                error!(self.log.logger(), "{}", reason);
                Err(reason)
            }
        }
    }

    fn start_successor(&self, serving: &Generation, wanted: bool) -> io::Result<Successor> {
        let (its_turn, turn) = pipe2(OFlag::O_CLOEXEC)?;
        let tell = self.messages_to.as_fd();
        let pid =
            self.invocation.start_anew(&serving.listeners, tell, its_turn.as_fd(), self.terminal.nohup())?;
        Ok(Successor { pid, serves: false, wanted, turn: turn.into() })
    }

    /// The new master serves.
    pub(crate) fn taken_over(&mut self, pid: Pid) {
        let Some(successor) = self.successor.as_mut().filter(|successor| successor.pid == pid) else {
            return;
        };
        successor.serves = true;
        let wanted = successor.wanted;
        info!(self.log.logger(), "the new master serves"; "pid" => pid.as_raw());
        self.own_addresses(false);
        self.upgraded(Ok(()));
        if wanted {
            self.dispatch(Event::Wished(Wish::Stop));
        }
    }

    /// The new master has gone: all is ours again.
    pub(crate) fn successor_ended(&mut self, ended: process::Ended) {
        let served = self.successor.take().is_some_and(|successor| successor.serves);
        self.own_addresses(self.predecessor.is_none());
        if served {
            warn!(self.log.logger(), "the new master has gone again ({})", ended);
        } else {
            self.upgraded(Err(format!("upgrade failed: the new master ended ({ended})")));
        }
        if self.arbiter.state() == "drained" {
            self.dispatch(Event::Wished(Wish::Reload));
        }
    }

    fn upgraded(&mut self, result: Result<(), String>) {
        if let Err(reason) = &result {
            error!(self.log.logger(), "{}", reason);
        }
        if let Some(control) = &mut self.control {
            control.taken_over(&result);
        }
    }

    fn own_addresses(&self, owned: bool) {
        let listeners = self.generations.values().flat_map(|generation| &generation.listeners);
        listeners.for_each(|listener| listener.set_owned(owned));
    }

    /// Stops this master and the one beside it, and does not end before that.
    pub(crate) fn stop_all(&mut self) {
        self.ends_last = true;
        self.own_addresses(true);
        if let Some(successor) = &self.successor {
            self.kill(successor.pid, Signal::SIGTERM);
        }
        self.dispatch(Event::Wished(Wish::Stop));
    }

    /// Whether there is nothing left to wait for.
    pub(crate) fn has_ended(&self) -> bool {
        self.exit.is_some() && !(self.ends_last && self.successor.is_some())
    }

    /// Tells systemd that this master goes, and which one stays, if there is one.
    pub(crate) fn leave_systemd(&mut self) {
        match self.successor.as_mut().filter(|successor| successor.serves && !self.ends_last) {
            // What kept a server from starting stands in its status to the end.
            None if self.arbiter.current().is_none() && self.last_made.is_some() => {
                let status = self.status_line();
                self.systemd.stopping(&status);
            }
            None => self.systemd.stopping("stopping"),
            Some(successor) => {
                self.systemd.hand_over(successor.pid);
                // If it is gone, that will be noticed.
                let _ = successor.turn.write_all(b"!");
            }
        }
    }

    /// Closes all addresses, for good unless another master serves them.
    pub(crate) fn leave_addresses(&mut self) {
        let alone = self.predecessor.is_none() && (self.successor.is_none() || self.ends_last);
        self.own_addresses(alone);
        let mut listeners = self.generations.values().flat_map(|generation| &generation.listeners);
        if alone && listeners.any(|listener| !listener.is_activated()) {
            self.dismissal = Dismissal::Last;
        }
        self.activated.clear();
        self.generations.values_mut().for_each(|generation| generation.listeners.clear());
    }

    /// Takes the place of a former master: speaks to systemd once that does so no more, and has
    /// its names once it has gone.
    pub(crate) fn succeed(&mut self) {
        match self.predecessor.as_mut().and_then(Predecessor::word) {
            None => {}
            Some(Word::YourTurn) => self.speak(),
            Some(Word::Gone) => {
                self.predecessor = None;
                // Its scan may have stored something after this master had read the database.
                self.owe_rows();
                self.speak();
                self.take_names();
            }
        }
    }

    fn speak(&mut self) {
        if !self.systemd.speak(Instant::now()) {
            return;
        }
        let current = self.arbiter.current().and_then(|number| self.generations.get(&number));
        if let Some(Generation { snapshot: Some(snapshot), .. }) = current {
            self.systemd.keep(snapshot);
            let status = self.status_line();
            self.systemd.ready(&status);
        }
    }

    fn take_names(&mut self) {
        self.own_addresses(true);
        if let Some(pidfile) = &mut self.pidfile {
            pidfile.rename(&first(pidfile.path()));
        }
        if let Some(control) = &mut self.control {
            control.rename(&first(control.path()));
        }
        info!(self.log.logger(), "the former master has gone");
    }
}
