//! The other body of `client`, without the feature `sentry`: it refuses every DSN, so nothing is ever
//! reported.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use hyper::header::HeaderMap;
use slog::Record;

use super::settings::{Lookup, SentryDsnError, SentrySettings};
use crate::telemetry::names::HostName;
use crate::telemetry::values::Values;

/// Refuses every DSN.
///
/// # Errors
/// In any case.
pub fn check_dsn(_: &str) -> Result<(), SentryDsnError> {
    Err(SentryDsnError::NotBuilt)
}

/// No hosts.
pub fn hosts(_: &SentrySettings) -> Vec<HostName> {
    Vec::new()
}

/// Starts nothing.
pub fn start(
    _: &SentrySettings,
    _process: &'static str,
    _generation: Option<u64>,
    _worker: Option<usize>,
    _: Lookup,
) -> SentryGuard {
    SentryGuard
}

/// Stores nothing.
pub fn start_aside(_: &SentrySettings) {}

/// Keeps nothing alive.
#[derive(Debug)]
#[must_use = "as with the feature `sentry`"]
pub struct SentryGuard;

/// No events.
#[derive(Debug)]
pub struct Laid {
    /// Always 0.
    pub dropped: u64,
}

impl Laid {
    /// Sends nothing.
    pub fn send(self) {}

    /// Always 0.
    pub fn count(&self) -> usize {
        0
    }
}

/// No events.
pub fn take_laid() -> Laid {
    Laid { dropped: 0 }
}

pub(in crate::telemetry) fn capture_record(_: &Record<'_>, _: &Values) {}

/// The description of a request, which nothing reads.
pub struct Description;

impl Description {
    /// Of any request.
    pub fn new(_method: &str, _target: &str, _: &HeaderMap, _tags: Vec<(&'static str, String)>) -> Self {
        Description
    }
}

/// Does `work` for a request.
///
/// # Errors
/// The value of a panic in it.
pub fn catch<T>(
    work: impl FnOnce() -> T,
    _describe: impl FnOnce() -> Description,
) -> Result<T, Box<dyn Any + Send>> {
    catch_unwind(AssertUnwindSafe(work))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dsn_is_refused_and_panics_are_caught() {
        let refused = check_dsn("https://geheim@h/1").unwrap_err().to_string();
        assert!(refused.contains("without Sentry") && !refused.contains("geheim"), "{refused}");
        let settings = SentrySettings { dsn: None, environment: String::new() };
        let _guard = start(&settings, "worker", None, None, Lookup::Known);
        let describe = || Description::new("GET", "/", &HeaderMap::new(), Vec::new());
        assert!(catch(|| panic!("broken"), describe).is_err());
        assert_eq!(catch(|| 5, describe).ok(), Some(5));
    }
}
