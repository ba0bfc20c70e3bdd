//! Black-box tests: they start the real binaries.

mod boot;
mod conformance;
mod database;
mod failure;
mod harness;
mod hostile;
mod http;
mod scan;
mod telemetry;
mod tidy;
mod workers;
