//! Streams built frame by frame: version 1, layer III, 44,100 Hz, stereo.

use super::*;
use crate::scan::read::source::WINDOW;
use proptest::prelude::*;
use std::time::Duration;

/// A frame of the bit rate with this index.
fn frame(index: u8) -> Vec<u8> {
    let mut frame = vec![0xff, 0xfb, index << 4, 0];
    frame.resize(parse(&frame).expect("a frame").len, 0x55);
    frame
}

fn frames(indexes: &[u8]) -> Vec<u8> {
    indexes.iter().flat_map(|index| frame(*index)).collect()
}

/// A frame with an index in place of its sound.
fn index_frame(bit_rate: u8, at: usize, header: &[u8]) -> Vec<u8> {
    let mut frame = frame(bit_rate);
    frame[4..].fill(0);
    frame[at..at + header.len()].copy_from_slice(header);
    frame
}

fn xing(frames: u32, bytes: u32, tail: &[u8]) -> Vec<u8> {
    [&b"Xing\0\0\0\x0f"[..], &frames.to_be_bytes(), &bytes.to_be_bytes(), &[0; 104], tail].concat()
}

fn sound(bytes: &[u8]) -> (Reading, u64) {
    let (mut source, mut reading) = (Source::of(bytes), Reading::default());
    read(&mut source, &mut reading).expect("MPEG audio");
    (reading, source.traffic().1)
}

fn seconds(samples: u64) -> Option<Duration> {
    Some(Duration::from_nanos(samples * 1_000_000_000 / 44_100))
}

#[test]
fn headers_of_every_version_and_layer() {
    for (head, len, samples, sample_rate, bit_rate, channels) in [
        ([0xff, 0xfb, 0x90, 0], 417, 1152, 44_100, 128_000, 2),
        ([0xff, 0xfb, 0x92, 0xc0], 418, 1152, 44_100, 128_000, 1),
        ([0xff, 0xf3, 0x84, 0], 192, 576, 24_000, 64_000, 2),
        ([0xff, 0xe3, 0x18, 0xc0], 72, 576, 8000, 8000, 1),
        ([0xff, 0xfd, 0xc4, 0], 768, 1152, 48_000, 256_000, 2),
        ([0xff, 0xf5, 0xe8, 0], 1440, 1152, 16_000, 160_000, 2),
        ([0xff, 0xff, 0xc0, 0], 416, 384, 44_100, 384_000, 2),
    ] {
        let frame = parse(&head).expect("a frame");
        assert_eq!((frame.len, frame.samples, frame.sample_rate), (len, samples, sample_rate), "{head:x?}");
        assert_eq!((frame.bit_rate, frame.channels), (bit_rate, channels));
    }
    for head in [
        [0xff, 0xe9, 0x90, 0],
        [0xff, 0xf9, 0x90, 0],
        [0xff, 0xfb, 0xf0, 0],
        [0xff, 0xfb, 0, 0],
        [0xff, 0xfb, 0x9c, 0],
    ] {
        assert_eq!(parse(&head), None, "{head:x?}");
    }
}

#[test]
fn an_index_tells_the_length() {
    let lame = |version: &[u8; 9]| [&version[..], &[0; 12], &[0x24, 0x04, 0x80], &[0; 12]].concat();
    for (at, header, samples) in [
        (36, xing(1000, 0, b""), 1_152_000),
        (36, xing(1000, 0, &lame(b"LAME3.100")), 1_152_000 - 0x240 - 0x480),
        (36, xing(1000, 0, &lame(b"LAME3.99r")), 1_152_000 - 0x240 - 0x480),
        (36, xing(1, 0, &lame(b"LAME3.99r")), 0),
        (36, xing(1000, 0, &lame(b"LAME3.89 ")), 1_152_000),
        (36, xing(1000, 0, &lame(b"Lavc60.31")), 1_152_000),
        (36, [&b"Info\0\0\0\x01"[..], &1000_u32.to_be_bytes()].concat(), 1_152_000),
        (
            36,
            [&b"VBRI\0\x01\0\0\0\0"[..], &[0, 9, 0, 0], &1000_u32.to_be_bytes(), &[0; 8]].concat(),
            1_152_000,
        ),
    ] {
        let (reading, reads) = sound(&[index_frame(9, at, &header), frames(&[5; 3])].concat());
        assert_eq!((reading.sound.length, reading.guess, reads), (seconds(samples), None, 1), "{header:?}");
    }
}

#[test]
fn an_index_without_frames_leaves_the_length_to_the_frames() {
    for header in [
        xing(0, 0, b""),
        b"Xing\0\0\0\x02\0\0\0\x09".to_vec(),
        b"VBRI\0\x01".iter().copied().chain([0; 20]).collect(),
    ] {
        // 320 kbit/s are those of the index alone.
        let (reading, _) = sound(&[index_frame(14, 36, &header), frames(&[9; 2297])].concat());
        let length = reading.sound.length.map_or(0, |length| length.as_millis());
        assert!((59_800..60_100).contains(&length), "{length}");
        assert_eq!((reading.sound.bit_rate, reading.guess), (128_000, Some("from its size and bit rate")));
    }
    let (reading, _) = sound(&index_frame(9, 36, &xing(0, 0, b"")));
    assert_eq!((reading.sound.length, reading.losses[0].what.as_str()), (None, "length"));
}

#[test]
fn frames_without_an_index_are_counted_if_they_differ() {
    let mut indexes = vec![9; 1000];
    indexes[500..].fill(2);
    let (reading, _) = sound(&frames(&indexes));
    assert_eq!((reading.sound.length, reading.guess), (seconds(1000 * 1152), Some("by counting its frames")));
    let (reading, reads) = sound(&frames(&[9; 1000]));
    assert_eq!(reading.sound.length, Some(Duration::from_nanos(417_000 * 8_000_000_000 / 128_000)));
    assert!(reads <= 6, "{reads}");
}

#[test]
fn junk_before_the_first_frame_needs_a_voucher() {
    for (junk, bytes) in [(0, 2000), (1, 2000), (WINDOW * 3, 2000), (1 << 20, 50_000)] {
        let file = [vec![0; junk], frames(&[9; 8]), vec![0; bytes]].concat();
        assert!(begins(&mut Source::of(&file[..]), true).unwrap() == (junk < 1 << 20), "{junk}");
        assert_eq!(begins(&mut Source::of(file), false).unwrap(), junk == 0);
    }
    let layer_one = [0xff, 0xff, 0xc0, 0].into_iter().chain([0; 412]).collect::<Vec<u8>>().repeat(5);
    assert!(begins(&mut Source::of(&layer_one[..]), true).unwrap());
    assert!(!begins(&mut Source::of(layer_one), false).unwrap());
    assert!(matches!(read(&mut Source::of(vec![0; 999]), &mut Reading::default()), Err(Unread::Broken(_))));
}

proptest! {
    #[test]
    fn any_bytes_end(head: [u8; 3], at in 4..200_usize, header: Vec<u8>, cut in 0..500_usize) {
        let mut file = [&[0xff][..], &head, &vec![0; at - 4], b"Xing", &header, &frames(&[9, 8])].concat();
        file.truncate(file.len().saturating_sub(cut));
        let _ = read(&mut Source::of(file), &mut Reading::default());
    }
}
