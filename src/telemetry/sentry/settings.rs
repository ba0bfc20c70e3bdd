//! The settings of Sentry, and their faults.

use std::fmt;

/// A log record with this tag does not become an event, because its cause already is one: the record of a
/// caught panic. Used as in `error!(log, #REPORTED, "..")`.
pub const REPORTED: &str = "reported";

/// The settings of Sentry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentrySettings {
    /// `SENTRY_DSN`, which passed [`check_dsn`](super::check_dsn).
    pub dsn: Option<String>,
    /// `SENTRY_ENVIRONMENT`.
    pub environment: String,
}

/// How a process finds the addresses of hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// By asking name servers.
    Own,
    /// From [`names`](crate::telemetry::names).
    Known,
}

/// The reason to refuse a DSN. It holds no part of the DSN, which contains a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SentryDsnError {
    /// It is no URL.
    Url,
    /// The scheme is neither `http` nor `https`.
    Scheme,
    /// There is no key before the host.
    Key,
    /// There is no project after the host.
    Project,
    /// This program was built without the feature `sentry`.
    NotBuilt,
}

impl fmt::Display for SentryDsnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problem = match self {
            SentryDsnError::Url => "it is no URL with a host",
            SentryDsnError::Scheme => "its scheme is neither http nor https",
            SentryDsnError::Key => "it has no key before the host",
            SentryDsnError::Project => "it has no project after the host",
            SentryDsnError::NotBuilt => {
                return f.write_str(
                    "this program was built without Sentry (cargo feature `sentry`); leave it empty",
                );
            }
        };
        write!(f, "bad Sentry DSN (not shown), {problem}, expected https://KEY@HOST/PROJECT")
    }
}

impl std::error::Error for SentryDsnError {}
