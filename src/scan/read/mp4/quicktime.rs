//! Names as QuickTime writes them: as text right in `udta`, or in a list whose keys stand
//! in an atom of their own (`keys`). iTunes' list says the same and comes first.

use std::io;

use super::atom::Atom;
use super::ilst::{Data, text_field};
use crate::scan::read::source::Source;
use crate::scan::read::tags::{ENCODED_MAX, Field, Reading};
use crate::scan::read::text::{ByteOrder, Encoding};
use crate::scan::read::vorbis_comment;

/// Languages from this number on are ISO codes, and their text is UTF-8; those below are
/// of the Macintosh, whose text differs from ASCII in the upper half.
const ISO_MIN: u16 = 0x400;
/// Most keys of a list.
const KEYS_MAX: usize = 256;
/// Most bytes of a key with a meaning for this program.
const KEY_MAX: usize = 64;

/// Reads a text in `udta`: length, language, text.
///
/// # Errors
/// Those of reading.
pub(super) fn read_text(source: &mut Source, atom: Atom, reading: &mut Reading) -> io::Result<()> {
    let Some(field) = text_field(&atom.name).filter(|field| !reading.tags.has(*field)) else { return Ok(()) };
    let Some([high, low, language @ ..]) = atom.array::<4>(source, 0)? else { return Ok(()) };
    let len = u64::from(u16::from_be_bytes([high, low]));
    let text = source.vec(atom.start + 4, len.min(atom.len() - 4), ENCODED_MAX)?;
    let (order, utf16) = ByteOrder::of(&text, ByteOrder::Big);
    if utf16.len() < text.len() {
        reading.push_encoded(field, utf16, Encoding::Utf16(order));
    } else if u16::from_be_bytes(language) < ISO_MIN && std::str::from_utf8(&text).is_err() {
        reading.push_encoded(field, &text, Encoding::Latin1);
    } else {
        reading.push_encoded(field, &text, Encoding::Utf8);
    }
    Ok(())
}

/// Returns the fields of the keys in a `keys` atom, in order.
///
/// # Errors
/// Those of reading.
pub(super) fn read_keys(source: &mut Source, keys: Atom) -> io::Result<Vec<Option<Field>>> {
    let mut fields = Vec::new();
    // Each key is an atom whose name tells its kind, behind version, flags and number.
    let mut children = Atom { start: keys.start + 8, ..keys }.children();
    while let Some(key) = children.next(source)? {
        if fields.len() == KEYS_MAX {
            break;
        }
        let text = source.vec(key.start, key.len(), KEY_MAX)?.to_ascii_uppercase();
        let name = text.strip_prefix(b"COM.APPLE.QUICKTIME.").unwrap_or(&text);
        fields.push(match name {
            b"YEAR" | b"CREATIONDATE" => Some(Field::Date),
            b"TRACK" => Some(Field::Track),
            b"DISC" => Some(Field::Disc),
            name => vorbis_comment::field(name),
        });
    }
    Ok(fields)
}

/// Reads the list whose items are named by their number among `keys`.
///
/// # Errors
/// Those of reading.
pub(super) fn read_list(
    source: &mut Source,
    ilst: Atom,
    keys: &[Option<Field>],
    reading: &mut Reading,
) -> io::Result<()> {
    let mut items = ilst.children();
    while let Some(item) = items.next(source)? {
        let number = usize::try_from(u32::from_be_bytes(item.name)).unwrap_or(0);
        let Some(field) = number.checked_sub(1).and_then(|index| *keys.get(index)?) else { continue };
        Data::each(source, item, field.name(), reading, |source, data, reading| {
            data.push(source, field, reading)
        })?;
    }
    Ok(())
}
