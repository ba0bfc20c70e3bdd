//! Sun audio: a head and samples. The annotation in the head is no tag.

use super::chunks::number32;
use super::source::Source;
use super::tags::{Reading, Unread};
use super::text::ByteOrder;

/// Bytes of the head without its annotation.
const HEAD_LEN: u64 = 24;
/// The size of sound that extends to the end of the file.
const OPEN: u32 = u32::MAX;

pub(super) fn read(source: &mut Source, reading: &mut Reading) -> Result<(), Unread> {
    let head = source.bytes(0, HEAD_LEN as usize)?;
    if (head.len() as u64) < HEAD_LEN {
        return Err(Unread::Broken("its head is cut".to_owned()));
    }
    let at = |offset| number32(head, offset, ByteOrder::Big);
    let (from, claimed, kind, rate, channels) = (at(4), at(8), at(12), at(16), at(20));
    let left = source.len().saturating_sub(u64::from(from).max(HEAD_LEN));
    let len = left.min(if claimed == 0 { u64::MAX } else { claimed.into() });
    let (codec, bits) = codec(kind);
    let sound = &mut reading.sound;
    (sound.codec, sound.sample_rate) = (codec, rate);
    sound.channels = u16::try_from(channels).unwrap_or(0);
    sound.bit_rate = rate.saturating_mul(channels).saturating_mul(bits.into());
    if codec == "pcm" {
        sound.bit_depth = bits;
    }
    match (len * 8).checked_div(u64::from(channels) * u64::from(bits)) {
        Some(samples) if rate > 0 => {
            reading.set_samples(samples, rate);
            if len != u64::from(claimed) && claimed != OPEN {
                reading.guess = Some("the size of its sound is wrong: the bytes that are there count");
            }
        }
        _ => reading.lose("length", format!("codec {kind}, {rate} samples per second, {channels} channels")),
    }
    Ok(())
}

/// Returns the codec, and the bits of a sample of one channel; 0 if unknown.
fn codec(kind: u32) -> (&'static str, u16) {
    match kind {
        1 => ("mulaw", 8),
        2 => ("pcm", 8),
        3 => ("pcm", 16),
        4 => ("pcm", 24),
        5 | 6 => ("pcm", 32),
        7 => ("pcm", 64),
        23 => ("adpcm", 4),
        24 => ("adpcm", 8),
        25 => ("adpcm", 3),
        26 => ("adpcm", 5),
        27 => ("alaw", 8),
        _ => ("", 0),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::scan::read::probe::promise;
    use crate::scan::read::read_source;

    fn au(from: u32, numbers: [u32; 4], bytes: usize) -> Result<Reading, Unread> {
        let head = [from, numbers[0], numbers[1], numbers[2], numbers[3]].map(u32::to_be_bytes).concat();
        let file = [&b".snd"[..], &head, &vec![7; bytes]].concat();
        read_source(&mut Source::of(file), promise("x".as_ref()))
    }

    #[test]
    fn the_length_is_that_of_the_bytes_that_are_there() {
        for (from, numbers, bytes, due, guessed) in [
            (24, [32_000, 3, 8000, 1], 32_000, Some(2), false),
            (32, [32_000, 3, 8000, 1], 32_008, Some(2), false),
            (24, [32_000, 3, 8000, 1], 32_100, Some(2), false),
            (24, [OPEN, 3, 8000, 1], 32_000, Some(2), false),
            (24, [0, 3, 8000, 1], 32_000, Some(2), true),
            (24, [99_999, 1, 8000, 2], 32_000, Some(2), true),
            (0, [OPEN, 23, 8000, 1], 8000, Some(2), false),
            (24, [32_000, 3, 0, 1], 32_000, None, false),
            (24, [32_000, 3, 8000, 0], 32_000, None, false),
            (24, [32_000, 99, 8000, 1], 32_000, None, false),
            (u32::MAX, [32_000, 3, 8000, 1], 32_000, Some(0), true),
        ] {
            let reading = au(from, numbers, bytes).expect("a song");
            assert_eq!(reading.sound.length, due.map(Duration::from_secs), "{numbers:?}");
            assert_eq!(
                (reading.guess.is_some(), reading.losses.is_empty()),
                (guessed, due.is_some()),
                "{numbers:?}"
            );
        }
        assert!(matches!(
            read(&mut Source::of(*b".snd\0\0\0\x18"), &mut Reading::default()),
            Err(Unread::Broken(_))
        ));
    }
}
