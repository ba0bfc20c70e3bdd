//! The reasons why a log cannot be written.

use std::path::PathBuf;
use std::{fmt, io};

use super::date::DateFormatError;

/// The reason why a log cannot be started or reopened. The system's error is part of the text, not
/// a source: after a USR1 only the text reaches the log.
#[derive(Debug)]
pub enum LogError {
    /// The file cannot be opened for appending.
    Open {
        /// `LOG_PATH`.
        path: PathBuf,
        /// The system's error.
        reason: io::Error,
    },
    /// `LOG_DATE_FORMAT` is not understood.
    DateFormat {
        /// `LOG_DATE_FORMAT`.
        format: String,
        /// The fault of the format.
        reason: DateFormatError,
    },
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogError::Open { path, reason } => {
                write!(f, "cannot append to the log file {}: {reason}", path.display())
            }
            LogError::DateFormat { format, reason } => write!(f, "bad date format {format:?}: {reason}"),
        }
    }
}

impl std::error::Error for LogError {}
