//! Errors of a master.

use std::fmt;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::cli::chain;
use crate::config::{BindAddress, ConfigError};
use crate::telemetry::LogError;

/// An error of the master. `Display` prints one level; `source` returns the cause.
#[derive(Debug)]
pub(crate) enum MasterError {
    /// The configuration is wrong.
    Configuration(ConfigError),
    /// A log file cannot be opened.
    Log {
        /// The setting that names the file.
        key: &'static str,
        /// The cause.
        source: LogError,
    },
    /// The process that writes a log file has not opened it.
    LogWriter {
        /// The setting that names the file.
        key: &'static str,
        /// The cause.
        problem: String,
    },
    /// The master cannot listen on an address.
    Listen {
        /// The address.
        address: BindAddress,
        /// The cause.
        source: io::Error,
    },
    /// The pid file cannot be written, or another master holds it.
    PidFile {
        /// The file.
        path: PathBuf,
        /// The cause.
        problem: String,
    },
    /// The control socket cannot be bound.
    Control {
        /// The socket.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// An environment variable names descriptors that this process does not have.
    PassedOn {
        /// The variable.
        variable: &'static str,
        /// The difference between the variable and the descriptors.
        problem: String,
    },
    /// The system refuses a signal handler, a pipe or shared memory.
    System {
        /// The sentence that names the consequence.
        what: &'static str,
        /// The kernel's error.
        source: io::Error,
    },
    /// No process can be started.
    Start(io::Error),
    /// The work of a child has failed, or this master refuses to begin it. The text gives the reason.
    Failed(String),
    /// A failure like [`MasterError::Failed`], whose cause may pass without an operator.
    Passing(Outlook, String),
}

impl fmt::Display for MasterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MasterError::Configuration(error) => error.fmt(f),
            MasterError::Log { key, .. } => f.write_str(key),
            MasterError::LogWriter { key, problem } => write!(f, "{key}: {problem}"),
            MasterError::Listen { address, .. } => write!(f, "cannot listen on {address}"),
            MasterError::PidFile { path, problem } => write!(f, "pid file {}: {problem}", path.display()),
            MasterError::Control { path, .. } => write!(f, "CONTROL {}", path.display()),
            MasterError::PassedOn { variable, problem } => write!(f, "{variable}: {problem}"),
            MasterError::System { what, .. } => f.write_str(what),
            MasterError::Start(error) => error.fmt(f),
            MasterError::Failed(reason) | MasterError::Passing(_, reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for MasterError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            MasterError::Configuration(error) => error.source(),
            MasterError::Log { source, .. } => Some(source),
            MasterError::Listen { source, .. }
            | MasterError::Control { source, .. }
            | MasterError::System { source, .. } => Some(source),
            MasterError::Start(error) => error.source(),
            MasterError::LogWriter { .. }
            | MasterError::PidFile { .. }
            | MasterError::PassedOn { .. }
            | MasterError::Failed(_)
            | MasterError::Passing(..) => None,
        }
    }
}

impl MasterError {
    fn outlook(&self) -> Outlook {
        match self {
            MasterError::Passing(outlook, _) => *outlook,
            // The kernel is short of processes, memory or descriptors.
            MasterError::System { .. } | MasterError::Start(_) => Outlook::Unreachable,
            _ => Outlook::Lasting,
        }
    }
}

impl From<io::Error> for MasterError {
    fn from(error: io::Error) -> Self {
        MasterError::Start(error)
    }
}

/// Whether the same work may succeed later without a change by an operator.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outlook {
    /// No: an operator must change something, such as a configuration, a password or a table.
    #[default]
    Lasting,
    /// At once: the work was interrupted.
    Interrupted,
    /// Yes, as soon as a service answers again or the system has the missing resource.
    Unreachable,
}

/// The text of an error, as children report it and as the log, systemd and operators see it. The arbiter
/// passes it on and never interprets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Reason {
    text: String,
    outlook: Outlook,
}

impl Reason {
    /// The text of an error that needs a change by an operator.
    pub fn new(text: impl Into<String>) -> Self {
        Reason { text: text.into(), outlook: Outlook::Lasting }
    }

    /// The same text with another outlook.
    pub fn with(self, outlook: Outlook) -> Self {
        Reason { outlook, ..self }
    }

    /// Whether the cause may pass.
    pub fn outlook(&self) -> Outlook {
        self.outlook
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl From<MasterError> for Reason {
    fn from(error: MasterError) -> Self {
        Reason::new(chain(&error)).with(error.outlook())
    }
}

impl From<io::Error> for Reason {
    fn from(error: io::Error) -> Self {
        Reason::from(MasterError::Start(error))
    }
}

impl From<String> for Reason {
    fn from(text: String) -> Self {
        Reason::new(text)
    }
}

impl From<Reason> for String {
    fn from(reason: Reason) -> Self {
        reason.text
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reason_names_what_failed_and_why() {
        let address: BindAddress = "127.0.0.1:80".parse().unwrap();
        let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
        for (error, text) in [
            (
                MasterError::Listen { address, source: denied() },
                "cannot listen on 127.0.0.1:80: permission denied",
            ),
            (
                MasterError::Control { path: "/run/a".into(), source: denied() },
                "CONTROL /run/a: permission denied",
            ),
            (MasterError::Start(denied()), "permission denied"),
            (MasterError::Failed("no database".to_owned()), "no database"),
        ] {
            assert_eq!(Reason::from(error).as_str(), text);
        }
    }
}
