//! The list of names in MP4 (`ilst`), one atom for each, with the values in `data` atoms. A damaged
//! atom costs only itself.

use std::io;

use super::atom::Atom;
use crate::scan::genre;
use crate::scan::read::source::Source;
use crate::scan::read::tags::{ENCODED_MAX, Field, Reading};
use crate::scan::read::text::{ByteOrder, Encoding};
use crate::scan::read::vorbis_comment::{self, whole_chars};

/// Bytes of a `data` atom before its value: type and locale.
const PREFIX_LEN: u64 = 8;
/// Longest name of a freeform atom with a meaning for this program, in bytes.
const NAME_MAX: usize = 64;

const UTF8: u32 = 1;
const UTF16: u32 = 2;
const UTF8_SORT: u32 = 4;
const UTF16_SORT: u32 = 5;
const SIGNED: u32 = 21;
const UNSIGNED: u32 = 22;

/// Reads the list into [`Reading::tags`].
///
/// # Errors
/// Those of reading.
pub(super) fn read(source: &mut Source, ilst: Atom, reading: &mut Reading) -> io::Result<()> {
    let mut number = None;
    let mut items = ilst.children();
    while let Some(item) = items.next(source)? {
        if item.is_cut {
            let what = text_field(&item.name).map_or_else(|| item.label(), |field| field.name().to_owned());
            reading.lose(what, "its atom goes beyond its list");
        }
        match &item.name {
            b"gnre" => number = number.or(read_numbers::<1>(source, item, "genre", reading)?),
            b"trkn" => read_pair(source, item, [Field::Track, Field::TrackTotal], reading)?,
            b"disk" => read_pair(source, item, [Field::Disc, Field::DiscTotal], reading)?,
            b"covr" => {
                let data = item.child(source, b"data")?;
                reading.has_cover |= data.is_some_and(|data| data.len() > PREFIX_LEN);
            }
            b"----" => read_freeform(source, item, reading)?,
            name => {
                if let Some(field) = text_field(name) {
                    read_texts(source, item, field, reading)?;
                }
            }
        }
    }
    items.tell_fault("the tag (ilst)", reading);
    // The genre as a number counts only without a text; it is that of ID3v1 plus one.
    if let Some([number]) = number
        && !reading.tags.has(Field::Genre)
    {
        match usize::from(number).checked_sub(1).and_then(genre::named) {
            Some(name) => reading.push(Field::Genre, name),
            None => reading.lose("genre", format!("the number {number} is that of no genre")),
        }
    }
    Ok(())
}

/// Returns the field of an atom of texts.
pub(super) fn text_field(name: &[u8; 4]) -> Option<Field> {
    Some(match name {
        b"\xa9nam" => Field::Title,
        b"\xa9alb" => Field::Album,
        b"\xa9ART" => Field::Artist,
        b"\xa9gen" => Field::Genre,
        b"\xa9day" => Field::Date,
        b"\xa9wrt" => Field::Composer,
        b"aART" => Field::AlbumArtist,
        b"sonm" => Field::TitleSort,
        b"soal" => Field::AlbumSort,
        b"soar" => Field::ArtistSort,
        b"soaa" => Field::AlbumArtistSort,
        b"soco" => Field::ComposerSort,
        b"cpil" => Field::Compilation,
        _ => return None,
    })
}

/// Returns the field of a freeform atom: Picard's names for MusicBrainz, else those of Vorbis
/// comments.
fn freeform_field(name: &[u8]) -> Option<Field> {
    Some(match name.to_ascii_uppercase().as_slice() {
        b"MUSICBRAINZ TRACK ID" => Field::MusicbrainzRecording,
        b"MUSICBRAINZ RELEASE TRACK ID" => Field::MusicbrainzTrack,
        b"MUSICBRAINZ ALBUM ID" => Field::MusicbrainzRelease,
        b"MUSICBRAINZ RELEASE GROUP ID" => Field::MusicbrainzReleaseGroup,
        b"MUSICBRAINZ ARTIST ID" => Field::MusicbrainzArtist,
        b"MUSICBRAINZ ALBUM ARTIST ID" => Field::MusicbrainzAlbumArtist,
        b"ORIGINAL YEAR" | b"ORIGINAL DATE" => Field::OriginalDate,
        // These have their own atoms, which are better.
        b"TITLE" | b"ALBUM" | b"ARTIST" | b"GENRE" | b"DATE" | b"TRACKNUMBER" => return None,
        name => vorbis_comment::field(name)?,
    })
}

/// A `data` atom.
#[derive(Debug, Clone, Copy)]
pub(super) struct Data {
    atom: Atom,
    /// The type of the value.
    kind: u32,
}

impl Data {
    /// Passes the values of an item to `work`, one by one; skips atoms that are not values.
    pub(super) fn each(
        source: &mut Source,
        item: Atom,
        what: &str,
        reading: &mut Reading,
        mut work: impl FnMut(&mut Source, Data, &mut Reading) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut children = item.children();
        while let Some(atom) = children.next(source)? {
            if atom.name != *b"data" {
                continue;
            }
            if atom.is_cut {
                reading.lose(what, "its value goes beyond its atom");
            }
            match atom.u32(source, 0)? {
                Some(kind) if atom.len() >= PREFIX_LEN => {
                    work(source, Data { atom, kind: kind & 0xff_ffff }, reading)?;
                }
                _ => reading.lose(what, "its value is cut"),
            }
        }
        children.tell_fault(&item.label(), reading);
        Ok(())
    }

    fn len(&self) -> u64 {
        self.atom.len() - PREFIX_LEN
    }

    fn value(&self, source: &mut Source) -> io::Result<Vec<u8>> {
        source.vec(self.atom.start + PREFIX_LEN, self.len(), ENCODED_MAX)
    }

    /// Adds the value to `field`.
    pub(super) fn push(&self, source: &mut Source, field: Field, reading: &mut Reading) -> io::Result<()> {
        let value = self.value(source)?;
        let is_cut = self.len() > value.len() as u64;
        match self.kind {
            SIGNED | UNSIGNED | 0 if is_number(field, self.kind) => match integer(&value) {
                Some(number) => reading.push(field, &number.to_string()),
                None => reading.lose(field.name(), format!("a number of {} bytes", value.len())),
            },
            // 0 means that the atom implies the type.
            0 | UTF8 | UTF8_SORT => {
                reading.push_encoded(
                    field,
                    if is_cut { whole_chars(&value) } else { &value },
                    Encoding::Utf8,
                );
            }
            UTF16 | UTF16_SORT => {
                let (order, text) = ByteOrder::of(&value, ByteOrder::Big);
                reading.push_encoded(field, text, Encoding::Utf16(order));
            }
            kind => reading.lose(field.name(), format!("data of type {kind} is no text")),
        }
        Ok(())
    }
}

/// Reports whether a value is a number: by its type, or by its field.
fn is_number(field: Field, kind: u32) -> bool {
    kind != 0 || field == Field::Compilation
}

fn integer(bytes: &[u8]) -> Option<u64> {
    let first = *bytes.first()?;
    // A negative number means nothing in any field.
    (bytes.len() <= 8 && first < 0x80 || bytes.len() == 1)
        .then(|| bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

fn read_texts(source: &mut Source, item: Atom, field: Field, reading: &mut Reading) -> io::Result<()> {
    Data::each(source, item, field.name(), reading, |source, data, reading| data.push(source, field, reading))
}

/// Returns the first `N` numbers of an item, of two bytes each.
fn read_numbers<const N: usize>(
    source: &mut Source,
    item: Atom,
    what: &str,
    reading: &mut Reading,
) -> io::Result<Option<[u16; N]>> {
    let mut found = None;
    Data::each(source, item, what, reading, |source, data, reading| {
        let value = data.value(source)?;
        let numbers: Vec<_> = value.chunks_exact(2).map(|two| u16::from_be_bytes([two[0], two[1]])).collect();
        match numbers.first_chunk() {
            Some(numbers) => found = found.or(Some(*numbers)),
            None => reading.lose(what, format!("its number takes {} bytes", value.len())),
        }
        Ok(())
    })?;
    Ok(found)
}

/// Reads a number and an optional total, behind two unused bytes.
fn read_pair(source: &mut Source, item: Atom, fields: [Field; 2], reading: &mut Reading) -> io::Result<()> {
    let [field, total_field] = fields;
    Data::each(source, item, field.name(), reading, |source, data, reading| {
        let value = data.value(source)?;
        let number = |at: usize| Some(u16::from_be_bytes(*value.get(at..)?.first_chunk()?));
        if value.is_empty() || reading.tags.has(field) {
            return Ok(());
        }
        match number(2) {
            Some(number) => reading.push(field, &number.to_string()),
            None => reading.lose(field.name(), format!("its number takes {} bytes", value.len())),
        }
        if let Some(total) = number(4).filter(|total| *total > 0) {
            reading.push(total_field, &total.to_string());
        }
        Ok(())
    })
}

/// Reads an atom that holds its name as a text.
fn read_freeform(source: &mut Source, item: Atom, reading: &mut Reading) -> io::Result<()> {
    let Some(name) = item.child(source, b"name")? else {
        reading.lose("freeform atom", "it has no name; it was passed over");
        return Ok(());
    };
    // Version and flags go before the text.
    let text = source.vec(name.start + 4, name.len().saturating_sub(4), NAME_MAX)?;
    match freeform_field(&text) {
        Some(field) => read_texts(source, item, field, reading),
        None => Ok(()),
    }
}
