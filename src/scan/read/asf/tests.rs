use proptest::prelude::*;

use super::*;
use crate::scan::read::source::WINDOW;
use crate::scan::read::tags::Field;

const ASF: Layout = Layout::ASF;
const SECOND: u64 = 10_000_000;

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

/// File properties with a preroll of 3.1 s and packets of 100 bytes.
fn properties(play: u64, flags: u32, bit_rate: u32) -> Vec<u8> {
    let mut body = vec![0; 40];
    body.extend([play, play, 3100].map(u64::to_le_bytes).concat());
    body.extend([flags, 100, 100, bit_rate].map(u32::to_le_bytes).concat());
    ASF.chunk(&FILE_PROPERTIES, &body)
}

/// WMA 2, stereo, 44,100 Hz, 128 kbit/s.
fn stream() -> Vec<u8> {
    let mut body = AUDIO.to_vec();
    body.resize(STREAM_LEN as usize, 0);
    body.extend(b"\x61\x01\x02\0\x44\xac\0\0\x80\x3e\0\0\0\x10\x10\0\0\0");
    ASF.chunk(&STREAM_PROPERTIES, &body)
}

fn description(title: &str, artist: &str) -> Vec<u8> {
    let texts = [utf16(title), utf16(artist)];
    let lengths = [texts[0].len() as u16, texts[1].len() as u16, 0, 0, 0].map(u16::to_le_bytes);
    ASF.chunk(&DESCRIPTION, &[lengths.concat(), texts.concat()].concat())
}

fn extended(values: &[(&str, u16, Vec<u8>)]) -> Vec<u8> {
    let mut body = (values.len() as u16).to_le_bytes().to_vec();
    for (name, kind, value) in values {
        let name = utf16(name);
        body.extend([&(name.len() as u16).to_le_bytes()[..], &name, &kind.to_le_bytes()].concat());
        body.extend([&(value.len() as u16).to_le_bytes()[..], value].concat());
    }
    ASF.chunk(&EXTENDED_DESCRIPTION, &body)
}

fn library(values: &[(&str, u16, Vec<u8>)]) -> Vec<u8> {
    let mut body = (values.len() as u16).to_le_bytes().to_vec();
    for (name, kind, value) in values {
        let name = utf16(name);
        body.extend([0, 0, name.len() as u16, *kind].map(u16::to_le_bytes).concat());
        body.extend([&(value.len() as u32).to_le_bytes()[..], &name, value].concat());
    }
    ASF.chunk(&METADATA_LIBRARY, &body)
}

fn extension(objects: &[u8]) -> Vec<u8> {
    ASF.chunk(&EXTENSION, &[&[0; EXTENSION_LEN as usize][..], objects].concat())
}

/// A packet that is sent after `millis` milliseconds.
fn packet(millis: u32) -> Vec<u8> {
    let mut packet = [&b"\x82\0\0\x09\x5d\x93"[..], &millis.to_le_bytes(), &[139, 0]].concat();
    packet.resize(100, 7);
    packet
}

fn file(objects: &[Vec<u8>], data: &[u8]) -> Vec<u8> {
    let data = ASF.chunk(&DATA, &[&[0; DATA_LEN as usize], data].concat());
    let head =
        b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c\0\0\0\0\0\0\0\0\0\0\0\0\x01\x02";
    [head.to_vec(), objects.concat(), data].concat()
}

fn read_file(file: Vec<u8>) -> Reading {
    let mut reading = Reading::default();
    read(&mut Source::of(file), &mut reading).expect("a song");
    reading
}

#[test]
fn names_of_all_four_places_and_the_length_are_read() {
    let values = [
        ("WM/AlbumTitle", 0, utf16("Album")),
        ("WM/Genre", 0, utf16("Jazz")),
        ("WM/Genre", 0, utf16("Blues")),
        ("WM/Track", 3, 6_u32.to_le_bytes().to_vec()),
        ("WM/TrackNumber", 3, 7_u32.to_le_bytes().to_vec()),
        ("WM/Year", 0, utf16("2004")),
        ("WM/IsCompilation", 2, 1_u32.to_le_bytes().to_vec()),
        ("WM/PartOfSet", 5, 2_u16.to_le_bytes().to_vec()),
        ("TotalTracks", 4, 12_u64.to_le_bytes().to_vec()),
        ("Author", 0, utf16("Artist")),
        ("Author", 0, utf16("Second")),
    ];
    let more = [
        ("WM/AlbumArtist", 0, utf16("Band")),
        ("WM/Picture", 1, vec![1; 5 * WINDOW]),
        ("MusicBrainz/Album Id", 0, utf16("id")),
        ("replaygain_track_gain", 0, utf16("-7 dB")),
    ];
    let objects = [
        properties(5 * SECOND + 31_000_000, 2, 0),
        extension(&library(&more)),
        stream(),
        description("T\u{ef}tle", "Artist"),
        extended(&values),
    ];
    let mut source = Source::of(file(&objects, &[7; 4 * WINDOW]));
    let mut reading = Reading::default();
    read(&mut source, &mut reading).unwrap();
    for (field, due) in [
        (Field::Title, &["T\u{ef}tle"][..]),
        (Field::Artist, &["Artist", "Second"]),
        (Field::Album, &["Album"]),
        (Field::Genre, &["Jazz", "Blues"]),
        (Field::Track, &["7"]),
        (Field::Date, &["2004"]),
        (Field::Compilation, &["1"]),
        (Field::Disc, &["2"]),
        (Field::TrackTotal, &["12"]),
        (Field::AlbumArtist, &["Band"]),
        (Field::MusicbrainzRelease, &["id"]),
        (Field::ReplayGainTrackGain, &["-7 dB"]),
    ] {
        assert_eq!(reading.tags.all(field).collect::<Vec<_>>(), due, "{field:?}");
    }
    let sound = &reading.sound;
    assert_eq!((sound.length, sound.codec, sound.bit_rate), (Some(Duration::from_secs(5)), "wma", 128_000));
    assert_eq!((sound.sample_rate, sound.channels), (44_100, 2));
    assert_eq!((reading.has_cover, reading.losses.len(), reading.guess), (true, 0, None));
    assert!(source.traffic().1 <= 3, "{:?}", source.traffic());
}

#[test]
fn an_old_track_number_counts_from_1() {
    let old = || ("WM/Track", 3, 6_u32.to_le_bytes().to_vec());
    let reading = read_file(file(&[extended(&[old()]), properties(SECOND * 9, 0, 0), stream()], b""));
    assert_eq!(reading.tags.first(Field::Track), Some("7"));
}

#[test]
fn a_length_that_is_not_stated_is_found() {
    let packets = [packet(1000), vec![7; 700], packet(6000)].concat();
    for (objects, data, due, losses) in [
        (vec![properties(8 * SECOND, 1, 0), stream()], packets.clone(), Some(5139), 0),
        (vec![properties(31_000_000, 0, 0), stream()], packets, Some(5139), 0),
        (vec![properties(0, 0, 0), stream()], vec![7; 16_000 - 26], Some(998), 0),
        (vec![properties(0, 0, 8000)], vec![0; 2000], Some(2000), 1),
        (vec![stream()], vec![7; 16_000], Some(1000), 0),
        (vec![properties(0, 0, 0)], vec![], None, 2),
        (vec![], vec![], None, 2),
    ] {
        let reading = read_file(file(&objects, &data));
        let length = reading.sound.length.map(|length| length.as_millis());
        assert_eq!((length, reading.losses.len()), (due, losses), "{objects:?}");
        assert_eq!(reading.guess.is_some(), due.is_some());
    }
}

#[test]
fn the_format_stands_in_an_extended_description_too() {
    let mut body = vec![0; EXTENDED_STREAM_LEN as usize];
    (body[60], body[62]) = (1, 1);
    body.extend(b"\0\0\x04\0name");
    body.extend([&[0; 18][..], &3_u32.to_le_bytes(), b"abc", &stream()].concat());
    let reading =
        read_file(file(&[extension(&ASF.chunk(&EXTENDED_STREAM, &body)), properties(9 * SECOND, 0, 0)], b""));
    assert_eq!((reading.sound.codec, reading.losses.len()), ("wma", 0));
}

#[test]
fn wrong_sizes_cost_the_parts_they_hide() {
    let good = [properties(5 * SECOND + 31_000_000, 0, 0), stream(), description("Title", "Artist")].concat();
    // A value that claims more than the object has, and a count beyond the values.
    let mut cut = extended(&[("WM/AlbumTitle", 0, utf16("Album")), ("WM/Genre", 0, utf16("Jazz"))]);
    let at = cut.len() - 12;
    cut[at..at + 2].copy_from_slice(&[0xff, 0xff]);
    cut[24..26].copy_from_slice(&[0xff, 0xff]);
    let reading = read_file(file(&[good.clone(), cut], b""));
    assert_eq!(reading.tags.first(Field::Album), Some("Album"));
    assert_eq!(reading.tags.first(Field::Genre), Some("Jazz"));
    let lost: Vec<_> = reading.losses.iter().map(|loss| loss.what.as_str()).collect();
    assert_eq!(lost, ["genre", "names"]);
    for size in [0, 10, 60, u64::MAX] {
        let lie = ASF.head(&[b'x'; 16], size);
        for objects in [[lie.clone(), good.clone()], [good.clone(), lie]] {
            let reading = read_file(file(&objects, b""));
            assert_eq!(reading.sound.length, Some(Duration::from_secs(5)), "{size}");
            // The first 24 bytes of an object can hold only its head.
            assert_eq!(reading.losses.is_empty(), size < 24, "{size}: {:?}", reading.losses);
        }
    }
}

#[test]
fn text_that_is_no_utf16_is_repaired() {
    let odd = [("WM/AlbumTitle", 0, b"a\0\x3d\xd8b\0".to_vec()), ("WM/Genre", 0, b"c\0d".to_vec())];
    let reading = read_file(file(&[extended(&odd), properties(9 * SECOND, 0, 0), stream()], b""));
    assert_eq!(reading.tags.first(Field::Album), Some("a\u{fffd}b"));
    assert_eq!(reading.tags.first(Field::Genre), Some("cd"));
    assert_eq!(reading.losses.len(), 1);
}

#[test]
fn many_objects_end_quickly() {
    let nested = ASF.head(&EXTENSION, u64::MAX).repeat(20_000);
    let _ = read(&mut Source::of(file(&[nested], b"")), &mut Reading::default());
    let empty = ASF.head(&EXTENSION, 0).repeat(20_000);
    let _ = read(&mut Source::of(file(&[empty], b"")), &mut Reading::default());
    let values = extended(&vec![("WM/Genre", 0, Vec::new()); 65_535]);
    assert_eq!(read_file(file(&[values, stream()], b"")).tags.first(Field::Genre), Some(""));
}

proptest! {
    #[test]
    fn one_bad_value_costs_itself(bad in 0..4_usize, kind in 0..7_u16, value in prop::collection::vec(any::<u8>(), 0..40)) {
        let names = ["WM/AlbumTitle", "WM/Genre", "WM/Year", "WM/AlbumArtist"];
        let fields = [Field::Album, Field::Genre, Field::Date, Field::AlbumArtist];
        let values: Vec<_> = names.iter().enumerate().map(|(index, name)| match index == bad {
            true => (*name, kind, value.clone()),
            false => (*name, 0, utf16("good")),
        }).collect();
        for object in [extended(&values), extension(&library(&values))] {
            let reading = read_file(file(&[properties(9 * SECOND, 0, 0), stream(), object], b""));
            for (index, field) in fields.into_iter().enumerate().filter(|(index, _)| *index != bad) {
                prop_assert_eq!(reading.tags.first(field), Some("good"), "{}", index);
            }
        }
    }

    #[test]
    fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..300), at in 0..400_usize) {
        let values = [("WM/AlbumTitle", 0, utf16("Album"))];
        let objects = [properties(0, 0, 0), stream(), extended(&values), extension(&library(&values))];
        let mut file = file(&objects, &[0; 300]);
        let end = (at + bytes.len()).min(file.len());
        file.splice(at.min(end)..end, bytes);
        let _ = read(&mut Source::of(file), &mut Reading::default());
    }
}
