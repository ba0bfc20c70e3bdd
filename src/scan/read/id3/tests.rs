//! Tags built byte by byte.

mod limits;

use super::*;
use crate::scan::read::tags::{Field, INFLATED_MAX, TEXT_MAX};
use proptest::prelude::*;
use std::io::Read;

fn size7(size: usize) -> [u8; 4] {
    [size >> 21, size >> 14, size >> 7, size].map(|part| (part & 0x7f) as u8)
}

pub(super) fn tag(version: u8, flags: u8, body: &[u8]) -> Vec<u8> {
    [b"ID3", &[version, 0, flags][..], &size7(body.len()), body].concat()
}

fn frame(id: &str, flags: u8, content: &[u8]) -> Vec<u8> {
    frame_of_size(id, content.len() as u32, flags, content)
}

fn frame_of_size(id: &str, size: u32, flags: u8, content: &[u8]) -> Vec<u8> {
    [id.as_bytes(), &size.to_be_bytes(), &[0, flags], content].concat()
}

/// A frame of the version, whose size is written as that version does.
fn proper(version: u8, id: &str, content: &[u8]) -> Vec<u8> {
    let size = content.len();
    match version {
        2 => [id.as_bytes(), &(size as u32).to_be_bytes()[1..], content].concat(),
        3 => frame(id, 0, content),
        _ => [id.as_bytes(), &size7(size), &[0, 0], content].concat(),
    }
}

fn text(value: &str) -> Vec<u8> {
    [&b"\x03"[..], value.as_bytes()].concat()
}

fn reading(bytes: &[u8]) -> Reading {
    let mut reading = Reading::default();
    let tag = read_v2(&mut Source::of(bytes), 0, &mut reading).expect("no I/O").expect("a tag");
    reading.tags = tag.tags;
    reading
}

fn read(bytes: &[u8]) -> Tags {
    reading(bytes).tags
}

fn title(bytes: &[u8]) -> Option<String> {
    read(bytes).first(Field::Title).map(str::to_owned)
}

fn lost(reading: &Reading) -> Vec<&str> {
    reading.losses.iter().map(|loss| loss.what.as_str()).collect()
}

#[test]
fn texts_in_every_encoding() {
    for (content, expected, is_whole) in [
        (&b"\0caf\xe9"[..], Some("caf\u{e9}"), true),
        (b"\x01\xff\xfeA\0\xe9\0", Some("A\u{e9}"), true),
        (b"\x01\xfe\xff\0A\0\xe9", Some("A\u{e9}"), true),
        (b"\x01A\0B\0", Some("AB"), true),
        (b"\x01\xff\xfeA\0\0", Some("A"), true),
        (b"\x01\xff\xfe\x3d\xd8\x00\xde", Some("\u{1f600}"), true),
        (b"\x01\xff\xfe\x3d\xd8A\0", None, false),
        (b"\x02\0A\0B", Some("AB"), true),
        (b"\x03\xe2\x9d\xa4", Some("\u{2764}"), true),
        (b"\x03caf\xe9", None, false),
        (b"\x04A", None, false),
        (b"\x03", None, true),
        (b"", None, true),
        (b"\x03\0", Some(""), true),
        (b"\x03A\0B", Some("A"), true),
    ] {
        let reading = reading(&tag(4, 0, &frame("TIT2", 0, content)));
        assert_eq!(reading.tags.first(Field::Title), expected, "{content:?}");
        assert_eq!(lost(&reading), if is_whole { vec![] } else { vec!["title"] }, "{content:?}");
    }
}

#[test]
fn all_values_of_a_frame_are_kept() {
    let utf16 = frame("TPE1", 0, b"\x01\xff\xfeA\0\0\0\xfe\xff\0B\0\0\0C");
    let tags = read(&tag(
        4,
        0,
        &[utf16, frame("TPE1", 0, b"\x03D\0\0E\0"), frame("TCON", 0, b"\x0317\0Own\09")].concat(),
    ));
    assert_eq!(tags.all(Field::Artist).collect::<Vec<_>>(), ["A", "B", "C", "D", "E"]);
    assert_eq!(tags.all(Field::Genre).collect::<Vec<_>>(), ["Rock", "Own", "Metal"]);
}

#[test]
fn frames_of_version_2_have_short_names() {
    let body =
        [&b"TT2\0\0\x04\0abcTP1\0\0\x02\0d"[..], b"TYE\0\0\x05\x002004", b"PIC\0\0\x02ab", &[0; 20]].concat();
    let reading = reading(&tag(2, 0, &body));
    let first = |field| reading.tags.first(field);
    assert_eq!((first(Field::Title), first(Field::Artist)), (Some("abc"), Some("d")));
    assert_eq!((first(Field::Date), reading.has_cover, lost(&reading)), (Some("2004"), true, vec![]));
}

#[test]
fn names_of_version_2_in_later_tags_count() {
    for id in ["TT2\0", "TT2 "] {
        assert_eq!(title(&tag(3, 0, &frame(id, 0, b"\0abc"))).as_deref(), Some("abc"), "{id:?}");
    }
}

#[test]
fn a_tag_may_be_unsynchronised_as_a_whole_or_by_frame() {
    let content = b"\x01\xff\0\xfeA\0";
    let mut whole = frame("TIT2", 0, content);
    // The size counts the bytes after the zeros are gone.
    whole[7] -= 1;
    let whole = [whole, frame("TPE1", 0, b"\0abc")].concat();
    assert_eq!(title(&tag(3, 0x80, &whole)).as_deref(), Some("A"));
    assert_eq!(read(&tag(3, 0x80, &whole)).first(Field::Artist), Some("abc"));
    assert_eq!(title(&tag(4, 0x80, &frame("TIT2", 0, content))).as_deref(), Some("A"));
    assert_eq!(title(&tag(4, 0, &frame("TIT2", 0x02, content))).as_deref(), Some("A"));
}

/// Some taggers set the flag and write plain bytes, in which `ff 00` is a letter.
#[test]
fn a_tag_is_not_unsynchronised_because_it_says_so() {
    let plain = frame("TIT2", 0, b"\x01\xff\xfe\xff\0A\0");
    for version in [3, 4] {
        assert_eq!(title(&tag(version, 0x80, &plain)).as_deref(), Some("\u{ff}A"), "{version}");
    }
}

/// A cover of 3 MB before the title of an unsynchronised tag: it is streamed once.
#[test]
fn an_unsynchronised_tag_is_streamed() {
    let cover: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 256) as u8).collect();
    let plain = [frame("APIC", 0, &cover), frame("TIT2", 0, b"\0abc"), vec![0; 100]].concat();
    let mut raw = Vec::new();
    for byte in &plain {
        raw.push(*byte);
        if *byte == 0xff {
            raw.push(0);
        }
    }
    let file = tag(3, 0x80, &raw);
    let (mut source, mut reading) = (Source::of(file.clone()), Reading::default());
    let tag = read_v2(&mut source, 0, &mut reading).expect("no I/O").expect("a tag");
    assert_eq!((tag.tags.first(Field::Title), tag.end), (Some("abc"), file.len() as u64));
    assert!(source.traffic().0 < file.len() as u64 + 100_000, "{:?}", source.traffic());
    assert!(reading.has_cover && reading.losses.is_empty());
}

#[test]
fn covers_are_skipped_by_arithmetic() {
    let body = [proper(4, "APIC", &vec![1; 2_000_000]), proper(4, "TIT2", b"\0abc")].concat();
    let (mut source, mut reading) =
        (Source::of([tag(4, 0, &body), vec![7; 1_000_000]].concat()), Reading::default());
    let tag = read_v2(&mut source, 0, &mut reading).expect("no I/O").expect("a tag");
    assert_eq!((tag.tags.first(Field::Title), reading.has_cover), (Some("abc"), true));
    assert!(source.traffic().1 <= 2, "{:?}", source.traffic());
}

fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut deflated = (bytes.len() as u32).to_be_bytes().to_vec();
    flate2::read::ZlibEncoder::new(bytes, flate2::Compression::fast())
        .read_to_end(&mut deflated)
        .expect("zlib");
    deflated
}

#[test]
fn frame_flags_are_undone() {
    let zipped = deflated(b"\0zipped");
    for (version, flags, content, expected) in [
        (4, 0x09, &zipped[..], Some("zipped")),
        (3, 0x80, &zipped, Some("zipped")),
        (4, 0x40, b"g\0abc", Some("abc")),
        (3, 0x20, b"g\0abc", Some("abc")),
        (4, 0x01, b"\0\0\0\x04\0abc", Some("abc")),
        (4, 0x04, b"\0abc", None),
        (4, 0x09, b"torn", None),
    ] {
        let reading = reading(&tag(version, 0, &frame("TIT2", flags, content)));
        assert_eq!(reading.tags.first(Field::Title), expected);
        assert_eq!(lost(&reading), if expected.is_some() { vec![] } else { vec!["title"] });
    }
}

/// 200 MB of text in 200 KB, and many frames that inflate together to more than allowed.
#[test]
fn compressed_frames_are_capped() {
    let bomb = deflated(&[&b"\0"[..], &vec![b'x'; 20_000_000]].concat());
    let found = reading(&tag(3, 0, &[frame("TIT2", 0x80, &bomb), frame("TPE1", 0, b"\0abc")].concat()));
    assert_eq!(found.tags.first(Field::Title).map(str::len), Some(TEXT_MAX));
    assert_eq!((found.tags.first(Field::Artist), lost(&found)), (Some("abc"), vec!["title"]));
    let many: Vec<u8> = (0..200)
        .flat_map(|_| frame("TPE1", 0x80, &deflated(&[&b"\0"[..], &[b'x'; 9000]].concat())))
        .collect();
    let found = reading(&tag(3, 0, &[many, frame("TIT2", 0, b"\0abc")].concat()));
    assert!(found.inflated < INFLATED_MAX + 200 * 10_000);
    assert_eq!(found.tags.first(Field::Title), Some("abc"));
    assert!(found.losses.len() + found.more_losses >= 200);
}

#[test]
fn a_long_text_is_cut_and_told_once() {
    for content in [
        [&b"\x03"[..], &"\u{2764}".repeat(1_000_000).into_bytes()].concat(),
        [&b"\x02"[..], &[0, b'x'].repeat(1_000_000)].concat(),
        vec![b'x'; 1_000_000].into_iter().chain([0]).map(|byte| byte.min(b'x')).collect::<Vec<u8>>(),
    ] {
        let content = [if content[0] == b'x' { vec![0] } else { vec![] }, content].concat();
        let found = reading(&tag(3, 0, &[frame("TIT2", 0, &content), frame("TPE1", 0, b"\0abc")].concat()));
        let len = found.tags.first(Field::Title).map_or(0, str::len);
        assert!((TEXT_MAX - 4..=TEXT_MAX).contains(&len), "{len}");
        assert_eq!((lost(&found), found.tags.first(Field::Artist)), (vec!["title"], Some("abc")));
        assert!(!found.tags.first(Field::Title).unwrap_or_default().contains('\u{fffd}'));
    }
}

#[test]
fn an_extended_header_is_passed_over_if_there_is_one() {
    let title_frame = frame("TIT2", 0, b"\0abc");
    let with = |header: &[u8]| [header, &title_frame].concat();
    assert_eq!(title(&tag(3, 0x40, &with(&[0, 0, 0, 6, 0, 0, 0, 0, 0, 0]))).as_deref(), Some("abc"));
    assert_eq!(title(&tag(4, 0x40, &with(&[0, 0, 0, 6, 1, 0]))).as_deref(), Some("abc"));
    assert_eq!(title(&tag(3, 0x40, &title_frame)).as_deref(), Some("abc"));
}

/// Old iTunes wrote plain sizes into version 2.4: 0x0101 is 129 or 257 bytes. Others wrote
/// sizes of version 2.4 into version 2.3.
#[test]
fn sizes_of_old_itunes_are_recognised() {
    let long = [&b"\0"[..], &[b'x'; 256]].concat();
    let after = frame("TPE1", 0, b"\0abc");
    for (version, content) in [(4, &long[..]), (4, &long[..129]), (3, &long), (3, &long[..129])] {
        let tags =
            read(&tag(version, 0, &[frame_of_size("TIT2", 0x101, 0, content), after.clone()].concat()));
        assert_eq!(tags.first(Field::Artist), Some("abc"));
        assert_eq!(tags.first(Field::Title).map(str::len), Some(content.len() - 1), "{version}");
    }
}

#[test]
fn a_recording_date_counts_before_a_year_and_the_first_of_two_frames() {
    let year = frame("TYER", 0, b"\x001999");
    let date = frame("TDRC", 0, b"\x002004-05-06");
    assert_eq!(read(&tag(3, 0, &[year.clone(), date].concat())).first(Field::Date), Some("2004-05-06"));
    assert_eq!(read(&tag(4, 0, &year)).first(Field::Date), Some("1999"));
    let empty = frame("TIT2", 0, b"\0");
    let twice = [empty, frame("TIT2", 0, b"\0abc"), frame("TIT2", 0, b"\0def")].concat();
    assert_eq!(title(&tag(4, 0, &twice)).as_deref(), Some("abc"));
}

#[test]
fn every_field_has_its_frame() {
    for (id, content, field) in [
        ("TPE2", "a", Field::AlbumArtist),
        ("TPOS", "1/2", Field::Disc),
        ("TCMP", "1", Field::Compilation),
        ("TCOM", "a", Field::Composer),
        ("TSOT", "a", Field::TitleSort),
        ("TSOA", "a", Field::AlbumSort),
        ("XSOP", "a", Field::ArtistSort),
        ("TSO2", "a", Field::AlbumArtistSort),
        ("TSOC", "a", Field::ComposerSort),
        ("TDOR", "1999", Field::OriginalDate),
        ("TORY", "1999", Field::OriginalDate),
        ("TXXX", "MusicBrainz Album Id\0abc", Field::MusicbrainzRelease),
        ("TXXX", "ARTISTS\0a\0b", Field::Artists),
        ("TXXX", "replaygain_track_gain\0-1 dB", Field::ReplayGainTrackGain),
    ] {
        let found = reading(&tag(4, 0, &frame(id, 0, &text(content))));
        let value = content.split_once('\0').map_or(content, |(_, value)| value);
        assert_eq!(found.tags.all(field).collect::<Vec<_>>().join("\0"), value, "{id}");
        assert_eq!(lost(&found), [""; 0]);
    }
    let id = |owner: &str| tag(4, 0, &frame("UFID", 0, format!("{owner}\0abc").as_bytes()));
    assert_eq!(read(&id("http://musicbrainz.org")).first(Field::MusicbrainzRecording), Some("abc"));
    assert_eq!(read(&id("http://example.org")), Tags::default());
    let both = [frame("TXXX", 0, &text("Album Artist\0weak")), frame("TPE2", 0, &text("strong"))].concat();
    assert_eq!(read(&tag(4, 0, &both)).first(Field::AlbumArtist), Some("strong"));
}

/// A frame whose size is too large, too small or absurd costs itself at most.
#[test]
fn a_frame_with_a_wrong_size_costs_itself() {
    for version in [3, 4] {
        for size in [0, 1, 3, 5, 20, 29, 300, 0x7f7f_7f7f, u32::MAX] {
            let around = |id, value: &str| proper(version, id, &text(value));
            let body = [
                around("TIT2", "before"),
                frame_of_size("TALB", size, 0, &text("album")),
                around("TPE1", "after"),
                around("TRCK", "7"),
            ];
            let found = reading(&tag(version, 0, &[body.concat(), vec![0; 30]].concat()));
            let first = |field| found.tags.first(field);
            assert_eq!((first(Field::Title), first(Field::Track)), (Some("before"), Some("7")), "{size}");
            assert_eq!(first(Field::Artist), Some("after"), "{version} {size}");
            assert!(!found.losses.is_empty(), "{size}");
        }
    }
}

#[test]
fn a_tag_that_claims_more_than_the_file_has_costs_no_sound() {
    let mut tag = tag(3, 0, &[frame("TIT2", 0, b"\0abc"), vec![0; 20]].concat());
    tag[6..10].copy_from_slice(&size7(200_000_000));
    let len = tag.len() as u64;
    let (mut source, mut reading) =
        (Source::of([&tag, &b"\xff\xfb\x90\0sound"[..]].concat()), Reading::default());
    let tag = read_v2(&mut source, 0, &mut reading).expect("no I/O").expect("a tag");
    assert_eq!((tag.tags.first(Field::Title), tag.end), (Some("abc"), len));
    assert_eq!(reading.losses.first().map(|loss| loss.what.as_str()), Some(TAG));
}

/// A frame that claims the rest of the file, and more, may have the sound inside.
#[test]
fn a_frame_that_claims_more_than_the_file_has_costs_no_sound() {
    let mut mpeg_frame = vec![0xff, 0xfb, 0x90, 0];
    mpeg_frame.resize(417, 0x55);
    let sounds = [mpeg_frame.repeat(20), b"fLaC\0\0\0\x22".to_vec(), b"TTA1\x01\0".to_vec()];
    for (version, sound) in
        [2, 3, 4].into_iter().flat_map(|version| sounds.iter().map(move |sound| (version, sound)))
    {
        let (title, artist) = if version == 2 { ("TT2", "TP1") } else { ("TIT2", "TPE1") };
        let mut last = proper(version, artist, b"\0art");
        let claim = if version == 4 { size7(200_000_000) } else { 15_000_000_u32.to_be_bytes() };
        let claim = if version == 2 { &claim[1..] } else { &claim[..] };
        last[artist.len()..artist.len() + claim.len()].copy_from_slice(claim);
        let mut file = tag(version, 0, &[proper(version, title, b"\0abc"), last.clone()].concat());
        file[6..10].copy_from_slice(&size7(200_000_000));
        let len = file.len() as u64;
        file.extend(sound);
        let (mut source, mut reading) = (Source::of(&file[..]), Reading::default());
        let tag = read_v2(&mut source, 0, &mut reading).expect("no I/O").expect("a tag");
        let texts = [Field::Title, Field::Artist].map(|field| tag.tags.first(field));
        assert_eq!((texts, tag.end), ([Some("abc"), Some("art")], len), "{version} {sound:?}");
        assert!(lost(&reading).contains(&"artist") && lost(&reading).contains(&TAG), "{:?}", reading.losses);
    }
}

/// Taggers that shrink a tag and forget its size leave sound inside.
#[test]
fn a_tag_that_claims_some_of_the_sound_ends_before_it() {
    let mut mpeg_frame = vec![0xff, 0xfb, 0x90, 0];
    mpeg_frame.resize(417, 0x55);
    for padding in [0, 50] {
        let frames = [frame("TIT2", 0, b"\0abc"), vec![0; padding]].concat();
        let mut file = [tag(3, 0, &frames), mpeg_frame.repeat(20)].concat();
        for claimed in [frames.len() + 600, file.len() - 10] {
            file[6..10].copy_from_slice(&size7(claimed));
            let (mut source, mut reading) = (Source::of(&file[..]), Reading::default());
            let tag = read_v2(&mut source, 0, &mut reading).expect("no I/O").expect("a tag");
            assert_eq!((tag.tags.first(Field::Title), tag.end), (Some("abc"), 10 + frames.len() as u64));
            assert!(lost(&reading).contains(&TAG), "{:?}", reading.losses);
        }
    }
}

#[test]
fn the_end_of_a_tag_is_behind_its_padding_and_footer() {
    let end = |bytes: &[u8]| {
        let mut source = Source::of([bytes, &[1; 20]].concat());
        read_v2(&mut source, 0, &mut Reading::default()).expect("no I/O").map(|tag| tag.end)
    };
    assert_eq!(end(&tag(4, 0, &[0; 30])), Some(40));
    assert_eq!(end(&tag(4, 0x10, &[0; 30])), Some(50));
    assert_eq!(end(&tag(9, 0, &[0; 30])), Some(40));
    assert_eq!(lost(&reading(&tag(9, 0, &[0; 30]))), [TAG]);
    let none = |bytes: &[u8]| read_v2(&mut Source::of(bytes), 0, &mut Reading::default()).expect("no I/O");
    assert_eq!(none(b"ID3\x04\0\0\0\0\0"), None);
    assert_eq!(none(b""), None);
}

/// 20,000 frames, empty or with wrong sizes, end quickly and are reported.
#[test]
fn many_odd_frames_end_quickly() {
    for (version, size) in [(3, 0), (3, u32::MAX), (4, 0x7f7f_7f7f), (3, 7)] {
        let frames: Vec<u8> = (0..20_000).flat_map(|_| frame_of_size("TIT2", size, 0, b"")).collect();
        for flags in [0, 0x80] {
            let mut source = Source::of(tag(version, flags, &frames));
            let mut reading = Reading::default();
            read_v2(&mut source, 0, &mut reading).expect("no I/O").expect("a tag");
            assert!(!reading.losses.is_empty(), "{version} {size:x}");
            assert!(source.traffic().1 < 200, "{version} {size:x} {flags:x}: {:?}", source.traffic());
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_some_tag(
        version in 0_u8..6,
        flags: u8,
        mut body in prop::collection::vec(any::<u8>(), 0..200),
        frame_flags: u8,
        size in 0_u32..300,
    ) {
        body.splice(0..0, frame_of_size("TIT2", size, frame_flags, b"\x01\xff\xfe"));
        let bytes = tag(version, flags, &body);
        for cut in 10..=bytes.len() {
            let mut source = Source::of(&bytes[..cut]);
            let found = read_v2(&mut source, 0, &mut Reading::default()).expect("no I/O");
            prop_assert!(found.is_some_and(|tag| tag.end <= cut as u64));
        }
    }

    /// A frame with any content and flags leaves the others as they are.
    #[test]
    fn any_content_of_a_frame_costs_itself(
        version in 2_u8..5,
        content in prop::collection::vec(any::<u8>(), 0..300),
        flags: u8,
        place in 0_usize..4,
    ) {
        let mut frames: Vec<_> =
            [("TIT2", "TT2", "title"), ("TPE1", "TP1", "artist"), ("TRCK", "TRK", "7")].map(|(id, old, value)| {
                proper(version, if version == 2 { old } else { id }, &text(value))
            }).into();
        let mut frame = proper(version, if version == 2 { "TAL" } else { "TALB" }, &content);
        if version > 2 {
            frame[9] = flags;
        }
        frames.insert(place, frame);
        let found = read(&tag(version, 0, &frames.concat()));
        prop_assert_eq!(found.first(Field::Title), Some("title"));
        prop_assert_eq!(found.first(Field::Artist), Some("artist"));
        prop_assert_eq!(found.first(Field::Track), Some("7"));
    }
}
