//! Answers: their heads, their bodies, and the way they are sent.

pub(in crate::worker) mod body;
mod buffers;
pub(in crate::worker) mod canned;
pub(in crate::worker) mod compression;
pub(in crate::worker) mod cors;
pub(in crate::worker) mod date;
mod docs;
pub(in crate::worker) mod entity_tag;
pub(in crate::worker) mod error;
pub(in crate::worker) mod hex;
pub(in crate::worker) mod links;
pub(in crate::worker) mod list;
pub(in crate::worker) mod openapi;
mod piece;
pub(in crate::worker) mod response;
pub(in crate::worker) mod warning;
