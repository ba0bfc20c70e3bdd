//! OptimFROG: one header, followed by blocks.

use super::frames;
use super::source::Source;
use super::tags::{Reading, Unread};

/// Bytes of the header that are needed.
const HEADER_LEN: usize = 20;
/// Bits per sample by type of sample; both whole numbers and fractions come in pairs.
const BIT_DEPTHS: [u16; 11] = [8, 8, 16, 16, 24, 24, 32, 32, 32, 32, 32];

pub(super) fn read(source: &mut Source, reading: &mut Reading) -> Result<(), Unread> {
    let header = source.array::<HEADER_LEN>(0)?;
    let Some(header) =
        header.filter(|header| u32::from_le_bytes([header[4], header[5], header[6], header[7]]) >= 12)
    else {
        return Err(Unread::Broken("its header is cut".to_owned()));
    };
    let low = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
    let high = u16::from_le_bytes([header[12], header[13]]);
    let channels = u16::from(header[15]) + 1;
    let rate = u32::from_le_bytes([header[16], header[17], header[18], header[19]]);
    reading.sound.codec = "optimfrog";
    reading.sound.channels = channels;
    reading.sound.bit_depth = BIT_DEPTHS.get(usize::from(header[14])).copied().unwrap_or(0);
    // The samples of all channels are counted together.
    let samples = (u64::from(high) << 32 | u64::from(low)) / u64::from(channels);
    frames::state(reading, samples, rate, source.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn file(header_len: u8, rate: u32, samples: u32) -> Vec<u8> {
        let head = [&b"OFR "[..], &[header_len, 0, 0, 0], &samples.to_le_bytes(), &[0, 0, 2, 1]].concat();
        [head, rate.to_le_bytes().to_vec(), vec![0; 1000]].concat()
    }

    #[test]
    fn the_header_tells_all() {
        for header_len in [12, 15] {
            let (mut source, mut reading) =
                (Source::of(file(header_len, 44_100, 176_400)), Reading::default());
            read(&mut source, &mut reading).unwrap();
            assert_eq!(reading.sound.length, Some(Duration::from_secs(2)));
            assert_eq!((reading.sound.channels, reading.sound.bit_depth), (2, 16));
            assert_eq!((reading.losses, source.traffic().1), (vec![], 1));
        }
    }

    #[test]
    fn a_rate_of_0_costs_the_length_and_a_cut_header_the_song() {
        let mut reading = Reading::default();
        read(&mut Source::of(file(12, 0, 5)), &mut reading).unwrap();
        assert_eq!((reading.sound.length, reading.losses[0].what.as_str()), (None, "length"));
        for torn in [&file(12, 1, 5)[..19], &file(4, 1, 5)] {
            assert!(matches!(read(&mut Source::of(torn), &mut Reading::default()), Err(Unread::Broken(_))));
        }
    }
}
