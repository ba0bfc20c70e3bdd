//! The holder of a scan's lock, and the time for which a scan waits for others.

use std::time::Duration;

/// The scan that holds a lock. It is stored with the lock, so that messages can name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Name of the machine.
    pub host: String,
    /// Process id on that machine.
    pub pid: u32,
    /// The time of the scan's start, in seconds since 1970.
    pub started: i64,
}

impl Holder {
    /// This process, with the present time.
    pub fn this_process() -> Holder {
        let host = nix::sys::utsname::uname()
            .map_or_else(|_| "unknown".to_owned(), |name| name.nodename().to_string_lossy().into_owned());
        Holder { host, pid: std::process::id(), started: jiff::Timestamp::now().as_second() }
    }
}

/// The limits of the wait for a lock that another client holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// After this time, the session reports the wait.
    pub announce: Duration,
    /// After this time, the wait is an error.
    pub give_up: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { announce: Duration::from_secs(3), give_up: Duration::from_secs(60) }
    }
}
