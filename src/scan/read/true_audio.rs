//! True Audio (TTA): one header, followed by frames.

use super::frames;
use super::source::Source;
use super::tags::{Reading, Unread};

/// Bytes of the header that are needed.
const HEADER_LEN: usize = 18;

pub(super) fn read(source: &mut Source, reading: &mut Reading) -> Result<(), Unread> {
    let Some(header) = source.array::<HEADER_LEN>(0)? else {
        return Err(Unread::Broken("its header is cut".to_owned()));
    };
    let rate = u32::from_le_bytes([header[10], header[11], header[12], header[13]]);
    let samples = u32::from_le_bytes([header[14], header[15], header[16], header[17]]);
    let sound = &mut reading.sound;
    sound.codec = "tta";
    sound.channels = u16::from_le_bytes([header[6], header[7]]);
    sound.bit_depth = u16::from_le_bytes([header[8], header[9]]);
    frames::state(reading, samples.into(), rate, source.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn file(rate: u32, samples: u32) -> Vec<u8> {
        let head = [&b"TTA1"[..], &[1, 0, 2, 0, 16, 0], &rate.to_le_bytes(), &samples.to_le_bytes()].concat();
        [head, vec![0; 1000]].concat()
    }

    #[test]
    fn the_header_tells_all() {
        let (mut source, mut reading) = (Source::of(file(8000, 12_000)), Reading::default());
        read(&mut source, &mut reading).unwrap();
        let sound = &reading.sound;
        assert_eq!(sound.length, Some(Duration::from_millis(1500)));
        assert_eq!((sound.channels, sound.bit_depth, sound.sample_rate), (2, 16, 8000));
        assert_eq!((sound.bit_rate, source.traffic().1), (1018 * 8000 / 1500, 1));
    }

    #[test]
    fn a_rate_of_0_costs_the_length_and_a_cut_header_the_song() {
        let mut reading = Reading::default();
        read(&mut Source::of(file(0, 5)), &mut reading).unwrap();
        assert_eq!((reading.sound.length, reading.losses[0].what.as_str()), (None, "length"));
        let outcome = read(&mut Source::of(&file(8000, 5)[..17]), &mut Reading::default());
        assert!(matches!(outcome, Err(Unread::Broken(_))));
    }
}
