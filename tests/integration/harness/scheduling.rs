//! How the kernel schedules a process.

use std::fs;

use nix::unistd::Pid;

/// The policy of most processes (sched(7)).
pub(crate) const OTHER: i64 = nix::libc::SCHED_OTHER as i64;
/// The policy of one that lets others go first.
pub(crate) const BATCH: i64 = nix::libc::SCHED_BATCH as i64;

pub(crate) fn nice(pid: Pid) -> i64 {
    field(pid, 19)
}

pub(crate) fn policy(pid: Pid) -> i64 {
    field(pid, 41)
}

/// A field of proc_pid_stat(5).
fn field(pid: Pid, number: usize) -> i64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    // The second field is the name, which may have spaces.
    let mut fields = stat.rsplit(')').next().expect("fields behind the name").split_whitespace();
    fields.nth(number - 3).expect("a field").parse().expect("a number")
}

/// The time slice in nanoseconds, of a kernel that has slices of processes (Linux 6.12) and shows them.
pub(crate) fn slice(pid: Pid) -> Option<u64> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("a kernel");
    let numbers: Vec<u32> = release.split(['.', '-']).map_while(|number| number.parse().ok()).collect();
    let sched = fs::read_to_string(format!("/proc/{pid}/sched")).ok().filter(|_| *numbers >= [6, 12][..])?;
    let line = sched.lines().find(|line| line.starts_with("se.slice"))?;
    line.rsplit(' ').next().expect("a slice").parse().ok()
}
