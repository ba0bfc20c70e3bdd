//! Black-box tests: they start the real binaries.

mod boot;
mod conformance;
mod control;
mod database;
mod failure;
mod harness;
mod hostile;
mod http;
mod notify;
mod reload;
mod scan;
mod status;
mod systemd;
mod telemetry;
mod tidy;
mod upgrade;
mod workers;
