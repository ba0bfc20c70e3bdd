//! What all programs print in the same way: an error with its causes, and their output.

use std::error::Error;
use std::io::{self, ErrorKind, Write, stdout};

use clap::ValueEnum;

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

/// The end of a program's help: its exit codes, a line each, in the words of the documentation of `E`.
pub fn exit_codes<E: ValueEnum>(number: impl Fn(&E) -> u8) -> String {
    let line = |code: &E| {
        let documented = code.to_possible_value()?;
        let text = documented.get_help()?.to_string();
        let mut letters = text.chars();
        let first = letters.next()?.to_lowercase();
        Some(format!("\n  {:<2} {first}{}", number(code), letters.as_str()))
    };
    "Exit codes:".to_owned() + &E::value_variants().iter().filter_map(line).collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, ValueEnum)]
    enum Code {
        /// All is well.
        Done = 0,
        /// This program
        /// is wrong (EX_SOFTWARE).
        Panic = 70,
    }

    #[test]
    fn exit_codes_are_told_in_the_words_of_their_documentation() {
        let text = exit_codes(|code: &Code| code.clone() as u8);
        assert_eq!(text, "Exit codes:\n  0  all is well\n  70 this program is wrong (EX_SOFTWARE)");
    }

    #[test]
    fn causes_follow_their_error() {
        let inner = "x".parse::<u8>().unwrap_err();
        assert_eq!(chain(&inner), inner.to_string());
        let outer = io::Error::other(inner.clone());
        let outer = crate::control::ControlError::Connection { path: "/run/a".into(), source: outer };
        assert_eq!(chain(&outer), format!("{outer}: {inner}"));
    }
}
