//! Output that all programs print in the same way: errors with their causes, text, and exit codes in help.

use std::error::Error;
use std::io::{self, ErrorKind, Write, stdout};

use clap::ValueEnum;

/// Most columns of a line of help.
const HELP_COLUMNS: usize = 96;

/// An error with its causes, in one line.
pub fn chain(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}

/// Writes `text` to standard output. A pipe that the reader has closed counts as success.
///
/// # Errors
/// The error of writing to standard output; a closed pipe is not an error.
pub fn print(text: &str) -> io::Result<()> {
    match stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// The end of a program's help: its exit codes, in the words of the documentation of `E`.
pub fn exit_codes<E: ValueEnum>(number: impl Fn(&E) -> u8) -> String {
    let entry = |code: &E| {
        let documented = code.to_possible_value()?;
        let text = documented.get_help()?.to_string();
        let mut letters = text.chars();
        let first = letters.next()?.to_lowercase();
        Some(format!("\n  {:<5}{}", number(code), folded(&format!("{first}{}", letters.as_str()), 7)))
    };
    "Exit codes:".to_owned() + &E::value_variants().iter().filter_map(entry).collect::<String>()
}

/// Folds `text` into lines that begin in the column `indent`; the caller writes the indent of the first line.
fn folded(text: &str, indent: usize) -> String {
    let mut lines = String::new();
    let mut column = indent;
    for word in text.split_whitespace() {
        let len = word.chars().count();
        if column > indent && column + 1 + len > HELP_COLUMNS {
            lines += &format!("\n{:indent$}", "");
            column = indent;
        } else if column > indent {
            lines.push(' ');
            column += 1;
        }
        lines += word;
        column += len;
    }
    lines
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
        assert_eq!(text, "Exit codes:\n  0    all is well\n  70   this program is wrong (EX_SOFTWARE)");
    }

    #[test]
    fn long_texts_are_folded() {
        let word = "x".repeat(40);
        assert_eq!(folded(&format!("{word} {word} {word}"), 7), format!("{word} {word}\n       {word}"));
        assert_eq!(folded(&"y".repeat(200), 7), "y".repeat(200));
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
