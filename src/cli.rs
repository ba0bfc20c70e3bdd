//! What all programs print in the same way: an error with its causes, and their output.

use std::error::Error;
use std::io::{self, ErrorKind, Write, stdout};

/// An error with its causes, in one line.
pub fn chain(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}

/// Writes `text` to standard output. A reader that has seen enough and closed the pipe is a success.
///
/// # Errors
/// What the kernel says about standard output, a closed pipe aside.
pub fn print(text: &str) -> io::Result<()> {
    match stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_follow_their_error() {
        let inner = "x".parse::<u8>().unwrap_err();
        assert_eq!(chain(&inner), inner.to_string());
        let outer = io::Error::other(inner.clone());
        let outer = crate::control::ControlError::Connection { path: "/run/a".into(), source: outer };
        assert_eq!(chain(&outer), format!("{outer}: {inner}"));
    }
}
