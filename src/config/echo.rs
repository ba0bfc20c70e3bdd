//! The program `avalon-echo-config`: prints the default configuration with its documentation, or a
//! configuration of avalonms or Gunicorn as one of this program.

use std::path::{Path, PathBuf};

use clap::{Parser, ValueEnum, ValueHint};

use super::migration::{Secrets, from_python};
use super::settings::DEFAULT_TOML;
use crate::cli::{exit_codes, print};

/// The outcome of the program. Its help uses these words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[repr(u8)]
pub enum Exit {
    /// Everything was printed.
    Done = 0,
    /// Some lines of FILE could not be taken over (comments in the output say which), or
    /// nothing could be printed.
    Failed = 1,
    /// The command line is wrong, or FILE cannot be read.
    Usage = 2,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        (exit as u8).into()
    }
}

/// Prints every setting with its default and its documentation, as a TOML file to start from.
#[derive(Debug, Parser)]
#[command(name = "avalon-echo-config", version, after_help = exit_codes(|exit: &Exit| *exit as u8))]
pub struct Arguments {
    /// Print the settings of this Python file (of avalonms or Gunicorn) as TOML instead, with the
    /// secrets in it. The file is read, never executed
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    from: Option<PathBuf>,
}

/// Runs the program.
pub fn main(arguments: &Arguments) -> Exit {
    match &arguments.from {
        None => printed(DEFAULT_TOML),
        Some(file) => convert(file),
    }
}

fn convert(file: &Path) -> Exit {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => {
            say(&format!("{}: {error}", file.display()));
            return Exit::Usage;
        }
    };
    let converted = from_python(&text, Secrets::Shown);
    let exit = printed(&format!("# Made of {} by avalon-echo-config.\n{}", file.display(), converted.toml));
    if converted.open == 0 {
        return exit;
    }
    let file = file.display();
    say(&format!("{} statements of {file} could not be taken over; see the comments", converted.open));
    Exit::Failed
}

fn printed(text: &str) -> Exit {
    match print(text) {
        Ok(()) => Exit::Done,
        Err(error) => {
            say(&error.to_string());
            Exit::Failed
        }
    }
}

fn say(text: &str) {
    eprintln!("avalon-echo-config: {text}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn arguments_are_well_defined() {
        Arguments::command().debug_assert();
    }
}
