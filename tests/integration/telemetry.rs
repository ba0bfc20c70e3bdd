//! The output of the processes beside answers: metrics, errors, log lines.

mod access;
mod alerts;
mod ingest;
mod log;
mod prometheus;
mod sentry;
mod statsd;
