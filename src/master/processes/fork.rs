//! Forking, and the first steps of a child: the descriptors that it keeps, and the user that it becomes.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{ForkResult, Pid, getpid, getppid, setgid, setgroups, setuid};

use crate::config::{Account, Config};
use crate::master::exit::ExitCode;
use crate::scheduling::give_way;

/// The steps of a child before its own work.
#[derive(Clone)]
pub(crate) struct FirstSteps<'a> {
    /// The process that must be its parent.
    master: Pid,
    /// Descriptors that it needs, besides the standard ones. It closes all others, including those that the
    /// parent of the master left open.
    keep: Vec<RawFd>,
    /// The account to become.
    account: Option<&'a Account>,
    /// Mode bits to remove from new files.
    umask: u32,
    /// The signal that it gets when its master dies; `None` for no signal.
    on_master_death: Option<Signal>,
    /// Whether it gives way to workers that serve meanwhile.
    gives_way: bool,
    /// The signals that wait until the child unblocks them. All others take effect with its last step.
    blocked: SigSet,
}

impl<'a> FirstSteps<'a> {
    /// The steps of a child of this process that works for `config`, becomes its user, needs no descriptor,
    /// and ends with its master.
    pub(crate) fn of(config: &'a Config) -> Self {
        FirstSteps {
            master: own_pid(),
            keep: Vec::new(),
            account: config.account.as_ref(),
            umask: config.umask,
            on_master_death: Some(Signal::SIGKILL),
            gives_way: false,
            blocked: SigSet::empty(),
        }
    }

    /// The steps of a child that keeps the master's user, needs no descriptor, and outlives its master.
    pub(crate) fn outliving() -> Self {
        FirstSteps {
            master: own_pid(),
            keep: Vec::new(),
            account: None,
            umask: 0,
            on_master_death: None,
            gives_way: false,
            blocked: SigSet::empty(),
        }
    }

    /// Adds descriptors to those that the child keeps. The caller keeps them open until the fork.
    pub(crate) fn keeping<'f>(self, fds: impl IntoIterator<Item = BorrowedFd<'f>>) -> Self {
        self.keeping_raw(fds.into_iter().map(|fd| fd.as_raw_fd()))
    }

    /// Adds descriptors by their numbers.
    pub(crate) fn keeping_raw(mut self, fds: impl IntoIterator<Item = RawFd>) -> Self {
        self.keep.extend(fds);
        self
    }

    /// Sets the signal that the child gets when its master dies; with `None` the child continues.
    pub(crate) fn on_master_death(self, signal: Option<Signal>) -> Self {
        FirstSteps { on_master_death: signal, ..self }
    }

    /// Makes the child give way to workers if this is true.
    pub(crate) fn giving_way(self, gives_way: bool) -> Self {
        FirstSteps { gives_way, ..self }
    }

    /// Makes the child begin with these signals blocked.
    pub(crate) fn blocking(self, signals: SigSet) -> Self {
        FirstSteps { blocked: signals, ..self }
    }

    /// Makes the child keep the master's user, as only the master may be able to read a file.
    pub(crate) fn keeping_account(self) -> Self {
        FirstSteps { account: None, ..self }
    }

    /// The master of the child.
    pub(crate) fn master(&self) -> Pid {
        self.master
    }
}

/// Forks a child that takes its first steps, runs `body` and exits with its code. The caller has blocked all
/// signals.
///
/// # Errors
/// The kernel's error, or the finding that this process has more than one thread: its child could inherit a
/// lock that no thread will ever release.
pub(crate) fn fork(first: &FirstSteps<'_>, body: impl FnOnce() -> ExitCode) -> io::Result<Pid> {
    fork_only(|| match first_steps(first) {
        Ok(()) => body(),
        Err(error) => {
            eprintln!("avalon-master: a child cannot start: {error}");
            ExitCode::Worker
        }
    })
}

/// Forks a child that takes no first steps, because it becomes another program.
///
/// # Errors
/// As with [`fork`], with a remedy.
#[allow(unsafe_code)]
pub(crate) fn fork_only(body: impl FnOnce() -> ExitCode) -> io::Result<Pid> {
    let threads = threads()?;
    if threads != 1 {
        return Err(io::Error::other(format!("refusing to fork a process with {threads} threads")));
    }
    // SAFETY: the process has one thread, as just counted. So the child inherits no lock that another thread
    // holds, and may do everything that its parent may.
    match unsafe { nix::unistd::fork() }.map_err(fork_failed)? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => leave(catch_unwind(AssertUnwindSafe(body)).unwrap_or(ExitCode::Panic)),
    }
}

/// The number of threads of this process.
fn threads() -> io::Result<usize> {
    let tasks = std::fs::read_dir("/proc/self/task").map_err(|error| {
        let message = format!(
            "/proc/self/task: {error}: a master counts its threads there before it forks; mount /proc \
             (mount -t proc proc /proc)"
        );
        io::Error::new(error.kind(), message)
    })?;
    Ok(tasks.count())
}

fn fork_failed(errno: Errno) -> io::Error {
    let remedy = match errno {
        Errno::EAGAIN => {
            ": the limit of processes is reached; raise TasksMax= of the unit, pids.max of the cgroup \
             (docker run --pids-limit) or RLIMIT_NPROC (ulimit -u)"
        }
        Errno::ENOMEM => ": the kernel has no memory for another process",
        _ => "",
    };
    io::Error::new(io::Error::from(errno).kind(), format!("fork: {}{remedy}", errno.desc()))
}

/// Closes every descriptor except the standard ones and those in `keep`.
fn close_all_but(keep: &[RawFd]) -> io::Result<()> {
    let mut keep: Vec<u32> = keep.iter().map(|fd| fd.unsigned_abs()).filter(|fd| *fd > 2).collect();
    keep.sort_unstable();
    keep.dedup();
    let mut first = 3;
    for fd in keep.iter().chain([&u32::MAX]) {
        if first < *fd {
            match close_range(first, *fd - 1) {
                // Linux before 5.9, or a filter that does not know the call.
                Err(Errno::ENOSYS | Errno::EPERM) => return close_listed(&keep),
                result => result?,
            }
        }
        first = fd.saturating_add(1);
    }
    Ok(())
}

/// Closes the descriptors from `first` to `last`; a closed one among them is no error.
#[allow(unsafe_code)]
fn close_range(first: u32, last: u32) -> nix::Result<()> {
    // SAFETY: the call takes no memory of this process. Values of this child that own one of these
    // descriptors are never used or dropped: the child runs its body and leaves through `_exit`.
    Errno::result(unsafe { nix::libc::syscall(nix::libc::SYS_close_range, first, last, 0) }).map(drop)
}

fn close_listed(keep: &[u32]) -> io::Result<()> {
    let names =
        std::fs::read_dir("/proc/self/fd")?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let open: Vec<u32> = names.filter_map(|name| name.parse().ok()).collect();
    for fd in open.into_iter().filter(|fd| *fd > 2 && !keep.contains(fd)) {
        // One of the numbers was the descriptor of the list itself, and is closed already.
        let _ = nix::unistd::close(fd.cast_signed());
    }
    Ok(())
}

/// Ends a child without the exit handlers and the destructors of values that it shares with its master.
#[allow(unsafe_code)]
fn leave(code: ExitCode) -> ! {
    // SAFETY: `_exit` takes no memory of this process. No buffer needs a flush, as each log line and metric
    // leaves the process at once.
    unsafe { nix::libc::_exit(code as i32) }
}

fn first_steps(first: &FirstSteps<'_>) -> io::Result<()> {
    close_all_but(&first.keep)?;
    if first.gives_way {
        // Where the system forbids it, the child gets an equal share of the processors, and the reload still succeeds.
        let _ = give_way();
    }
    // New files get no more mode bits than the parent of the master allows.
    let inherited = umask(Mode::all());
    umask(inherited | Mode::from_bits_truncate(first.umask));
    if let Some(account) = first.account {
        become_account(account)?;
    }
    // This comes after the change of user, which clears the setting.
    prctl::set_pdeathsig(first.on_master_death)?;
    if getppid() != first.master {
        return Err(io::Error::other("the master is gone"));
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&first.blocked), None)?;
    Ok(())
}

/// Changes groups first, as only root may do so; at the end it checks that the change took effect.
fn become_account(account: &Account) -> io::Result<()> {
    // The master has looked the groups up: a look-up here could delay a worker's start without a limit.
    setgroups(&account.groups)?;
    setgid(account.gid)?;
    setuid(account.uid)?;
    let uids = nix::unistd::getresuid()?;
    let gids = nix::unistd::getresgid()?;
    let dropped = [uids.real, uids.effective, uids.saved].iter().all(|uid| *uid == account.uid)
        && [gids.real, gids.effective, gids.saved].iter().all(|gid| *gid == account.gid);
    if !dropped || (!account.uid.is_root() && setuid(nix::unistd::Uid::from_raw(0)).is_ok()) {
        return Err(io::Error::other("the change of user had no effect"));
    }
    prctl::set_no_new_privs()?;
    Ok(())
}

/// This process.
pub(crate) fn own_pid() -> Pid {
    getpid()
}

/// Takes a descriptor that was passed to this process. Call it once for each, at the start.
///
/// # Errors
/// The process has no such descriptor.
#[allow(unsafe_code)]
pub(crate) fn own(fd: RawFd) -> nix::Result<OwnedFd> {
    // The number comes from outside and may be wrong. A negative one is no descriptor, and -1 is no value of
    // the type.
    if fd < 0 {
        return Err(Errno::EBADF);
    }
    // SAFETY: the borrow lasts for one question, whether the descriptor is open, which changes nothing.
    fcntl(unsafe { BorrowedFd::borrow_raw(fd) }, FcntlArg::F_GETFD)?;
    // SAFETY: it is open, as just seen. Either LISTEN_PID says that the service manager has passed it to this
    // very process, or a former master, the parent of this process, says that it has. The program takes it
    // once, before it opens anything, so nothing else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // Close it on exec, so that a program that this process starts does not get it.
    fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    Ok(fd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptor_that_is_not_open_is_not_taken() {
        for fd in [-1, RawFd::MIN, RawFd::MAX] {
            assert_eq!(own(fd).err(), Some(Errno::EBADF));
        }
    }

    #[test]
    fn kept_descriptors_add_up() {
        let file = tempfile::tempfile().unwrap();
        let config = crate::config::load(&Default::default()).unwrap();
        let first = FirstSteps::of(&config).keeping([std::os::fd::AsFd::as_fd(&file)]).keeping_raw([7]);
        assert_eq!(first.keep, [file.as_raw_fd(), 7]);
        assert!(!first.gives_way && first.on_master_death == Some(Signal::SIGKILL));
        assert!(first.clone().giving_way(true).gives_way);
        assert!(first.keeping_account().account.is_none());
    }
}
