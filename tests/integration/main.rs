//! Black-box tests: they start the real binaries.

mod acceptance;
mod boot;
mod chaos;
mod config;
mod conformance;
mod control;
mod database;
mod end_to_end;
mod failure;
mod fuzz;
mod generations;
mod harness;
mod hostile;
mod http;
mod notify;
mod reload;
mod saved;
mod scan;
mod signals;
mod snapshot;
mod status;
mod systemd;
mod telemetry;
mod tidy;
mod upgrade;
mod workers;
