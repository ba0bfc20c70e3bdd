//! Black-box tests: they start the real binaries.

mod database;
mod harness;
mod scan;
