//! How much a process lets others go first: its time slice, which says how long it keeps a processor while others wait
//! for it, and its nice value.

use std::mem::size_of;
use std::thread;

use nix::errno::Errno;
use nix::libc;

/// The longest slice that the kernel allows, in nanoseconds.
const LONGEST: u64 = 100_000_000;
/// Stands for the kernel's own choice, which is some milliseconds.
const DEFAULT: u64 = 0;
/// The nice value of a process that gives way, relative to the value that it had. Under full load it still gets a tenth
/// of a processor that workers want as well, so it makes progress.
const NICE: i32 = 10;

/// Lets others go first, and takes a smaller share of the processors from now on. This holds for the thread and its
/// children.
///
/// # Errors
/// The kernel or a filter of system calls refuses it (a filter of systemd, a container). The process then has its usual
/// share.
pub fn give_way() -> nix::Result<()> {
    rustix::process::nice(NICE).map_err(errno)?;
    let_others_first()
}

/// Lets processes with shorter slices go first: since Linux 6.12 one that wakes up takes the processor from this process
/// at once, and need not wait for the end of the usual slice. The share of this process stays the same. Its children and
/// its new threads do the same.
///
/// # Errors
/// The kernel or a filter of system calls refuses it.
pub fn let_others_first() -> nix::Result<()> {
    set(LONGEST)?;
    // The slice that has begun keeps its length, so the process ends it.
    thread::yield_now();
    Ok(())
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
    let nice = rustix::process::getpriority_process(None).map_err(errno)?;
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

fn errno(error: rustix::io::Errno) -> Errno {
    Errno::from_raw(error.raw_os_error())
}

#[cfg(test)]
mod tests {
    use std::fs;

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
