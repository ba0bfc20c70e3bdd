//! Musepack: stream version 8 in packets, 7 with one header, and 4 to 6 without a mark.

use std::io;

use super::frames;
use super::source::Source;
use super::tags::{Reading, Unread};

const SAMPLE_RATES: [u32; 4] = [44_100, 48_000, 37_800, 32_000];
/// Samples of a frame before version 8.
const FRAME_SAMPLES: u64 = 1152;
/// Samples that the decoder holds back at the start.
const DELAY: u64 = 576;
/// Bytes of the headers before version 8 that are needed.
const HEADER_LEN: usize = 24;
/// Most packets before the one about the stream.
const PACKETS_MAX: usize = 256;
/// Bytes of the packet about the stream that are read.
const STREAM_LEN: usize = 64;

/// Reports whether a file of version 4 to 6 begins here. Only the name can vouch for it.
pub(super) fn begins_unmarked(source: &mut Source) -> io::Result<bool> {
    let Some(head) = source.array::<HEADER_LEN>(0)? else { return Ok(false) };
    Ok((4..=6).contains(&old_version(&head)))
}

pub(super) fn read(source: &mut Source, reading: &mut Reading) -> Result<(), Unread> {
    reading.sound.codec = "musepack";
    if source.bytes(0, 4)? == b"MPCK" {
        return read_packets(source, reading);
    }
    let Some(head) = source.array::<HEADER_LEN>(0)? else {
        return Err(Unread::Broken("its header is cut".to_owned()));
    };
    reading.sound.channels = 2;
    let (samples, rate) = match head {
        [b'M', b'P', b'+', version, ..] if version & 15 >= 7 => sv7(&head),
        _ => match old_version(&head) {
            version @ 4..=6 => (old_samples(version, &head), SAMPLE_RATES[0]),
            _ => return Err(Unread::Broken("its stream version is not known".to_owned())),
        },
    };
    frames::state(reading, samples, rate, source.len());
    Ok(())
}

fn sv7(head: &[u8; HEADER_LEN]) -> (u64, u32) {
    let (frames, flags, gapless) = (le32(head, 4), le32(head, 8), le32(head, 20));
    let samples = u64::from(frames) * FRAME_SAMPLES;
    // The last frame may state how many of its samples count.
    let last = u64::from(gapless >> 20 & 0x7ff);
    let left_out = match (gapless >> 31 == 1, last) {
        (true, 1..FRAME_SAMPLES) => FRAME_SAMPLES - last,
        (true, _) => 0,
        (false, _) => DELAY,
    };
    (samples.saturating_sub(left_out), SAMPLE_RATES[(flags >> 16 & 3) as usize])
}

fn old_version(head: &[u8; HEADER_LEN]) -> u32 {
    le32(head, 0) >> 11 & 0x3ff
}

fn old_samples(version: u32, head: &[u8; HEADER_LEN]) -> u64 {
    let frames = if version == 4 { le32(head, 4) >> 16 } else { le32(head, 4) };
    let unfinished = u32::from(version < 6);
    (u64::from(frames.saturating_sub(unfinished)) * FRAME_SAMPLES).saturating_sub(DELAY)
}

fn read_packets(source: &mut Source, reading: &mut Reading) -> Result<(), Unread> {
    let mut at = 4;
    for _ in 0..PACKETS_MAX {
        let head = source.bytes(at, 2 + VARIABLE_MAX)?;
        let Some((key, mut rest)) = head.split_first_chunk::<2>() else { break };
        let Some(size) = variable(&mut rest) else { break };
        let head_len = (head.len() - rest.len()) as u64;
        match key {
            b"SH" => {
                let packet = source.bytes(at + head_len, STREAM_LEN)?.get(5..);
                let Some((samples, format)) = packet.and_then(stream) else { break };
                reading.sound.channels = u16::from(format[1] >> 4) + 1;
                let Some(rate) = SAMPLE_RATES.get(usize::from(format[0] >> 5)) else { break };
                frames::state(reading, samples, *rate, source.len());
                return Ok(());
            }
            // Sound, or the end of the stream.
            b"AP" | b"SE" => break,
            _ => at = at.saturating_add(size.max(head_len)),
        }
    }
    Err(Unread::Broken("nothing in it tells its format".to_owned()))
}

/// Returns the samples in a packet about the stream, and the two bytes of its format.
fn stream(mut packet: &[u8]) -> Option<(u64, [u8; 2])> {
    let (samples, silence) = (variable(&mut packet)?, variable(&mut packet)?);
    Some((samples.saturating_sub(silence), *packet.first_chunk()?))
}

/// Most bytes of a number of variable length.
const VARIABLE_MAX: usize = 9;

/// Returns a number with seven bits a byte, of which all but the last have the highest bit set.
fn variable(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(VARIABLE_MAX).enumerate() {
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            *bytes = &bytes[index + 1..];
            return Some(value);
        }
    }
    None
}

fn le32(bytes: &[u8; HEADER_LEN], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn sound(file: &[u8]) -> Result<Reading, Unread> {
        let mut reading = Reading::default();
        let mut source = Source::of(file);
        read(&mut source, &mut reading).map(|()| {
            assert_eq!(source.traffic().1, 1);
            reading
        })
    }

    fn version_7(frames: u32, gapless: u32) -> Vec<u8> {
        let head = [&b"MP+\x17"[..], &frames.to_le_bytes(), &0_u32.to_le_bytes(), &[0; 8]].concat();
        [head, gapless.to_le_bytes().to_vec(), vec![0; 100]].concat()
    }

    #[test]
    fn version_7_tells_how_much_of_the_last_frame_counts() {
        for (frames, gapless, samples) in [
            (10, 0, 11_520 - 576),
            (10, 1 << 31, 11_520),
            (10, 1 << 31 | 100 << 20, 9 * 1152 + 100),
            (10, 1 << 31 | 2000 << 20, 11_520),
        ] {
            let length = sound(&version_7(frames, gapless)).unwrap().sound.length;
            assert_eq!(length, Some(Duration::from_nanos(samples * 1_000_000_000 / 44_100)), "{gapless:x}");
        }
    }

    #[test]
    fn version_8_has_packets() {
        let stream = b"SH\x0e\x01\x02\x03\x04\x08\x85\xb1\x04\x00\x3d\x11";
        let file = [&b"MPCK"[..], b"EI\x05ab", stream, b"AP\x03", &[0; 50]].concat();
        let reading = sound(&file).unwrap();
        assert_eq!(reading.sound.length, Some(Duration::from_nanos(88_196 * 1_000_000_000 / 48_000)));
        assert_eq!((reading.sound.channels, reading.sound.sample_rate), (2, 48_000));
        for torn in [&b"MPCKAP\x03"[..], b"MPCK", b"MPCKSH\x0e", b"MPCKEI\0EI\0", b"MPCKEI\xff\xff"] {
            assert!(matches!(sound(torn), Err(Unread::Broken(_))), "{torn:?}");
        }
    }

    #[test]
    fn older_versions_have_no_mark() {
        for (version, frames, due) in [(4, 77 << 16, 76), (5, 77, 76), (6, 77, 77)] {
            let file =
                [&(version << 11 | 1_u32).to_le_bytes()[..], &u32::to_le_bytes(frames), &[0; 90]].concat();
            assert!(begins_unmarked(&mut Source::of(&file[..])).unwrap());
            let samples = due * 1152 - 576;
            let length = sound(&file).unwrap().sound.length;
            assert_eq!(length, Some(Duration::from_nanos(samples * 1_000_000_000 / 44_100)), "{version}");
        }
        assert!(!begins_unmarked(&mut Source::of(vec![0; 90])).unwrap());
        assert!(matches!(sound(&[0; 90]), Err(Unread::Broken(_))));
    }
}
