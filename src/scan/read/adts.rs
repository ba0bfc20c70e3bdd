//! AAC without a container: ADTS, whose frames the reader counts, and ADIF, whose header states the bit rate.

use std::io;

use super::frames::{self, Frame, JUNK_MAX};
use super::source::Source;
use super::tags::{Reading, Unread};

const SAMPLE_RATES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];
/// Bytes of an ADIF header that are read; it rarely has more than 30.
const ADIF_LEN: usize = 64;

/// Reports whether ADTS begins here; behind junk only if a name or a tag vouches for it.
pub(super) fn begins(source: &mut Source, vouched: bool) -> io::Result<bool> {
    let junk_max = if vouched { JUNK_MAX } else { 0 };
    Ok(frames::find(source, junk_max, parse)?.is_some())
}

/// Where ADTS begins, perhaps behind junk.
pub(super) fn find(source: &mut Source) -> io::Result<Option<u64>> {
    Ok(frames::find(source, JUNK_MAX, parse)?.map(|found| found.at))
}

pub(super) fn read(source: &mut Source, reading: &mut Reading) -> Result<(), Unread> {
    reading.sound.codec = "aac";
    if source.bytes(0, 4)? == b"ADIF" {
        return read_adif(source, reading);
    }
    let Some(first) = frames::find(source, JUNK_MAX, parse)? else {
        return Err(Unread::Broken("it has no ADTS frame".to_owned()));
    };
    reading.sound.sample_rate = first.frame.sample_rate;
    reading.sound.channels = first.frame.channels;
    frames::guess(source, reading, first, parse)?;
    Ok(())
}

fn parse(bytes: &[u8]) -> Option<Frame> {
    let &[0xff, b1, b2, b3, b4, b5, b6, ..] = bytes else { return None };
    let len = usize::from(b3 & 3) << 11 | usize::from(b4) << 3 | usize::from(b5 >> 5);
    let header_len = if b1 & 1 == 1 { 7 } else { 9 };
    if b1 & 0xf6 != 0xf0 || len < header_len {
        return None;
    }
    let channels = u16::from(b2 & 1) << 2 | u16::from(b3 >> 6);
    Some(Frame {
        len,
        samples: (u32::from(b6 & 3) + 1) * 1024,
        sample_rate: *SAMPLE_RATES.get(usize::from(b2 >> 2 & 15))?,
        bit_rate: 0,
        channels: if channels == 7 { 8 } else { channels },
        kind: u32::from(b1 & 8) << 16 | u32::from(b2 & 0xfd) << 8 | u32::from(b3 & 0xc0),
        is_sure: false,
    })
}

fn read_adif(source: &mut Source, reading: &mut Reading) -> Result<(), Unread> {
    let mut bits = Bits { bytes: source.bytes(4, ADIF_LEN)?, at: 0 };
    if bits.take(1) == 1 {
        bits.skip(72);
    }
    bits.skip(2);
    let is_variable = bits.take(1) == 1;
    let bit_rate = bits.take(23);
    bits.skip(4);
    if !is_variable {
        bits.skip(20);
    }
    // The program: its tag and profile, then its rate and its channels.
    bits.skip(6);
    let rate = bits.take(4);
    reading.sound.sample_rate = SAMPLE_RATES.get(rate as usize).copied().unwrap_or(0);
    reading.sound.channels = channels(&mut bits);
    let header = bits.at.div_ceil(8) as u64 + 4;
    let sound = source.len().saturating_sub(header);
    if sound == 0 {
        return Err(Unread::Broken("its header is cut".to_owned()));
    }
    reading.sound.bit_rate = bit_rate;
    reading.sound.length = frames::duration(sound, bit_rate);
    match reading.sound.length {
        Some(_) => reading.guess = Some("from its size and bit rate"),
        None => reading.lose("length", "its ADIF header tells no bit rate"),
    }
    Ok(())
}

/// Returns the channels of a program, whose elements are one or two channels each.
fn channels(bits: &mut Bits<'_>) -> u16 {
    let elements = bits.take(4) + bits.take(4) + bits.take(4);
    let low = bits.take(2);
    bits.skip(3 + 4);
    // Mixing down: one or two channels take four bits each, a matrix three.
    for len in [4, 4, 3] {
        if bits.take(1) == 1 {
            bits.skip(len);
        }
    }
    let mut channels = low as u16;
    for _ in 0..elements {
        channels += 1 + bits.take(1) as u16;
        bits.skip(4);
    }
    channels
}

/// Bits of a header, the highest first; zeros behind its end.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: usize) -> u32 {
        (0..count).fold(0, |value, _| {
            let byte = self.bytes.get(self.at / 8).copied().unwrap_or(0);
            let bit = byte >> (7 - self.at % 8) & 1;
            self.at += 1;
            value << 1 | u32::from(bit)
        })
    }

    fn skip(&mut self, count: usize) {
        self.at += count;
    }
}

#[cfg(test)]
mod tests;
