//! Errors and panics of one process as events at Sentry. Without a DSN this does nothing.
//!
//! `client` has two bodies: the one with the crate `sentry`, and `absent` without the feature of this name.

#[cfg_attr(not(feature = "sentry"), path = "sentry/absent.rs")]
mod client;
mod settings;

pub(in crate::telemetry) use client::capture_record;
pub use client::{Description, Laid, SentryGuard, catch, check_dsn, hosts, start, start_aside, take_laid};
pub use settings::{Lookup, REPORTED, SentryDsnError, SentrySettings};
