//! Black-box tests: they start the real binaries.

#![allow(clippy::cast_possible_truncation, reason = "a test that cuts a number fails")]

mod absence;
mod acceptance;
mod blocking;
mod boot;
mod chaos;
mod clock;
mod config;
mod conformance;
mod containers;
mod control;
mod database;
mod deploy;
mod descriptors;
mod end_to_end;
mod failure;
mod fleet;
mod fronts;
mod fuzz;
mod generations;
mod harness;
mod hostile;
mod http;
mod migration;
mod names;
mod notify;
mod package;
mod page;
mod proxies;
mod publication;
mod readme;
mod release;
mod reload;
mod sandbox;
mod saved;
mod scan;
mod scan_every;
mod signals;
mod snapshot;
mod status;
mod systemd;
mod telemetry;
mod tidy;
mod upgrade;
mod workers;
