//! Tags built byte by byte.

use super::*;
use proptest::prelude::*;

fn tag(version: u8, flags: u8, body: &[u8]) -> Vec<u8> {
    let size = body.len() as u32;
    let size = [size >> 21, size >> 14, size >> 7, size].map(|part| (part & 0x7f) as u8);
    [b"ID3", &[version, 0, flags][..], &size, body].concat()
}

fn frame(id: &str, flags: u8, content: &[u8]) -> Vec<u8> {
    frame_of_size(id, content.len() as u32, flags, content)
}

fn frame_of_size(id: &str, size: u32, flags: u8, content: &[u8]) -> Vec<u8> {
    [id.as_bytes(), &size.to_be_bytes(), &[0, flags], content].concat()
}

fn read(bytes: &[u8]) -> Tags {
    read_v2(&mut Cursor::new(bytes)).expect("no I/O").expect("a tag").tags
}

fn title(bytes: &[u8]) -> Option<String> {
    read(bytes).title
}

#[test]
fn texts_in_every_encoding() {
    for (content, expected) in [
        (&b"\0caf\xe9"[..], Some("caf\u{e9}")),
        (b"\x01\xff\xfeA\0\xe9\0", Some("A\u{e9}")),
        (b"\x01\xfe\xff\0A\0\xe9", Some("A\u{e9}")),
        (b"\x01A\0B\0", Some("AB")),
        (b"\x01\xff\xfeA\0\0", Some("A")),
        (b"\x01\xff\xfe\x3d\xd8\x00\xde", Some("\u{1f600}")),
        (b"\x01\xff\xfe\x3d\xd8A\0", None),
        (b"\x02\0A\0B", Some("AB")),
        (b"\x03\xe2\x9d\xa4", Some("\u{2764}")),
        (b"\x03\xff", None),
        (b"\x04A", None),
        (b"\x03", None),
        (b"\x03\0", Some("")),
        (b"\x03A\0B", Some("A")),
    ] {
        assert_eq!(title(&tag(4, 0, &frame("TIT2", 0, content))).as_deref(), expected, "{content:?}");
    }
}

#[test]
fn frames_of_version_2_have_short_names() {
    let body = [&b"TT2\0\0\x04\0abcTP1\0\0\x02\0d"[..], b"TYE\0\0\x05\x002004", &[0; 20]].concat();
    let tags = read(&tag(2, 0, &body));
    assert_eq!((tags.title.as_deref(), tags.artist.as_deref()), (Some("abc"), Some("d")));
    assert_eq!(tags.date.as_deref(), Some("2004"));
}

#[test]
fn a_tag_may_be_unsynchronised_as_a_whole_or_by_frame() {
    let content = b"\x01\xff\0\xfeA\0";
    let mut whole = frame("TIT2", 0, content);
    // The size counts the bytes after the zeros are gone.
    whole[7] -= 1;
    assert_eq!(title(&tag(3, 0x80, &whole)).as_deref(), Some("A"));
    assert_eq!(title(&tag(4, 0x80, &frame("TIT2", 0, content))).as_deref(), Some("A"));
    assert_eq!(title(&tag(4, 0, &frame("TIT2", 0x02, content))).as_deref(), Some("A"));
}

#[test]
fn frame_flags_are_undone() {
    let mut deflated = Vec::new();
    let mut encoder = flate2::read::ZlibEncoder::new(&b"\0zipped"[..], flate2::Compression::fast());
    encoder.read_to_end(&mut deflated).expect("zlib");
    let sized = [&7_u32.to_be_bytes()[..], &deflated].concat();
    assert_eq!(title(&tag(4, 0, &frame("TIT2", 0x09, &sized))).as_deref(), Some("zipped"));
    assert_eq!(title(&tag(3, 0, &frame("TIT2", 0x80, &sized))).as_deref(), Some("zipped"));
    assert_eq!(title(&tag(4, 0, &frame("TIT2", 0x40, b"g\0abc"))).as_deref(), Some("abc"));
    assert_eq!(title(&tag(4, 0, &frame("TIT2", 0x04, b"\0abc"))), None);
    assert_eq!(title(&tag(4, 0, &frame("TIT2", 0x09, b"torn"))), None);
}

#[test]
fn an_extended_header_is_passed_over_if_there_is_one() {
    let title_frame = frame("TIT2", 0, b"\0abc");
    let with = |header: &[u8]| [header, &title_frame].concat();
    assert_eq!(title(&tag(3, 0x40, &with(&[0, 0, 0, 6, 0, 0, 0, 0, 0, 0]))).as_deref(), Some("abc"));
    assert_eq!(title(&tag(4, 0x40, &with(&[0, 0, 0, 6, 1, 0]))).as_deref(), Some("abc"));
    assert_eq!(title(&tag(3, 0x40, &title_frame)).as_deref(), Some("abc"));
}

/// Old iTunes wrote plain sizes into version 2.4: 0x0101 is 129 or 257 bytes.
#[test]
fn sizes_of_old_itunes_are_recognised() {
    let long = [&b"\0"[..], &[b'x'; 256]].concat();
    let after = frame("TPE1", 0, b"\0abc");
    let plain = [frame_of_size("TIT2", 0x101, 0, &long), after.clone()].concat();
    assert_eq!(read(&tag(4, 0, &plain)).artist.as_deref(), Some("abc"));
    assert_eq!(read(&tag(4, 0, &plain)).title.map(|title| title.len()), Some(256));
    let safe = [frame_of_size("TIT2", 0x101, 0, &long[..129]), after].concat();
    assert_eq!(read(&tag(4, 0, &safe)).artist.as_deref(), Some("abc"));
    assert_eq!(read(&tag(4, 0, &safe)).title.map(|title| title.len()), Some(128));
}

#[test]
fn a_recording_date_counts_before_a_year_and_the_first_of_two_frames() {
    let year = frame("TYER", 0, b"\x001999");
    let date = frame("TDRC", 0, b"\x002004-05-06");
    assert_eq!(read(&tag(3, 0, &[year.clone(), date].concat())).date.as_deref(), Some("2004-05-06"));
    assert_eq!(read(&tag(4, 0, &year)).date.as_deref(), Some("1999"));
    let empty = frame("TIT2", 0, b"\0");
    let twice = [empty, frame("TIT2", 0, b"\0abc"), frame("TIT2", 0, b"\0def")].concat();
    assert_eq!(title(&tag(4, 0, &twice)).as_deref(), Some("abc"));
}

#[test]
fn the_end_of_a_tag_is_behind_its_padding_and_footer() {
    let end = |bytes: &[u8]| read_v2(&mut Cursor::new(bytes)).expect("no I/O").map(|tag| tag.end);
    assert_eq!(end(&tag(4, 0, &[0; 30])), Some(40));
    assert_eq!(end(&tag(4, 0x10, &[0; 30])), Some(50));
    assert_eq!(end(&tag(9, 0, &[0; 30])), Some(40));
    assert_eq!(end(b"ID3\x04\0\0\0\0\0"), None);
    assert_eq!(end(b""), None);
}

fn v1(comment_end: [u8; 2], genre: u8) -> Vec<u8> {
    let mut tag = vec![0; 128];
    tag[..3].copy_from_slice(b"TAG");
    tag[3..8].copy_from_slice(b" abc ");
    tag[33] = 0xe9;
    tag[93..97].copy_from_slice(b"1998");
    tag[97..125].copy_from_slice(&[b'c'; 28]);
    tag[125..127].copy_from_slice(&comment_end);
    tag[127] = genre;
    tag
}

#[test]
fn version_1_at_the_end_of_a_file() {
    let file = [&[1; 500][..], &v1([0, 7], 17)].concat();
    let tags = read_v1(&mut Cursor::new(&file)).expect("no I/O").expect("a tag");
    assert_eq!((tags.title.as_deref(), tags.artist.as_deref()), (Some("abc"), Some("\u{e9}")));
    assert_eq!((tags.album, tags.date.as_deref()), (None, Some("1998")));
    assert_eq!((tags.track.as_deref(), tags.genre.as_deref()), (Some("7"), Some("Rock")));
    let old = parse_v1(&v1(*b"cs", 255)).expect("a tag");
    assert_eq!((old.track, old.genre), (None, None));
    assert_eq!(parse_v1(&v1([0, 0], 200)).and_then(|tags| tags.genre).as_deref(), Some("Unknown"));
    assert_eq!(read_v1(&mut Cursor::new(b"TAG")).expect("no I/O"), None);
    assert_eq!(read_v1(&mut Cursor::new([0; 128])).expect("no I/O"), None);
}

proptest! {
    #[test]
    fn any_bytes_are_some_tag(
        version in 0_u8..6,
        flags: u8,
        mut body in proptest::collection::vec(any::<u8>(), 0..200),
        frame_flags: u8,
        size in 0_u32..300,
    ) {
        body.splice(0..0, frame_of_size("TIT2", size, frame_flags, b"\x01\xff\xfe"));
        let bytes = tag(version, flags, &body);
        prop_assert!(read_v2(&mut Cursor::new(&bytes)).expect("no I/O").is_some());
        let _ = read_v1(&mut Cursor::new(&bytes)).expect("no I/O");
        for cut in 0..bytes.len() {
            let _ = read_v2(&mut Cursor::new(&bytes[..cut])).expect("no I/O");
        }
    }
}
