//! Streams built frame by frame, and headers built bit by bit.

use super::*;
use crate::scan::read::source::WINDOW;
use proptest::prelude::*;
use std::time::Duration;

/// A frame of LC, 44,100 Hz, stereo.
fn frame(len: usize) -> Vec<u8> {
    let len_bits = [0x80 | (len >> 11) as u8, (len >> 3) as u8, (len << 5) as u8 | 0x1f];
    let mut frame = [&[0xff, 0xf1, 0x50][..], &len_bits, &[0xfc]].concat();
    frame.resize(len, 0x33);
    frame
}

fn sound(bytes: &[u8]) -> (Reading, (u64, u64)) {
    let (mut source, mut reading) = (Source::of(bytes), Reading::default());
    read(&mut source, &mut reading).expect("AAC");
    (reading, source.traffic())
}

#[test]
fn frames_are_counted_in_one_pass() {
    let file: Vec<u8> = (0..20_000).flat_map(|number| frame(100 + number % 300)).collect();
    let (reading, (read, _)) = sound(&file);
    assert_eq!(reading.sound.length, Some(Duration::from_nanos(20_000 * 1024 * 1_000_000_000 / 44_100)));
    assert_eq!((reading.sound.channels, reading.sound.sample_rate), (2, 44_100));
    assert_eq!(reading.guess, Some("by counting its frames"));
    // The window of the tail begins before the sound ends.
    assert!(read < (file.len() + WINDOW) as u64, "{read} of {}", file.len());
}

/// The tag at the end is read first.
#[test]
fn a_file_with_a_tag_behind_is_read_once() {
    let sound: Vec<u8> = (0..9_000).flat_map(|number| frame(100 + number % 300)).collect();
    let tag = [&b"TAG"[..], &[b' '; 125]].concat();
    for cut in [0, 1, WINDOW / 2, WINDOW, WINDOW + 1] {
        let file = [&sound[..sound.len() - cut], &tag].concat();
        let len = file.len() as u64;
        let trial = crate::scan::try_bytes(std::path::Path::new("x.aac"), file);
        assert!(trial.losses.is_empty() && trial.length.is_some(), "{trial:?}");
        assert_eq!(trial.traffic.0, len, "{cut}");
    }
}

#[test]
fn it_begins_with_frames_and_not_with_one() {
    let file = [frame(300), frame(200), frame(100)].concat();
    assert!(begins(&mut Source::of(&file[..]), false).unwrap());
    assert!(!begins(&mut Source::of([&file[..320], &[0; 900]].concat()), false).unwrap());
    let behind_junk = [vec![0; WINDOW], file].concat();
    assert!(!begins(&mut Source::of(&behind_junk[..]), false).unwrap());
    assert!(begins(&mut Source::of(behind_junk), true).unwrap());
    assert!(!begins(&mut Source::of(b"\xff\xf1\x50".to_vec()), true).unwrap());
}

/// Bits as text, blanks aside.
fn packed(bits: &str) -> Vec<u8> {
    let bits: Vec<u8> = bits.bytes().filter(|bit| *bit != b' ').map(|bit| bit - b'0').collect();
    bits.chunks(8).map(|byte| (0..8).fold(0, |sum, at| sum << 1 | byte.get(at).unwrap_or(&0))).collect()
}

#[test]
fn adif_tells_its_bit_rate() {
    let program = "0000 01 0100 0001 0000 0001 01 000 0000 0 0 0 1 0000 0 0001";
    for (start, rate) in [("0 00 0", 128_000), ("0 00 1", 128_000), ("0 00 0", 0)] {
        let fullness = if start.ends_with('1') { "" } else { "00000000000000000000" };
        let header = packed(&format!("{start} {rate:023b} 0000 {fullness} {program}"));
        let (reading, (_, reads)) = sound(&[b"ADIF", &header[..], &vec![0; 32_000]].concat());
        assert_eq!((reading.sound.channels, reading.sound.sample_rate, reads), (4, 44_100, 1));
        match rate {
            0 => assert_eq!((reading.sound.length, reading.losses[0].what.as_str()), (None, "length")),
            _ => assert_eq!(reading.sound.length.map(|length| length.as_secs()), Some(2)),
        }
    }
    let cut = read(&mut Source::of(b"ADIF\0\0".to_vec()), &mut Reading::default());
    assert!(matches!(cut, Err(Unread::Broken(_))));
}

proptest! {
    #[test]
    fn any_bytes_end(bytes: Vec<u8>, is_adif: bool) {
        let start = if is_adif { b"ADIF".to_vec() } else { [frame(60), frame(40)].concat() };
        let _ = read(&mut Source::of([start, bytes].concat()), &mut Reading::default());
    }
}
