//! The errors of a merge.

use std::{fmt, io};

use crate::snapshot::build::BuildError;

/// Why a merge has failed.
#[derive(Debug)]
pub enum MergeError {
    /// The changes do not fit the old snapshot: a song has an owner that is not there, or two rows have one id.
    Torn,
    /// As for a build.
    Build(BuildError),
}

impl fmt::Display for MergeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MergeError::Torn => f.write_str("the changes do not fit the rows that are served"),
            MergeError::Build(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for MergeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            MergeError::Torn => None,
            MergeError::Build(error) => error.source(),
        }
    }
}

impl From<BuildError> for MergeError {
    fn from(error: BuildError) -> Self {
        MergeError::Build(error)
    }
}

impl From<io::Error> for MergeError {
    fn from(error: io::Error) -> Self {
        MergeError::Build(error.into())
    }
}
