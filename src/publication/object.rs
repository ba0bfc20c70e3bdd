//! A published snapshot.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::PublicationError;
use crate::snapshot::Identity;

/// Bytes of the smallest snapshot, and of the largest one that a server fetches.
const LENGTH: std::ops::RangeInclusive<u64> = 64..=1 << 42;
/// Largest ratio of a snapshot's length to that of its compressed form: lists of equal names compress best.
const RATIO_MAX: u64 = 4096;

/// A published snapshot, as the pointer describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// The hash of its content, which names it.
    #[serde(serialize_with = "as_hex", deserialize_with = "of_hex")]
    pub hash: u128,
    /// The XXH3-128 checksum in its header, over all of its bytes.
    #[serde(serialize_with = "as_hex", deserialize_with = "of_hex")]
    pub checksum: u128,
    /// Its bytes.
    pub length: u64,
    /// The bytes of its compressed form.
    pub compressed_length: u64,
    /// The number of its songs.
    pub songs: u64,
    /// The time of its publication, in seconds since 1970.
    pub created: u64,
}

fn as_hex<S: Serializer>(number: &u128, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{number:032x}"))
}

/// Exactly 32 digits, in lower case: they become a part of a file name.
fn of_hex<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
    let text = String::deserialize(deserializer)?;
    let is_hex = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let number = is_hex.then(|| u128::from_str_radix(&text, 16).ok()).flatten();
    number.ok_or_else(|| serde::de::Error::custom("a hash must have 32 hexadecimal digits"))
}

/// The prefix of the names of all objects of a version of the format.
pub(super) fn prefix(format: u32) -> String {
    format!("v{format}/")
}

/// The suffix of the name of an object.
const SUFFIX: &str = ".snapshot.zst";

/// The name of the object with this hash, in this version of the format.
pub(super) fn key(format: u32, hash: u128) -> String {
    format!("{}{hash:032x}{SUFFIX}", prefix(format))
}

/// The hash in the name of an object; `None` for the name of something else.
pub(super) fn hash_of(key: &str) -> Option<u128> {
    let hash = key.rsplit('/').next()?.strip_suffix(SUFFIX)?;
    u128::from_str_radix(hash, 16).ok().filter(|number| format!("{number:032x}") == hash)
}

impl Object {
    /// The hash, as messages show it.
    pub fn name(&self) -> String {
        format!("{:032x}", self.hash)
    }

    /// An error about this object.
    pub(super) fn wrong(&self, reason: impl Into<String>) -> PublicationError {
        PublicationError::Object(self.name(), reason.into())
    }

    /// Refuses lengths that no snapshot has.
    pub(super) fn check(&self) -> Result<(), PublicationError> {
        let most = self.compressed_length.saturating_mul(RATIO_MAX);
        match LENGTH.contains(&self.length) && self.length <= most {
            true => Ok(()),
            false => Err(PublicationError::Pointer(format!(
                "a snapshot of {} bytes cannot come of {} compressed bytes",
                self.length, self.compressed_length
            ))),
        }
    }

    /// Whether the header of a snapshot is the one that this object describes.
    pub(super) fn is(&self, identity: &Identity) -> bool {
        (self.hash, self.checksum, self.length) == (identity.hash, identity.checksum, identity.length)
    }
}
