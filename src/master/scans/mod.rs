//! Scans by the server itself.

pub(crate) mod scanner;
pub(crate) mod scans;
