//! The exit codes of `avalonctl`. Scripts and units rely on them.

use std::process::ExitCode;

use clap::ValueEnum;

/// The outcome of the program.
#[derive(Debug, Clone, Copy, ValueEnum)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// The master or the store refuses, the reload has failed, the snapshot is of no use or the servers differ (it
    /// says why).
    Failed = 1,
    /// Wrong command line or configuration.
    Usage = 2,
    /// No master, store or database answers.
    NoAnswer = 3,
    /// The database did not have the rows of --revision in time.
    Late = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}
