//! `avalon-echo-config`: prints the default configuration, or a former one as one of this program.

use std::process::ExitCode;

use avalon::config::echo::{self, Arguments};
use clap::Parser;

pub(crate) fn main() -> ExitCode {
    echo::main(&Arguments::parse()).into()
}
