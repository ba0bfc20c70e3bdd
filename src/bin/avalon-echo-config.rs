//! `avalon-echo-config`: prints the default configuration, or converts a configuration of avalonms
//! or Gunicorn.

use std::process::ExitCode;

use avalon::config::echo::{self, Arguments};
use clap::Parser;

pub(crate) fn main() -> ExitCode {
    echo::main(&Arguments::parse()).into()
}
