//! Addresses, and how they pass from one master to the next. In order of use: paths, listeners, the letter that
//! describes them, the things that a start inherits, the second execution of the program, and the masters beside
//! this one.

pub(crate) mod inherited;
pub(crate) mod invocation;
pub(crate) mod letter;
pub(crate) mod listeners;
pub(crate) mod parent;
pub(crate) mod paths;
pub(crate) mod succession;
