//! MPEG audio, layers I to III. Its length is in a Xing, Info or VBRI header, which takes the place
//! of the first frame. Without a header the reader guesses it from bit rate and size, or counts the
//! frames if the bit rate changes.

use std::io;

use super::frames::{self, Found, Frame, JUNK_MAX};
use super::source::Source;
use super::tags::{Reading, Unread};

/// Bit rates in kbit/s: version 1 by layer, then version 2 of layer I, and of II and III.
const BIT_RATES: [[u32; 14]; 5] = [
    [32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448],
    [32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
    [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
    [32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256],
    [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
];
const SAMPLE_RATES: [u32; 3] = [44_100, 48_000, 32_000];
/// Offset of a VBRI header in its frame.
const VBRI_AT: usize = 36;
/// Most bytes of a frame in which to search an index.
const INDEX_LEN: usize = 256;

/// Reports whether MPEG audio begins here. Without a name or a tag that vouches for it, junk before
/// it is not allowed, and layer I does not count: UTF-16 text begins like it.
pub(super) fn begins(source: &mut Source, vouched: bool) -> io::Result<bool> {
    if !vouched && source.bytes(1, 1)?.first().is_none_or(|byte| byte & 0b110 == 0b110) {
        return Ok(false);
    }
    let junk_max = if vouched { JUNK_MAX } else { 0 };
    Ok(frames::find(source, junk_max, parse)?.is_some())
}

/// Where MPEG audio begins, perhaps behind junk.
pub(super) fn find(source: &mut Source) -> io::Result<Option<u64>> {
    Ok(frames::find(source, JUNK_MAX, parse)?.map(|found| found.at))
}

pub(super) fn read(source: &mut Source, reading: &mut Reading) -> Result<(), Unread> {
    let Some(first) = frames::find(source, JUNK_MAX, parse)? else {
        return Err(Unread::Broken("it has no MPEG audio frame".to_owned()));
    };
    let head = source.vec(first.at, INDEX_LEN as u64, INDEX_LEN)?;
    reading.sound.codec = codec(&head);
    reading.sound.sample_rate = first.frame.sample_rate;
    reading.sound.channels = first.frame.channels;
    match index(&head) {
        Some(index) if index.frames > 0 => {
            read_index(&index, first, reading);
            Ok(())
        }
        // The frame of an index is not sound, and has another bit rate.
        Some(_) => read_unindexed(source, reading, first.at + first.frame.len as u64),
        None => Ok(frames::guess(source, reading, first, parse)?),
    }
}

fn read_index(index: &Index, first: Found, reading: &mut Reading) {
    let samples = u64::from(index.frames) * u64::from(first.frame.samples);
    // As avalonms did: padding takes part in the bit rate and not in the length.
    let padded = u64::from(first.frame.sample_rate) * 8 * index.sound_bytes(first.frame);
    reading.sound.bit_rate = u32::try_from(padded.checked_div(samples).unwrap_or(0)).unwrap_or(u32::MAX);
    reading.set_samples(samples.saturating_sub(u64::from(index.padding)), first.frame.sample_rate);
}

fn read_unindexed(source: &mut Source, reading: &mut Reading, from: u64) -> Result<(), Unread> {
    let len = source.len();
    let guessed = source.within(from, len, |source| match frames::find(source, JUNK_MAX, parse)? {
        Some(first) => frames::guess(source, reading, first, parse).map(|()| true),
        None => Ok(false),
    })?;
    if !guessed {
        reading.lose("length", "its index counts no frames, and no frame follows it");
    }
    Ok(())
}

fn codec(head: &[u8]) -> &'static str {
    match head.get(1).map_or(0, |byte| byte >> 1 & 3) {
        3 => "mp1",
        2 => "mp2",
        _ => "mp3",
    }
}

/// Returns the frame that begins with these bytes.
fn parse(bytes: &[u8]) -> Option<Frame> {
    let &[0xff, second, third, fourth, ..] = bytes else { return None };
    let (version, layer) = (second >> 3 & 3, 4 - (second >> 1 & 3));
    if second < 0xe0 || version == 1 || layer == 4 {
        return None;
    }
    let is_version_1 = version == 3;
    let table = match (is_version_1, layer) {
        (true, layer) => usize::from(layer) - 1,
        (false, 1) => 3,
        (false, _) => 4,
    };
    let kbits = *BIT_RATES[table].get(usize::from(third >> 4).checked_sub(1)?)?;
    let halvings = [2, 0, 1, 0][usize::from(version)];
    let sample_rate = SAMPLE_RATES.get(usize::from(third >> 2 & 3))? >> halvings;
    let (samples, slot) = match (layer, is_version_1) {
        (1, _) => (384, 4),
        (3, false) => (576, 1),
        _ => (1152, 1),
    };
    let padding = u32::from(third >> 1 & 1);
    let len = (samples / 8 / slot * kbits * 1000 / sample_rate + padding) * slot;
    let is_mono = fourth >> 6 == 3;
    Some(Frame {
        len: len as usize,
        samples,
        sample_rate,
        bit_rate: kbits * 1000,
        channels: if is_mono { 1 } else { 2 },
        kind: u32::from(second & 0x1e) << 8 | u32::from(third & 0x0c) << 1 | u32::from(is_mono),
        is_sure: index(bytes).is_some(),
    })
}

/// The index in place of the sound of the first frame of a layer III file.
#[derive(Debug, PartialEq, Eq)]
struct Index {
    /// Frames of the file; 0 if unknown.
    frames: u32,
    /// Bytes of the file; 0 if unknown.
    bytes: u32,
    /// Samples at both ends that only the encoder needed.
    padding: u32,
    /// Whether `bytes` counts the frame of the index itself.
    counts_itself: bool,
}

impl Index {
    fn sound_bytes(&self, first: Frame) -> u64 {
        let own = if self.counts_itself { first.len } else { 0 };
        u64::from(self.bytes).saturating_sub(own as u64)
    }
}

fn index(frame: &[u8]) -> Option<Index> {
    let &[_, second, _, fourth, ..] = frame else { return None };
    let is_mono = fourth >> 6 == 3;
    let at = match (second >> 3 & 1 == 1, is_mono) {
        (true, false) => 36,
        (false, true) => 13,
        _ => 21,
    };
    if second >> 1 & 3 != 1 {
        return None;
    }
    match frame.get(at..at + 4) {
        Some(b"Xing" | b"Info") => Some(xing(&frame[at..])),
        _ => vbri(frame.get(VBRI_AT..)?),
    }
}

fn xing(header: &[u8]) -> Index {
    let flags = be32(header, 4);
    let mut at = 8;
    let mut field = |bit: u32, len: usize| {
        let present = flags & bit != 0;
        at += if present { len } else { 0 };
        if present { be32(header, at - len) } else { 0 }
    };
    let (frames, bytes) = (field(1, 4), field(2, 4));
    // A table for seeking, and the quality.
    let _ = (field(4, 100), field(8, 4));
    let padding = header.get(at..).and_then(lame_padding).unwrap_or(0);
    Index { frames, bytes, padding, counts_itself: true }
}

fn vbri(header: &[u8]) -> Option<Index> {
    let known = header.starts_with(b"VBRI\0\x01") && header.len() >= 26;
    known.then(|| Index {
        frames: be32(header, 14),
        bytes: be32(header, 10),
        padding: 0,
        counts_itself: false,
    })
}

/// Returns the delay and padding that LAME from version 3.90 on states. Other encoders write the
/// same header, but avalonms believed only LAME.
fn lame_padding(header: &[u8]) -> Option<u32> {
    let version = header.get(..20)?;
    if !(version.starts_with(b"LAME") || version.starts_with(b"L3.99")) {
        return None;
    }
    let number = version[..9].trim_ascii();
    let number = std::str::from_utf8(number.split(|byte| *byte == 0).next()?).ok()?;
    let (major, minor) = number.trim_start_matches(['L', 'A', 'M', 'E']).split_once('.')?;
    let digits = minor.bytes().take_while(u8::is_ascii_digit).count();
    let number: (u32, u32) = (major.parse().ok()?, minor[..digits].parse().ok()?);
    let is_alpha = number == (3, 90) && version[9] == b'(';
    let details = header.get(9..36)?;
    if number < (3, 90) || is_alpha || details[0] >> 4 != 0 {
        return None;
    }
    let both = be32(details, 11) & 0x00ff_ffff;
    Some((both >> 12) + (both & 0xfff))
}

/// Returns four bytes as a number; 0 if they are missing.
fn be32(bytes: &[u8], at: usize) -> u32 {
    let four = bytes.get(at..at + 4).and_then(|four| four.try_into().ok());
    four.map_or(0, u32::from_be_bytes)
}

#[cfg(test)]
mod tests;
