//! How the processes of a server end.

/// How a process of ours ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum ExitCode {
    /// Stopped as it was told to.
    Stopped = 0,
    /// An address or the pid file could not be had, or the system failed.
    Failure = 1,
    /// A wrong command line or configuration.
    Configuration = 2,
    /// At the first start the workers did not come up, or they die again and again.
    Worker = 3,
    /// At the first start there was no snapshot: the database is unreachable or broken.
    Snapshot = 4,
    /// This program is wrong (EX_SOFTWARE).
    Panic = 70,
}
