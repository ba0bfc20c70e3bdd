//! The way from a request to its answer.

pub(in crate::worker) mod forwarded;
mod head;
pub(in crate::worker) mod listing;
mod params;
pub(in crate::worker) mod refusal;
pub(in crate::worker) mod request_id;
mod routes;
pub(in crate::worker) mod service;
pub(in crate::worker) mod snapshots;
mod trace_context;

use super::answer::error;
use crate::snapshot::Kind;

/// Reports whether a query string is answered with entities of `kind`, and not with an error.
pub fn accepts(kind: Kind, query_string: &str) -> bool {
    params::parse(kind, query_string).map(params::Question::query).is_ok()
}
