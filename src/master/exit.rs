//! How the processes of a server end.

use clap::ValueEnum;

/// How a process of a server ends. The help of `avalon-master` and its man page say it in these words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[repr(u8)]
pub enum ExitCode {
    /// Stopped as told.
    Stopped = 0,
    /// An address or the pid file could not be had, or the system failed.
    Failure = 1,
    /// Wrong command line or configuration.
    Configuration = 2,
    /// The workers did not come up, or die again and again (MAX_FAILURES).
    Worker = 3,
    /// The collection could not be loaded: the database is unreachable or broken.
    Snapshot = 4,
    /// This program is wrong (EX_SOFTWARE).
    Panic = 70,
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        std::process::ExitCode::from(code as u8)
    }
}
