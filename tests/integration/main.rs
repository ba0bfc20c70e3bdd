//! Black-box tests: they start the real binaries.

mod boot;
mod conformance;
mod database;
mod failure;
mod generations;
mod harness;
mod http;
mod scan;
mod signals;
mod status;
mod telemetry;
mod tidy;
mod workers;
