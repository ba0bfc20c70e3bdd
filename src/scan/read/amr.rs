//! AMR, the speech of telephones: frames of 20 ms, whose first byte states their size. No index gives their
//! number.

use std::time::Duration;

use super::source::{Source, WINDOW};
use super::tags::{Reading, Unread};

/// Milliseconds of a frame.
const FRAME_MS: u64 = 20;
/// Most bytes whose frames are counted. A longer file counts as uniform.
const COUNTED_MAX: u64 = 1 << 20;
/// Bytes of a frame, by the number in its first byte.
const NARROW: [u64; 16] = [13, 14, 16, 18, 20, 21, 27, 32, 6, 6, 6, 6, 1, 1, 1, 1];
const WIDE: [u64; 16] = [18, 24, 33, 37, 41, 47, 51, 59, 61, 6, 1, 1, 1, 1, 1, 1];

pub(super) fn read(source: &mut Source, reading: &mut Reading) -> Result<(), Unread> {
    let head = source.bytes(0, 9)?;
    let (head_len, sizes, rate) = match head {
        b"#!AMR-WB\n" => (9, WIDE, 16_000),
        _ if head.starts_with(b"#!AMR\n") => (6, NARROW, 8_000),
        _ => return Err(Unread::Unsupported("AMR of several channels")),
    };
    let sound = &mut reading.sound;
    (sound.codec, sound.sample_rate, sound.channels) = ("amr", rate, 1);
    let end = source.len();
    let counted = end.min(head_len + COUNTED_MAX);
    let (mut at, mut frames) = (head_len, 0);
    while at < counted {
        let block = source.bytes(at, WINDOW)?;
        let mut index = 0;
        while let Some(first) = block.get(index) {
            index += sizes[usize::from(first >> 3 & 15)] as usize;
            frames += 1;
        }
        if index == 0 {
            break;
        }
        at += index as u64;
    }
    let mut millis = frames * FRAME_MS;
    if at < end {
        millis = (millis as f64 * (end - head_len) as f64 / (at - head_len) as f64) as u64;
    }
    reading.sound.length = Some(Duration::from_millis(millis));
    reading.guess = Some("no index gives the length: its frames are counted");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::read::probe::promise;
    use crate::scan::read::read_source;

    fn length(head: &[u8], frames: &[u8]) -> Result<u64, Unread> {
        let mut source = Source::of([head, frames].concat());
        let reading = read_source(&mut source, promise("x".as_ref()))?;
        assert!(source.traffic().0 <= COUNTED_MAX + 4 * WINDOW as u64, "{:?}", source.traffic());
        Ok(reading.sound.length.map_or(0, |length| length.as_millis() as u64))
    }

    #[test]
    fn frames_are_counted_and_long_files_go_on_as_they_began() {
        let (long, short) = ([0x3c; 32], [0x7c; 1]);
        let frames = [long.repeat(600), short.repeat(100)].concat();
        assert_eq!(length(b"#!AMR\n", &frames).unwrap(), 700 * FRAME_MS);
        let mut wide = [0; 61];
        wide[0] = 0x44;
        assert_eq!(length(b"#!AMR-WB\n", &wide.repeat(500)).unwrap(), 500 * FRAME_MS);
        let guessed = length(b"#!AMR\n", &long.repeat(100_000)).unwrap();
        assert!(guessed.abs_diff(100_000 * FRAME_MS) <= FRAME_MS, "{guessed}");
        assert_eq!(length(b"#!AMR\n", b"").unwrap(), 0);
        assert!(matches!(length(b"#!AMR_MC1.0\n", &frames), Err(Unread::Unsupported(_))));
    }
}
