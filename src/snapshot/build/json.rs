//! The JSON texts of entities, as the API answers them.

use std::io::Write;

use uuid::Uuid;
use uuid::fmt::Hyphenated;

use crate::model::PerOwner;
use crate::rows::songs::SongValues;

/// Appends an album, an artist or a genre, and a comma. Names are UTF-8.
pub(in crate::snapshot) fn append_named(text: &mut Vec<u8>, id: Uuid, name: &[u8]) {
    append_id(text, "{\"id\":", id);
    append_text(text, ",\"name\":", Some(name));
    text.extend_from_slice(b"},");
}

/// Appends a song with the ids and names of its owners, and a comma.
pub(in crate::snapshot) fn append_song(
    text: &mut Vec<u8>,
    song: &SongValues<'_>,
    owners: PerOwner<(Uuid, &[u8])>,
) {
    let [(album_id, album), (artist_id, artist), (genre_id, genre)] = owners.into();
    append_own(text, song);
    append_text(text, "", Some(album));
    append_id(text, ",\"album_id\":", album_id);
    append_text(text, ",\"artist\":", Some(artist));
    append_id(text, ",\"artist_id\":", artist_id);
    append_text(text, ",\"genre\":", Some(genre));
    append_id(text, ",\"genre_id\":", genre_id);
    text.extend_from_slice(b"},");
}

/// Appends the song's own fields, up to the name of its album.
pub(in crate::snapshot) fn append_own(text: &mut Vec<u8>, song: &SongValues<'_>) {
    append_id(text, "{\"id\":", song.id);
    append_text(text, ",\"name\":", song.name);
    append_number(text, ",\"length\":", song.length);
    append_number(text, ",\"track\":", song.track);
    append_number(text, ",\"year\":", song.year);
    text.extend_from_slice(b",\"album\":");
}

fn append_id(text: &mut Vec<u8>, before: &str, id: Uuid) {
    let mut buffer = [0; Hyphenated::LENGTH];
    text.extend_from_slice(before.as_bytes());
    text.push(b'"');
    text.extend_from_slice(id.hyphenated().encode_lower(&mut buffer).as_bytes());
    text.push(b'"');
}

fn append_number(text: &mut Vec<u8>, before: &str, number: Option<i64>) {
    text.extend_from_slice(before.as_bytes());
    match number {
        None => text.extend_from_slice(b"null"),
        Some(number) => {
            // A write to a vector does not fail.
            let _ = write!(text, "{number}");
        }
    }
}

/// Appends a text or null. Runs without escapes are copied whole: nearly every name is one such run.
fn append_text(text: &mut Vec<u8>, before: &str, value: Option<&[u8]>) {
    text.extend_from_slice(before.as_bytes());
    let Some(value) = value else {
        return text.extend_from_slice(b"null");
    };
    text.push(b'"');
    let mut rest = value;
    while let Some(at) = rest.iter().position(|&byte| byte < b' ' || byte == b'"' || byte == b'\\') {
        text.extend_from_slice(&rest[..at]);
        append_escape(text, rest[at]);
        rest = &rest[at + 1..];
    }
    text.extend_from_slice(rest);
    text.push(b'"');
}

fn append_escape(text: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        b'\t' => b't',
        b'\n' => b'n',
        0x0c => b'f',
        b'\r' => b'r',
        _ => return text.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
    };
    text.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Field;
    use crate::model::Kind;

    #[test]
    fn texts_are_escaped_as_serde_json_does() {
        let all: String = (0..0x250_u32).chain([0x2028, 0x1_0348]).filter_map(char::from_u32).collect();
        for value in ["", "\"", "a\\", "\u{0}\u{1f} \u{7f}", "tab\tnew\n", &all] {
            let mut text = Vec::new();
            append_text(&mut text, "", Some(value.as_bytes()));
            assert_eq!(String::from_utf8(text).unwrap(), serde_json::to_string(value).unwrap());
        }
    }

    #[test]
    fn entities_have_their_fields_in_the_order_of_the_api() {
        let id = |byte| Uuid::from_bytes([byte; 16]);
        let song = SongValues {
            id: id(0xab),
            name: None,
            length: Some(i64::MIN),
            track: Some(0),
            year: None,
            owners: PerOwner::default(),
        };
        let mut text = Vec::new();
        let owners: [(Uuid, &[u8]); 3] = [(id(1), br#"B "Sides""#), (id(2), b""), (id(3), b"Ska")];
        append_song(&mut text, &song, owners.into());
        append_named(&mut text, id(3), b"Ska");
        let expected = concat!(
            r#"{"id":"abababab-abab-abab-abab-abababababab","name":null,"#,
            r#""length":-9223372036854775808,"track":0,"year":null,"#,
            r#""album":"B \"Sides\"","album_id":"01010101-0101-0101-0101-010101010101","#,
            r#""artist":"","artist_id":"02020202-0202-0202-0202-020202020202","#,
            r#""genre":"Ska","genre_id":"03030303-0303-0303-0303-030303030303"},"#,
            r#"{"id":"03030303-0303-0303-0303-030303030303","name":"Ska"},"#,
        );
        assert_eq!(String::from_utf8(text).unwrap(), expected);
        let keys =
            expected.split('"').skip(1).step_by(2).filter(|key| Field::parse(Kind::Song, key).is_some());
        let of_a_genre = [Field::Id, Field::Name];
        assert_eq!(
            keys.collect::<Vec<_>>(),
            Field::ALL.into_iter().chain(of_a_genre).map(Field::name).collect::<Vec<_>>()
        );
    }
}
