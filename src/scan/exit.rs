//! What a scan says by its exit code, as scripts and units rely on it.

use super::{Report, ScanError};

/// How a scan ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// The collection was stored.
    Done = 0,
    /// The database or the log could not be written, another scan runs, or the server did not
    /// load what was stored.
    Failed = 1,
    /// The command line or the configuration is wrong. clap ends with the same number.
    Usage = 2,
    /// There was nothing to read.
    NothingToScan = 3,
    /// Too many songs would have disappeared.
    TooMuchLost = 4,
    /// The collection was stored, but parts of it could not be reached.
    Partial = 5,
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
        assert_eq!(codes.map(|exit| exit as u8), [0, 1, 2, 3, 4, 5]);
    }
}
