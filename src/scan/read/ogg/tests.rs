use proptest::prelude::*;

use super::page::marks_in;
use super::*;
use crate::scan::read::samples::{assert_ends, comments, losses, read as read_named, row, song};

/// Samples of a packet of Opus.
const PACKET: u64 = 960;
/// Packets on a page of sound: one second.
const PACKETS: u64 = 50;

/// Writes the pages of one stream.
struct Stream {
    serial: u32,
    sequence: u32,
}

impl Stream {
    fn new(serial: u32) -> Stream {
        Stream { serial, sequence: 0 }
    }

    /// A page of whole packets, or of a part of one with full segments.
    fn page(&mut self, flags: u8, granule: u64, segments: &[u8], body: &[u8]) -> Vec<u8> {
        let mut page = b"OggS\0".to_vec();
        page.push(flags);
        page.extend(granule.to_le_bytes());
        page.extend(self.serial.to_le_bytes());
        page.extend(self.sequence.to_le_bytes());
        page.extend([0; 4]);
        page.push(segments.len() as u8);
        page.extend(segments);
        page.extend(body);
        self.sequence += 1;
        page
    }

    /// A packet of any size on separate pages.
    fn packet(&mut self, flags: u8, packet: &[u8]) -> Vec<u8> {
        self.packet_on(255, flags, packet)
    }

    /// A packet of any size on separate pages, of `count` segments each.
    fn packet_on(&mut self, count: usize, flags: u8, packet: &[u8]) -> Vec<u8> {
        let segments: Vec<u8> = packet.chunks(255).map(|part| part.len() as u8).collect();
        let ends = segments.last().is_some_and(|last| *last < 255);
        let segments = if ends { segments } else { [segments, vec![0]].concat() };
        let mut pages = Vec::new();
        let mut rest = packet;
        for (index, part) in segments.chunks(count).enumerate() {
            let len = part.iter().map(|len| usize::from(*len)).sum();
            let (body, behind) = rest.split_at(len);
            rest = behind;
            let continued = if index > 0 { 1 } else { flags };
            let granule = if part.last() < Some(&255) { 0 } else { u64::MAX };
            pages.extend(self.page(continued, granule, part, body));
        }
        pages
    }

    /// A second of sound that ends at `granule`.
    fn second(&mut self, granule: u64) -> Vec<u8> {
        let packet = [0xf8, 1, 2, 3, 4, 5, 6, 7];
        self.page(0, granule, &[8; PACKETS as usize], &packet.repeat(PACKETS as usize))
    }
}

/// A file of Opus that plays for `seconds` and begins at `start`.
fn opus(serial: u32, items: &[&[u8]], start: u64, seconds: u64) -> Vec<u8> {
    let mut stream = Stream::new(serial);
    let mut bytes = stream.packet(2, b"OpusHead\x01\x02\x38\x01\x80\xbb\0\0\0\0\0");
    bytes.extend(stream.packet(0, &[b"OpusTags".as_slice(), &comments(items)].concat()));
    for second in 1..=seconds {
        bytes.extend(stream.second(start + second * PACKETS * PACKET));
    }
    // The last second includes the samples that are skipped at the start.
    bytes.extend(stream.page(4, start + seconds * PACKETS * PACKET + 312, &[8], &[0xf8; 8]));
    bytes
}

const ITEMS: [&[u8]; 2] = [b"TITLE=T", b"ARTIST=A"];

#[test]
fn a_length_goes_from_the_first_page_to_the_last() {
    let whole = opus(1, &ITEMS, 0, 40);
    let with = |more: &[u8]| [&whole, more].concat();
    for (what, bytes, seconds) in [
        ("whole", whole.clone(), 40),
        ("late", opus(1, &ITEMS, 36_000 * 48_000, 40), 40),
        ("a little late", opus(1, &ITEMS, 48_000, 40), 40),
        ("zeros", with(&vec![0; 100_000]), 40),
        ("ID3v1", with(&[b"TAG".as_slice(), &[0; 125]].concat()), 40),
        ("half a page", with(&whole[whole.len() - 40..whole.len() - 1]), 40),
        ("chained", with(&opus(2, &ITEMS, 0, 20)), 60),
        ("chained, same number", with(&opus(1, &ITEMS, 0, 20)), 60),
        ("chained, longer", with(&opus(1, &ITEMS, 5 * 48_000, 80)), 120),
        (
            "chained with junk",
            [&whole, b"junk".as_slice(), &opus(3, &ITEMS, 7, 2), &opus(9, &[], 0, 3)].concat(),
            45,
        ),
    ] {
        let reading = song("x.opus", bytes);
        assert_eq!(row(&reading), format!("T|A|-|-|-|-|{}", seconds * 1000), "{what}");
        assert_eq!(
            (losses(&reading).as_str(), reading.guess.is_some()),
            ("", what.contains("chained")),
            "{what}"
        );
    }
    let cut = &whole[..whole.len() - 100];
    assert_eq!(song("x.opus", cut).sound.length.map(|length| length.as_millis()), Some(38_993));
    let headers = song("x.opus", &whole[..opus(1, &ITEMS, 0, 0).len() - 30]);
    assert_eq!((row(&headers).as_str(), losses(&headers).as_str()), ("T|A|-|-|-|-|-", "length"));
}

/// Encoders write the largest pages, mutagen writes pages of 16 segments.
#[test]
fn a_picture_is_leapt_over() {
    let picture = [b"METADATA_BLOCK_PICTURE=".as_slice(), &vec![b'A'; 3_000_000]].concat();
    let tags = [b"OpusTags".as_slice(), &comments(&[b"TITLE=T", &picture, b"ARTIST=A"])].concat();
    for (count, calls_max) in [(255, 5), (16, 5), (100, 5), (1, 5)] {
        let mut stream = Stream::new(1);
        let head = stream.packet(2, b"OpusHead\x01\x02\x38\x01\x80\xbb\0\0\0\0\0");
        let pages = stream.packet_on(count, 0, &tags);
        let sound = (1..=40).flat_map(|second| stream.second(second * PACKETS * PACKET));
        let sound: Vec<u8> = sound.collect();
        let (reading, calls) = read_named("x.opus", [head.clone(), pages.clone(), sound.clone()].concat());
        let reading = reading.expect("a song");
        assert_eq!((row(&reading).as_str(), reading.has_cover), ("T|A|-|-|-|-|39993", true), "{count}");
        assert!(calls <= calls_max, "{count}: {calls}");
        // With a page of another stream between, numbers and places do not fit.
        let marks: Vec<_> = marks_in(&pages);
        let (front, behind) = pages.split_at(marks[marks.len() / 3]);
        let foreign = Stream::new(7).page(0, 5, &[3], b"abc");
        let bytes = [head, front.to_vec(), foreign, behind.to_vec(), sound].concat();
        assert_eq!(row(&song("x.opus", bytes)), "T|A|-|-|-|-|39993", "{count}");
    }
}

#[test]
fn video_is_a_song_with_audio_and_without() {
    let theora = |items: &[&[u8]]| {
        let mut stream = Stream::new(77);
        // 50 pictures in 2 seconds, the last 4 bits of a place in the stream count from a key frame on.
        let mut head = b"\x80theora\x03\x02\x01".to_vec();
        head.resize(22, 0);
        head.extend([0, 0, 0, 50, 0, 0, 0, 2]);
        head.resize(41, 0);
        head.push(4 << 5);
        let first = stream.packet(2, &head);
        let tags = stream.packet(0, &[b"\x81theora".as_slice(), &comments(items)].concat());
        let setup = stream.packet(0, b"\x82theora");
        let tags = [tags, setup].concat();
        let picture = stream.page(0, 70 << 4 | 5, &[255, 1], &[9; 256]);
        (first, tags, picture)
    };
    let (first, tags, picture) = theora(&[b"TITLE=film", b"ALBUM=L"]);
    let audio = opus(1, &ITEMS, 0, 40);
    let bytes =
        [first.clone(), audio[..47].to_vec(), tags.clone(), audio[47..].to_vec(), picture.repeat(100)]
            .concat();
    let reading = song("x.ogv", bytes);
    assert_eq!(row(&reading), "T|A|L|-|-|-|40000");
    assert_eq!(reading.guess, None);
    let alone = song("x.ogv", [first.clone(), tags.clone(), picture.clone()].concat());
    assert_eq!((row(&alone).as_str(), alone.sound.codec), ("film|-|L|-|-|-|3000", "theora"));
    let cut = song("x.ogv", [first.clone(), tags.clone(), picture[..90].to_vec()].concat());
    assert_eq!((row(&cut).as_str(), losses(&cut).as_str()), ("film|-|L|-|-|-|-", "length"));
    let mut still = first;
    still[28 + 25] = 0;
    let still = song("x.ogv", [still, tags, picture].concat());
    assert_eq!((row(&still).as_str(), losses(&still).as_str()), ("film|-|L|-|-|-|-", "length"));
    let (film, _) = read_named("x.ogv", Stream::new(1).packet(2, b"BBCD\0\0\0\0"));
    assert!(matches!(film, Err(Unread::NotAudio)), "{film:?}");
    let (other, _) = read_named("x.ogg", Stream::new(1).packet(2, b"PCM     "));
    assert!(matches!(other, Err(Unread::Unsupported(_))), "{other:?}");
}

#[test]
fn flac_in_ogg_is_read_in_both_mappings() {
    let mut info = vec![0, 0, 0, 34, 0x10, 0, 0x10, 0, 0, 0, 0, 0, 0, 0];
    info.extend(u64::to_be_bytes(44_100 << 44 | 15 << 36));
    info.extend([0; 16]);
    let tags = [b"\x84\0\0\x20".as_slice(), &comments(&ITEMS)].concat();
    let new = [b"\x7fFLAC\x01\0\0\x01fLaC".as_slice(), &info].concat();
    for first in [vec![new], vec![b"fLaC".to_vec(), info.clone()]] {
        let mut stream = Stream::new(5);
        let mut bytes = Vec::new();
        let picture = [b"\x06\x1e\x84\x80".as_slice(), &vec![7; 2_000_000]].concat();
        for (index, packet) in first.iter().chain([&picture, &tags]).enumerate() {
            bytes.extend(stream.packet(if index == 0 { 2 } else { 0 }, packet));
        }
        for frame in 1..=20 {
            bytes.extend(stream.page(0, frame * 4096, &[4], b"\xff\xf8\xc9\x08"));
        }
        let (reading, calls) = read_named("x.oga", bytes);
        let reading = reading.expect("a song");
        assert_eq!((reading.has_cover, calls <= 5), (true, true), "{calls}");
        let expected = 20 * 4096 * 1000 / 44_100;
        assert_eq!(row(&reading), format!("T|A|-|-|-|-|{expected}"));
        assert_eq!((reading.sound.codec, reading.sound.sample_rate), ("flac", 44_100));
    }
}

#[test]
fn speex_counts_the_samples_of_its_packets() {
    let mut head = b"Speex   1.2".to_vec();
    head.resize(28, 0);
    for number in [1_u32, 80, 16_000, 1, 4, 1, u32::MAX, 320, 0, 1, 0] {
        head.extend(number.to_le_bytes());
    }
    let mut stream = Stream::new(6);
    let mut bytes = stream.packet(2, &head);
    bytes.extend(stream.packet(0, &comments(&ITEMS)));
    for page in 1..=10 {
        bytes.extend(stream.page(0, 160_000 + page * 3200, &[2; 10], &[7; 20]));
    }
    let reading = song("x.spx", bytes);
    assert_eq!(row(&reading), "T|A|-|-|-|-|2000");
    assert_eq!((reading.sound.codec, reading.sound.channels), ("speex", 1));
}

#[test]
fn a_file_without_a_beginning_or_without_sound_is_broken() {
    let whole = opus(1, &ITEMS, 0, 3);
    let headers = opus(1, &ITEMS, 0, 0).len() - 36;
    for bytes in [&whole[47..], b"OggS", &whole[..40], &whole[..headers], &whole[..headers - 1]] {
        let (unread, _) = read_named("x.opus", bytes);
        assert!(matches!(unread, Err(Unread::Broken(_))), "{unread:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_come_to_an_end(
        at in 0..1500_usize,
        junk in prop::collection::vec(any::<u8>(), 1..40),
        cut in 0..1500_usize,
    ) {
        let mut bytes = opus(1, &ITEMS, 0, 3);
        bytes[at..].iter_mut().zip(&junk).for_each(|(byte, junk)| *byte = *junk);
        bytes.truncate(bytes.len() - cut.min(bytes.len()));
        assert_ends("x.opus", bytes);
        assert_ends("x.ogg", [b"OggS\0\x02".as_slice(), &junk].concat());
    }
}
