//! The collection as one immutable, memory-mapped, queryable object.
//!
//! Five modules work on it: [`mod@build`] makes its bytes from rows, [`merge`] makes them from the changes to
//! a former snapshot, [`mod@format`] specifies them, [`open`] maps and checks them, and [`query`] answers
//! questions. [`inspect`] reports on all of it.

pub mod build;
pub mod format;
pub mod inspect;
pub mod merge;
pub mod open;
pub mod query;

pub use build::{build, build_as};
pub use format::{LIST_HEAD, LIST_TAIL, VERSION, VERSIONS};
pub use open::{Identity, Mapping, OpenError, Packing, Passing, Snapshot, Verify, storage};
pub use query::{Filter, Page, Query, Selection, SongCounts, beginnings};

pub use crate::api::{Direction, Field};
pub use crate::model::{Kind, Owner};

#[cfg(test)]
mod tests;
