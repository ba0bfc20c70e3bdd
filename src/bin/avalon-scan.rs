//! `avalon-scan`: reads the tags of a music collection and stores them.

use std::process::ExitCode;

use avalon::scan::command::{self, Arguments};
use clap::Parser;

pub(crate) fn main() -> ExitCode {
    command::main(&Arguments::parse()).into()
}
