//! Values of entities, read from the JSON texts that a snapshot of this program holds. Its bytes were verified, so
//! a text that is none, which cannot be, has no values.

use std::borrow::Cow;

use serde::Deserialize;

/// What stands before the name: `{"id":"`, an id with hyphens, `","name":`.
const NAME_AT: usize = 7 + 36 + 9;

/// The own values of a song.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Own {
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) length: Option<i64>,
    #[serde(default)]
    pub(super) track: Option<i64>,
    #[serde(default)]
    pub(super) year: Option<i64>,
}

/// The own values of a song with this text, which a comma follows.
pub(super) fn own(json: &[u8]) -> Own {
    let text = json.strip_suffix(b",").unwrap_or(json);
    serde_json::from_slice(text).unwrap_or_default()
}

/// The name in a text.
pub(super) fn name(json: &[u8]) -> Option<Cow<'_, [u8]>> {
    let text = json.get(NAME_AT..)?.strip_prefix(b"\"")?;
    let end = text.iter().position(|&byte| byte == b'"' || byte == b'\\')?;
    if text[end] == b'"' {
        return Some(Cow::Borrowed(&text[..end]));
    }
    own(json).name.map(|name| Cow::Owned(name.into_bytes()))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::rows::songs::SongValues;
    use crate::snapshot::build::json::{append_named, append_song};

    #[test]
    fn values_are_read_as_they_were_written() {
        let id = Uuid::from_u128(7);
        for text in [None, Some(""), Some("Corazón"), Some("a\"b\\\u{1}"), Some("null")] {
            let name_bytes = text.map(str::as_bytes);
            let (length, track, year) = (Some(i64::MIN), None, Some(i64::MAX));
            let song = SongValues { id, name: name_bytes, length, track, year, owners: [0, 0, 0].into() };
            let mut json = Vec::new();
            let owner: (Uuid, &[u8]) = (id, b"\"name\":1");
            append_song(&mut json, &song, [owner; 3].into());
            assert_eq!(name(&json).as_deref(), name_bytes);
            let own = own(&json);
            assert_eq!((own.name.as_deref(), own.length, own.track, own.year), (text, length, track, year));
        }
        let mut json = Vec::new();
        append_named(&mut json, id, b"Ska \"\n");
        assert_eq!(name(&json).as_deref(), Some(&b"Ska \"\n"[..]));
        assert!(name(b"{},").is_none() && own(b"x").name.is_none());
    }
}
