//! FLAC: metadata blocks, then frames. The first block states the number of samples; if the encoder
//! did not know it, the header of the last frame gives it.

#[cfg(test)]
mod tests;

use std::io;

use super::source::{Source, WINDOW};
use super::tags::{Reading, Unread};
use super::vorbis_comment::{self, Piece};

/// Bytes of the mark of the format.
const MARK_LEN: u64 = 4;
/// Bytes of the header of a block.
const HEADER_LEN: u64 = 4;
/// Bytes of the block that describes the sound.
pub(super) const INFO_LEN: usize = 34;
/// Most blocks that are read.
const BLOCKS_MAX: usize = 10_000;
/// Distance before the end of the file within which the last frame is searched. A frame of eight
/// channels at 24 bits takes up to 1.5 MB, a usual one a few KB.
const TAIL_MAX: u64 = 2 << 20;
/// Most headers of frames that are compared.
const FRAMES_MAX: usize = 64;
/// Most bytes of the header of a frame.
const FRAME_HEADER_MAX: usize = 16;

pub(super) const STREAMINFO: u8 = 0;
pub(super) const COMMENT: u8 = 4;
pub(super) const PICTURE: u8 = 6;
const INVALID: u8 = 127;

/// Reads a file that begins with `fLaC`.
///
/// # Errors
/// If it does not describe its sound, or has none.
pub(super) fn read(source: &mut Source, reading: &mut Reading) -> Result<(), Unread> {
    let mut info = None;
    let mut is_cut = false;
    let mut at = MARK_LEN;
    for index in 0.. {
        let Some(block) = Block::at(source, at)? else { break };
        if index >= BLOCKS_MAX {
            reading.lose("metadata blocks", format!("only the first {BLOCKS_MAX} were looked at"));
            break;
        }
        if block.kind == INVALID {
            reading.lose("metadata block", "its kind is invalid; the rest is not read");
            break;
        }
        let mut next = block.end;
        match block.kind {
            STREAMINFO => info = info.or(Info::of(&source.vec(block.start, INFO_LEN as u64, INFO_LEN)?)),
            COMMENT => next = read_comments(source, &block, reading)?,
            PICTURE => reading.has_cover |= block.start < block.end,
            _ => {}
        }
        if next > source.len() {
            is_cut = true;
            break;
        }
        at = next;
        if block.is_last {
            break;
        }
    }
    let info = info.ok_or_else(|| Unread::Broken("it has no STREAMINFO block".to_owned()))?;
    if is_cut {
        reading.lose("metadata block", "it goes beyond the end of the file");
        at = first_frame(source, at, &info)?.unwrap_or(source.len());
    }
    if at >= source.len() {
        return Err(Unread::Broken("no sound follows its metadata".to_owned()));
    }
    info.describe(reading);
    match info.samples {
        0 => count(source, at, &info, reading)?,
        samples => reading.set_samples(samples, info.rate),
    }
    if info.rate == 0 {
        reading.lose("length", "the sample rate is 0");
    }
    reading.set_average_bit_rate(source.len() - at);
    Ok(())
}

/// A metadata block.
#[derive(Debug)]
struct Block {
    kind: u8,
    is_last: bool,
    /// Offset of its content.
    start: u64,
    /// Offset behind it, as it claims.
    end: u64,
}

impl Block {
    fn at(source: &mut Source, at: u64) -> io::Result<Option<Block>> {
        let Some([kind, a, b, c]) = source.array(at)? else { return Ok(None) };
        let start = at + HEADER_LEN;
        let len = u64::from(u32::from_be_bytes([0, a, b, c]));
        Ok(Some(Block { kind: kind & 0x7f, is_last: kind & 0x80 != 0, start, end: start + len }))
    }
}

/// Reads a block of comments, and returns the start of the next block. Some taggers write a wrong
/// size of this block, so the size counts only if a block or a frame follows it.
fn read_comments(source: &mut Source, block: &Block, reading: &mut Reading) -> io::Result<u64> {
    let is_right = continues(source, block, block.end)?;
    let end = if is_right { block.end } else { source.len() };
    let mut piece = Piece { at: block.start, end };
    vorbis_comment::read(source, &mut piece, reading)?;
    if is_right {
        return Ok(block.end);
    }
    if continues(source, block, piece.at)? {
        return Ok(piece.at);
    }
    Ok(block.end)
}

/// Reports whether the expected successor of `block` is at `at`.
fn continues(source: &mut Source, block: &Block, at: u64) -> io::Result<bool> {
    if block.is_last {
        return Ok(source.array(at)?.is_some_and(is_sync));
    }
    let next = Block::at(source, at)?;
    Ok(next.is_some_and(|next| next.kind <= PICTURE && next.end <= source.len()))
}

fn is_sync([first, second]: [u8; 2]) -> bool {
    first == 0xff && second & 0xfe == 0xf8
}

/// The sound as the first block describes it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Info {
    /// Most samples in a frame.
    pub(super) block_size: u32,
    pub(super) rate: u32,
    channels: u16,
    depth: u16,
    /// Number of samples; 0 when unknown.
    pub(super) samples: u64,
}

impl Info {
    /// Decodes a STREAMINFO block; `None` when it is cut.
    pub(super) fn of(bytes: &[u8]) -> Option<Info> {
        let [_, _, high, low, _, _, _, _, _, _, packed @ ..] = bytes.get(..INFO_LEN)? else { return None };
        let packed = u64::from_be_bytes(packed.get(..8)?.try_into().ok()?);
        Some(Info {
            block_size: u32::from(u16::from_be_bytes([*high, *low])),
            rate: (packed >> 44) as u32,
            channels: (packed >> 41 & 7) as u16 + 1,
            depth: (packed >> 36 & 31) as u16 + 1,
            samples: packed & 0xf_ffff_ffff,
        })
    }

    /// Copies all fields but the length to `reading`.
    pub(super) fn describe(&self, reading: &mut Reading) {
        reading.sound.codec = "flac";
        reading.sound.sample_rate = self.rate;
        reading.sound.channels = self.channels;
        reading.sound.bit_depth = self.depth;
    }
}

/// Counts the samples: the first and the last frame state where they begin.
fn count(source: &mut Source, first: u64, info: &Info, reading: &mut Reading) -> io::Result<()> {
    let start = Frame::of(source.bytes(first, FRAME_HEADER_MAX)?, info).map_or(0, |frame| frame.start);
    match last_frame(source, first, info)? {
        Some(end) if end > start => {
            reading.set_samples(end - start, info.rate);
            reading.guess = Some("from the number of the last frame");
        }
        _ => reading.lose("length", "the file does not state it, and its last frame was not found"),
    }
    Ok(())
}

/// Returns the offset of the first frame at `from` or behind.
fn first_frame(source: &mut Source, from: u64, info: &Info) -> io::Result<Option<u64>> {
    let mut at = from;
    while at < source.len().min(from.saturating_add(TAIL_MAX)) {
        let bytes = source.bytes(at, WINDOW)?;
        let begins = bytes.len().saturating_sub(FRAME_HEADER_MAX).max(1).min(bytes.len());
        if let Some(index) = (0..begins).find(|index| Frame::of(&bytes[*index..], info).is_some()) {
            return Ok(Some(at + index as u64));
        }
        at += (begins as u64).max(1);
    }
    Ok(None)
}

/// Returns the number of the sample behind the last frame. Frames have no clear mark, so a header
/// that continues the one before it counts more than a later one that does not.
fn last_frame(source: &mut Source, first: u64, info: &Info) -> io::Result<Option<u64>> {
    let mut found: Vec<Frame> = Vec::new();
    let stop = first.max(source.len().saturating_sub(TAIL_MAX));
    let mut end = source.len();
    while end > stop {
        // Headers that begin in the last few bytes of a part were seen with the part behind it.
        let from = stop.max(end.saturating_sub((WINDOW - FRAME_HEADER_MAX) as u64));
        let bytes = source.bytes(from, WINDOW)?.to_vec();
        let begins = usize::try_from(end - from).unwrap_or(WINDOW).min(bytes.len());
        for index in (0..begins).rev() {
            let Some(frame) = Frame::of(&bytes[index..], info) else { continue };
            if let Some(next) = found.iter().find(|later| later.start == frame.end) {
                return Ok(Some(next.end));
            }
            if found.len() < FRAMES_MAX {
                found.push(frame);
            }
        }
        end = from;
    }
    Ok(found.first().map(|frame| frame.end))
}

/// The samples of a frame.
#[derive(Debug, PartialEq)]
struct Frame {
    start: u64,
    end: u64,
}

impl Frame {
    /// Decodes the header of a frame; `None` if it is not one of this file.
    fn of(bytes: &[u8], info: &Info) -> Option<Frame> {
        let [first, second, sizes, format, ..] = *bytes else { return None };
        if !is_sync([first, second]) || format & 1 != 0 || sizes & 15 == 15 {
            return None;
        }
        let channels = match format >> 4 {
            independent @ 0..8 => u16::from(independent) + 1,
            8..11 => 2,
            _ => return None,
        };
        if channels != info.channels {
            return None;
        }
        let (number, len) = coded_number(bytes.get(4..)?)?;
        let mut at = 4 + len;
        let size = match sizes >> 4 {
            0 => return None,
            1 => 192,
            code @ 2..6 => 576 << (code - 2),
            6 => u64::from(*bytes.get(at)?) + 1,
            7 => u64::from(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?])) + 1,
            code => 256 << (code - 8),
        };
        at += match sizes >> 4 {
            6 => 1,
            7 => 2,
            _ => 0,
        };
        at += match sizes & 15 {
            12 => 1,
            13 | 14 => 2,
            _ => 0,
        };
        if crc8(bytes.get(..at)?) != *bytes.get(at)? {
            return None;
        }
        // The last frame may be shorter. Frame numbers count frames of full size.
        let start = match second & 1 {
            0 => number * u64::from(info.block_size),
            _ => number,
        };
        Some(Frame { start, end: start + size })
    }
}

/// Returns a number of up to 36 bits, encoded like UTF-8, and its length in bytes.
fn coded_number(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let len = match first.leading_ones() {
        0 => return Some((u64::from(first), 1)),
        ones @ 2..=7 => ones as usize,
        _ => return None,
    };
    let head = u64::from(first) & (0x7f >> len);
    let number = bytes.get(1..len)?.iter().try_fold(head, |number, byte| {
        (byte & 0xc0 == 0x80).then_some(number << 6 | u64::from(byte & 0x3f))
    })?;
    Some((number, len))
}

fn crc8(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ byte, |crc, _| if crc & 0x80 == 0 { crc << 1 } else { crc << 1 ^ 7 })
    })
}
