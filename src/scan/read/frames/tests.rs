//! A simple test format: `<len><rate><kind>`, where a frame begins with `#`.

use super::*;
use proptest::prelude::*;

fn parse(bytes: &[u8]) -> Option<Frame> {
    let &[b'#', len, rate, kind, ..] = bytes else { return None };
    Some(Frame {
        len: usize::from(len.max(4)),
        samples: 100,
        sample_rate: 100,
        bit_rate: u32::from(rate) * 8,
        channels: 1,
        kind: kind.into(),
        is_sure: kind == b'!',
    })
}

fn frame(rate: u8) -> Vec<u8> {
    [&[b'#', 10, rate, b'k'][..], &[0; 6]].concat()
}

fn frames(rates: &[u8]) -> Vec<u8> {
    rates.iter().flat_map(|rate| frame(*rate)).collect()
}

fn found(bytes: &[u8], junk_max: u64) -> Option<u64> {
    find(&mut Source::of(bytes), junk_max, parse).unwrap().map(|found| found.at)
}

#[test]
fn frames_are_found_if_they_lead_to_each_other() {
    let junk = |len: usize| vec![1; len];
    let four = frames(&[1; 4]);
    assert_eq!(found(&four, 0), Some(0));
    assert_eq!(found(&frame(1), 0), Some(0));
    assert_eq!(found(&[junk(3), four.clone()].concat(), 0), None);
    for len in [3, WINDOW - 5, WINDOW, 5 * WINDOW + 7] {
        assert_eq!(found(&[junk(len), four.clone(), junk(99)].concat(), JUNK_MAX), Some(len as u64));
        assert_eq!(found(&[junk(len), frame(1), junk(99)].concat(), JUNK_MAX), None);
        // Two frames are better than none, and four better than two.
        let two = [junk(len), frames(&[1; 2]), junk(99)].concat();
        assert_eq!(found(&two, JUNK_MAX), Some(len as u64));
        assert_eq!(found(&[two.clone(), four.clone(), junk(9)].concat(), JUNK_MAX), Some(two.len() as u64));
    }
    assert_eq!(found(&[junk(JUNK_MAX as usize + WINDOW), four].concat(), JUNK_MAX), None);
    assert_eq!(found(&[&junk(50)[..], b"#\x0a\x01!", &junk(50)].concat(), JUNK_MAX), Some(50));
    assert_eq!(found(b"", JUNK_MAX), None);
}

fn guessed(bytes: &[u8]) -> (Reading, (u64, u64)) {
    let (mut source, mut reading) = (Source::of(bytes), Reading::default());
    let first = find(&mut source, JUNK_MAX, parse).unwrap().unwrap();
    guess(&mut source, &mut reading, first, parse).unwrap();
    (reading, source.traffic())
}

#[test]
fn one_bit_rate_tells_the_length_from_the_size() {
    let (reading, (_, reads)) = guessed(&frames(&[10; 100_000]));
    assert_eq!((reading.sound.length, reading.sound.bit_rate), (Some(Duration::from_secs(100_000)), 80));
    assert!(reads <= 6, "{reads}");
}

#[test]
fn frames_of_changing_bit_rate_are_counted_in_one_pass() {
    let mut rates = vec![10; 100_000];
    rates[60_000..].fill(11);
    let bytes = frames(&rates);
    let (reading, (read, _)) = guessed(&bytes);
    assert_eq!(reading.sound.length, Some(Duration::from_secs(100_000)));
    assert_eq!(reading.guess, Some("by counting its frames"));
    assert!(read < bytes.len() as u64 * 5 / 4, "{read} of {}", bytes.len());
}

#[test]
fn frames_that_stand_apart_are_counted() {
    let other = [b'#', 10, 9, b'o', 0, 0, 0, 0, 0, 0];
    let zeros = vec![0; 200_000];
    let parts =
        [&frames(&[9, 8, 9, 8])[..], &zeros, &frames(&[9; 3]), b"#", &other, &frames(&[9; 2]), &zeros];
    let (reading, _) = guessed(&parts.concat());
    assert_eq!(reading.sound.length, Some(Duration::from_secs(9)));
    let (reading, _) = guessed(&frames(&[9, 8, 9, 8])[..35]);
    assert_eq!(reading.sound.length, Some(Duration::from_secs(4)), "the last one is cut");
}

proptest! {
    #[test]
    fn any_bytes_end(bytes in prop::collection::vec(prop::sample::select(&b"###k!\0\x04\x0a\xff"[..]), 0..3000)) {
        let mut source = Source::of(bytes.clone());
        if let Some(first) = find(&mut source, JUNK_MAX, parse).unwrap() {
            let count = count(&mut source, first, parse).unwrap();
            prop_assert!(count.bytes <= bytes.len() as u64);
        }
    }
}
