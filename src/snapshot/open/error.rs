//! The reasons why bytes are no snapshot.

use std::fmt;

use crate::model::Kind;
use crate::snapshot::format::{Column, VERSION};

/// Bytes that are no snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenError {
    /// The bytes are fewer than a header has.
    TooShort {
        /// Their number.
        len: usize,
    },
    /// The bytes are something else, or a transfer as text has damaged them.
    Magic,
    /// Another version of the program has written them.
    Version {
        /// The version found.
        found: u32,
    },
    /// The snapshot is cut short, or something follows its end.
    Length {
        /// The bytes that the header promises.
        expected: u64,
        /// The bytes that are there.
        actual: u64,
    },
    /// Bytes have changed since the snapshot was written.
    Checksum,
    /// The hash in the header is not that of the content, although no byte has changed: the program that
    /// wrote the snapshot has a bug.
    Hash,
    /// A section is missing, is in the wrong place, or has wrong content.
    Section {
        /// The kind of entity that the section belongs to.
        kind: Kind,
        /// The section.
        column: String,
        /// The fault.
        problem: &'static str,
    },
    /// The section table lies outside of the snapshot.
    Table,
}

impl OpenError {
    pub(super) fn of(kind: Kind, column: Column, problem: &'static str) -> OpenError {
        OpenError::Section { kind, column: format!("{column:?}"), problem }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::TooShort { len } => write!(f, "{len} bytes are less than a snapshot's header"),
            OpenError::Magic => f.write_str("this is no snapshot (wrong first bytes)"),
            OpenError::Version { found } => {
                write!(f, "the snapshot has format version {found}, this program reads {VERSION}")
            }
            OpenError::Length { expected, actual } => {
                write!(f, "the snapshot should have {expected} bytes but has {actual}")
            }
            OpenError::Checksum => f.write_str("the snapshot's bytes do not have the checksum in its header"),
            OpenError::Hash => f.write_str("the snapshot's content does not have the hash in its header"),
            OpenError::Section { kind, column, problem } => {
                write!(f, "snapshot section {} {column}: {problem}", kind.plural())
            }
            OpenError::Table => f.write_str("the snapshot's section table lies outside of it"),
        }
    }
}

impl std::error::Error for OpenError {}
