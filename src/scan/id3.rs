//! The text frames of ID3 that a collection needs: version 2.2, 2.3 and 2.4 at the start
//! of a file, version 1 at its end.
//!
//! This is our own reader, because lofty makes a calendar date of a date frame (what is
//! no ISO date is lost), gives up a whole file for one frame with bad text, and names
//! genre numbers differently. It is as forgiving as mutagen's: what cannot be read is
//! passed over, frame by frame.

use std::io::{self, Cursor, Read, Seek, SeekFrom};

use flate2::read::ZlibDecoder;

use super::{genre, tags::Tags};

/// A text frame longer than this many bytes is no name.
const TEXT_MAX: u64 = 1 << 20;
/// A tag unsynchronised as a whole must be held in memory; no more bytes than this.
const UNSYNCHRONISED_MAX: u64 = 64 << 20;
/// Bytes of the header of an ID3v2 tag, and of its footer.
const HEADER_LEN: u64 = 10;
/// Bytes of an ID3v1 tag.
const V1_LEN: i64 = 128;

/// An ID3v2 tag.
#[derive(Debug, PartialEq)]
pub(super) struct V2 {
    /// What its frames say.
    pub(super) tags: Tags,
    /// Offset in the file of the first byte after it.
    pub(super) end: u64,
}

/// Reads the ID3v2 tag that begins at the reader's position; `None` when there is none.
/// The position is undefined afterwards.
///
/// # Errors
/// Only those of reading and seeking: a tag that is nonsense is an empty one.
pub(super) fn read_v2(reader: &mut (impl Read + Seek)) -> io::Result<Option<V2>> {
    let start = reader.stream_position()?;
    let head = read_up_to(reader, HEADER_LEN)?;
    let &[b'I', b'D', b'3', version, _, flags, ref size @ ..] = &head[..] else {
        return Ok(None);
    };
    let &[a, b, c, d] = size else {
        return Ok(None);
    };
    let from = start + HEADER_LEN;
    let to = from + u64::from(synchsafe(u32::from_be_bytes([a, b, c, d])));
    let footer = if version == 4 && flags & 0x10 != 0 { HEADER_LEN } else { 0 };
    let unsynchronised = flags & 0x80 != 0;
    let extended = version > 2 && flags & 0x40 != 0;
    let frames = match version {
        2 | 3 if unsynchronised => {
            let body = undo_unsynchronisation(&read_up_to(reader, (to - from).min(UNSYNCHRONISED_MAX))?);
            let len = body.len() as u64;
            let header = Header { version, unsynchronised: false, extended };
            read_frames(&mut Cursor::new(body), header, 0, len)?
        }
        2..=4 => read_frames(reader, Header { version, unsynchronised, extended }, from, to)?,
        _ => Frames::default(),
    };
    Ok(Some(V2 { tags: frames.tags(), end: to + footer }))
}

/// Reads the ID3v1 tag at the end of the reader; `None` when there is none.
///
/// # Errors
/// Those of reading and seeking.
pub(super) fn read_v1(reader: &mut (impl Read + Seek)) -> io::Result<Option<Tags>> {
    if reader.seek(SeekFrom::End(0))? < V1_LEN as u64 {
        return Ok(None);
    }
    reader.seek(SeekFrom::End(-V1_LEN))?;
    let tag = read_up_to(reader, V1_LEN as u64)?;
    Ok(parse_v1(&tag))
}

fn parse_v1(tag: &[u8]) -> Option<Tags> {
    let fields = tag.strip_prefix(b"TAG").filter(|fields| fields.len() == 125)?;
    let text = |from: usize, to: usize| {
        let field = fields[from..to].split(|byte| *byte == 0).next().unwrap_or_default();
        Some(latin1(field.trim_ascii())).filter(|text| !text.is_empty())
    };
    // Version 1.1 took the last two bytes of the comment for a zero and the track number.
    let track = fields[122] == 0 && fields[123] != 0;
    Some(Tags {
        title: text(0, 30),
        artist: text(30, 60),
        album: text(60, 90),
        date: text(90, 94),
        track: track.then(|| fields[123].to_string()),
        genre: (fields[124] != 255).then(|| genre::name(fields[124].into()).to_owned()),
    })
}

/// What the header of a tag says about its frames.
#[derive(Clone, Copy)]
struct Header {
    version: u8,
    /// Whether every frame is unsynchronised on its own (version 2.4).
    unsynchronised: bool,
    /// Whether an extended header stands before the frames.
    extended: bool,
}

impl Header {
    /// Bytes of a frame's header.
    fn frame_len(self) -> u64 {
        if self.version == 2 { 6 } else { 10 }
    }
}

/// The values of the frames that count, by frame.
#[derive(Debug, Default)]
struct Frames {
    title: Vec<String>,
    album: Vec<String>,
    artist: Vec<String>,
    genre: Vec<String>,
    track: Vec<String>,
    /// Date of recording (`TDRC`), which is more than a year.
    date: Vec<String>,
    /// Year (`TYER` before version 2.4, by mistake also in it).
    year: Vec<String>,
}

impl Frames {
    /// The values of the frame called `id`, if that frame counts. Some taggers write
    /// names of version 2.2 into later tags, filled up with a NUL.
    fn values(&mut self, id: &[u8]) -> Option<&mut Vec<String>> {
        match id.strip_suffix(b"\0").unwrap_or(id) {
            b"TIT2" | b"TT2" => Some(&mut self.title),
            b"TALB" | b"TAL" => Some(&mut self.album),
            b"TPE1" | b"TP1" => Some(&mut self.artist),
            b"TCON" | b"TCO" => Some(&mut self.genre),
            b"TRCK" | b"TRK" => Some(&mut self.track),
            b"TDRC" => Some(&mut self.date),
            b"TYER" | b"TYE" => Some(&mut self.year),
            _ => None,
        }
    }

    fn tags(self) -> Tags {
        let first = |values: Vec<String>| values.into_iter().next();
        Tags {
            title: first(self.title),
            album: first(self.album),
            artist: first(self.artist),
            genre: genre::first(self.genre.iter().map(String::as_str)),
            track: first(self.track),
            date: first(self.date).or_else(|| first(self.year)),
        }
    }
}

/// Reads the frames between two offsets. A frame that occurs twice has the values of both.
fn read_frames(reader: &mut (impl Read + Seek), header: Header, from: u64, to: u64) -> io::Result<Frames> {
    let mut frames = Frames::default();
    let mut at = from + if header.extended { extended_len(reader, header, from)? } else { 0 };
    while at + header.frame_len() <= to {
        reader.seek(SeekFrom::Start(at))?;
        let head = read_up_to(reader, header.frame_len())?;
        let body = at + header.frame_len();
        // Padding, or the end of a file that is shorter than its tag says.
        if (head.len() as u64) < header.frame_len() || head[..3] == [0; 3] {
            break;
        }
        let (id, size, flags) = match header.version {
            2 => (&head[..3], u32::from_be_bytes([0, head[3], head[4], head[5]]), 0),
            3 => (&head[..4], be32(&head[4..8]), head[9]),
            _ => (&head[..4], frame_size(reader, be32(&head[4..8]), body, to)?, head[9]),
        };
        at = body + u64::from(size);
        if let Some(values) = frames.values(id)
            && u64::from(size) <= TEXT_MAX
        {
            reader.seek(SeekFrom::Start(body))?;
            let data = read_up_to(reader, u64::from(size).min(to - body))?;
            values.extend(
                unwrap(data, header, flags)
                    .and_then(|data| texts(&data, header.version))
                    .into_iter()
                    .flatten(),
            );
        }
    }
    Ok(frames)
}

/// Bytes of the extended header. Some taggers set its flag and write none: where a frame
/// begins instead, its name would be an absurd length.
fn extended_len(reader: &mut (impl Read + Seek), header: Header, from: u64) -> io::Result<u64> {
    reader.seek(SeekFrom::Start(from))?;
    let len = read_up_to(reader, 4)?;
    if len.len() < 4 || is_frame_id(&len) {
        return Ok(0);
    }
    // Version 2.3 does not count these four bytes themselves, version 2.4 does.
    Ok(if header.version == 3 { u64::from(be32(&len)) + 4 } else { u64::from(synchsafe(be32(&len))) })
}

/// The size of a frame of version 2.4, which has seven bits a byte, unless old iTunes wrote
/// it: then eight. The one that leads to another frame, to padding or to the end counts.
fn frame_size(reader: &mut (impl Read + Seek), raw: u32, body: u64, to: u64) -> io::Result<u32> {
    let safe = synchsafe(raw);
    if raw & 0x8080_8080 != 0 {
        return Ok(raw);
    }
    if safe == raw || leads_on(reader, body + u64::from(safe), to)? {
        return Ok(safe);
    }
    Ok(if leads_on(reader, body + u64::from(raw), to)? { raw } else { safe })
}

fn leads_on(reader: &mut (impl Read + Seek), at: u64, to: u64) -> io::Result<bool> {
    if at >= to {
        return Ok(at == to);
    }
    reader.seek(SeekFrom::Start(at))?;
    let id = read_up_to(reader, (to - at).min(4))?;
    Ok(is_frame_id(&id) || id.iter().all(|byte| *byte == 0))
}

fn is_frame_id(bytes: &[u8]) -> bool {
    bytes.len() == 4 && bytes.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

/// The content of a frame without what its flags say was done to it; `None` when it is
/// encrypted or broken.
fn unwrap(mut data: Vec<u8>, header: Header, flags: u8) -> Option<Vec<u8>> {
    /// Which bits mean what, by version: compressed, encrypted, grouped, with a length.
    struct Bits(u8, u8, u8, u8);
    let Bits(compressed, encrypted, grouped, with_len) =
        if header.version == 4 { Bits(0x08, 0x04, 0x40, 0x01) } else { Bits(0x80, 0x40, 0x20, 0x80) };
    if flags & encrypted != 0 {
        return None;
    }
    let group_len = usize::from(flags & grouped != 0);
    let data_len = if flags & (with_len | compressed) != 0 { 4 } else { 0 };
    data.drain(..(group_len + data_len).min(data.len()));
    if header.version == 4 && (header.unsynchronised || flags & 0x02 != 0) {
        data = undo_unsynchronisation(&data);
    }
    if flags & compressed != 0 {
        let mut inflated = Vec::new();
        ZlibDecoder::new(&data[..]).take(TEXT_MAX).read_to_end(&mut inflated).ok()?;
        data = inflated;
    }
    Some(data)
}

/// The values of a text frame; `None` when its encoding does not exist or does not fit.
fn texts(data: &[u8], version: u8) -> Option<Vec<String>> {
    let (encoding, mut rest) = data.split_first()?;
    let mut order = ByteOrder::Little;
    let mut values = Vec::new();
    while !rest.is_empty() {
        let wide = matches!(encoding, 1 | 2);
        let (value, after) = if wide { split_wide(rest) } else { split(rest) };
        values.push(match encoding {
            0 => latin1(value),
            1 => {
                let (marked, value) = ByteOrder::of(value, order);
                order = marked;
                utf16(value, order)?
            }
            2 => utf16(value, ByteOrder::Big)?,
            3 => std::str::from_utf8(value).ok()?.to_owned(),
            _ => return None,
        });
        rest = after;
        // Before version 2.4 there was one value, and zeros after it are padding.
        if version < 4 && rest.iter().all(|byte| *byte == 0) {
            break;
        }
    }
    Some(values)
}

#[derive(Clone, Copy)]
enum ByteOrder {
    Little,
    Big,
}

impl ByteOrder {
    /// The order that a mark at the start of `value` tells, and the value without it. A
    /// value without a mark has the order of the one before; the first is little-endian.
    fn of(value: &[u8], before: ByteOrder) -> (ByteOrder, &[u8]) {
        match value {
            [0xff, 0xfe, text @ ..] => (ByteOrder::Little, text),
            [0xfe, 0xff, text @ ..] => (ByteOrder::Big, text),
            text => (before, text),
        }
    }
}

/// A value up to the NUL that ends it, and what follows.
fn split(data: &[u8]) -> (&[u8], &[u8]) {
    match data.iter().position(|byte| *byte == 0) {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (data, &[]),
    }
}

/// The same for units of two bytes. A single byte at the end belongs to the value; it is
/// mostly half of a NUL.
fn split_wide(data: &[u8]) -> (&[u8], &[u8]) {
    match data.chunks(2).position(|unit| unit.iter().all(|byte| *byte == 0)) {
        Some(unit) => (&data[..2 * unit], &data[data.len().min(2 * unit + 2)..]),
        None => (data, &[]),
    }
}

fn utf16(bytes: &[u8], order: ByteOrder) -> Option<String> {
    let units = bytes.chunks(2).map(|unit| {
        let unit = [unit[0], unit.get(1).copied().unwrap_or(0)];
        match order {
            ByteOrder::Little => u16::from_le_bytes(unit),
            ByteOrder::Big => u16::from_be_bytes(unit),
        }
    });
    char::decode_utf16(units).collect::<Result<_, _>>().ok()
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// Removes the zero that was put after each `ff` so that no player takes it for sound.
fn undo_unsynchronisation(data: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(data.len());
    let mut after_ff = false;
    for byte in data {
        if !(after_ff && *byte == 0) {
            plain.push(*byte);
        }
        after_ff = *byte == 0xff;
    }
    plain
}

/// A number of four bytes with seven bits each.
fn synchsafe(raw: u32) -> u32 {
    raw.to_be_bytes().iter().fold(0, |sum, byte| sum << 7 | u32::from(byte & 0x7f))
}

/// A number of four bytes; `bytes` are four.
fn be32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte))
}

fn read_up_to(reader: &mut impl Read, len: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(len).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
