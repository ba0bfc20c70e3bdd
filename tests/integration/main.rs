//! Black-box tests: they start the real binaries.

mod boot;
mod database;
mod harness;
mod scan;
mod tidy;
