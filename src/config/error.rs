//! The faults of a configuration, and their places.

use std::fmt;
use std::path::PathBuf;

use super::problem::Problem;

/// The source of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The embedded `config/default.toml`.
    Default,
    /// A line, counted from 1, of a configuration file.
    File(PathBuf, usize),
    /// An environment variable.
    Environment(String),
    /// A flag of the command line.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(path, line) => write!(f, "{}:{line}", path.display()),
            Origin::Environment(name) => write!(f, "environment variable {name}"),
            Origin::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// A configuration that cannot be used.
#[derive(Debug)]
pub enum ConfigError {
    /// The file could not be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The source of its name.
        named_by: Origin,
        /// The system's error.
        source: std::io::Error,
    },
    /// The file is not valid TOML.
    Syntax {
        /// File and line.
        origin: Origin,
        /// The message of the parser.
        message: String,
    },
    /// The file is Python, as for avalonms and Gunicorn.
    Python {
        /// The file.
        path: PathBuf,
        /// The file converted to TOML, without secrets.
        toml: String,
    },
    /// Flags in the environment.
    Arguments {
        /// The variable that holds them.
        variable: &'static str,
        /// The fault.
        problem: ArgumentsProblem,
    },
    /// A key that does not exist.
    UnknownKey {
        /// The place of the key.
        origin: Origin,
        /// The key.
        key: String,
        /// The most similar key that exists.
        nearest: Option<&'static str>,
    },
    /// A value of the wrong type or out of range.
    Value {
        /// The place of the value.
        origin: Origin,
        /// Its key.
        key: &'static str,
        /// The fault.
        problem: Box<Problem>,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Unreadable { path, named_by, .. } => {
                write!(f, "{named_by} names {}, which cannot be read", path.display())
            }
            ConfigError::Syntax { origin, message } => write!(f, "{origin}: {message}"),
            ConfigError::Python { path, toml } => {
                let path = path.display();
                write!(
                    f,
                    "{path}: this is Python, as avalonms and Gunicorn read it; here settings are TOML. \
                     `avalon-echo-config --from {path} > avalon.toml` writes them, with all secrets:\n\n{toml}"
                )
            }
            ConfigError::Arguments { variable, problem } => {
                write!(f, "environment variable {variable}: {problem}")
            }
            ConfigError::UnknownKey { origin, key, nearest } => {
                write!(f, "{origin}: unknown key {key:?}")?;
                match nearest {
                    Some(name) => write!(f, "; did you mean {name}?"),
                    None => f.write_str("; avalon-echo-config prints all that exist"),
                }
            }
            ConfigError::Value { origin, key, problem } => write!(f, "{origin}: {key}: {problem}"),
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ConfigError::Unreadable { source, .. } => Some(source),
            // The text of this error already includes the problem.
            ConfigError::Value { problem, .. } => problem.source(),
            ConfigError::Syntax { .. }
            | ConfigError::Python { .. }
            | ConfigError::Arguments { .. }
            | ConfigError::UnknownKey { .. } => None,
        }
    }
}

/// A fault of flags in the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArgumentsProblem {
    /// The variable is not UTF-8.
    NotUtf8,
    /// A backslash at the end.
    Backslash,
    /// This quote is never closed.
    Quote(char),
    /// The message of the command line's parser, in one line.
    Flags(String),
}

impl fmt::Display for ArgumentsProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ArgumentsProblem::NotUtf8 => f.write_str("is not UTF-8"),
            ArgumentsProblem::Backslash => f.write_str("ends in a backslash"),
            ArgumentsProblem::Quote(quote) => write!(f, "the quote {quote} has no end"),
            ArgumentsProblem::Flags(said) => f.write_str(said),
        }
    }
}

impl std::error::Error for ArgumentsProblem {}
