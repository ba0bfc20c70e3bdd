//! Addresses, and how they pass from one master to the next.

pub(crate) mod inherited;
pub(crate) mod listeners;
pub(crate) mod parent;
pub(crate) mod succession;
