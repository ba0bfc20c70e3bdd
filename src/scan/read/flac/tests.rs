use proptest::prelude::*;

use super::*;
use crate::scan::read::samples::{assert_ends, comments, losses, read, row, song};

/// A mono file of 44,100 Hz with frames of 4096 samples, numbered from `first` on.
fn flac(blocks: &[(u8, Vec<u8>)], samples: u64, first: u32, frames: u32) -> Vec<u8> {
    let packed = 44_100 << 44 | 15 << 36 | samples;
    let mut info = vec![0x10, 0, 0x10, 0, 0, 0, 0, 0, 0, 0];
    info.extend(u64::to_be_bytes(packed));
    info.extend([0; 16]);
    let mut bytes = b"fLaC".to_vec();
    let all = [(STREAMINFO, info)].into_iter().chain(blocks.iter().cloned()).collect::<Vec<_>>();
    for (index, (kind, content)) in all.iter().enumerate() {
        let last = if index + 1 == all.len() { 0x80 } else { 0 };
        bytes.push(kind | last);
        bytes.extend(&(content.len() as u32).to_be_bytes()[1..]);
        bytes.extend(content);
    }
    for number in first..first + frames {
        bytes.extend(frame(number));
    }
    bytes
}

fn frame(number: u32) -> Vec<u8> {
    let mut frame = vec![0xff, 0xf8, 0xc9, 0x08];
    // Below the surrogates the number is written as UTF-8 writes a character.
    let number = char::from_u32(number).expect("a character");
    frame.extend(number.encode_utf8(&mut [0; 4]).as_bytes());
    frame.push(crc8(&frame));
    frame.extend([0x55; 500]);
    frame
}

fn named() -> (u8, Vec<u8>) {
    (COMMENT, comments(&[b"TITLE=T", b"ARTIST=A"]))
}

#[test]
fn samples_are_counted_where_they_are_not_stated() {
    // The last frame of 4096 samples has the number 199, or 1199 of a stream that was joined late.
    let expected = 200 * 4096 * 1000 / 44_100;
    for first in [0, 1000] {
        let (reading, calls) = read("x.flac", flac(&[named()], 0, first, 200));
        let reading = reading.expect("a song");
        assert_eq!(row(&reading), format!("T|A|-|-|-|-|{expected}"));
        assert!(reading.guess.is_some() && calls <= 3, "{calls}");
    }
    // Bytes behind the last frame that look like a frame do not count.
    let mut bytes = flac(&[named()], 0, 0, 200);
    bytes.extend([b"TAG".as_slice(), &[0; 125], &frame(30_000)].concat());
    assert_eq!(row(&song("x.flac", bytes)), format!("T|A|-|-|-|-|{expected}"));
    let mut bytes = flac(&[named()], 0, 0, 1);
    bytes.truncate(bytes.len() - 505);
    bytes.extend([0; 100]);
    let reading = song("x.flac", bytes);
    assert_eq!((row(&reading).as_str(), losses(&reading).as_str()), ("T|A|-|-|-|-|-", "length"));
}

#[test]
fn wrong_sizes_of_blocks_keep_the_other_blocks() {
    let picture = |size| (PICTURE, vec![1; size]);
    for (blocks, lost, cover) in [
        (vec![picture(1 << 20), named()], "", true),
        (vec![named(), picture(0)], "", false),
        (vec![(9, vec![0; 3]), named()], "", false),
        (vec![named(), (INVALID, vec![0; 3])], "metadata block", false),
    ] {
        let (reading, calls) = read("x.flac", flac(&blocks, 44_100, 0, 1));
        let reading = reading.expect("a song");
        assert_eq!((row(&reading).as_str(), losses(&reading).as_str()), ("T|A|-|-|-|-|1000", lost));
        assert_eq!((reading.has_cover, calls <= 3), (cover, true));
    }
    // A block of comments whose size is too large, in the middle and at the end.
    for blocks in [vec![named(), picture(5)], vec![named()]] {
        let mut bytes = flac(&blocks, 44_100, 0, 3);
        bytes[42 + 3] += 7;
        let reading = song("x.flac", bytes);
        assert_eq!((row(&reading).as_str(), losses(&reading).as_str()), ("T|A|-|-|-|-|1000", ""));
        assert_eq!(reading.has_cover, blocks.len() == 2);
    }
    // A picture that claims more than there is.
    let mut bytes = flac(&[named(), picture(5)], 44_100, 0, 3);
    let at = 42 + 4 + named().1.len();
    bytes[at + 1] = 0xff;
    assert_eq!(losses(&song("x.flac", bytes)), "metadata block");
}

#[test]
fn without_sound_it_is_no_song() {
    let whole = flac(&[named()], 44_100, 0, 0);
    for bytes in [whole.clone(), b"fLaC".to_vec(), whole[..50].to_vec(), flac(&[], 0, 0, 0)] {
        assert!(matches!(read("x.flac", bytes).0, Err(Unread::Broken(_))));
    }
}

proptest! {
    #[test]
    fn any_bytes_come_to_an_end(at in 0..300_usize, junk in prop::collection::vec(any::<u8>(), 1..20)) {
        let mut bytes = flac(&[named(), (PICTURE, vec![1; 50])], 0, 0, 40);
        bytes[at..at + junk.len()].copy_from_slice(&junk);
        assert_ends("x.flac", bytes);
        assert_ends("x.flac", [b"fLaC".as_slice(), &junk].concat());
    }
}
