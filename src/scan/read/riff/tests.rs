use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::scan::read::probe::promise;
use crate::scan::read::source::{Storage, WINDOW};
use crate::scan::read::tags::Field;
use crate::scan::read::{read_source, source};

const RIFF: Layout = Layout::RIFF;

/// A format chunk's body: mono, 8,000 samples of 16 bits per second.
fn pcm() -> Vec<u8> {
    format(1, 1, 8000, 16_000, 2, 16)
}

fn format(tag: u16, channels: u16, rate: u32, byte_rate: u32, block: u16, bits: u16) -> Vec<u8> {
    let mut body = [tag.to_le_bytes(), channels.to_le_bytes()].concat();
    body.extend([rate.to_le_bytes(), byte_rate.to_le_bytes()].concat());
    body.extend([block.to_le_bytes(), bits.to_le_bytes()].concat());
    body
}

fn wave(chunks: &[Vec<u8>]) -> Vec<u8> {
    [b"RIFF\0\0\0\0WAVE".to_vec(), chunks.concat()].concat()
}

/// Two seconds of [`pcm`].
fn sound() -> Vec<u8> {
    RIFF.chunk(b"data", &[7; 32_000])
}

fn fmt() -> Vec<u8> {
    RIFF.chunk(b"fmt ", &pcm())
}

fn info(items: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let items = items.iter().map(|(name, text)| RIFF.chunk(*name, text)).collect::<Vec<_>>().concat();
    RIFF.chunk(b"LIST", &[b"INFO".to_vec(), items].concat())
}

fn read_wave(file: Vec<u8>) -> Reading {
    read_source(&mut Source::of(file), promise("x.wav".as_ref())).expect("a song")
}

fn seconds(reading: &Reading) -> f64 {
    reading.sound.length.expect("a length").as_secs_f64()
}

#[test]
fn names_and_length_are_read() {
    let items: [(&[u8; 4], &[u8]); 8] = [
        (b"INAM", b"Title\0"),
        (b"IART", "K\u{fc}nstler".as_bytes()),
        (b"IPRD", b"Album\0\0\0"),
        (b"IGNR", b"Jazz"),
        (b"ICRD", b"1997-05-06"),
        (b"itrk", b"9"),
        (b"IPRT", b"3/9"),
        (b"ISFT", b"Lavf"),
    ];
    let reading = read_wave(wave(&[fmt(), sound(), info(&items)]));
    let first = |field| reading.tags.first(field);
    assert_eq!((first(Field::Title), first(Field::Artist)), (Some("Title"), Some("K\u{fc}nstler")));
    assert_eq!((first(Field::Album), first(Field::Genre)), (Some("Album"), Some("Jazz")));
    assert_eq!((first(Field::Date), first(Field::Track)), (Some("1997-05-06"), Some("3/9")));
    let sound = &reading.sound;
    assert_eq!((seconds(&reading), sound.codec, sound.bit_rate), (2.0, "pcm", 128_000));
    assert_eq!((sound.sample_rate, sound.channels, sound.bit_depth), (8000, 1, 16));
    assert_eq!((reading.losses.len(), reading.guess), (0, None));
}

#[test]
fn the_encoding_of_a_name_is_told_by_its_bytes() {
    let utf16 = |text: &str, unit: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(unit).collect::<Vec<_>>();
    let marked = [b"\xff\xfe".to_vec(), utf16("caf\u{e9}\0", u16::to_le_bytes)].concat();
    let bad: &[u8] = b"caf\xe9";
    for (value, due, losses) in [
        (b"\xcf\xe5\xf1".to_vec(), "\u{fffd}\u{fffd}\u{fffd}", 1),
        (bad.to_vec(), "caf\u{fffd}", 1),
        (marked, "caf\u{e9}", 0),
        (utf16("caf\u{e9}\0", u16::to_le_bytes), "caf\u{e9}", 0),
        (utf16("caf\u{e9}", u16::to_be_bytes), "caf\u{e9}", 0),
        (
            utf16("\u{41f}\u{435}\u{441}\u{43d}\u{44f} 7", u16::to_le_bytes),
            "\u{41f}\u{435}\u{441}\u{43d}\u{44f} 7",
            0,
        ),
        (
            utf16("\u{41f}\u{435}\u{441}\u{43d}\u{44f} 7", u16::to_be_bytes),
            "\u{41f}\u{435}\u{441}\u{43d}\u{44f} 7",
            0,
        ),
        (b"Title\0junk".to_vec(), "Title", 0),
        (b"7".to_vec(), "7", 0),
        (b"12".to_vec(), "12", 0),
        (b"".to_vec(), "", 0),
    ] {
        let reading = read_wave(wave(&[fmt(), sound(), info(&[(b"INAM", &value), (b"IART", b"Artist")])]));
        assert_eq!(reading.tags.first(Field::Title), Some(due), "{value:x?}");
        assert_eq!(reading.tags.first(Field::Artist), Some("Artist"), "{value:x?}");
        assert_eq!(reading.losses.len(), losses, "{value:x?}");
    }
}

#[test]
fn sizes_of_the_sound_that_lie_are_cut_and_open_ones_are_counted() {
    let data = [7; 32_000];
    for (claimed, behind, due, counted) in [
        (u32::MAX, Vec::new(), 2.0, true),
        (0, Vec::new(), 2.0, true),
        (0x7fff_ffff, Vec::new(), 2.0, true),
        (50_000, Vec::new(), 2.0, true),
        (32_000, Vec::new(), 2.0, false),
        (32_000, b"\0\0\0".to_vec(), 2.0, false),
        (16_000, vec![b'x'; 100], 1.0, false),
        (32_000, info(&[(b"INAM", b"Title")]), 2.0, false),
    ] {
        let tagged = behind.starts_with(b"LIST");
        let file = wave(&[fmt(), RIFF.head(b"data", claimed.into()), data.to_vec(), behind]);
        let reading = read_wave(file);
        assert_eq!((seconds(&reading), reading.guess.is_some()), (due, counted), "{claimed:x}");
        assert_eq!(reading.tags.has(Field::Title), tagged, "{claimed:x}");
    }
    // Sound of no length, and other chunks behind it.
    let reading = read_wave(wave(&[fmt(), RIFF.head(b"data", 0), info(&[(b"INAM", b"Title")])]));
    assert_eq!((seconds(&reading), reading.tags.first(Field::Title)), (0.0, Some("Title")));
}

/// Sound of sevens that takes no memory, and the bytes around it.
struct Huge {
    front: Vec<u8>,
    behind: Vec<u8>,
    behind_at: u64,
}

impl Storage for Huge {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        for (index, byte) in buffer.iter_mut().enumerate() {
            let at = offset + index as u64;
            let front = usize::try_from(at).ok().and_then(|at| self.front.get(at));
            let behind = at.checked_sub(self.behind_at).and_then(|at| self.behind.get(at as usize));
            *byte = front.or(behind).copied().unwrap_or(7);
        }
        Ok(buffer.len())
    }
}

fn huge(front: Vec<u8>, sound_len: u64, behind: Vec<u8>) -> Reading {
    let behind_at = front.len() as u64 + sound_len;
    let len = behind_at + behind.len() as u64;
    let mut source = source::Source::new(Box::new(Huge { front, behind, behind_at }), len);
    let reading = read_source(&mut source, promise("x.wav".as_ref())).expect("a song");
    assert!(source.traffic().1 <= 3, "{:?}", source.traffic());
    reading
}

#[test]
fn sound_beyond_4_gib_has_the_length_of_the_file() {
    let title = info(&[(b"INAM", b"Title")]);
    let len = 5 * (1 << 30);
    let due = Some(Duration::from_secs_f64(len as f64 / 16_000.0));
    for claimed in [len % WRAP, 0, UNSET] {
        let front = wave(&[fmt(), RIFF.head(b"data", claimed)]);
        let reading = huge(front.clone(), len, Vec::new());
        assert_eq!((reading.sound.length, reading.guess), (due, Some(COUNTED)), "{claimed:x}");
        let tagged = huge(front, len, title.clone());
        assert_eq!(tagged.tags.has(Field::Title), claimed == len % WRAP, "{claimed:x}");
    }
    let ds64 = [1_u64.to_le_bytes(), len.to_le_bytes(), (len / 2).to_le_bytes(), [0; 8]].concat();
    let front = [&b"RF64\xff\xff\xff\xffWAVE"[..], &RIFF.chunk(b"ds64", &ds64[..28]), &fmt()].concat();
    let reading = huge([front, RIFF.head(b"data", UNSET)].concat(), len, title);
    assert_eq!((reading.sound.length, reading.guess), (due, None));
    assert_eq!(reading.tags.first(Field::Title), Some("Title"));
}

#[test]
fn a_table_of_sizes_holds_for_every_chunk() {
    let title = info(&[(b"INAM", b"Title")]);
    let mut ds64 = vec![0; 24];
    ds64[8..16].copy_from_slice(&32_000_u64.to_le_bytes());
    ds64.extend(1_u32.to_le_bytes());
    ds64.extend(b"junk");
    ds64.extend(6_u64.to_le_bytes());
    let chunks = [RIFF.chunk(b"ds64", &ds64), RIFF.head(b"junk", UNSET), b"sixsix".to_vec(), fmt()];
    let sound = [RIFF.head(b"data", UNSET), vec![7; 32_000], title];
    for mark in ["RF64", "BW64"] {
        let file = [mark.as_bytes(), b"\xff\xff\xff\xffWAVE", &chunks.concat(), &sound.concat()].concat();
        let reading = read_wave(file);
        assert_eq!((seconds(&reading), reading.tags.first(Field::Title)), (2.0, Some("Title")));
        assert_eq!((reading.guess, &reading.losses[..]), (None, &[][..]));
    }
}

#[test]
fn the_other_kinds_are_read() {
    let rifx = Layout::IFF;
    let swapped = b"\0\x01\0\x01\0\0\x1f\x40\0\0\x3e\x80\0\x02\0\x10";
    let items = [b"INFO".to_vec(), rifx.chunk(b"INAM", b"Title")].concat();
    let chunks =
        [rifx.chunk(b"fmt ", swapped), rifx.chunk(b"data", &[7; 32_000]), rifx.chunk(b"LIST", &items)];
    let reading = read_wave([b"RIFX\0\0\0\0WAVE".to_vec(), chunks.concat()].concat());
    assert_eq!((seconds(&reading), reading.tags.first(Field::Title)), (2.0, Some("Title")));

    let wave64 = Layout::WAVE64;
    let guid = |name: &[u8; 4]| [name, &b"\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"[..]].concat();
    let title: Vec<u8> = "Title\0".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let summary = [1_u32.to_le_bytes().to_vec(), RIFF.chunk(b"INAM", &title)].concat();
    let summary = wave64.chunk(b"\xbc\x94\x5f\x92\x5a\x52\xd2\x11\x86\xdc\x00\xc0\x4f\x8e\xdb\x8a", &summary);
    let head =
        [&b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0\0\0\0\0\0\0\0\0"[..], &guid(b"wave")].concat();
    for claimed in [32_024, 24, 0, u64::MAX] {
        let summary = if claimed == 32_024 { summary.clone() } else { Vec::new() };
        let data = [wave64.head(&guid(b"data"), claimed), vec![7; 32_000], summary].concat();
        let reading = read_wave([head.clone(), wave64.chunk(&guid(b"fmt "), &pcm()), data].concat());
        assert_eq!(seconds(&reading), 2.0, "{claimed:x}");
        assert_eq!(reading.tags.first(Field::Title), (claimed == 32_024).then_some("Title"));
    }
}

/// Tag, rate, byte rate, block and samples in it; the number in `fact`; the length of 40,000 bytes.
#[test]
fn the_length_of_every_codec_is_found() {
    for (tag, [rate, byte_rate, block, packed], fact, due, codec) in [
        (0x55, [44_100, 8000, 1, 0], Some(44_100 * 6), Some(6.0), "mp3"),
        (0x55, [44_100, 8000, 1, 0], None, Some(5.0), "mp3"),
        (0x55, [44_100, 8000, 1, 0], Some(40_000 * 44_100), Some(5.0), "mp3"),
        (0x55, [44_100, 0, 1, 0], Some(44_100 * 6), Some(6.0), "mp3"),
        (0x55, [44_100, 0, 1, 0], None, None, "mp3"),
        (0x11, [8000, 4055, 256, 505], None, Some(156.0 * 505.0 / 8000.0), "adpcm"),
        (0x11, [8000, 4055, 256, 505], Some(78_000), Some(9.75), "adpcm"),
        (0x02, [8000, 4096, 256, 500], Some(0), Some(9.75), "adpcm"),
        (0x161, [44_100, 16_000, 1000, 0], None, Some(2.5), "wma"),
        (0x06, [8000, 8000, 1, 0], Some(1), Some(5.0), "alaw"),
        (0x01, [0, 8000, 1, 0], None, Some(5.0), "pcm"),
        (0x01, [0, 0, 1, 0], None, None, "pcm"),
        (0x1234, [44_100, 20_000, 1, 0], None, Some(2.0), ""),
        (0xfffe, [8000, 8000, 1, 22], None, Some(5.0), "pcm"),
    ] {
        let mut body = format(tag, 1, rate, byte_rate, block as u16, 8);
        body.extend([2, 0]);
        body.extend((packed as u16).to_le_bytes());
        body.extend(b"\0\0\0\0\x01\0");
        let fact = fact.map(|samples: u32| RIFF.chunk(b"fact", &samples.to_le_bytes())).unwrap_or_default();
        let reading = read_wave(wave(&[RIFF.chunk(b"fmt ", &body), fact, RIFF.chunk(b"data", &[7; 40_000])]));
        let length = reading.sound.length.map(|length| length.as_secs_f64());
        assert!(
            length.zip(due).map_or(length == due, |(length, due)| (length - due).abs() < 1e-6),
            "{tag:x} {length:?} {due:?}"
        );
        assert_eq!(
            (reading.sound.codec, reading.losses.len()),
            (codec, usize::from(due.is_none())),
            "{tag:x}"
        );
    }
}

#[test]
fn formats_that_contradict_themselves_still_give_a_length() {
    for (body, due) in [
        (format(1, 0, 8000, 16_000, 2, 16), 2.0),
        (format(1, 1, 8000, 16_000, 0, 16), 2.0),
        (format(1, 1, 8000, 0, 0, 16), 2.0),
        (format(1, 1, 8000, 16_000, 9, 16), 2.0),
        (format(1, 0, 8000, 16_000, 0, 0), 2.0),
    ] {
        assert_eq!(seconds(&read_wave(wave(&[RIFF.chunk(b"fmt ", &body), sound()]))), due, "{body:?}");
    }
}

#[test]
fn a_size_that_swallows_the_sound_is_seen_through() {
    let swallower = |claimed| [RIFF.head(b"LIST", claimed), b"INFO".to_vec(), RIFF.chunk(b"INAM", b"Title!")];
    for claimed in [u32::MAX.into(), 5000, 70] {
        for chunks in
            [[fmt(), swallower(claimed).concat(), sound()], [swallower(claimed).concat(), fmt(), sound()]]
        {
            let reading = read_wave(wave(&[chunks.concat(), info(&[(b"IART", b"Artist")])]));
            assert_eq!((seconds(&reading), reading.losses.is_empty()), (2.0, false), "{claimed}");
            assert_eq!(reading.tags.first(Field::Title), Some("Title!"), "{claimed}");
            assert_eq!(reading.tags.first(Field::Artist), Some("Artist"), "{claimed}");
        }
    }
}

#[test]
fn files_without_sound_are_broken() {
    for chunks in [vec![], vec![fmt()], vec![sound()], vec![fmt(), info(&[(b"INAM", b"data?")])]] {
        let outcome = read_source(&mut Source::of(wave(&chunks)), promise("x.wav".as_ref()));
        assert!(matches!(outcome, Err(Unread::Broken(_))), "{outcome:?}");
    }
}

#[test]
fn a_huge_list_in_front_of_the_sound_is_passed_over() {
    let picture = RIFF.chunk(b"IPIC", &vec![1; 40 * WINDOW]);
    let list = [b"INFO".to_vec(), RIFF.chunk(b"INAM", b"Title"), picture, RIFF.chunk(b"IART", b"Artist")];
    let mut source = Source::of(wave(&[fmt(), RIFF.chunk(b"LIST", &list.concat()), sound()]));
    let reading = read_source(&mut source, promise("x.wav".as_ref())).expect("a song");
    assert_eq!(seconds(&reading), 2.0);
    assert_eq!(reading.tags.first(Field::Artist), Some("Artist"));
    assert!(source.traffic().1 <= 3, "{:?}", source.traffic());
}

/// A tag of version 2.3 with a title.
fn id3(title: &[u8]) -> Vec<u8> {
    let frame = [b"TIT2\0\0\0", &[title.len() as u8 + 1, 0, 0, 0][..], title].concat();
    [&b"ID3\x03\0\0\0\0\0"[..], &[frame.len() as u8], &frame].concat()
}

#[test]

fn id3_chunks_come_before_a_tag_in_front_and_both_before_the_list() {
    let list = info(&[(b"INAM", b"list"), (b"IART", b"Artist")]);
    for name in [b"id3 ", b"ID3 "] {
        let file = wave(&[fmt(), list.clone(), sound(), RIFF.chunk(name, &id3(b"chunk"))]);
        for file in [file.clone(), [id3(b"front"), file].concat()] {
            let reading = read_wave(file);
            assert_eq!(reading.tags.first(Field::Title), Some("chunk"));
            assert_eq!(reading.tags.first(Field::Artist), Some("Artist"));
        }
    }
    let file = [id3(b"front"), wave(&[fmt(), list, sound()])].concat();
    assert_eq!(read_wave(file).tags.first(Field::Title), Some("front"));
}

#[test]
fn many_items_end_quickly() {
    let empty = RIFF.head(b"INAM", 0).repeat(100_000);
    let nested = RIFF.head(b"LIST", 0xffff).repeat(100_000);
    for list in [
        empty.clone(),
        nested.clone(),
        [b"INFO".to_vec(), empty].concat(),
        [b"INFO".to_vec(), nested].concat(),
    ] {
        let reading = read_wave(wave(&[fmt(), sound(), RIFF.chunk(b"LIST", &list)]));
        assert_eq!(seconds(&reading), 2.0);
    }
}

proptest! {
    #[test]
    fn one_bad_item_costs_itself(bad in 0..4_usize, value in prop::collection::vec(any::<u8>(), 0..40)) {
        let names: [&[u8; 4]; 4] = [b"INAM", b"IART", b"IPRD", b"IGNR"];
        let fields = [Field::Title, Field::Artist, Field::Album, Field::Genre];
        let items: Vec<(&[u8; 4], &[u8])> = names.iter().enumerate()
            .map(|(index, name)| (*name, if index == bad { &value[..] } else { b"good" })).collect();
        let reading = read_wave(wave(&[fmt(), info(&items), sound()]));
        prop_assert_eq!(seconds(&reading), 2.0);
        for (index, field) in fields.into_iter().enumerate().filter(|(index, _)| *index != bad) {
            prop_assert_eq!(reading.tags.first(field), Some("good"), "{}", index);
        }
    }

    #[test]
    fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..300), at in 0..200_usize) {
        let mut file = wave(&[fmt(), info(&[(b"INAM", b"Title")]), RIFF.chunk(b"data", &[7; 100])]);
        let end = (at + bytes.len()).min(file.len());
        let start = at.min(end);
        file.splice(start..end, bytes);
        let _ = read_source(&mut Source::of(file), promise("x.wav".as_ref()));
    }
}
