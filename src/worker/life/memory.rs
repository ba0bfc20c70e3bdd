//! The memory of a process, measured cheaply enough for once a second.
//!
//! Other files of the kernel (smaps_rollup) are more exact, but the kernel looks at each page of the snapshot to make
//! them: up to 2 ms for six workers at 100,000 songs. Meanwhile clients wait.

use std::fs;

use nix::unistd::{Pid, SysconfVar, getpid, sysconf};

/// Amounts of memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Resident memory, the parts of the snapshot that were read included.
    pub resident: u64,
    /// The part of it that is neither file nor shared memory.
    pub private: u64,
}

impl Memory {
    /// Returns the memory of this process, if the kernel reports it.
    pub fn own() -> Option<Memory> {
        Memory::of(getpid())
    }

    /// Returns the memory of a process (proc(5), statm), if it lives and the kernel reports it.
    pub fn of(pid: Pid) -> Option<Memory> {
        let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
        let page = u64::try_from(sysconf(SysconfVar::PAGE_SIZE).ok()??).ok()?;
        let mut pages = statm.split_whitespace().skip(1).map(str::parse::<u64>);
        let (resident, shared) = (pages.next()?.ok()?, pages.next()?.ok()?);
        Some(Memory { resident: resident * page, private: resident.saturating_sub(shared) * page })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_grows_with_written_bytes() {
        let before = Memory::own().unwrap();
        assert!(before.resident > before.private);
        let block = vec![1_u8; 64 << 20];
        let after = Memory::own().unwrap();
        assert!(after.private > before.private + (32 << 20), "{before:?} {after:?}");
        drop(block);
    }

    #[test]
    fn process_that_is_gone_has_none() {
        assert_eq!(Memory::of(Pid::from_raw(i32::MAX)), None);
    }
}
