//! Scans by the server itself (`SCAN_EVERY`): the child that scans, and when one does.

pub(crate) mod scanner;
pub(crate) mod schedule;
