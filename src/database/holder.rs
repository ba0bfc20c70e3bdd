//! Who scans, and how long a scan waits for others.

use std::time::Duration;

/// Who scans. Stored with the lock, so that others can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Name of the machine.
    pub host: String,
    /// Process id there.
    pub pid: u32,
    /// When the scan began, in seconds since 1970.
    pub started: i64,
}

impl Holder {
    /// This process, as of now.
    pub fn this_process() -> Holder {
        let host = nix::sys::utsname::uname()
            .map_or_else(|_| "unknown".to_owned(), |name| name.nodename().to_string_lossy().into_owned());
        Holder { host, pid: std::process::id(), started: jiff::Timestamp::now().as_second() }
    }
}

/// How long to wait for a lock that another client holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// After this time, the wait is told.
    pub announce: Duration,
    /// After this time, it is an error.
    pub give_up: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { announce: Duration::from_secs(3), give_up: Duration::from_secs(60) }
    }
}
