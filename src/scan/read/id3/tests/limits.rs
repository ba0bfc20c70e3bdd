//! Where a tag, a frame, a text and a search end.

use super::*;
use crate::scan::read::tags::ENCODED_MAX;

/// Without its flag, these bytes are padding before the frames, and nothing follows padding.
#[test]
fn an_extended_header_needs_its_flag_and_a_version_that_has_one() {
    let body = [&[0, 0, 0, 6, 0, 0, 0, 0, 0, 0][..], &frame("TIT2", 0, b"\0abc")].concat();
    assert_eq!(title(&tag(3, 0, &body)), None);
    let old = [&[0, 0, 0, 6, 1, 0][..], b"TT2\0\0\x04\0abc"].concat();
    assert_eq!(title(&tag(2, 0x40, &old)), None);
}

/// The offset of a tag that ends the file, as its footer says.
fn before_end(bytes: &[u8]) -> Option<u64> {
    v2_before_end(&mut Source::of(bytes)).expect("no I/O")
}

#[test]
fn a_tag_at_the_end_of_a_file_is_found_by_its_footer() {
    let body = frame("TIT2", 0, b"\0abc");
    let footed = |version: u8, flags: u8, begin: &[u8]| {
        let mut tag = tag(version, flags, &body);
        let footer = [b"3DI", &tag[3..10]].concat();
        tag[..3].copy_from_slice(begin);
        [&b"sound"[..], &tag, &footer].concat()
    };
    assert_eq!(before_end(&footed(4, 0x10, b"ID3")), Some(5));
    assert_eq!(before_end(&footed(4, 0x10, b"ID3")[5..]), Some(0));
    assert_eq!(before_end(&footed(4, 0x10, b"ID3")[6..]), None, "it would begin before the file");
    assert_eq!(before_end(&footed(4, 0x10, b"XYZ")), None);
    assert_eq!(before_end(&footed(4, 0, b"ID3")), None, "its header knows no footer");
    assert_eq!(before_end(&footed(3, 0x10, b"ID3")), None, "version 2.3 has no footer");
    assert_eq!(before_end(b"3DI\x04\0\x10\0\0\0"), None);
}

/// The zeros behind a tag that the file cuts are no sound, however many they are.
#[test]
fn a_cut_tag_ends_behind_all_its_zeros() {
    for zeros in [0, 1, WINDOW - 1, WINDOW, WINDOW + 1, 3 * WINDOW] {
        for sound in [&b""[..], b"sound"] {
            let mut file = [tag(3, 0, &frame("TIT2", 0, b"\0abc")), vec![0; zeros], sound.to_vec()].concat();
            let end = (file.len() - sound.len()) as u64;
            file[6..10].copy_from_slice(&size7(200_000_000));
            let found = read_v2(&mut Source::of(&file[..]), 0, &mut Reading::default()).expect("no I/O");
            assert_eq!(found.map(|tag| tag.end), Some(end), "{zeros} {sound:?}");
        }
    }
}

/// A frame whose size leads to the end of the tag is whole, whatever its content looks like.
#[test]
fn the_content_of_a_good_last_frame_is_not_searched_for_frames() {
    let inner = [frame("TPE1", 0, b"\0artist"), frame("TALB", 0, b"\0album")].concat();
    let content = [&b"\0abc\0"[..], &inner].concat();
    for version in [3, 4] {
        let found = reading(&tag(version, 0, &frame("TIT2", 0, &content)));
        assert_eq!(found.tags.first(Field::Title), Some("abc"), "{version}");
        assert_eq!(found.tags.first(Field::Artist), None, "{version}");
        assert_eq!(lost(&found), [""; 0], "{version}");
    }
}

/// 64 searches and no more: a hostile tag would be read again for each of its frames.
#[test]
fn the_next_frame_is_searched_for_64_times() {
    let odd = |count: usize| {
        let pair = [frame_of_size("TPE1", 0x7fff_ffff, 0, b"\0abc"), frame("TCOM", 0, b"\0abc")].concat();
        let frames = pair.repeat(count);
        let found = reading(&tag(3, 0, &[frames, frame("TIT2", 0, b"\0abc"), vec![0; 30]].concat()));
        found.tags.first(Field::Title).map(str::to_owned)
    };
    assert_eq!(odd(64).as_deref(), Some("abc"));
    assert_eq!(odd(65), None);
}

/// Digits are fit for the name of a frame, but a search that began at them would find frames in numbers.
#[test]
fn a_search_finds_names_that_begin_with_a_letter_only() {
    let odd = frame_of_size("TPE1", 0x7fff_ffff, 0, b"\0abc");
    let digits = frame("2004", 0, b"\0abc");
    let body = [odd, digits, frame("TIT2", 0, b"\0abc"), vec![0; 30]].concat();
    let found = reading(&tag(3, 0, &body));
    let artist = found.tags.first(Field::Artist).unwrap_or_default();
    assert!(artist.starts_with("abc") && artist.contains("2004"), "{artist:?}");
    assert_eq!(found.tags.first(Field::Title), Some("abc"));
}

#[test]
fn names_of_frames_are_of_capital_letters_and_digits() {
    for (version, bytes, is_id) in [
        (3, &b"TIT2"[..], true),
        (4, b"TT2\0", true),
        (3, b"TT2 ", true),
        (3, b"T\0T2", false),
        (3, b"tit2", false),
        (3, b"TIT", false),
        (3, b"TI\0", false),
        (3, b"", false),
        (2, b"TT2\x01", true),
        (2, b"TT\0\x01", false),
        (2, b"TT2", false),
        (4, b"TT2\x01", false),
    ] {
        assert_eq!(is_frame_id(bytes, version), is_id, "{version} {bytes:?}");
    }
}

/// All values of version 2.4 count; before, a text behind a NUL does, unless it is padding.
#[test]
fn values_behind_a_nul_count_where_they_are_no_padding() {
    let artists = |version: u8, content: &[u8]| {
        let tags = read(&tag(version, 0, &proper(version, "TPE1", content)));
        tags.all(Field::Artist).map(str::to_owned).collect::<Vec<_>>()
    };
    for version in [3, 4] {
        assert_eq!(artists(version, b"\0a\0b"), ["a", "b"], "{version}");
        assert_eq!(artists(version, b"\0a\0\0\0"), ["a"], "{version}");
    }
    assert_eq!(artists(4, b"\0\0\0b"), ["", "b"].map(str::to_owned));
}

/// A text of the largest size is whole; one byte more, and its end is cut.
#[test]
fn inflated_texts_are_cut_at_their_limit() {
    for (len, losses) in [(ENCODED_MAX, 0), (ENCODED_MAX + 1, 1)] {
        let content = [&b"\0"[..], &vec![b' '; len - 2], b"x"].concat();
        let mut reading = Reading::default();
        let frame = Frame::new(3, &frame("TIT2", 0x80, b"")[..10], 0);
        let content = frame.unwrap(deflated(&content), false, false, &mut reading).expect("content");
        assert_eq!(usize::from(content.is_cut), losses, "{len}");
    }
    let torn = |is_cut: bool| {
        let mut data = deflated(&[&b"\0"[..], &[b'x'; 5000]].concat());
        data.truncate(data.len() - 6);
        let frame = Frame::new(3, &frame("TIT2", 0x80, b"")[..10], 0);
        frame.unwrap(data, is_cut, false, &mut Reading::default()).ok().map(|content| content.is_cut)
    };
    // Data that end too early are damaged, unless this reader has cut them.
    assert_eq!((torn(true), torn(false)), (Some(true), None));
}

/// Version 2.4 has seven bits a byte, version 2.3 eight, and both were written the other way; version 2.2 was not.
#[test]
fn sizes_are_those_that_taggers_may_mean() {
    let sizes = |version: u8, head: &[u8]| frame::sizes(version, head).collect::<Vec<_>>();
    assert_eq!(sizes(2, b"TT2\0\x01\x01"), [0x101]);
    assert_eq!(sizes(3, b"TIT2\0\0\x01\x01\0\0"), [0x101, 0x81]);
    assert_eq!(sizes(4, b"TIT2\0\0\x01\x01\0\0"), [0x81, 0x101]);
    for version in [3, 4] {
        assert_eq!(sizes(version, b"TIT2\0\0\x01\x81\0\0"), [0x181], "no seven bits");
        assert_eq!(sizes(version, b"TIT2\0\0\0\x7f\0\0"), [0x7f], "the same both ways");
        assert_eq!(sizes(version, b"TIT2\0\0"), [0]);
    }
    assert_eq!(sizes(2, b"TT2\0\0"), [0]);
}

/// The bytes behind a tag are sound, also where its last ones look like the begin of a frame.
#[test]
fn no_frame_reaches_beyond_its_tag() {
    for flags in [0, 0x80] {
        let artist = frame("TPE1", 0, b"\x01\xff\0\xfeA\0");
        let body = [frame("TALB", 0, b"\0album"), artist, b"TIT".to_vec()].concat();
        let file = [tag(3, flags, &body), b"2\0\0\0\x04\0\0\0abc sound".to_vec()].concat();
        assert_eq!(title(&file), None, "{flags}");
        let found = reading(&file);
        assert_eq!((found.tags.first(Field::Album), lost(&found)), (Some("album"), vec![]), "{flags}");
    }
}

#[test]
fn a_last_frame_that_is_longer_than_its_tag_is_a_loss() {
    for flags in [0, 0x80] {
        // Plain bytes, or a pair with the zero that was put in, which its size does not count.
        let first = frame("APIC", 0, if flags == 0 { b"\xff\x01" } else { b"\xff\0\x01" });
        let first = if flags == 0 { first } else { [&first[..7], &[2], &first[8..]].concat() };
        let whole = [first.clone(), frame("TIT2", 0, b"\0abc")].concat();
        assert_eq!(lost(&reading(&tag(3, flags, &whole))), [""; 0], "{flags}");
        let long = [first, frame_of_size("TIT2", 9, 0, b"\0abc")].concat();
        let found = reading(&[tag(3, flags, &long), vec![1; 100]].concat());
        assert_eq!((found.tags.first(Field::Title), lost(&found)), (Some("abc"), vec!["title"]), "{flags}");
    }
}

#[test]
fn a_cover_without_bytes_is_none() {
    let with =
        |cover: &[u8]| reading(&tag(3, 0, &[frame("APIC", 0, cover), frame("TIT2", 0, b"\0abc")].concat()));
    assert!(!with(b"").has_cover && with(b"x").has_cover);
    assert_eq!(lost(&with(b"")), [""; 0]);
}

#[test]
fn bytes_before_the_first_frame_are_passed_over_and_told() {
    let found = reading(&tag(3, 0, &[&b"odd"[..], &frame("TIT2", 0, b"\0abc"), &[0; 20]].concat()));
    assert_eq!(found.tags.first(Field::Title), Some("abc"));
    let why = found.losses.first().map(|loss| (loss.what.as_str(), loss.reason.as_str()));
    assert_eq!(why, Some((TAG, "bytes that are no frame stand before the one at 3")));
    // A frame with a wrong size is named instead.
    let found = reading(&tag(
        3,
        0,
        &[frame_of_size("TPE1", 99, 0, b"\0d"), frame("TIT2", 0, b"\0abc"), vec![0; 20]].concat(),
    ));
    let why = found.losses.first().map(|loss| (loss.what.as_str(), loss.reason.as_str()));
    assert_eq!(why, Some(("artist", "its size is wrong; the next frame was searched for")));
    assert_eq!(found.tags.first(Field::Artist), Some("d"));
}

#[test]
fn only_a_zero_behind_ff_was_put_in() {
    assert_eq!(body::undo(b"a\xff\0b\0\xff\xff\0\0"), b"a\xffb\0\xff\xff\0");
    assert!(body::is_unsynchronised(b"\xff\0\xff\xdf") && !body::is_unsynchronised(b"a\xff\xe0"));
}

/// What the compressed frames of a file inflate to counts together.
#[test]
fn frames_of_a_file_inflate_to_a_mebibyte_at_most() {
    let unwrapped = |before: usize| {
        let mut reading = Reading { inflated: before, ..Reading::default() };
        let frame = Frame::new(3, &frame("TIT2", 0x80, b"")[..10], 0);
        let content = frame.unwrap(deflated(&[b'x'; 100]), false, false, &mut reading);
        (reading.inflated, content.map(|_| ()).map_err(|why| why.to_string()))
    };
    assert_eq!(unwrapped(7), (107, Ok(())));
    assert_eq!(unwrapped(INFLATED_MAX - 100), (INFLATED_MAX, Ok(())));
    let why = format!("compressed frames inflate to more than {INFLATED_MAX} bytes");
    assert_eq!(unwrapped(INFLATED_MAX - 99), (INFLATED_MAX + 1, Err(why)));
}

#[test]
fn a_loss_says_why() {
    for (flags, content, why) in [
        (0x04, &b"\0abc"[..], "it is encrypted"),
        (0, b"\x04abc", "its text encoding 4 does not exist"),
        (0, b"\x03\xff", "it is not valid UTF-8"),
    ] {
        let found = reading(&tag(4, 0, &frame("TIT2", flags, content)));
        assert_eq!(found.losses.first().map(|loss| loss.reason.as_str()), Some(why));
    }
}

#[test]
fn an_extended_header_is_passed_over_without_a_loss() {
    let title_frame = frame("TIT2", 0, b"\0abc");
    for (version, header) in [(3, &[0, 0, 0, 6, 0, 0, 0, 0, 0, 0][..]), (4, &[0, 0, 0, 6, 1, 0])] {
        let found = reading(&tag(version, 0x40, &[header, &title_frame].concat()));
        assert_eq!((found.tags.first(Field::Title), lost(&found)), (Some("abc"), vec![]), "{version}");
    }
}

/// Three values, each of which is short enough, are longer than what is read of a frame.
#[test]
fn a_cut_is_told_beside_other_losses() {
    let long = [&b"\x03"[..], &[&[b'x'; 4000][..], b"\0"].concat().repeat(3)].concat();
    let found = reading(&tag(4, 0, &[frame("TPE1", 0x04, b"\0abc"), proper(4, "TIT2", &long)].concat()));
    let reasons: Vec<_> = found.losses.iter().map(|loss| loss.reason.as_str()).collect();
    assert_eq!(reasons, ["it is encrypted", "it is too long; its end is cut"]);
}

/// Six zeros behind four capital letters are too little to know a frame by.
#[test]
fn a_search_does_not_end_at_an_empty_frame() {
    let odd = frame_of_size("TPE1", 0x7fff_ffff, 0, b"\0abc");
    let body = [odd, frame("TCOM", 0, b""), frame("TIT2", 0, b"\0abc"), vec![0; 30]].concat();
    let found = reading(&tag(3, 0, &body));
    assert_eq!(found.tags.first(Field::Title), Some("abc"));
    assert_eq!(found.tags.first(Field::Artist), Some("abcTCOM"));
}
