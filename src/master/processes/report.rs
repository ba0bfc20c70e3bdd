//! The one report of a short-lived child: a line of JSON that waits in a pipe until the child has ended.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Most bytes of a report, which must fit into a pipe before the master reads it.
const REPORT_MAX: u64 = 64 * 1024;
/// Most characters of a reason in a report; each takes at most twelve bytes of JSON.
const REASON_MAX: usize = 2000;

/// The end of the pipe that the master keeps.
pub(crate) struct Awaited(OwnedFd);

/// The end that the child gets.
pub(crate) struct ReportTo(File);

/// Makes both ends of a report's pipe.
///
/// # Errors
/// The kernel's error.
pub(crate) fn report() -> io::Result<(Awaited, ReportTo)> {
    let (from, to) = pipe2(OFlag::O_CLOEXEC)?;
    Ok((Awaited(from), ReportTo(to.into())))
}

/// Cuts a reason so that it fits into a report.
pub(crate) fn short(reason: &str) -> String {
    reason.chars().take(REASON_MAX).collect()
}

impl ReportTo {
    /// Writes the report.
    ///
    /// # Errors
    /// The kernel's error with the pipe.
    pub(crate) fn send(mut self, report: &impl Serialize) -> io::Result<()> {
        self.0.write_all(&serde_json::to_vec(report)?)
    }
}

impl AsFd for ReportTo {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Awaited {
    /// The report of a child that has ended; `None` if it has sent none.
    pub(crate) fn receive<T: DeserializeOwned>(self) -> Option<T> {
        let mut report = Vec::new();
        File::from(self.0).take(REPORT_MAX).read_to_end(&mut report).ok()?;
        serde_json::from_slice(&report).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_arrives_as_it_was_sent() {
        let (awaited, to) = report().unwrap();
        to.send(&("\"a\"\n", 7)).unwrap();
        assert_eq!(awaited.receive(), Some(("\"a\"\n".to_owned(), 7)));
    }

    #[test]
    fn torn_report_is_none() {
        for torn in [&b""[..], b"{\"exit_code\":0,\"res"] {
            let (awaited, mut to) = report().unwrap();
            to.0.write_all(torn).unwrap();
            drop(to);
            assert_eq!(awaited.receive::<serde_json::Value>(), None);
        }
    }

    #[test]
    fn longest_reason_fits_into_a_pipe() {
        let reason = short(&"\u{1}".repeat(2 * REASON_MAX));
        assert_eq!(reason.len(), REASON_MAX);
        assert!((serde_json::to_vec(&reason).unwrap().len() as u64) < REPORT_MAX / 2);
    }
}
