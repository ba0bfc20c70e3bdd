//! Scans by the server itself (`SCAN_EVERY`): the child that scans, and the schedule.

pub(crate) mod scanner;
pub(crate) mod schedule;
