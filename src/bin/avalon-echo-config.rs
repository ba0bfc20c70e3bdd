//! `avalon-echo-config`: prints the default configuration with its documentation, or a
//! configuration of avalonms' or Gunicorn's as ours.

use std::io::{ErrorKind, Write, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use avalon::config::DEFAULT_TOML;
use avalon::config::migration::{Secrets, from_python};
use clap::{Parser, ValueHint};

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 some lines of FILE could not be taken over (comments in what is printed say \
which) or nothing could be printed, 2 wrong command line, or FILE cannot be read.";

/// Prints every setting with its default and its documentation, as a TOML file to start from.
#[derive(Parser)]
#[command(name = "avalon-echo-config", version, after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    /// Print the settings of this Python file (of avalonms or Gunicorn) as TOML instead, with the
    /// secrets in it. The file is read, never executed
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    from: Option<PathBuf>,
}

fn main() -> ExitCode {
    match Arguments::parse().from {
        None => print(DEFAULT_TOML),
        Some(file) => convert(&file),
    }
}

fn convert(file: &Path) -> ExitCode {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => {
            eprintln!("avalon-echo-config: {}: {error}", file.display());
            return ExitCode::from(2);
        }
    };
    let converted = from_python(&text, Secrets::Shown);
    let printed = print(&format!("# Made of {} by avalon-echo-config.\n{}", file.display(), converted.toml));
    if converted.open == 0 {
        return printed;
    }
    eprintln!(
        "avalon-echo-config: {} statements of {} could not be taken over; see the comments",
        converted.open,
        file.display()
    );
    ExitCode::FAILURE
}

fn print(text: &str) -> ExitCode {
    match stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("avalon-echo-config: {error}");
            ExitCode::FAILURE
        }
    }
}
