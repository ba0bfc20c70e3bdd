//! Forking, the first steps of a child, and how children end.

use std::io;
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, getpid, getppid, setgid, setgroups, setuid};

use crate::config::Account;
use crate::master::exit::ExitCode;

/// What a child does before anything of its own.
pub(crate) struct FirstSteps<'a> {
    /// The process that must be its parent.
    pub(crate) master: Pid,
    /// Descriptors that it needs, besides the standard ones; all others are closed, those too that whoever
    /// started the master had open.
    pub(crate) keep: Vec<RawFd>,
    /// Whom to become.
    pub(crate) account: Option<&'a Account>,
    /// Mode bits to remove from new files.
    pub(crate) umask: u32,
    /// What it gets when its master dies, if anything.
    pub(crate) on_master_death: Option<Signal>,
    /// Whether workers that serve meanwhile go before it.
    pub(crate) gives_way: bool,
}

/// How much nicer than workers is what gives way to them: a tenth of a processor that they want as
/// well, so that it is done some time also under full load.
const NICE: i32 = 10;

/// How long a killed child is waited for.
const END_MAX: Duration = Duration::from_secs(1);

/// Forks a child that takes its first steps, runs `body` and exits with its code. All
/// signals must be blocked.
///
/// # Errors
/// What the kernel says, or that this process has more than one thread: a child of such a
/// process could inherit a lock that nobody will ever release.
pub(crate) fn fork(first: &FirstSteps<'_>, body: impl FnOnce() -> ExitCode) -> io::Result<Pid> {
    fork_only(|| match first_steps(first) {
        Ok(()) => body(),
        Err(error) => {
            eprintln!("avalon-master: a child cannot start: {error}");
            ExitCode::Worker
        }
    })
}

/// The same for a child that takes no first steps, as it becomes another program.
///
/// # Errors
/// As with [`fork`], with what can be done about it.
#[allow(unsafe_code)]
pub(crate) fn fork_only(body: impl FnOnce() -> ExitCode) -> io::Result<Pid> {
    let threads = threads()?;
    if threads != 1 {
        return Err(io::Error::other(format!("refusing to fork a process with {threads} threads")));
    }
    // SAFETY: the process has one thread, as just counted, so the child inherits no lock that
    // another thread holds, and may do whatever its parent could.
    match unsafe { nix::unistd::fork() }.map_err(fork_failed)? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => leave(catch_unwind(AssertUnwindSafe(body)).unwrap_or(ExitCode::Panic)),
    }
}

/// How many threads this process has.
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

/// Closes every descriptor but the standard ones and those to keep.
fn close_all_but(keep: &[RawFd]) -> io::Result<()> {
    let mut keep: Vec<u32> = keep.iter().map(|fd| fd.unsigned_abs()).filter(|fd| *fd > 2).collect();
    keep.sort_unstable();
    keep.dedup();
    let mut first = 3;
    for fd in keep.iter().chain([&u32::MAX]) {
        if first < *fd {
            match close_range(first, *fd - 1) {
                // Linux before 5.9, or a filter that does not know it.
                Err(Errno::ENOSYS | Errno::EPERM) => return close_listed(&keep),
                result => result?,
            }
        }
        first = fd.saturating_add(1);
    }
    Ok(())
}

/// From the first to the last descriptor; those that are not open are no error.
#[allow(unsafe_code)]
fn close_range(first: u32, last: u32) -> nix::Result<()> {
    // SAFETY: it takes no memory of ours. The values of this child that own one of these descriptors are
    // never used or dropped: it runs its body and leaves through `_exit`.
    Errno::result(unsafe { nix::libc::syscall(nix::libc::SYS_close_range, first, last, 0) }).map(drop)
}

fn close_listed(keep: &[u32]) -> io::Result<()> {
    let names =
        std::fs::read_dir("/proc/self/fd")?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let open: Vec<u32> = names.filter_map(|name| name.parse().ok()).collect();
    for fd in open.into_iter().filter(|fd| *fd > 2 && !keep.contains(fd)) {
        // One of them was that of the list itself, and is closed already.
        let _ = nix::unistd::close(fd.cast_signed());
    }
    Ok(())
}

/// Ends a child without the exit handlers and destructors of what it shares with its master.
#[allow(unsafe_code)]
fn leave(code: ExitCode) -> ! {
    // SAFETY: `_exit` takes no memory of ours; nothing is left to be flushed, as log lines and
    // metrics are written as they are made.
    unsafe { nix::libc::_exit(code as i32) }
}

fn first_steps(first: &FirstSteps<'_>) -> io::Result<()> {
    close_all_but(&first.keep)?;
    if first.gives_way {
        // The thread, and all that it will start. Where that is forbidden (a filter of systemd's, a
        // container), the reload has its share of the processors and is made all the same.
        let _ = rustix::process::nice(NICE);
    }
    // Files get no more than whoever has started the master wants.
    let inherited = umask(Mode::all());
    umask(inherited | Mode::from_bits_truncate(first.umask));
    if let Some(account) = first.account {
        become_account(account)?;
    }
    // After the change of user, which clears it.
    prctl::set_pdeathsig(first.on_master_death)?;
    if getppid() != first.master {
        return Err(io::Error::other("the master is gone"));
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    Ok(())
}

/// Groups first, as only root may change them; then looks whether it really happened.
fn become_account(account: &Account) -> io::Result<()> {
    // They are known already: to ask for them here could take a worker's start for ever.
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

/// The next child that has ended, and how, if there is one.
pub(crate) fn reap() -> Option<(Pid, Ended)> {
    loop {
        return match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => Some((pid, Ended::Code(code))),
            Ok(WaitStatus::Signaled(pid, signal, _)) => Some((pid, Ended::Signal(signal))),
            Ok(WaitStatus::StillAlive) | Err(_) => None,
            Ok(_) => continue,
        };
    }
}

/// Kills a child and waits for its end, but not for ever: one that waits for a file system that is gone ends when
/// that answers.
pub(crate) fn end(pid: Pid) {
    end_within(pid, END_MAX);
}

/// The same for a child that is waited for no longer than this.
pub(crate) fn end_within(pid: Pid, patience: Duration) {
    // If it has ended already there is nothing to wait for.
    if kill(pid, Signal::SIGKILL).is_ok() {
        wait_until(pid, Instant::now() + patience);
    }
}

/// Waits for the end of a child; says whether it has ended.
pub(crate) fn wait_until(pid: Pid, until: Instant) -> bool {
    loop {
        match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) if Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) => return false,
            _ => return true,
        }
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Code(i32),
    Signal(Signal),
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Ended::Code(code) => write!(f, "exit code {code}"),
            Ended::Signal(signal) => write!(f, "killed by {signal}"),
        }
    }
}

/// This process.
pub(crate) fn own_pid() -> Pid {
    getpid()
}
