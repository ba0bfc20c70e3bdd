//! ASF, the container of Windows Media Audio: objects named by GUIDs. The head states the length
//! and the codec; names are in four places (see `names`).

mod names;
#[cfg(test)]
mod tests;

use std::io;
use std::time::Duration;

use super::chunks::{Chunk, Chunks, Layout, number, number16, number32};
use super::riff::WaveFormat;
use super::source::Source;
use super::tags::{Reading, Unread};

/// Bytes in front of the first object in the head.
const HEAD_LEN: u64 = 30;
/// Bytes of the head of an object.
const OBJECT_HEAD_LEN: u64 = 24;
/// Bytes of the head extension in front of its objects.
const EXTENSION_LEN: u64 = 22;
/// Bytes of the file properties that matter.
const PROPERTIES_LEN: u64 = 80;
/// Bytes of the stream properties in front of the format.
const STREAM_LEN: u64 = 54;
/// Bytes of an extended description of a stream in front of its lists.
const EXTENDED_STREAM_LEN: u64 = 64;
/// Bytes of the object with the sound in front of its packets.
const DATA_LEN: u64 = 26;
/// Most bytes of the head of a packet, up to its time.
const PACKET_HEAD_MAX: usize = 36;
/// Most entries of a list in an extended description.
const LIST_MAX: u16 = 256;
/// The flag of a file that was cut off while it was made.
const BROADCAST: u32 = 1;

/// A GUID in the byte order of files.
type Guid = [u8; 16];

const FILE_PROPERTIES: Guid = *b"\xa1\xdc\xab\x8c\x47\xa9\xcf\x11\x8e\xe4\x00\xc0\x0c\x20\x53\x65";
const STREAM_PROPERTIES: Guid = *b"\x91\x07\xdc\xb7\xb7\xa9\xcf\x11\x8e\xe6\x00\xc0\x0c\x20\x53\x65";
const EXTENDED_STREAM: Guid = *b"\xcb\xa5\xe6\x14\x72\xc6\x32\x43\x83\x99\xa9\x69\x52\x06\x5b\x5a";
const EXTENSION: Guid = *b"\xb5\x03\xbf\x5f\x2e\xa9\xcf\x11\x8e\xe3\x00\xc0\x0c\x20\x53\x65";
const DESCRIPTION: Guid = *b"\x33\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c";
const EXTENDED_DESCRIPTION: Guid = *b"\x40\xa4\xd0\xd2\x07\xe3\xd2\x11\x97\xf0\x00\xa0\xc9\x5e\xa8\x50";
const METADATA: Guid = *b"\xea\xcb\xf8\xc5\xaf\x5b\x77\x48\x84\x67\xaa\x8c\x44\xfa\x4c\xca";
const METADATA_LIBRARY: Guid = *b"\x94\x1c\x23\x44\x98\x94\xd1\x49\xa1\x41\x1d\x13\x4e\x45\x70\x54";
const DATA: Guid = *b"\x36\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c";
const AUDIO: Guid = *b"\x40\x9e\x69\xf8\x4d\x5b\xcf\x11\xa8\xfd\x00\x80\x5f\x5c\x44\x2b";

/// The fields of the head, beside names.
#[derive(Debug, Default)]
struct Head {
    properties: Option<Properties>,
    format: Option<WaveFormat>,
    /// Offsets of the packets of sound, and behind them.
    packets: Option<(u64, u64)>,
}

/// The fields of the file properties.
#[derive(Debug, Clone, Copy)]
struct Properties {
    /// Units of 100 ns, with the preroll.
    play: u64,
    /// Milliseconds that are buffered before the sound starts.
    preroll: u64,
    flags: u32,
    /// Bytes of each packet.
    packet_len: u32,
    /// Bits per second.
    bit_rate: u32,
}

pub(super) fn read(source: &mut Source, reading: &mut Reading) -> Result<(), Unread> {
    let mut head = Head::default();
    let mut names = names::Names::default();
    // The size of the head may be wrong; the object with the sound ends it.
    let mut objects = Chunks::new(Layout::ASF, HEAD_LEN, source.len());
    loop {
        let wanted = if head.properties.is_some() { DATA } else { FILE_PROPERTIES };
        let Some(object) = objects.next_or_find(source, reading, Some(&wanted))? else { break };
        if object.guid() == DATA {
            // An unfinished file states no size, or the size of an object without packets.
            let open = object.is_cut() || object.claimed <= DATA_LEN;
            let to = if open { source.len() } else { object.to };
            head.packets = Some((object.from + DATA_LEN, to));
            break;
        }
        if object.is_cut() {
            reading
                .lose("objects", format!("one claims {} bytes; {} are there", object.claimed, object.len()));
        }
        read_object(&object, source, &mut head, &mut names, reading)?;
        if object.guid() == EXTENSION {
            let mut inner = Chunks::new(Layout::ASF, object.from + EXTENSION_LEN, object.to);
            while let Some(object) = inner.next(source, reading)? {
                read_object(&object, source, &mut head, &mut names, reading)?;
            }
        }
    }
    names.give(reading);
    let Some(packets) = head.packets else {
        return Err(Unread::Broken("it has no sound: its data object is missing".to_owned()));
    };
    match head.format {
        Some(format) => format.describe(&mut reading.sound),
        None => reading.lose("codec", "its head describes no stream of sound"),
    }
    measure(head.properties, packets, source, reading)?;
    Ok(())
}

fn read_object(
    object: &Chunk,
    source: &mut Source,
    head: &mut Head,
    names: &mut names::Names,
    reading: &mut Reading,
) -> io::Result<()> {
    match object.guid() {
        FILE_PROPERTIES => head.properties = Some(Properties::of(object.bytes(source, PROPERTIES_LEN)?)),
        STREAM_PROPERTIES => read_stream(object.from, object.to, source, head)?,
        EXTENDED_STREAM => read_extended_stream(object, source, head)?,
        DESCRIPTION => names.read_description(object, source, reading)?,
        EXTENDED_DESCRIPTION => names.read_extended(object, source, reading)?,
        METADATA | METADATA_LIBRARY => names.read_library(object, source, reading)?,
        _ => {}
    }
    Ok(())
}

impl Properties {
    fn of(bytes: &[u8]) -> Properties {
        let order = Layout::ASF.order;
        Properties {
            play: number(bytes, 40, 8, order),
            preroll: number(bytes, 56, 8, order),
            flags: number32(bytes, 64, order),
            packet_len: number32(bytes, 72, order),
            bit_rate: number32(bytes, 76, order),
        }
    }

    /// Returns the length, if the properties state one.
    fn length(self) -> Option<Duration> {
        let play = Duration::from_nanos(self.play.checked_mul(100)?);
        let length = play.checked_sub(Duration::from_millis(self.preroll))?;
        (self.flags & BROADCAST == 0 && !length.is_zero()).then_some(length)
    }
}

/// Finds the length: as stated, else by the time of the last packet, else by the bit rate.
fn measure(
    properties: Option<Properties>,
    (from, to): (u64, u64),
    source: &mut Source,
    reading: &mut Reading,
) -> io::Result<()> {
    reading.sound.length = properties.and_then(Properties::length);
    if reading.sound.length.is_some() {
        return Ok(());
    }
    let packet_len = properties.map_or(0, |properties| u64::from(properties.packet_len));
    let count = to.saturating_sub(from).checked_div(packet_len).unwrap_or(0);
    if count > 1 {
        let (first, _) = packet_time(source, from)?;
        let (last, millis) = packet_time(source, from + (count - 1) * packet_len)?;
        let millis = u64::from(last.saturating_sub(first)) + u64::from(millis);
        reading.sound.length = (last > first).then_some(Duration::from_millis(millis));
        reading.guess = Some("the length is not stated: it is the time of the last packet");
    }
    let bit_rate = match (reading.sound.bit_rate, properties) {
        (0, Some(properties)) => properties.bit_rate,
        (bit_rate, _) => bit_rate,
    };
    if reading.sound.length.is_none() && bit_rate > 0 {
        let seconds = to.saturating_sub(from) as f64 * 8.0 / f64::from(bit_rate);
        reading.sound.length = Duration::try_from_secs_f64(seconds).ok();
        reading.guess = Some("the length is that of its bytes at the stated bit rate");
    }
    if reading.sound.length.is_none() {
        reading.lose("length", "its file properties do not tell it");
    }
    Ok(())
}

/// Returns the time at which a packet is sent, and its duration, both in milliseconds.
fn packet_time(source: &mut Source, at: u64) -> io::Result<(u32, u16)> {
    let head = source.bytes(at, PACKET_HEAD_MAX)?;
    let first = head.first().copied().unwrap_or(0);
    // The first byte may announce bytes for error correction.
    let flags_at = if first & 0x80 != 0 { 1 + usize::from(first & 15) } else { 0 };
    let flags = head.get(flags_at).copied().unwrap_or(0);
    // Three numbers follow, each of 0, 1, 2 or 4 bytes.
    let lens = [flags >> 5, flags >> 1, flags >> 3].map(|kind| [0, 1, 2, 4][usize::from(kind & 3)]);
    let at = flags_at + 2 + lens.iter().sum::<usize>();
    Ok((number32(head, at, Layout::ASF.order), number16(head, at + 4, Layout::ASF.order)))
}

/// Reads the description of one stream; the first one with sound counts.
fn read_stream(from: u64, to: u64, source: &mut Source, head: &mut Head) -> io::Result<()> {
    let len = usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX).min(STREAM_LEN as usize + 20);
    let bytes = source.bytes(from, len)?;
    if head.format.is_none() && bytes.starts_with(&AUDIO) && bytes.len() > STREAM_LEN as usize {
        head.format = Some(WaveFormat::of(&bytes[STREAM_LEN as usize..], Layout::ASF.order));
    }
    Ok(())
}

/// Reads the stream that an extended description holds behind its lists.
fn read_extended_stream(object: &Chunk, source: &mut Source, head: &mut Head) -> io::Result<()> {
    let order = Layout::ASF.order;
    let bytes = object.bytes(source, EXTENDED_STREAM_LEN)?;
    let (names, systems) = (number16(bytes, 60, order), number16(bytes, 62, order));
    let mut at = object.from + EXTENDED_STREAM_LEN;
    for _ in 0..names.min(LIST_MAX) {
        at += 4 + u64::from(number16(source.bytes(at, 4)?, 2, order));
    }
    for _ in 0..systems.min(LIST_MAX) {
        at += 22 + u64::from(number32(source.bytes(at, 22)?, 18, order));
    }
    if source.bytes(at, 16)? == STREAM_PROPERTIES && at < object.to {
        read_stream(at + OBJECT_HEAD_LEN, object.to, source, head)?;
    }
    Ok(())
}
