//! The reasons why a snapshot could not be built.

use std::fmt;
use std::io;

use crate::model::Kind;
use crate::rows::scratch::ScratchError;
use crate::snapshot::format::ENTITIES_MAX;

/// A snapshot that could not be built.
#[derive(Debug)]
pub enum BuildError {
    /// The bytes could not be written; memory or disk may be full.
    Write(io::Error),
    /// The temporary files of the build cannot be written.
    Scratch(ScratchError),
    /// There are more entities than an index can tell apart.
    TooMany {
        /// Their kind.
        kind: Kind,
        /// Their number.
        count: usize,
    },
    /// The offsets in a name do not fit into 32 bits.
    NameTooLong {
        /// Bytes of its search form.
        len: usize,
    },
}

impl BuildError {
    /// Refuses more entities of `kind` than a snapshot holds.
    pub(in crate::snapshot) fn check_count(kind: Kind, count: usize) -> Result<(), BuildError> {
        if count > ENTITIES_MAX {
            return Err(BuildError::TooMany { kind, count });
        }
        Ok(())
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BuildError::Write(_) => f.write_str("the snapshot could not be written"),
            BuildError::Scratch(error) => error.fmt(f),
            BuildError::TooMany { kind, count } => {
                write!(f, "{count} {} are more than a snapshot holds ({ENTITIES_MAX})", kind.plural())
            }
            BuildError::NameTooLong { len } => write!(f, "a name of {len} bytes is longer than 4 GiB"),
        }
    }
}

impl std::error::Error for BuildError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            BuildError::Write(source) => Some(source),
            BuildError::Scratch(error) => Some(&error.source),
            BuildError::TooMany { .. } | BuildError::NameTooLong { .. } => None,
        }
    }
}

impl From<io::Error> for BuildError {
    fn from(error: io::Error) -> Self {
        BuildError::Write(error)
    }
}

impl From<ScratchError> for BuildError {
    fn from(error: ScratchError) -> Self {
        BuildError::Scratch(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Owner;

    #[test]
    fn too_many_entities_are_refused_by_kind() {
        assert!(BuildError::check_count(Kind::Song, ENTITIES_MAX).is_ok());
        let error = BuildError::check_count(Kind::Of(Owner::Album), ENTITIES_MAX + 1).unwrap_err();
        assert_eq!(error.to_string(), "4294967295 albums are more than a snapshot holds (4294967294)");
    }
}
