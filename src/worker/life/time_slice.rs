//! The time slice of a process: how long it keeps a processor while others wait for it.

use std::mem::size_of;

use nix::errno::Errno;
use nix::libc;

/// The longest slice that the kernel allows, in nanoseconds.
const LONGEST: u64 = 100_000_000;
/// Stands for the kernel's own choice, which is some milliseconds.
const DEFAULT: u64 = 0;

/// Lets processes with shorter slices go first: since Linux 6.12 one that wakes up takes the processor from this process
/// at once, and need not wait for the end of the usual slice. The share of this process stays the same. What it forks
/// and its new threads do the same.
///
/// # Errors
/// The kernel or a filter of system calls refuses it.
pub fn let_others_first() -> nix::Result<()> {
    set(LONGEST)
}

/// Takes the usual slice again.
///
/// # Errors
/// The kernel or a filter of system calls refuses it.
pub(in crate::worker) fn take_turns() -> nix::Result<()> {
    set(DEFAULT)
}

#[allow(unsafe_code)]
fn set(nanoseconds: u64) -> nix::Result<()> {
    // The call sets the nice value as well.
    let nice =
        rustix::process::getpriority_process(None).map_err(|error| Errno::from_raw(error.raw_os_error()))?;
    let attributes = libc::sched_attr {
        size: u32::try_from(size_of::<libc::sched_attr>()).map_err(|_| Errno::E2BIG)?,
        sched_policy: 0,
        sched_flags: libc::SCHED_FLAG_KEEP_POLICY as u64,
        sched_nice: nice,
        sched_priority: 0,
        sched_runtime: nanoseconds,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the kernel reads the attributes, whose size they begin with, during the call. It concerns this thread.
    Errno::result(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) }).map(drop)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::thread;

    use super::*;

    /// The slice of this thread in nanoseconds, if the kernel tells it.
    fn own() -> Option<u64> {
        let text = fs::read_to_string("/proc/thread-self/sched").ok()?;
        let line = text.lines().find(|line| line.starts_with("se.slice"))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    #[test]
    fn slice_is_long_until_the_process_takes_turns() {
        // A thread of its own, as others of this process keep theirs.
        let slices = thread::spawn(|| {
            let nice = rustix::process::getpriority_process(None).unwrap();
            let before = own();
            let_others_first().unwrap();
            let long = own();
            take_turns().unwrap();
            assert_eq!(rustix::process::getpriority_process(None).unwrap(), nice);
            (before, long, own())
        });
        let (before, long, after) = slices.join().unwrap();
        assert_eq!(before, after);
        // Kernels before 6.12 know no slices of a process, and some do not show them.
        if let Some(long) = long.filter(|_| has_slices()) {
            assert_eq!(long, LONGEST);
        }
    }

    fn has_slices() -> bool {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse::<u32>());
        let version = (numbers.next().unwrap().unwrap(), numbers.next().unwrap().unwrap());
        version >= (6, 12)
    }
}
