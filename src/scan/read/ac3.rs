//! AC-3 and E-AC-3: chains of frames without an index.

use std::io;

use super::frames::{self, Frame, JUNK_MAX};
use super::source::Source;
use super::tags::{Reading, Unread};

const SAMPLE_RATES: [u32; 3] = [48_000, 44_100, 32_000];
/// Bit rates of AC-3 in kbit/s.
const BIT_RATES: [u32; 19] =
    [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640];
/// Channels by mode, without the one for low frequencies.
const CHANNELS: [u16; 8] = [2, 1, 2, 3, 3, 4, 4, 5];
/// Samples of a block, of which a frame has up to six.
const BLOCK_SAMPLES: u32 = 256;
/// The number of a bit stream from which on the format is E-AC-3.
const ENHANCED: u8 = 11;

/// Reports whether AC-3 begins here; behind junk only if the name vouches for it.
pub(super) fn begins(source: &mut Source, vouched: bool) -> io::Result<bool> {
    let junk_max = if vouched { JUNK_MAX } else { 0 };
    Ok(frames::find(source, junk_max, parse)?.is_some())
}

pub(super) fn read(source: &mut Source, reading: &mut Reading) -> Result<(), Unread> {
    let Some(first) = frames::find(source, JUNK_MAX, parse)? else {
        return Err(Unread::Broken("it has no AC-3 frame".to_owned()));
    };
    let is_enhanced = source.bytes(first.at + 5, 1)?.first().is_some_and(|byte| byte >> 3 >= ENHANCED);
    reading.sound.codec = if is_enhanced { "eac3" } else { "ac3" };
    reading.sound.sample_rate = first.frame.sample_rate;
    reading.sound.channels = first.frame.channels;
    frames::guess(source, reading, first, parse)?;
    Ok(())
}

fn parse(bytes: &[u8]) -> Option<Frame> {
    let head: &[u8; 7] = bytes.get(..7)?.try_into().ok()?;
    if !head.starts_with(b"\x0b\x77") {
        return None;
    }
    match head[5] >> 3 {
        number if number < ENHANCED => plain(head, number),
        11..=16 => enhanced(head),
        _ => None,
    }
}

fn plain(head: &[u8; 7], number: u8) -> Option<Frame> {
    let code = usize::from(head[4] >> 6);
    let full_rate = *SAMPLE_RATES.get(code)?;
    let size = usize::from(head[4] & 0x3f);
    let kbits = *BIT_RATES.get(size / 2)?;
    // A frame is 1536 samples in words of two bytes; at 44,100 every other one is a word longer.
    let words = kbits * 96_000 / full_rate + u32::from(code == 1) * (size as u32 & 1);
    let mode = head[6] >> 5;
    // The position of the flag for low frequencies depends on the mode, as some modes have levels before it.
    let levels =
        2 * u32::from(mode & 1 == 1 && mode != 1) + 2 * u32::from(mode & 4 != 0) + 2 * u32::from(mode == 2);
    let low = u16::from(head[6] >> (4 - levels.min(4)) & 1);
    let halvings = number.saturating_sub(8);
    let sample_rate = full_rate >> halvings;
    Some(Frame {
        len: 2 * words as usize,
        samples: 6 * BLOCK_SAMPLES,
        sample_rate,
        bit_rate: (kbits * 1000) >> halvings,
        channels: CHANNELS[usize::from(mode)] + low,
        kind: sample_rate,
        is_sure: false,
    })
}

fn enhanced(head: &[u8; 7]) -> Option<Frame> {
    let (stream, substream) = (head[2] >> 6, head[2] >> 3 & 7);
    let len = 2 * (usize::from(head[2] & 7) << 8 | usize::from(head[3])) + 2;
    let code = usize::from(head[4] >> 6);
    let second = usize::from(head[4] >> 4 & 3);
    if stream == 3 || len < head.len() {
        return None;
    }
    let (sample_rate, blocks) = match SAMPLE_RATES.get(code) {
        Some(rate) => (*rate, [1, 2, 3, 6][second]),
        None => (SAMPLE_RATES.get(second)? / 2, 6),
    };
    let samples = blocks * BLOCK_SAMPLES;
    // Other substreams add channels to the same time, or are other programs beside it.
    let is_main = stream != 1 && substream == 0;
    Some(Frame {
        len,
        samples: if is_main { samples } else { 0 },
        sample_rate,
        bit_rate: if is_main {
            (len as u64 * 8 * u64::from(sample_rate) / u64::from(samples)) as u32
        } else {
            0
        },
        channels: CHANNELS[usize::from(head[4] >> 1 & 7)] + u16::from(head[4] & 1),
        kind: sample_rate,
        is_sure: false,
    })
}

#[cfg(test)]
mod tests;
