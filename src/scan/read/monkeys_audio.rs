//! Monkey's Audio: from version 3.98 on a descriptor and a header, before that one header.

use super::frames;
use super::source::Source;
use super::tags::{Reading, Unread};

/// The first version with a descriptor.
const WITH_DESCRIPTOR: u16 = 3980;
/// Bytes of an old header, and of a new one.
const OLD_LEN: usize = 32;
const NEW_LEN: usize = 24;
/// The shortest descriptor, and the length that replaces a stated one that is shorter or absurd.
const DESCRIPTOR_LEN: u32 = 52;
const DESCRIPTOR_MAX: u32 = 1 << 16;
/// Offset of the format in an old file whose sound was a WAV file.
const WAV_AT: u64 = 48;

pub(super) fn read(source: &mut Source, reading: &mut Reading) -> Result<(), Unread> {
    reading.sound.codec = "ape";
    let cut = || Unread::Broken("its header is cut".to_owned());
    let [low, high] = source.array::<2>(4)?.ok_or_else(cut)?;
    let version = u16::from_le_bytes([low, high]);
    let blocks = if version >= WITH_DESCRIPTOR {
        let len = u32::from_le_bytes(source.array(8)?.ok_or_else(cut)?);
        let is_likely = (DESCRIPTOR_LEN..DESCRIPTOR_MAX).contains(&len);
        let at = if is_likely { len } else { DESCRIPTOR_LEN };
        read_new(source.array(at.into())?.ok_or_else(cut)?, reading)
    } else {
        let blocks = read_old(version, source.array(0)?.ok_or_else(cut)?, reading);
        let wav = source.bytes(WAV_AT, 28)?;
        reading.sound.bit_depth = match (reading.sound.bit_depth, wav) {
            (0, [b'W', b'A', b'V', b'E', b'f', b'm', b't', .., low, high]) => {
                u16::from_le_bytes([*low, *high])
            }
            (depth, _) => depth,
        };
        blocks
    };
    let rate = reading.sound.sample_rate;
    frames::state(reading, blocks, rate, source.len());
    Ok(())
}

/// Reads a new header; returns the blocks (samples per channel) of the file.
fn read_new(header: [u8; NEW_LEN], reading: &mut Reading) -> u64 {
    let [per_frame, last, frames] = [4, 8, 12].map(|at| le32(&header, at));
    reading.sound.bit_depth = le16(&header, 16);
    reading.sound.channels = le16(&header, 18);
    reading.sound.sample_rate = le32(&header, 20);
    blocks(per_frame, frames, last)
}

/// Reads an old header; returns the blocks of the file.
fn read_old(version: u16, header: [u8; OLD_LEN], reading: &mut Reading) -> u64 {
    let (level, flags) = (le16(&header, 6), le16(&header, 8));
    reading.sound.channels = le16(&header, 10);
    reading.sound.sample_rate = le32(&header, 12);
    reading.sound.bit_depth = match (flags & 1 != 0, flags & 8 != 0) {
        (true, _) => 8,
        (_, true) => 24,
        _ => 0,
    };
    // Extra high compression (4000) used longer frames earlier than the other levels.
    let per_frame = match version {
        3950.. => 73_728 * 4,
        3900.. => 73_728,
        3800.. if level == 4000 => 73_728,
        _ => 9216,
    };
    blocks(per_frame, le32(&header, 24), le32(&header, 28))
}

fn blocks(per_frame: u32, frames: u32, last: u32) -> u64 {
    match frames.checked_sub(1) {
        Some(full) => u64::from(full) * u64::from(per_frame) + u64::from(last),
        None => 0,
    }
}

fn le16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn new(descriptor_len: u32, rate: u32) -> Vec<u8> {
        let mut file = [&b"MAC \x96\x0f\0\0"[..], &descriptor_len.to_le_bytes(), &[0; 40]].concat();
        file.extend([0xd0, 0x07, 0, 0]);
        for number in [73_728_u32, 14_472, 2] {
            file.extend(number.to_le_bytes());
        }
        file.extend([16, 0, 2, 0]);
        file.extend(rate.to_le_bytes());
        file.resize(2000, 0);
        file
    }

    fn old(version: u16, level: u16, frames: u32, last: u32) -> Vec<u8> {
        let mut file = [&b"MAC "[..], &version.to_le_bytes(), &level.to_le_bytes(), &[0, 0, 2, 0]].concat();
        file.extend(44_100_u32.to_le_bytes());
        file.extend([0; 8]);
        file.extend(frames.to_le_bytes());
        file.extend(last.to_le_bytes());
        file.resize(40, 0);
        file.extend(b"RIFF\0\0\0\0WAVEfmt ");
        file.extend([16, 0, 0, 0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 16, 0]);
        file
    }

    fn sound(file: Vec<u8>) -> Reading {
        let mut reading = Reading::default();
        read(&mut Source::of(file), &mut reading).unwrap();
        reading
    }

    #[test]
    fn headers_of_all_versions() {
        for file in [
            new(52, 44_100),
            new(0, 44_100),
            old(3970, 2000, 1, 88_200),
            old(3920, 2000, 2, 14_472),
            old(3800, 4000, 2, 14_472),
            old(3800, 2000, 10, 5256),
            old(3700, 4000, 10, 5256),
        ] {
            let reading = sound(file);
            assert_eq!(reading.sound.length, Some(Duration::from_secs(2)));
            assert_eq!((reading.sound.channels, reading.sound.bit_depth), (2, 16));
            assert_eq!(reading.losses, []);
        }
    }

    #[test]
    fn a_rate_of_0_costs_the_length_and_a_cut_header_the_song() {
        let reading = sound(new(52, 0));
        assert_eq!((reading.sound.length, reading.losses[0].what.as_str()), (None, "length"));
        for cut in [5, 30, 75] {
            let outcome = read(&mut Source::of(&new(52, 1)[..cut]), &mut Reading::default());
            assert!(matches!(outcome, Err(Unread::Broken(_))), "{cut}");
        }
    }
}
