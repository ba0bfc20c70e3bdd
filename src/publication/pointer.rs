//! The pointer to the snapshot that serves: `v2/current.json`.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::error::PublicationError;
use super::object::{Object, prefix};

/// Most bytes of a pointer.
pub(super) const POINTER_LEN_MAX: u64 = 64 * 1024;
/// The number of publications in a pointer, including the one that serves.
pub(super) const KEPT: usize = 5;

/// The snapshot that serves, and those before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pointer {
    /// Grows with each publication and each return to a former one.
    pub counter: u64,
    /// The snapshot that serves.
    #[serde(flatten)]
    pub object: Object,
    /// The greatest revision of a database among the publications; a publication with an older one is
    /// dropped. `None` if no revision was known.
    #[serde(default)]
    pub revision: Option<u64>,
    /// Former publications to which an operator can return, the last one first.
    #[serde(default)]
    pub former: Vec<Object>,
}

/// The name of the pointer to snapshots of this version of the format.
pub(super) fn pointer_key(format: u32) -> String {
    format!("{}current.json", prefix(format))
}

/// Seconds since 1970.
pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl Pointer {
    /// Reads a pointer.
    pub(super) fn parse(bytes: &[u8]) -> Result<Pointer, PublicationError> {
        if bytes.len() as u64 >= POINTER_LEN_MAX {
            return Err(PublicationError::Pointer(format!("it has {POINTER_LEN_MAX} bytes or more")));
        }
        let pointer: Pointer = serde_json::from_slice(bytes)
            .map_err(|error| PublicationError::Pointer(format!("it is none of this program's: {error}")))?;
        pointer.object.check()?;
        Ok(pointer)
    }

    /// The pointer as the store holds it.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        // This cannot fail, as the pointer holds only numbers and texts.
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }

    /// The pointer that follows `before`, with this object. The counter is never below the clock, so it grows
    /// even if a pointer was lost.
    pub(super) fn after(before: Option<&Pointer>, object: Object, revision: Option<u64>) -> Pointer {
        let least = before.map_or(0, |before| before.counter.saturating_add(1));
        let mut former: Vec<Object> = Vec::new();
        if let Some(before) = before {
            former.extend([&before.object].into_iter().chain(&before.former).cloned());
        }
        former.retain(|other| other.hash != object.hash);
        former.truncate(KEPT - 1);
        let revision = revision.max(before.and_then(|before| before.revision));
        Pointer { counter: least.max(seconds(SystemTime::now())), object, revision, former }
    }

    /// The pointer that returns to a former publication: to the last one without a `hash`. The publication
    /// that it leaves becomes the last of the list, so a second return goes one step further back.
    pub(super) fn back(&self, hash: Option<u128>) -> Result<Pointer, PublicationError> {
        let at = match hash {
            None => (!self.former.is_empty()).then_some(0),
            Some(hash) => self.former.iter().position(|other| other.hash == hash),
        };
        let known = || self.former.iter().map(Object::name).collect::<Vec<_>>().join(", ");
        let at = at.ok_or_else(|| PublicationError::Unknown(known()))?;
        let mut former = self.former.clone();
        let object = former.remove(at);
        former.push(self.object.clone());
        Ok(Pointer { counter: self.counter.saturating_add(1), object, revision: self.revision, former })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(hash: u128) -> Object {
        Object { hash, checksum: 7, length: 100, compressed_length: 50, songs: 3, created: 9 }
    }

    fn hashes(pointer: &Pointer) -> Vec<u128> {
        [&pointer.object].into_iter().chain(&pointer.former).map(|object| object.hash).collect()
    }

    #[test]
    fn pointers_remember_the_last_publications_and_never_count_back() {
        let mut last = Pointer::after(None, object(1), Some(4));
        assert!(last.counter > 1_700_000_000, "the clock");
        for hash in 2..=7 {
            let next = Pointer::after(Some(&last), object(hash), None);
            assert!(next.counter > last.counter && next.revision == Some(4));
            last = next;
        }
        assert_eq!(hashes(&last), [7, 6, 5, 4, 3]);
        assert_eq!(hashes(&Pointer::after(Some(&last), object(5), None)), [5, 7, 6, 4, 3]);
        let once = last.back(None).unwrap();
        assert_eq!((hashes(&once), once.counter), (vec![6, 5, 4, 3, 7], last.counter + 1));
        assert_eq!(hashes(&once.back(None).unwrap()), [5, 4, 3, 7, 6]);
        assert_eq!(hashes(&once.back(Some(7)).unwrap()), [7, 5, 4, 3, 6]);
        assert!(matches!(last.back(Some(1)), Err(PublicationError::Unknown(_))));
        assert_eq!(Pointer::parse(&last.to_bytes()).unwrap(), last);
    }

    #[test]
    fn hostile_pointers_are_refused() {
        let good = String::from_utf8(Pointer::after(None, object(1), None).to_bytes()).unwrap();
        let name = format!("{:032x}", 1);
        for (from, to) in [
            (name.as_str(), "../../../../../../etc/passwd"),
            (name.as_str(), "0000000000000000000000000000000G"),
            (name.as_str(), "+0000000000000000000000000000001"),
            (name.as_str(), "1"),
            ("\"length\": 100", "\"length\": 18446744073709551615"),
            ("\"length\": 100", "\"length\": 1000000000"),
            ("\"length\": 100", "\"length\": 0"),
            ("\"length\": 100", "\"length\": -1"),
            ("\"compressed_length\": 50", "\"compressed_length\": 0"),
            ("\"counter\"", "\"count\""),
            ("{", "["),
        ] {
            let bad = good.replacen(from, to, 1);
            assert!(bad != good, "{from}");
            let refused = Pointer::parse(bad.as_bytes());
            assert!(matches!(refused, Err(PublicationError::Pointer(_))), "{bad}: {refused:?}");
        }
        let long = format!("{good}{}", " ".repeat(70_000));
        assert!(Pointer::parse(long.as_bytes()).is_err());
        assert!(Pointer::parse(b"").is_err() && Pointer::parse(&b"[".repeat(10_000)).is_err());
    }
}
