//! How much a process lets others go first: its scheduling policy, which says whether it takes the processor from others
//! when it wakes up; its time slice, which says how long it keeps a processor while others wait for it; and its nice
//! value.

use std::cell::Cell;
use std::mem::size_of;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;

/// The longest slice that the kernel allows, in nanoseconds.
const LONGEST: u64 = 100_000_000;
/// Stands for the kernel's own choice, which is some milliseconds.
const DEFAULT: u64 = 0;
/// The nice value of a process that gives way, relative to the value that it had. Under full load it still gets a tenth
/// of a processor that workers want as well, so it makes progress.
const NICE: i32 = 10;
/// A pause. The kernel makes it longer by its timer slack, which is as long.
const PAUSE: Duration = Duration::from_micros(50);

thread_local! {
    /// Whether this thread, or the parent that has forked it, has left the usual policy, so that it may return to it.
    static LETS_OTHERS_FIRST: Cell<bool> = const { Cell::new(false) };
}

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

/// Whether this process is nicer than others, as the loader of a reload is.
pub fn gives_way() -> bool {
    rustix::process::getpriority_process(None).is_ok_and(|nice| nice > 0)
}

/// Lets others go first: this process takes the processor from no other when it wakes up, and since Linux 6.12 one with
/// a shorter slice that wakes up takes the processor from it at once, and need not wait for the end of the usual slice.
/// The share of this process stays the same. Its children and its new threads do the same.
///
/// # Errors
/// The kernel or a filter of system calls refuses it.
pub fn let_others_first() -> nix::Result<()> {
    // The parent has set it already, or an operator has chosen another policy.
    if policy()? != libc::SCHED_OTHER {
        return Ok(());
    }
    set(libc::SCHED_BATCH, LONGEST)?;
    LETS_OTHERS_FIRST.set(true);
    // The slice that has begun keeps its length, so the process ends it.
    thread::yield_now();
    Ok(())
}

/// Pauses this process for about a tenth of a millisecond, so that others that wait for its processor run at once. A
/// process that wakes up, but has just had more than its share, would wait for the kernel's next tick (up to 4 ms).
pub fn pause() {
    thread::sleep(PAUSE);
}

/// Undoes [`let_others_first`].
///
/// # Errors
/// The kernel or a filter of system calls refuses it.
pub fn take_turns() -> nix::Result<()> {
    if LETS_OTHERS_FIRST.take() { set(libc::SCHED_OTHER, DEFAULT) } else { Ok(()) }
}

/// The scheduling policy of this thread (sched(7)).
#[allow(unsafe_code)]
fn policy() -> nix::Result<i32> {
    // SAFETY: the call takes no memory of this process.
    Errno::result(unsafe { libc::sched_getscheduler(0) })
}

#[allow(unsafe_code)]
fn set(policy: i32, nanoseconds: u64) -> nix::Result<()> {
    // The call sets the nice value as well.
    let nice = rustix::process::getpriority_process(None).map_err(errno)?;
    let attributes = libc::sched_attr {
        size: u32::try_from(size_of::<libc::sched_attr>()).map_err(|_| Errno::E2BIG)?,
        sched_policy: policy.unsigned_abs(),
        sched_flags: 0,
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
    fn others_go_first_until_the_process_takes_turns() {
        // A thread of its own, as others of this process keep theirs.
        let seen = thread::spawn(|| {
            let nice = rustix::process::getpriority_process(None).unwrap();
            let see = || (policy().unwrap(), own());
            let before = see();
            let_others_first().unwrap();
            let first = see();
            take_turns().unwrap();
            assert_eq!(rustix::process::getpriority_process(None).unwrap(), nice);
            [before, first, see()]
        });
        let [before, (policy, slice), after] = seen.join().unwrap();
        assert_eq!(before, after);
        assert_eq!(policy, libc::SCHED_BATCH);
        // Kernels before 6.12 know no slices of a process, and some do not show them.
        if let Some(slice) = slice.filter(|_| has_slices()) {
            assert_eq!(slice, LONGEST);
        }
    }

    #[test]
    fn policy_of_an_operator_stays() {
        let policies = thread::spawn(|| {
            set(libc::SCHED_IDLE, DEFAULT).unwrap();
            let_others_first().unwrap();
            let first = policy().unwrap();
            take_turns().unwrap();
            [first, policy().unwrap()]
        });
        assert_eq!(policies.join().unwrap(), [libc::SCHED_IDLE; 2]);
    }

    fn has_slices() -> bool {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse::<u32>());
        let version = (numbers.next().unwrap().unwrap(), numbers.next().unwrap().unwrap());
        version >= (6, 12)
    }
}
