//! What leaves the processes beside answers: metrics, errors, log lines.

mod ingest;
mod log;
mod prometheus;
mod sentry;
mod statsd;
