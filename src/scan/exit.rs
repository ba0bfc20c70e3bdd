//! The exit codes of a scan. Scripts and units rely on them.

use clap::ValueEnum;

use super::{Report, ScanError};

/// The outcome of a scan. The help of `avalon-scan` and its man page use these words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[repr(u8)]
pub enum Exit {
    /// The collection was stored, or nothing had changed.
    Done = 0,
    /// The database or the log failed, or another scan runs; the old collection is still there.
    /// With --reload also: the collection was stored, and the server could not load it.
    Failed = 1,
    /// The command line or the configuration is wrong, no folder is named at all, or PATH lies
    /// inside a folder of COLLECTION.
    Usage = 2,
    /// A PATH does not exist, is no folder or cannot be listed, or no audio was found
    /// anywhere; the old collection is still there.
    NothingToScan = 3,
    /// Too many songs would disappear, as when a disk is not mounted; the old collection is
    /// still there (--force or --expect-loss stores it all the same).
    TooMuchLost = 4,
    /// The collection was stored, but parts could not be reached; their songs stay as they were.
    Partial = 5,
}

impl Exit {
    /// Returns the exit code of the process.
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

impl From<&Report> for Exit {
    fn from(report: &Report) -> Exit {
        if report.unreachable > 0 { Exit::Partial } else { Exit::Done }
    }
}

impl From<&ScanError> for Exit {
    fn from(error: &ScanError) -> Exit {
        match error {
            ScanError::InsideCollection { .. } | ScanError::OutsideRoots { .. } | ScanError::Pattern(_) => {
                Exit::Usage
            }
            ScanError::Missing { .. }
            | ScanError::NotFolder { .. }
            | ScanError::Unreadable { .. }
            | ScanError::NothingReadable { .. } => Exit::NothingToScan,
            ScanError::TooMuchLost { .. } | ScanError::NothingThere { .. } => Exit::TooMuchLost,
            ScanError::Database(_)
            | ScanError::Unstorable { .. }
            | ScanError::Threads(_)
            | ScanError::Spool(_) => Exit::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scripts and systemd units rely on these numbers.
    #[test]
    fn exit_codes_stay() {
        use Exit::{Done, Failed, NothingToScan, Partial, TooMuchLost, Usage};
        let codes = [Done, Failed, Usage, NothingToScan, TooMuchLost, Partial];
        assert_eq!(codes.map(Exit::code), [0, 1, 2, 3, 4, 5]);
    }
}
