//! `avalonctl`: shows the state of a running `avalon-master`, and controls it.

use std::process::ExitCode;

use avalon::ctl::{self, Arguments};
use clap::Parser;

pub(crate) fn main() -> ExitCode {
    ctl::main(Arguments::parse()).into()
}
