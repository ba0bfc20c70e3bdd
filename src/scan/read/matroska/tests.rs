use proptest::prelude::*;

use super::*;
use crate::scan::read::samples::{assert_ends, losses, read as read_named, row, song};

fn id_bytes(id: u32) -> Vec<u8> {
    id.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect()
}

/// An element with a size of eight bytes.
fn element(id: u32, content: &[u8]) -> Vec<u8> {
    let size = 1_u64 << 56 | content.len() as u64;
    [id_bytes(id), size.to_be_bytes().to_vec(), content.to_vec()].concat()
}

/// An element without a size.
fn open(id: u32, content: &[u8]) -> Vec<u8> {
    [id_bytes(id), vec![0xff], content.to_vec()].concat()
}

fn header() -> Vec<u8> {
    element(0x1a45_dfa3, &element(0x4282, b"matroska"))
}

fn simple(name: &str, value: &[u8]) -> Vec<u8> {
    element(0x67c8, &[element(0x45a3, name.as_bytes()), element(0x4487, value)].concat())
}

fn tag(targets: &[u8], names: &[Vec<u8>]) -> Vec<u8> {
    element(0x7373, &[element(0x63c0, targets), names.concat()].concat())
}

fn level(level: u8) -> Vec<u8> {
    element(0x68ca, &[level])
}

fn tags(tags: &[Vec<u8>]) -> Vec<u8> {
    element(TAGS, &tags.concat())
}

fn named() -> Vec<u8> {
    tags(&[tag(&[], &[simple("TITLE", b"T"), simple("artist", b"A")])])
}

fn track(kind: u8) -> Vec<u8> {
    let audio = [element(RATE, &48_000_f32.to_be_bytes()), element(CHANNELS, &[2])].concat();
    element(
        TRACK,
        &[element(TRACK_TYPE, &[kind]), element(CODEC, b"A_OPUS\0"), element(AUDIO, &audio)].concat(),
    )
}

fn info(duration: f64) -> Vec<u8> {
    element(INFO, &[element(SCALE, &[0x0f, 0x42, 0x40]), element(DURATION, &duration.to_be_bytes())].concat())
}

fn tracks() -> Vec<u8> {
    element(TRACKS, &track(2))
}

/// A cluster that begins at `start` and has blocks a second apart.
fn cluster(start: u32, seconds: i16, size: usize) -> Vec<u8> {
    let block = |second: i16| {
        let time = (second * 1000).to_be_bytes();
        [vec![0x81], time.to_vec(), vec![0; size]].concat()
    };
    let grouped = element(BLOCK_GROUP, &element(BLOCK, &block(seconds)));
    let blocks = (0..seconds).map(|second| element(SIMPLE_BLOCK, &block(second)));
    [element(TIMESTAMP, &start.to_be_bytes())]
        .into_iter()
        .chain(blocks)
        .chain([grouped])
        .collect::<Vec<_>>()
        .concat()
}

fn mka(parts: &[Vec<u8>]) -> Vec<u8> {
    [header(), element(SEGMENT, &parts.concat())].concat()
}

/// An index with one entry.
fn seek(id: u32, position: u32) -> Vec<u8> {
    let entry = [element(SEEK_ID, &id_bytes(id)), element(SEEK_POSITION, &position.to_be_bytes())].concat();
    element(SEEK_HEAD, &element(SEEK, &entry))
}

#[test]
fn names_behind_the_sound_are_found_without_a_walk() {
    let sound: Vec<u8> = (0..200).flat_map(|index| element(CLUSTER, &cluster(index, 4, 9000))).collect();
    let front = [info(4000.0), tracks()].concat();
    let position = (seek(TAGS, 0).len() + front.len() + sound.len()) as u32;
    let indexed = mka(&[seek(TAGS, position), front.clone(), sound.clone(), named()]);
    let (reading, calls) = read_named("x.mka", indexed);
    let reading = reading.expect("a song");
    assert_eq!((row(&reading).as_str(), losses(&reading).as_str()), ("T|A|-|-|-|-|4000", ""));
    assert_eq!((reading.sound.codec, reading.sound.sample_rate, reading.sound.channels), ("opus", 48_000, 2));
    assert!(calls <= 3, "{calls}");
    // Without an index the reader must walk.
    assert_eq!(row(&song("x.mka", mka(&[front.clone(), sound.clone(), named()]))), "T|A|-|-|-|-|4000");
    let wrong = song("x.mka", mka(&[seek(TAGS, position - 1), front, sound, named()]));
    assert_eq!((row(&wrong).as_str(), losses(&wrong).as_str()), ("-|-|-|-|-|-|4000", "tags"));
}

#[test]
fn values_of_the_track_count_most() {
    let album = tag(
        &level(50),
        &[
            simple("TITLE", b"L"),
            simple("ARTIST", b"AA"),
            simple("PART_NUMBER", b"1"),
            simple("TOTAL_PARTS", b"12"),
            simple("DATE_RELEASED", b"1999"),
            simple("GENRE", b"G"),
        ],
    );
    let sorted = element(
        0x67c8,
        &[element(0x45a3, b"ARTIST"), element(0x4487, b"The A"), simple("SORT_WITH", b"A, The")].concat(),
    );
    let of_track = tag(
        &level(30),
        &[simple("TITLE", b"T"), sorted, simple("PART_NUMBER", b"3"), simple("DATE_RELEASED", b"2001")],
    );
    let of_chapter = tag(&element(0x63c4, &[1]), &[simple("TITLE", b"chapter")]);
    let title = element(
        INFO,
        &[element(DURATION, &1000_f32.to_be_bytes()), element(TITLE, b"of the file\0\0")].concat(),
    );
    let reading = song("x.mka", mka(&[title.clone(), tracks(), tags(&[of_chapter, album, of_track])]));
    assert_eq!(row(&reading), "T|The A|L|G|3|2001|1000");
    for (field, value) in [
        (Field::AlbumArtist, "AA"),
        (Field::Disc, "1"),
        (Field::TrackTotal, "12"),
        (Field::ArtistSort, "A, The"),
    ] {
        assert_eq!(reading.tags.first(field), Some(value));
    }
    // As ffmpeg writes them: the title of the file, and names without a target.
    let plain =
        tags(&[tag(&[], &[simple("ARTIST", b"A"), simple("ALBUM", b"L"), simple("PART_NUMBER", b"3/9")])]);
    assert_eq!(row(&song("x.mka", mka(&[title, tracks(), plain]))), "of the file|A|L|-|3/9|-|1000");
}

#[test]
fn a_live_recording_is_counted() {
    let segment =
        |clusters: Vec<u8>| [header(), open(SEGMENT, &[named(), tracks(), clusters].concat())].concat();
    let closed =
        [element(CLUSTER, &cluster(90_000, 5, 50)), element(CLUSTER, &cluster(95_000, 7, 9000))].concat();
    let unsized_ =
        [open(CLUSTER, &cluster(90_000, 5, 50)), open(CLUSTER, &cluster(95_000, 7, 9000))].concat();
    for clusters in [closed, unsized_] {
        let reading = song("x.mka", segment(clusters));
        assert_eq!((row(&reading).as_str(), losses(&reading).as_str()), ("T|A|-|-|-|-|12000", ""));
        assert!(reading.guess.is_some());
    }
    let empty = song("x.mka", segment(Vec::new()));
    assert_eq!((row(&empty).as_str(), losses(&empty).as_str()), ("T|A|-|-|-|-|-", "length"));
}

#[test]
fn a_film_is_no_song_unless_its_name_says_so() {
    let film = mka(&[info(1000.0), element(TRACKS, &[track(1), track(2)].concat()), named()]);
    for (name, bytes, is_song) in [
        ("x.mkv", film.clone(), false),
        ("x.webm", film.clone(), false),
        ("x.mka", film.clone(), true),
        ("x.WEBA", film, true),
        ("x.webm", mka(&[info(1000.0), tracks(), named()]), true),
        ("x.mkv", mka(&[named()]), false),
    ] {
        match read_named(name, bytes).0 {
            Ok(reading) => {
                assert_eq!((is_song, row(&reading).as_str()), (true, "T|A|-|-|-|-|1000"), "{name}")
            }
            Err(unread) => assert!(!is_song && matches!(unread, Unread::NotAudio), "{name}: {unread:?}"),
        }
    }
    assert!(matches!(read_named("x.mka", mka(&[named()])).0, Err(Unread::Broken(_))));
    assert!(matches!(read_named("x.mka", header()).0, Err(Unread::Broken(_))));
}

#[test]
fn an_odd_element_costs_itself() {
    let picture =
        element(ATTACHMENT, &[element(MIME_TYPE, b"image/png"), element(0x465c, &[7; 100_000])].concat());
    let nameless = element(0x67c8, &element(0x4487, b"x"));
    let binary = element(0x67c8, &[element(0x45a3, b"ALBUM"), element(0x4485, b"x")].concat());
    for (odd, lost) in [
        (simple("ALBUM", b"caf\xe9"), "album"),
        (simple("ALBUM", &[b'x'; 5000]), "album"),
        (nameless, ""),
        (binary, "album"),
        (element(0x67c8, &[0; 9]), ""),
        (element(0xec, &[0; 9]), ""),
    ] {
        let names = tag(&[], &[simple("TITLE", b"T"), odd.clone(), simple("ARTIST", b"A")]);
        let parts = [element(ATTACHMENTS, &picture), info(1000.0), tags(&[names]), tracks()];
        let (reading, calls) = read_named("x.mka", mka(&parts));
        let reading = reading.expect("a song");
        assert_eq!(reading.tags.first(Field::Title), Some("T"), "{odd:?}");
        assert_eq!(reading.tags.first(Field::Artist), Some("A"), "{odd:?}");
        assert_eq!((losses(&reading).as_str(), reading.has_cover, calls <= 4), (lost, true, true), "{odd:?}");
    }
    let mut nested = simple("ALBUM", b"L");
    for _ in 0..2000 {
        nested = element(0x67c8, &nested);
    }
    assert_ends("x.mka", mka(&[info(1.0), tracks(), tags(&[tag(&[], &[nested])])]));
    assert_ends("x.mka", mka(&[tracks(), [0xec, 0x80].repeat(50_000)]));
}

proptest! {
    #[test]
    fn any_value_keeps_all_others(
        name in prop::sample::select(vec!["ALBUM", "GENRE", "X", ""]),
        value in prop::collection::vec(any::<u8>(), 0..50),
    ) {
        let names = tag(&[], &[simple("TITLE", b"T"), simple(name, &value), simple("ARTIST", b"A")]);
        let reading = song("x.mka", mka(&[info(1000.0), tags(&[names]), tracks()]));
        prop_assert_eq!(reading.tags.first(Field::Title), Some("T"));
        prop_assert_eq!(reading.tags.first(Field::Artist), Some("A"));
    }

    #[test]
    fn any_bytes_come_to_an_end(at in 0..300_usize, junk in prop::collection::vec(any::<u8>(), 1..30)) {
        let mut bytes = mka(&[seek(TAGS, 3), tracks(), named(), element(CLUSTER, &cluster(0, 2, 50))]);
        bytes[at..].iter_mut().zip(&junk).for_each(|(byte, junk)| *byte = *junk);
        assert_ends("x.mka", bytes);
        assert_ends("x.mka", [header(), junk].concat());
    }
}
