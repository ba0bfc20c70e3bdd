//! The errors between a program and a store.

use std::{fmt, io};

/// The reason why a store refuses a request.
#[derive(Debug)]
pub enum StoreError {
    /// The store does not answer, its answer is cut short, or it reports trouble that passes.
    Unreachable(String),
    /// The store refuses.
    Refused(String),
    /// The store answers 501 to a request that has a condition.
    NoConditions,
    /// This program does not accept the server's certificate, for this reason.
    Certificate(String),
    /// The operating system refuses the store's folder or file.
    File(String, io::Error),
}

/// The reason why nothing was published or fetched. `Display` prints no secret.
#[derive(Debug)]
pub enum PublicationError {
    /// The store has failed.
    Store(StoreError),
    /// Nothing was published in this version of the format.
    Nothing(u32),
    /// The pointer is invalid; the text says why.
    Pointer(String),
    /// The object that the pointer names is missing.
    Missing(String),
    /// The object with this hash differs from the pointer's description; the text says how.
    Object(String, String),
    /// The pointer is older than that of the served snapshot.
    Behind {
        /// The counter of the pointer.
        found: u64,
        /// The counter of the served snapshot.
        served: u64,
    },
    /// Rows of the database serve, and all publications since then have older rows.
    NotRenewed {
        /// The revision of the published rows, if it is known.
        published: Option<u64>,
        /// The revision of the rows that serve.
        served: Option<u64>,
    },
    /// The store is read-only.
    ReadOnly,
    /// Other publishers were faster in every try.
    Busy,
    /// No publication with this hash is kept for a roll-back; the text lists those that are.
    Unknown(String),
    /// This machine cannot read or write the snapshot.
    Local(io::Error),
}

impl PublicationError {
    /// Whether a store did not answer.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, PublicationError::Store(StoreError::Unreachable(_)))
    }

    /// The error of the operating system on this machine.
    pub fn local(&self) -> Option<&io::Error> {
        match self {
            PublicationError::Local(error) => Some(error),
            _ => None,
        }
    }

    /// An error of reading a download or of writing its bytes.
    pub(super) fn of_copy(error: io::Error) -> PublicationError {
        match error.downcast::<PublicationError>() {
            Ok(error) => error,
            Err(error) => PublicationError::Local(error),
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Unreachable(reason) => write!(f, "the store does not answer: {reason}"),
            StoreError::Refused(reason) => write!(f, "the store refuses: {reason}"),
            StoreError::NoConditions => {
                f.write_str("the store refuses requests with conditions (If-Match, If-None-Match)")
            }
            StoreError::Certificate(reason) => {
                write!(f, "the certificate of the store's server is not accepted: {reason}")
            }
            StoreError::File(path, error) if error.kind() == io::ErrorKind::StorageFull => {
                write!(f, "{path}: {error}: make room there, and publish again")
            }
            StoreError::File(path, error) => write!(f, "{path}: {error}"),
        }
    }
}

impl fmt::Display for PublicationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Nothing(format) => write!(
                f,
                "nothing is published there in format {format} (v{format}/current.json), the one that this program \
                 reads; publish with `avalonctl publish --format {format}`"
            ),
            Self::Pointer(reason) => write!(f, "the pointer (current.json) is of no use: {reason}"),
            Self::Missing(hash) => {
                write!(f, "the published snapshot {hash} is missing; publish it again, or roll back")
            }
            Self::Object(hash, reason) => write!(
                f,
                "the published snapshot {hash} is of no use: {reason}; publish it again, or roll back"
            ),
            Self::Behind { found, served } => write!(
                f,
                "the store is behind: its pointer has counter {found}, and {served} is served already"
            ),
            Self::NotRenewed { published, served } => {
                let revision =
                    |of: &Option<u64>| of.map_or("unknown".to_owned(), |revision| revision.to_string());
                write!(
                    f,
                    "nothing new is published: the store has rows of revision {} of the database, and revision {} is \
                     served; publish with avalonctl publish",
                    revision(published),
                    revision(served)
                )
            }
            Self::ReadOnly => f.write_str("this store is read-only; publish to its file:// or s3:// URL"),
            Self::Busy => f.write_str("other publishers were faster in every try; try again"),
            Self::Unknown(known) => {
                write!(f, "the store keeps no such publication; a roll-back can return to: {known}")
            }
            Self::Local(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StoreError {}

impl std::error::Error for PublicationError {}

impl From<StoreError> for PublicationError {
    fn from(error: StoreError) -> Self {
        PublicationError::Store(error)
    }
}
