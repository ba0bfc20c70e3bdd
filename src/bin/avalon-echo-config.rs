//! `avalon-echo-config`: prints the default configuration with its documentation.

use std::io::{ErrorKind, Write, stdout};
use std::process::ExitCode;

use avalon::config::DEFAULT_TOML;
use clap::Parser;

/// Prints every setting with its default and its documentation, as a TOML file to start from.
#[derive(Parser)]
#[command(name = "avalon-echo-config", version)]
pub(crate) struct Arguments {}

fn main() -> ExitCode {
    Arguments::parse();
    match stdout().write_all(DEFAULT_TOML.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("avalon-echo-config: {error}");
            ExitCode::FAILURE
        }
    }
}
