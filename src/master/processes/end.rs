//! How children end, and how long their master waits for their end.

use std::fmt;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Longest wait for the end of a killed child.
const END_MAX: Duration = Duration::from_secs(1);

/// The next child that has ended, and how it ended.
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

/// Kills a child and waits for its end, for at most a second: a child that waits for a dead file system ends
/// only when that answers.
pub(crate) fn end(pid: Pid) {
    end_within(pid, END_MAX);
}

/// Kills a child and waits for its end, for at most `patience`.
pub(crate) fn end_within(pid: Pid, patience: Duration) {
    // A child that has ended already needs no wait.
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

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ended::Code(code) => write!(f, "exit code {code}"),
            Ended::Signal(signal) => write!(f, "killed by {signal}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[expect(clippy::zombie_processes, reason = "reaped by what is tested")]
    fn child(script: &str) -> Pid {
        let child = Command::new("sh").args(["-c", script]).spawn().unwrap();
        Pid::from_raw(child.id().cast_signed())
    }

    #[test]
    fn child_is_waited_for_until_it_ends_or_the_time_is_over() {
        let now = Instant::now();
        assert!(wait_until(child("exit 3"), now + Duration::from_secs(30)));
        let sleeper = child("exec sleep 60");
        assert!(!wait_until(sleeper, now));
        end(sleeper);
        // It was reaped, so that there is no such child any more.
        assert_eq!(waitpid(sleeper, None), Err(Errno::ECHILD));
    }

    #[test]
    fn end_is_told_in_words() {
        assert_eq!(Ended::Code(3).to_string(), "exit code 3");
        assert_eq!(Ended::Signal(Signal::SIGKILL).to_string(), "killed by SIGKILL");
    }
}
