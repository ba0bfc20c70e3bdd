//! One frame of an ID3v2 tag: its meaning, and how its content is packed and encoded.

use std::fmt;
use std::io::{self, Read};

use flate2::read::ZlibDecoder;

use super::body;
use crate::scan::genre;
use crate::scan::read::names;
use crate::scan::read::tags::{ENCODED_MAX, Field, INFLATED_MAX, Reading};
use crate::scan::read::text::{self, ByteOrder, Encoding};

/// Most bytes of a frame that are read.
pub(super) const FETCH_MAX: u64 = ENCODED_MAX as u64 + 64;
/// Owner of the `UFID` frame with the number of a MusicBrainz recording.
const MUSICBRAINZ: &[u8] = b"http://musicbrainz.org";

/// The meaning of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    Text(Field),
    /// A text with a name of the tagger's choice.
    UserText,
    /// Number of the recording in a database, which the frame names.
    Id,
    Cover,
}

/// The reason why the content of a frame is ignored.
#[derive(Debug)]
pub(super) enum FrameError {
    /// It is encrypted.
    Encrypted,
    /// The compressed frames of the file inflate to more than [`INFLATED_MAX`].
    InflatesTooMuch,
    /// It is compressed, and the data is not valid zlib data.
    Inflate(io::Error),
    /// The number of its encoding is not one of ID3's.
    Encoding(u8),
    /// A text does not fit this encoding.
    NotEncoded(Encoding),
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::Encrypted => f.write_str("it is encrypted"),
            FrameError::InflatesTooMuch => {
                write!(f, "compressed frames inflate to more than {INFLATED_MAX} bytes")
            }
            FrameError::Inflate(error) => write!(f, "it cannot be inflated: {error}"),
            FrameError::Encoding(number) => write!(f, "its text encoding {number} does not exist"),
            FrameError::NotEncoded(encoding) => write!(f, "it is not valid {}", encoding.name()),
        }
    }
}

impl std::error::Error for FrameError {}

/// The header of a frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    version: u8,
    id: [u8; 4],
    flags: u8,
    pub(super) meaning: Option<Meaning>,
    /// Offset of its content.
    pub(super) body: u64,
    pub(super) size: u64,
}

/// The content of a frame without its packing.
#[derive(Debug)]
pub(super) struct Content {
    data: Vec<u8>,
    /// Whether its end was left out.
    pub(super) is_cut: bool,
}

impl Frame {
    /// Creates the frame of a version from its header. Its content begins at `body`.
    pub(super) fn new(version: u8, head: &[u8], body: u64) -> Frame {
        let mut id = [0; 4];
        let len = if version == 2 { 3 } else { 4 };
        id[..len].copy_from_slice(&head[..len]);
        let flags = head.get(9).copied().unwrap_or(0);
        let size = sizes(version, head).next().unwrap_or(0);
        Frame { version, id, flags, meaning: meaning(&id), body, size }
    }

    /// Returns the name of the frame for messages.
    pub(super) fn name(&self) -> String {
        match self.meaning {
            Some(Meaning::Text(field)) => field.name().to_owned(),
            _ => format!(
                "ID3 frame {}",
                self.id.trim_ascii_end().escape_ascii().to_string().replace("\\x00", "")
            ),
        }
    }

    /// Reports whether another frame is better for the field: a date is better than a year.
    pub(super) fn is_weak(&self) -> bool {
        let is_year = matches!(&self.id, b"TYER" | b"TYE\0" | b"TORY" | b"TOR\0");
        is_year || matches!(self.meaning, Some(Meaning::UserText))
    }

    /// Returns the content after undoing the transformations that the flags name.
    ///
    /// # Errors
    /// The reason why it cannot be read.
    pub(super) fn unwrap(
        &self,
        mut data: Vec<u8>,
        is_cut: bool,
        unsynchronised: bool,
        reading: &mut Reading,
    ) -> Result<Content, FrameError> {
        /// The bits for: compressed, encrypted, grouped, with a length. They depend on the version.
        struct Bits(u8, u8, u8, u8);
        let Bits(compressed, encrypted, grouped, with_len) =
            if self.version == 4 { Bits(0x08, 0x04, 0x40, 0x01) } else { Bits(0x80, 0x40, 0x20, 0x80) };
        if self.flags & encrypted != 0 {
            return Err(FrameError::Encrypted);
        }
        let group_len = usize::from(self.flags & grouped != 0);
        let len_len = if self.flags & (with_len | compressed) != 0 { 4 } else { 0 };
        data.drain(..(group_len + len_len).min(data.len()));
        let is_unsynchronised = self.version == 4 && (unsynchronised || self.flags & 0x02 != 0);
        if is_unsynchronised && body::is_unsynchronised(&data) {
            data = body::undo(&data);
        }
        if self.flags & compressed != 0 {
            return inflate(&data, is_cut, reading);
        }
        Ok(Content { data, is_cut })
    }
}

/// Inflates at most as much as one text needs, and at most [`INFLATED_MAX`] in one file.
fn inflate(data: &[u8], is_cut: bool, reading: &mut Reading) -> Result<Content, FrameError> {
    let mut inflated = Vec::new();
    let outcome = ZlibDecoder::new(data).take(ENCODED_MAX as u64 + 1).read_to_end(&mut inflated);
    reading.inflated += inflated.len();
    if reading.inflated > INFLATED_MAX {
        return Err(FrameError::InflatesTooMuch);
    }
    let is_long = inflated.len() > ENCODED_MAX;
    match outcome {
        Err(error) if !(is_cut || is_long) => Err(FrameError::Inflate(error)),
        _ => Ok(Content { data: inflated, is_cut: is_cut || is_long }),
    }
}

/// Returns the possible sizes of a frame, the likeliest first. Version 2.4 has seven bits a byte,
/// but old iTunes wrote eight; some taggers wrote seven into version 2.3.
pub(super) fn sizes(version: u8, head: &[u8]) -> impl Iterator<Item = u64> {
    let raw = match (version, head) {
        (2, [_, _, _, size @ ..]) if size.len() >= 3 => u32::from_be_bytes([0, size[0], size[1], size[2]]),
        (_, [_, _, _, _, a, b, c, d, ..]) => u32::from_be_bytes([*a, *b, *c, *d]),
        _ => 0,
    };
    let safe = synchsafe(raw);
    let is_safe = raw & 0x8080_8080 == 0 && version > 2;
    let (first, second) = match version {
        4 if is_safe => (safe, Some(raw)),
        _ => (raw, Some(safe).filter(|_| is_safe)),
    };
    std::iter::once(first).chain(second.filter(|second| *second != first)).map(u64::from)
}

/// Returns a number of four bytes with seven bits each.
pub(super) fn synchsafe(raw: u32) -> u32 {
    raw.to_be_bytes().iter().fold(0, |sum, byte| sum << 7 | u32::from(byte & 0x7f))
}

/// Returns the meaning of the frame called `id`. A name of three letters ends in a NUL.
fn meaning(id: &[u8; 4]) -> Option<Meaning> {
    let text = match id.strip_suffix(b"\0").or(id.strip_suffix(b" ")).unwrap_or(id) {
        b"TIT2" | b"TT2" => Field::Title,
        b"TALB" | b"TAL" => Field::Album,
        b"TPE1" | b"TP1" => Field::Artist,
        b"TCON" | b"TCO" => Field::Genre,
        b"TRCK" | b"TRK" => Field::Track,
        b"TDRC" | b"TYER" | b"TYE" => Field::Date,
        b"TPE2" | b"TP2" => Field::AlbumArtist,
        b"TPOS" | b"TPA" => Field::Disc,
        b"TCOM" | b"TCM" => Field::Composer,
        b"TCMP" | b"TCP" => Field::Compilation,
        b"TSOT" | b"TST" | b"XSOT" => Field::TitleSort,
        b"TSOA" | b"TSA" | b"XSOA" => Field::AlbumSort,
        b"TSOP" | b"TSP" | b"XSOP" => Field::ArtistSort,
        b"TSO2" | b"TS2" => Field::AlbumArtistSort,
        b"TSOC" | b"TSC" => Field::ComposerSort,
        b"TDOR" | b"TORY" | b"TOR" => Field::OriginalDate,
        b"TXXX" | b"TXX" => return Some(Meaning::UserText),
        b"UFID" | b"UFI" => return Some(Meaning::Id),
        b"APIC" | b"PIC" => return Some(Meaning::Cover),
        _ => return None,
    };
    Some(Meaning::Text(text))
}

/// Adds the values of a frame to those of `reading`.
///
/// # Errors
/// The reason why it has no readable values.
pub(super) fn push(meaning: Meaning, content: &Content, reading: &mut Reading) -> Result<(), FrameError> {
    match meaning {
        Meaning::Text(field) => {
            for text in decoded(content)? {
                push_text(field, &text, reading);
            }
        }
        Meaning::UserText => {
            let mut texts = decoded(content)?.into_iter();
            if let Some(field) = texts.next().and_then(|name| names::field(&name)) {
                texts.for_each(|text| push_text(field, &text, reading));
            }
        }
        Meaning::Id => {
            let (owner, number) = split(&content.data);
            if owner == MUSICBRAINZ {
                reading.push_encoded(Field::MusicbrainzRecording, number, Encoding::Utf8);
            }
        }
        Meaning::Cover => {}
    }
    Ok(())
}

fn push_text(field: Field, text: &str, reading: &mut Reading) {
    match field {
        // A genre may be a number.
        Field::Genre => genre::first([text]).into_iter().for_each(|name| reading.push(field, &name)),
        _ => reading.push(field, text),
    }
}

/// Returns the values of a text frame, decoded. As in avalonms, one value that does not fit its
/// encoding makes the frame invalid: its stated encoding is wrong.
fn decoded(content: &Content) -> Result<Vec<String>, FrameError> {
    let decode = |(value, encoding): (&[u8], Encoding)| match text::decode(value, encoding) {
        (text, true) => Ok(text),
        (_, false) => Err(FrameError::NotEncoded(encoding)),
    };
    texts(content)?.into_iter().map(decode).collect()
}

/// Returns the values of a text frame, each with its encoding. An empty frame has none.
fn texts(content: &Content) -> Result<Vec<(&[u8], Encoding)>, FrameError> {
    let Some((encoding, mut rest)) = content.data.split_first() else { return Ok(Vec::new()) };
    let mut order = ByteOrder::Little;
    let mut values = Vec::new();
    while !rest.is_empty() {
        let is_wide = matches!(encoding, 1 | 2);
        let (value, after) = if is_wide { split_wide(rest) } else { split(rest) };
        let mut text = match encoding {
            0 => (value, Encoding::Latin1),
            1 => {
                // A value without a byte order mark has the order of the one before.
                let (marked, value) = ByteOrder::of(value, order);
                order = marked;
                (value, Encoding::Utf16(order))
            }
            2 => (value, Encoding::Utf16(ByteOrder::Big)),
            3 => (value, Encoding::Utf8),
            other => return Err(FrameError::Encoding(*other)),
        };
        if content.is_cut && after.is_empty() {
            text.0 = text::without_torn_end(text.0, text.1);
        }
        // An empty value behind another one is ignored, as it may be padding.
        if values.is_empty() || !text.0.is_empty() {
            values.push(text);
        }
        rest = after;
    }
    Ok(values)
}

/// Returns a value up to the NUL that ends it, and the rest.
fn split(data: &[u8]) -> (&[u8], &[u8]) {
    match data.iter().position(|byte| *byte == 0) {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (data, &[]),
    }
}

/// Does the same for units of two bytes. A single byte at the end belongs to the value; it is
/// mostly half of a NUL.
fn split_wide(data: &[u8]) -> (&[u8], &[u8]) {
    match data.chunks(2).position(|unit| unit.iter().all(|byte| *byte == 0)) {
        Some(unit) => (&data[..2 * unit], &data[data.len().min(2 * unit + 2)..]),
        None => (data, &[]),
    }
}
