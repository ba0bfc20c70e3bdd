//! Streams built frame by frame.

use super::*;
use proptest::prelude::*;
use std::time::Duration;

fn frame(head: [u8; 5]) -> Vec<u8> {
    let mut frame = [&b"\x0b\x77"[..], &head].concat();
    frame.resize(parse(&frame).expect("a frame").len, 0x33);
    frame
}

fn sound(bytes: &[u8]) -> (Reading, u64) {
    let (mut source, mut reading) = (Source::of(bytes), Reading::default());
    read(&mut source, &mut reading).expect("AC-3");
    (reading, source.traffic().1)
}

#[test]
fn headers_tell_size_rate_and_channels() {
    for (head, len, samples, rate, bit_rate, channels) in [
        // AC-3: 192 kbit/s in stereo, 448 kbit/s with 3/2.1 channels, an odd and a half rate.
        ([0, 0, 0x14, 0x40, 0x43], 768, 1536, 48_000, 192_000, 2),
        ([0, 0, 0x1e, 0x40, 0xe1], 1792, 1536, 48_000, 448_000, 6),
        ([0, 0, 0x54, 0x40, 0x43], 834, 1536, 44_100, 192_000, 2),
        ([0, 0, 0x55, 0x40, 0x43], 836, 1536, 44_100, 192_000, 2),
        ([0, 0, 0x94, 0x48, 0x43], 1152, 1536, 16_000, 96_000, 2),
        // E-AC-3: stereo with six blocks, 3/2.1 with one, a dependent substream.
        ([1, 0x7f, 0x34, 0x80, 0], 768, 1536, 48_000, 192_000, 2),
        ([1, 0x7f, 0x0f, 0x80, 0], 768, 256, 48_000, 1_152_000, 6),
        ([0x41, 0x7f, 0x34, 0x80, 0], 768, 0, 48_000, 0, 2),
    ] {
        let frame = parse(&[&b"\x0b\x77"[..], &head].concat()).expect("a frame");
        assert_eq!((frame.len, frame.samples, frame.sample_rate), (len, samples, rate), "{head:x?}");
        assert_eq!((frame.bit_rate, frame.channels), (bit_rate, channels), "{head:x?}");
    }
    for head in
        [[0, 0, 0xd4, 0x40, 0], [0, 0, 0x26, 0x40, 0], [0, 0, 0x14, 0x88, 0], [0xc1, 0x7f, 0x34, 0x80, 0]]
    {
        assert_eq!(parse(&[&b"\x0b\x77"[..], &head].concat()), None, "{head:x?}");
    }
}

#[test]
fn one_bit_rate_tells_the_length_and_others_are_counted() {
    let (reading, reads) = sound(&frame([0, 0, 0x14, 0x40, 0x43]).repeat(1000));
    assert_eq!((reading.sound.length, reading.sound.codec), (Some(Duration::from_secs(32)), "ac3"));
    assert!(reads <= 6, "{reads}");
    let with_substream = [frame([1, 0x7f, 0x34, 0x80, 0]), frame([0x41, 0x7f, 0x34, 0x80, 0])].concat();
    let (reading, _) = sound(&with_substream.repeat(1000));
    assert_eq!((reading.sound.length, reading.sound.codec), (Some(Duration::from_secs(32)), "eac3"));
    assert_eq!(reading.guess, Some("by counting its frames"));
}

#[test]
fn it_begins_with_frames() {
    let file = frame([0, 0, 0x14, 0x40, 0x43]).repeat(5);
    assert!(begins(&mut Source::of(&file[..]), false).unwrap());
    let behind_junk = [vec![0; 100], file].concat();
    assert!(!begins(&mut Source::of(&behind_junk[..]), false).unwrap());
    assert!(begins(&mut Source::of(behind_junk), true).unwrap());
    assert!(matches!(read(&mut Source::of(vec![0; 99]), &mut Reading::default()), Err(Unread::Broken(_))));
}

proptest! {
    #[test]
    fn any_bytes_end(bytes: Vec<u8>) {
        let _ = read(&mut Source::of([b"\x0b\x77", &bytes[..]].concat()), &mut Reading::default());
    }
}
