//! TAK: blocks of metadata, one of which states the format, followed by frames.

use super::frames;
use super::source::Source;
use super::tags::{Reading, Unread};

/// Offset of the first block, behind the mark.
const BLOCKS_AT: u64 = 4;
/// Bytes of a block's type and size.
const BLOCK_HEAD_LEN: u64 = 4;
/// Types of blocks: the last one, and the one about the stream.
const END: u8 = 0;
const STREAM: u8 = 1;
/// Bytes of the block about the stream that are needed.
const STREAM_LEN: usize = 10;
/// Most blocks that are read; there are eight types.
const BLOCKS_MAX: usize = 256;

pub(super) fn read(source: &mut Source, reading: &mut Reading) -> Result<(), Unread> {
    reading.sound.codec = "tak";
    let mut at = BLOCKS_AT;
    for _ in 0..BLOCKS_MAX {
        let Some([kind, size @ ..]) = source.array::<4>(at)? else { break };
        match kind & 0x7f {
            END => break,
            STREAM => {
                let Some(info) = source.array::<STREAM_LEN>(at + BLOCK_HEAD_LEN)? else { break };
                read_stream(info, source.len(), reading);
                return Ok(());
            }
            _ => at += BLOCK_HEAD_LEN + u64::from(u32::from_le_bytes([size[0], size[1], size[2], 0])),
        }
    }
    Err(Unread::Broken("nothing in it tells its format".to_owned()))
}

/// The fields stand one behind the other, the lowest bit first: codec (6 bits), profile (4),
/// frame duration (4), samples (35), data type (3), rate (18), depth (5), channels (4).
fn read_stream(info: [u8; STREAM_LEN], len: u64, reading: &mut Reading) {
    let bits = info.iter().rev().fold(0_u128, |bits, byte| bits << 8 | u128::from(*byte));
    let field = |at: u32, len: u32| (bits >> at & ((1 << len) - 1)) as u64;
    reading.sound.bit_depth = field(70, 5) as u16 + 8;
    reading.sound.channels = field(75, 4) as u16 + 1;
    frames::state(reading, field(14, 35), field(52, 18) as u32 + 6000, len);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn file(blocks: &[(u8, &[u8])]) -> Vec<u8> {
        let block = |(kind, data): &(u8, &[u8])| [&[*kind, data.len() as u8, 0, 0][..], data].concat();
        [b"tBaK".to_vec(), blocks.iter().flat_map(block).collect(), vec![0; 1000]].concat()
    }

    fn stream(samples: u64, rate: u32) -> [u8; 13] {
        let bits = u128::from(samples) << 14 | u128::from(rate - 6000) << 52 | 8 << 70 | 1 << 75;
        let mut info = [0; 13];
        info[..10].copy_from_slice(&bits.to_le_bytes()[..10]);
        info
    }

    #[test]
    fn the_block_about_the_stream_tells_all() {
        let stream = stream(88_200, 44_100);
        let (mut source, mut reading) = (Source::of(file(&[(5, &[1; 9]), (1, &stream)])), Reading::default());
        read(&mut source, &mut reading).unwrap();
        assert_eq!(reading.sound.length, Some(Duration::from_secs(2)));
        assert_eq!((reading.sound.channels, reading.sound.bit_depth, source.traffic().1), (2, 16, 1));
    }

    #[test]
    fn without_that_block_it_is_broken() {
        for torn in [file(&[(5, &[1; 9])]), file(&[]), b"tBaK\x01\x0d\0\0ab".to_vec(), b"tBaK".to_vec()] {
            assert!(matches!(read(&mut Source::of(torn), &mut Reading::default()), Err(Unread::Broken(_))));
        }
    }
}
