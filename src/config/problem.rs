//! The faults of one value; `ConfigError` adds the place.

use std::error::Error;
use std::{fmt, io};

use super::bind::AddressError;
use super::database_url::DatabaseUrlError;
use super::snapshot_url::SnapshotUrlError;
use crate::telemetry::sentry::SentryDsnError;
use crate::telemetry::{DateFormatError, FormatError};

/// The fault of a value. `Display` names it and the remedy; `source` has the cause.
#[derive(Debug)]
pub enum Problem {
    /// The value is of another type, out of its range, or not in the notation of its setting.
    Unexpected {
        /// The values that the setting takes.
        expected: Expected,
        /// The value in a form for messages: of a list only its type, as it may hold a secret.
        /// `None` if the message names the value already.
        got: Option<String>,
    },
    /// A text breaks a rule of its setting.
    Rule {
        /// The rule, as the words after "must".
        rule: &'static str,
        /// The text.
        got: String,
    },
    /// One text of a list is wrong.
    Item {
        /// The text.
        item: String,
        /// Its fault.
        problem: Box<Problem>,
    },
    /// A variable of the environment is not UTF-8.
    NotUtf8,
    /// A path begins with `~` and the name of a user.
    OtherHome(String),
    /// A path begins with `~`, and this process has no HOME.
    NoHome(String),
    /// A database URL is not understood.
    DatabaseUrl(DatabaseUrlError),
    /// The URL of a store of snapshots is not understood.
    SnapshotUrl(SnapshotUrlError),
    /// The path in a database URL begins with `~`.
    TildeInUrl,
    /// A pattern does not follow the syntax of `.gitignore`.
    Pattern(ignore::Error),
    /// An address to serve on is not understood.
    Address(AddressError),
    /// An address for metrics is also an address to serve on.
    AlsoInBind,
    /// The configuration asks for scans and names no folder.
    NothingToScan,
    /// A format of log lines is not understood.
    Format(FormatError),
    /// A format of times is not understood.
    DateFormat(DateFormatError),
    /// A Sentry DSN is not understood.
    SentryDsn(SentryDsnError),
    /// The machine has no such user or group.
    Missing(Principal, String),
    /// A user or group could not be looked up.
    LookUp {
        /// A user or a group.
        principal: Principal,
        /// The name or number.
        name: String,
        /// The system's error.
        source: io::Error,
    },
    /// The groups of a user could not be looked up.
    Groups(io::Error),
    /// Workers should run as another user or group, and the master may not change to it.
    NotRoot,
}

/// A user or a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Principal {
    /// A user.
    User,
    /// A group.
    Group,
}

/// The values that a setting takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Any text.
    Text,
    /// A list of texts.
    Texts,
    /// A whole number from the first to the second.
    Integer(i64, i64),
    /// True or false.
    Truth,
    /// A number of bytes, also with a unit.
    Bytes,
    /// Seconds from the first to the second, also with a unit, or 0.
    Interval(i64, i64),
    /// File mode bits.
    Mode,
    /// A level of the log.
    Level,
    /// The name of a header field.
    HeaderName,
    /// The kind of header field in which proxies name the client.
    ForwardedHeaders,
    /// An IP address.
    IpAddress,
    /// An IP address, a network, or all of them.
    Proxy,
    /// One address to serve on, or several.
    Addresses,
    /// A variable and its value.
    Variable,
}

impl Problem {
    /// Returns the fault that the setting does not take `value`, which the message repeats in
    /// quotes.
    pub(super) fn not(expected: Expected, value: &str) -> Problem {
        Problem::Unexpected { expected, got: Some(format!("{value:?}")) }
    }

    /// Returns the same fault for a message that names the value already.
    pub(super) fn no(expected: Expected) -> Problem {
        Problem::Unexpected { expected, got: None }
    }

    /// Returns the fault that `value` breaks the rule that it must ...
    pub(super) fn must(rule: &'static str, value: &str) -> Problem {
        Problem::Rule { rule, got: value.to_owned() }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Principal::User => "user",
            Principal::Group => "group",
        })
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Expected::Integer(least, most) => return write!(f, "a whole number from {least} to {most}"),
            Expected::Interval(least, most) => {
                return write!(
                    f,
                    "seconds from {least} to {most}, or a time as 45s, 30m, 1h or 1d, or 0 for never"
                );
            }
            Expected::Text => "a string",
            Expected::Texts => "a list of strings",
            Expected::Truth => "true or false",
            Expected::Bytes => "a number of bytes, as 536870912 or \"512M\"",
            Expected::Mode => "mode bits from 0o000 to 0o777",
            Expected::Level => "DEBUG, INFO, WARNING, ERROR or CRITICAL",
            Expected::HeaderName => "the name of a header field",
            Expected::ForwardedHeaders => "\"x-forwarded\" or \"forwarded\"",
            Expected::IpAddress => "an IP address",
            Expected::Proxy => "an IP address, a network such as 10.0.0.0/8, or \"*\" for all addresses",
            Expected::Addresses => "at least one address",
            Expected::Variable => "NAME=VALUE",
        })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Unexpected { expected, got: None } => write!(f, "expected {expected}"),
            Problem::Unexpected { expected, got: Some(got) } => write!(f, "expected {expected}, got {got}"),
            Problem::Rule { rule, got } => write!(f, "must {rule}, got {got:?}"),
            Problem::Item { item, problem } => write!(f, "{item:?}: {problem}"),
            Problem::NotUtf8 => f.write_str("is not UTF-8"),
            Problem::OtherHome(path) => write!(f, "{path:?}: only ~/ is expanded; write the whole path"),
            Problem::NoHome(path) => write!(f, "{path:?}: HOME is not set; write the whole path"),
            Problem::DatabaseUrl(error) => error.fmt(f),
            Problem::SnapshotUrl(error) => error.fmt(f),
            Problem::TildeInUrl => f.write_str("~ is not expanded in a URL; write sqlite:////absolute/path"),
            Problem::Pattern(_) => f.write_str("expected a pattern as in .gitignore"),
            Problem::Address(error) => error.fmt(f),
            Problem::AlsoInBind => f.write_str("is an address of BIND"),
            Problem::NothingToScan => f.write_str(
                "there is nothing to scan: COLLECTION names no folder; name one, or set SCAN_EVERY to 0",
            ),
            Problem::Format(error) => error.fmt(f),
            Problem::DateFormat(error) => error.fmt(f),
            Problem::SentryDsn(error) => error.fmt(f),
            Problem::Missing(principal, name) => write!(f, "there is no {principal} {name:?}"),
            Problem::LookUp { principal, name, .. } => {
                write!(f, "{principal} {name:?} could not be looked up")
            }
            Problem::Groups(error) => error.fmt(f),
            Problem::NotRoot => f.write_str("changing user or group needs a master started as root"),
        }
    }
}

impl Error for Problem {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Problem::Item { problem, .. } => problem.source(),
            Problem::Pattern(error) => Some(error),
            Problem::LookUp { source, .. } => Some(source),
            // The text of the problem includes theirs, so only their own sources are causes.
            Problem::DatabaseUrl(error) => error.source(),
            Problem::SnapshotUrl(error) => error.source(),
            Problem::Address(error) => error.source(),
            Problem::Format(error) => error.source(),
            Problem::DateFormat(error) => error.source(),
            Problem::SentryDsn(error) => error.source(),
            Problem::Groups(error) => error.source(),
            Problem::Unexpected { .. }
            | Problem::Rule { .. }
            | Problem::NotUtf8
            | Problem::OtherHome(_)
            | Problem::NoHome(_)
            | Problem::TildeInUrl
            | Problem::AlsoInBind
            | Problem::NothingToScan
            | Problem::Missing(..)
            | Problem::NotRoot => None,
        }
    }
}

impl From<DatabaseUrlError> for Problem {
    fn from(error: DatabaseUrlError) -> Self {
        Problem::DatabaseUrl(error)
    }
}

impl From<SnapshotUrlError> for Problem {
    fn from(error: SnapshotUrlError) -> Self {
        Problem::SnapshotUrl(error)
    }
}

impl From<AddressError> for Problem {
    fn from(error: AddressError) -> Self {
        Problem::Address(error)
    }
}

impl From<FormatError> for Problem {
    fn from(error: FormatError) -> Self {
        Problem::Format(error)
    }
}

impl From<DateFormatError> for Problem {
    fn from(error: DateFormatError) -> Self {
        Problem::DateFormat(error)
    }
}

impl From<SentryDsnError> for Problem {
    fn from(error: SentryDsnError) -> Self {
        Problem::SentryDsn(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::chain;

    #[test]
    fn causes_stand_behind_the_problem_and_once() {
        let gone = || io::Error::other("the directory is gone");
        let pattern = ignore::gitignore::GitignoreBuilder::new("/").add_line(None, "[z-a]").map(|_| ());
        let pattern = Problem::Pattern(pattern.unwrap_err());
        let item = Problem::Item { item: "[z-a]".to_owned(), problem: Box::new(pattern) };
        assert!(chain(&item).starts_with("\"[z-a]\": expected a pattern as in .gitignore: "), "{item:?}");
        let name = "music".to_owned();
        let look_up = Problem::LookUp { principal: Principal::Group, name, source: gone() };
        assert_eq!(chain(&look_up), "group \"music\" could not be looked up: the directory is gone");
        assert_eq!(chain(&Problem::Groups(gone())), "the directory is gone");
        let url = Problem::from(super::super::DatabaseUrl::parse("x").unwrap_err());
        assert_eq!(chain(&url), url.to_string());
    }
}
