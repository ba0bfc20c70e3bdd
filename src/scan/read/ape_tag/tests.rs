//! Tags built item by item.

use super::*;
use crate::scan::read::tags::TEXT_MAX;
use proptest::prelude::*;

/// The bit of a tag that has a header.
const HAS_HEADER: u32 = 1 << 31;

fn item_of_size(size: u32, flags: u32, key: &str, value: &[u8]) -> Vec<u8> {
    [&size.to_le_bytes(), &flags.to_le_bytes(), key.as_bytes(), b"\0", value].concat()
}

fn item(key: &str, value: &str) -> Vec<u8> {
    item_of_size(value.len() as u32, 0, key, value.as_bytes())
}

fn ends(size: usize, count: u32, flags: u32) -> Vec<u8> {
    [
        &MARK[..],
        &2000_u32.to_le_bytes(),
        &(size as u32).to_le_bytes(),
        &count.to_le_bytes(),
        &flags.to_le_bytes(),
        &[0; 8],
    ]
    .concat()
}

/// A tag with header and footer.
fn tag(items: &[Vec<u8>]) -> Vec<u8> {
    let (body, count) = (items.concat(), items.len() as u32);
    let size = body.len() + 32;
    [ends(size, count, HAS_HEADER | IS_HEADER), body, ends(size, count, HAS_HEADER)].concat()
}

fn read_from(bytes: &[u8]) -> (Reading, u64) {
    let mut reading = Reading::default();
    let (tags, start) = read_at_end(&mut Source::of(bytes), &mut reading).expect("no I/O").expect("a tag");
    reading.tags = tags;
    (reading, start)
}

fn read(items: &[Vec<u8>]) -> Reading {
    read_from(&tag(items)).0
}

fn lost(reading: &Reading) -> Vec<&str> {
    reading.losses.iter().map(|loss| loss.what.as_str()).collect()
}

#[test]
fn header_and_footer_may_be_missing() {
    let items = [item("Title", "abc"), item("ARTIST", "d\0e")].concat();
    let size = items.len() + 32;
    let sound = vec![7; 500];
    for (header, flags, start) in [
        (ends(size, 2, HAS_HEADER | IS_HEADER), HAS_HEADER, 500),
        // A header without its flag.
        (ends(size, 2, IS_HEADER), 0, 500),
        (vec![], 0, 500),
    ] {
        let file = [&sound[..], &header, &items, &ends(size, 2, flags)].concat();
        let (reading, found) = read_from(&file);
        assert_eq!((reading.tags.first(Field::Title), found, lost(&reading)), (Some("abc"), start, vec![]));
        assert_eq!(reading.tags.all(Field::Artist).collect::<Vec<_>>(), ["d", "e"]);
    }
    for (footer, flags) in [(ends(size, 2, HAS_HEADER), 0), (vec![], HAS_NO_FOOTER)] {
        let size = items.len() + footer.len();
        let file = [&ends(size, 2, HAS_HEADER | IS_HEADER | flags)[..], &items, &footer, &sound].concat();
        let mut reading = Reading::default();
        let (tags, end) = read_at_start(&mut Source::of(file), &mut reading).expect("no I/O").expect("a tag");
        assert_eq!((tags.first(Field::Title), end, lost(&reading)), (Some("abc"), 32 + size as u64, vec![]));
    }
    assert_eq!(read_at_end(&mut Source::of(sound), &mut Reading::default()).expect("no I/O"), None);
}

#[test]
fn every_field_has_its_key() {
    for (key, field) in [
        ("Album", Field::Album),
        ("genre", Field::Genre),
        ("Track", Field::Track),
        ("Year", Field::Date),
        ("Album Artist", Field::AlbumArtist),
        ("Disc", Field::Disc),
        ("COMPOSER", Field::Composer),
        ("ARTISTSORT", Field::ArtistSort),
        ("MUSICBRAINZ_TRACKID", Field::MusicbrainzRecording),
        ("REPLAYGAIN_TRACK_GAIN", Field::ReplayGainTrackGain),
    ] {
        assert_eq!(read(&[item(key, "x")]).tags.first(field), Some("x"), "{key}");
    }
    for (first, second, field) in [("Track", "TRACKNUMBER", Field::Track), ("date", "Year", Field::Date)] {
        let both = read(&[item(first, first), item(second, second)]);
        let strong = if first == "Track" { second } else { first };
        assert_eq!(both.tags.first(field), Some(strong));
    }
    assert_eq!(read(&[item("Title", "old"), item("title", "")]).tags.first(Field::Title), Some(""));
}

#[test]
fn covers_and_links_are_skipped() {
    let cover = item_of_size(3_000_000, 2, "Cover Art (Front)", &vec![1; 3_000_000]);
    let link = item_of_size(3, 4, "Title", b"url");
    let file = tag(&[cover, link, item("Artist", "abc")]);
    let (mut source, mut reading) = (Source::of(file), Reading::default());
    let (tags, _) = read_at_end(&mut source, &mut reading).expect("no I/O").expect("a tag");
    assert_eq!((tags.first(Field::Artist), tags.first(Field::Title)), (Some("abc"), None));
    assert!(reading.has_cover && reading.losses.is_empty());
    assert!(source.traffic().1 <= 3, "{:?}", source.traffic());
}

/// An item with a wrong size, bad text or a bad key costs only itself.
#[test]
fn a_bad_item_costs_itself() {
    for bad in [
        item_of_size(u32::MAX, 0, "Album", b"abc"),
        item_of_size(1, 0, "Album", b"abc"),
        item_of_size(0, 0, "Album", b"abc"),
        item_of_size(30, 0, "Album", b"abc"),
        item_of_size(4, 0, "Album", b"caf\xe9"),
        item_of_size(3, 0, "\u{e9}", b"abc"),
        item_of_size(3, 0, "", b"abc"),
    ] {
        for place in 0..3 {
            let mut items = vec![item("Title", "title"), item("Artist", "artist")];
            items.insert(place, bad.clone());
            let reading = read(&items);
            let first = |field| reading.tags.first(field);
            assert_eq!(
                (first(Field::Title), first(Field::Artist)),
                (Some("title"), Some("artist")),
                "{bad:?} {place}"
            );
            assert!(!reading.losses.is_empty());
        }
    }
}

#[test]
fn the_number_of_items_is_not_believed() {
    let body = [item("Title", "a"), item("Artist", "b"), item("Album", "c")].concat();
    for (count, told) in [(2, vec![]), (3, vec![]), (18, vec![TAG]), (u32::MAX, vec![TAG])] {
        let (reading, _) = read_from(&[&body[..], &ends(body.len() + 32, count, 0)].concat());
        assert_eq!(reading.tags.first(Field::Album), Some("c"));
        assert_eq!(lost(&reading), told, "{count}");
    }
}

#[test]
fn a_size_that_cannot_be_is_no_size() {
    let body = item("Title", "abc");
    for size in [0, 31, 5000, u32::MAX as usize] {
        let footer = ends(size, 1, HAS_HEADER);
        let (reading, start) = read_from(&[&[7; 300][..], &body, &footer].concat());
        assert_eq!((reading.tags, start), (Tags::default(), 300 + body.len() as u64));
        assert_eq!(reading.losses[0].what, TAG);
        let header = ends(body.len() + 32, 1, HAS_HEADER | IS_HEADER);
        let (reading, start) = read_from(&[&[7; 300][..], &header, &body, &footer].concat());
        assert_eq!((reading.tags.first(Field::Title), start), (Some("abc"), 300), "{size}");
    }
}

#[test]
fn long_texts_are_cut_and_many_items_end_quickly() {
    let reading = read(&[item("Title", &"\u{2764}".repeat(100_000)), item("Artist", "abc")]);
    let first = |field| reading.tags.first(field);
    assert_eq!((first(Field::Title).map(str::len), first(Field::Artist)), (Some(TEXT_MAX - 1), Some("abc")));
    assert_eq!(lost(&reading), ["title"]);
    for size in [0, 1, u32::MAX] {
        let items = vec![item_of_size(size, 0, "x", b""); 20_000];
        let mut source = Source::of(tag(&items));
        let mut reading = Reading::default();
        read_at_end(&mut source, &mut reading).expect("no I/O").expect("a tag");
        assert!(!reading.losses.is_empty(), "{size}");
        assert!(source.traffic().1 < 200, "{size}: {:?}", source.traffic());
    }
}

proptest! {
    #[test]
    fn any_bytes_end(bytes: Vec<u8>, size in 0_usize..300, count: u32, flags: u32) {
        let file = [&bytes[..], &ends(size, count, flags)].concat();
        let (_, start) = read_from(&file);
        prop_assert!(start <= bytes.len() as u64);
        let file = [ends(size, count, flags), bytes].concat();
        let found = read_at_start(&mut Source::of(&file[..]), &mut Reading::default()).expect("no I/O");
        prop_assert!(found.is_some_and(|(_, end)| end <= file.len() as u64));
    }

    #[test]
    fn any_value_costs_itself(value: Vec<u8>, flags in 0_u32..8, place in 0_usize..3) {
        let mut items = vec![item("Title", "title"), item("Artist", "artist")];
        items.insert(place, item_of_size(value.len() as u32, flags, "Album", &value));
        let reading = read(&items);
        prop_assert_eq!(reading.tags.first(Field::Title), Some("title"));
        prop_assert_eq!(reading.tags.first(Field::Artist), Some("artist"));
    }
}
