//! WavPack: blocks, each with a header; the first one usually states how many samples follow.

use std::io;

use super::frames;
use super::source::{Source, WINDOW};
use super::tags::{Reading, Unread};

const SAMPLE_RATES: [u32; 15] = [
    6000, 8000, 9600, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 64_000, 88_200, 96_000,
    192_000,
];
/// Bytes of a block's header.
const HEADER_LEN: usize = 32;
/// The sum of samples that stands for an unknown one.
const UNKNOWN: u32 = u32::MAX;
/// Flags: mono, fractions, the first block of those that hold the channels of one time, DSD.
const MONO: u32 = 1 << 2;
const FLOAT: u32 = 1 << 7;
const FIRST_OF_TIME: u32 = 1 << 11;
const DSD: u32 = 1 << 31;
/// Kinds of parts inside a block: number of channels, sample rate.
const CHANNELS: u8 = 0x0d;
const SAMPLE_RATE: u8 = 0x27;
/// Flags of such a part: a byte less, three bytes of length.
const IS_ODD: u8 = 0x40;
const IS_LONG: u8 = 0x80;
/// Most blocks without sound before the first one with it, and most parts of a block.
const ITEMS_MAX: usize = 256;

/// The header of a block.
#[derive(Debug, Clone, Copy)]
struct Block {
    at: u64,
    /// Bytes with the header.
    len: u64,
    /// Samples of the file, if the block states them.
    total: Option<u64>,
    /// Number of the first sample.
    index: u64,
    samples: u32,
    flags: u32,
}

impl Block {
    fn at(source: &mut Source, at: u64) -> io::Result<Option<Block>> {
        let Some(head) = source.array::<HEADER_LEN>(at)? else { return Ok(None) };
        let le32 = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        // Since version 5 the numbers have a fifth byte each.
        let total = Some(le32(12)).filter(|total| *total != UNKNOWN);
        let block = Block {
            at,
            len: u64::from(le32(4)) + 8,
            total: total.map(|low| u64::from(head[11]) << 32 | u64::from(low)),
            index: u64::from(head[10]) << 32 | u64::from(le32(16)),
            samples: le32(20),
            flags: le32(24),
        };
        Ok(Some(block).filter(|block| head.starts_with(b"wvpk") && block.len >= HEADER_LEN as u64))
    }
}

pub(super) fn read(source: &mut Source, reading: &mut Reading) -> Result<(), Unread> {
    reading.sound.codec = "wavpack";
    let Some(block) = first_with_sound(source)? else {
        return Err(Unread::Broken("it has no block with sound".to_owned()));
    };
    let flags = block.flags;
    reading.sound.channels = if flags & MONO != 0 { 1 } else { 2 };
    reading.sound.bit_depth = match flags {
        _ if flags & DSD != 0 => 1,
        _ if flags & FLOAT != 0 => 32,
        _ => (((flags & 3) as u16 + 1) * 8).saturating_sub((flags >> 13 & 31) as u16),
    };
    let rate = SAMPLE_RATES.get((flags >> 23 & 15) as usize).copied().unwrap_or(0);
    let rate = read_parts(source, block, rate, reading)?;
    let samples = match block.total {
        Some(total) if block.index == 0 => total,
        _ => {
            reading.guess = Some("by counting its blocks");
            count(source, block)?
        }
    };
    frames::state(reading, samples, rate, source.len());
    Ok(())
}

fn first_with_sound(source: &mut Source) -> io::Result<Option<Block>> {
    let mut at = 0;
    for _ in 0..ITEMS_MAX {
        match Block::at(source, at)? {
            Some(block) if block.samples == 0 => at += block.len,
            other => return Ok(other),
        }
    }
    Ok(None)
}

/// Reads the parts of a block that extend its header. Returns the sample rate, which is `rate` if
/// no part states it.
fn read_parts(source: &mut Source, block: Block, mut rate: u32, reading: &mut Reading) -> io::Result<u32> {
    let mut at = block.at + HEADER_LEN as u64;
    for _ in 0..ITEMS_MAX {
        let Some([kind, low, high @ ..]) = source.array::<4>(at)?.filter(|_| at < block.at + block.len)
        else {
            break;
        };
        let (head_len, words) = match kind & IS_LONG {
            0 => (2, u64::from(low)),
            _ => (4, u64::from(u32::from_le_bytes([low, high[0], high[1], 0]))),
        };
        let data = source.bytes(at + head_len, 4)?;
        match (kind & 0x3f, data) {
            (SAMPLE_RATE, [a, b, c, rest @ ..]) if words == 2 => {
                let fourth = rest.first().copied().filter(|_| kind & IS_ODD == 0).unwrap_or(0);
                rate = u32::from_le_bytes([*a, *b, *c, fourth]);
            }
            (CHANNELS, [channels, ..]) if words > 0 => reading.sound.channels = (*channels).into(),
            _ => {}
        }
        at += head_len + 2 * words;
    }
    Ok(rate)
}

/// Returns the samples from a block on to the last one, by walking from block to block.
fn count(source: &mut Source, first: Block) -> io::Result<u64> {
    // The last block states its place, and is usually near the end.
    let from = source.len().saturating_sub(WINDOW as u64).max(first.at);
    let bytes = source.bytes(from, WINDOW)?;
    let marks = memchr::memmem::rfind_iter(bytes, b"wvpk").map(|at| from + at as u64);
    let marks: Vec<u64> = marks.take(8).collect();
    for at in marks {
        if let Some(last) = Block::at(source, at)?
            && last.at + last.len == source.len()
            && last.samples > 0
        {
            return Ok((last.index + u64::from(last.samples)).saturating_sub(first.index));
        }
    }
    let (mut samples, mut at) = (0, first.at);
    while let Some(block) = Block::at(source, at)? {
        if block.flags & FIRST_OF_TIME != 0 {
            samples += u64::from(block.samples);
        }
        at += block.len;
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    const STEREO_44100: u32 = 1 | 3 << 11 | 9 << 23;

    fn block(total: u32, index: u32, samples: u32, flags: u32, data: &[u8]) -> Vec<u8> {
        let len = (data.len() + 24) as u32;
        let mut block = [&b"wvpk"[..], &len.to_le_bytes(), &[0x10, 4, 0, 0]].concat();
        for number in [total, index, samples, flags, 0] {
            block.extend(number.to_le_bytes());
        }
        [&block, data].concat()
    }

    fn sound(file: &[u8]) -> (Reading, u64) {
        let (mut source, mut reading) = (Source::of(file), Reading::default());
        read(&mut source, &mut reading).unwrap();
        (reading, source.traffic().1)
    }

    #[test]
    fn the_first_block_with_sound_tells_all() {
        let file =
            [block(88_200, 0, 0, STEREO_44100, &[]), block(88_200, 0, 9, STEREO_44100, &[1; 99])].concat();
        let (reading, reads) = sound(&file);
        assert_eq!(reading.sound.length, Some(Duration::from_secs(2)));
        assert_eq!((reading.sound.channels, reading.sound.bit_depth, reads), (2, 16, 1));
        assert_eq!((reading.guess, reading.losses), (None, vec![]));
    }

    /// Files from pipes, and files that are cut out of others.
    #[test]
    fn samples_are_counted_if_no_sum_is_there() {
        for (total, from) in [(u32::MAX, 0), (600_000, 44_100)] {
            let blocks = |data: &[u8]| -> Vec<u8> {
                (0..4)
                    .flat_map(|part| block(total, from + part * 22_050, 22_050, STEREO_44100, data))
                    .collect()
            };
            for data in [&[1; 99][..], &[1; 40_000]] {
                let (reading, _) = sound(&blocks(data));
                assert_eq!(reading.sound.length, Some(Duration::from_secs(2)), "{total} {from}");
                assert_eq!(reading.guess, Some("by counting its blocks"));
            }
            let whole = blocks(&[1; 99]);
            let (reading, _) = sound(&whole[..whole.len() - 30]);
            assert_eq!(reading.sound.length, Some(Duration::from_secs(2)), "cut in the last block");
        }
    }

    #[test]
    fn parts_tell_odd_rates_and_many_channels() {
        let flags = 1 | 1 << 11 | 15 << 23;
        let parts = [&[0x27 | IS_ODD, 2, 0x40, 0x77, 0x1b, 0][..], &[CHANNELS | IS_ODD, 1, 6, 0]].concat();
        let (reading, _) = sound(&block(1_800_000 * 2, 0, 10, flags, &parts));
        assert_eq!((reading.sound.sample_rate, reading.sound.channels), (1_800_000, 6));
        assert_eq!(reading.sound.length, Some(Duration::from_secs(2)));
        let (reading, _) = sound(&block(100, 0, 10, flags, &[]));
        assert_eq!((reading.sound.length, reading.losses[0].what.as_str()), (None, "length"));
    }

    proptest! {
        #[test]
        fn any_block_ends_quickly(bytes: Vec<u8>, total: u32, flags: u32, cut in 0..200_usize) {
            let file = [block(total, 0, 5, flags, &bytes), bytes].concat();
            let mut source = Source::of(&file[..file.len().saturating_sub(cut)]);
            let _ = read(&mut source, &mut Reading::default());
            prop_assert!(source.traffic().1 < 10);
        }
    }
}
