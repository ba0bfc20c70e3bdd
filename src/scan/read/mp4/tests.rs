use proptest::prelude::*;

use super::*;
use crate::scan::read::samples::{assert_ends, losses, read as read_named, row, song};
use crate::scan::read::tags::{Field, TEXT_MAX};

fn atom(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
    [&(content.len() as u32 + 8).to_be_bytes(), name.as_slice(), content].concat()
}

/// An atom whose content begins with a version and flags.
fn full(name: &[u8; 4], numbers: &[u32]) -> Vec<u8> {
    let content: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
    atom(name, &content)
}

fn data(kind: u32, value: &[u8]) -> Vec<u8> {
    atom(b"data", &[&kind.to_be_bytes(), [0; 4].as_slice(), value].concat())
}

fn item(name: &[u8; 4], kind: u32, value: &[u8]) -> Vec<u8> {
    atom(name, &data(kind, value))
}

fn freeform(name: &str, value: &[u8]) -> Vec<u8> {
    let text = |id, text: &str| atom(id, &[[0; 4].as_slice(), text.as_bytes()].concat());
    atom(b"----", &[text(b"mean", "com.apple.iTunes"), text(b"name", name), data(1, value)].concat())
}

fn track(kind: &[u8; 4], duration: u32, table: &[u8]) -> Vec<u8> {
    let handler = atom(b"hdlr", &[[0; 8].as_slice(), kind, &[0; 13]].concat());
    let entry = atom(b"alac", &[[0; 16].as_slice(), &[0, 2, 0, 16, 0, 0, 0, 0, 0xac, 0x44, 0, 0]].concat());
    let described = atom(b"stsd", &[[0, 0, 0, 0, 0, 0, 0, 1].as_slice(), &entry].concat());
    let tables = atom(b"stbl", &[described.as_slice(), table].concat());
    let media = [full(b"mdhd", &[0, 0, 0, 1000, duration, 0]), handler, atom(b"minf", &tables)].concat();
    atom(b"trak", &[full(b"tkhd", &[0, 0, 0, 2, 0, duration]), atom(b"mdia", &media)].concat())
}

fn tag(items: &[u8]) -> Vec<u8> {
    let meta = [[0; 4].as_slice(), &full(b"hdlr", &[0; 6]), &atom(b"ilst", items)].concat();
    atom(b"udta", &atom(b"meta", &meta))
}

fn moov(parts: &[&[u8]]) -> Vec<u8> {
    atom(b"moov", &[&full(b"mvhd", &[0, 0, 0, 600, 0]), parts.concat().as_slice()].concat())
}

fn ftyp() -> Vec<u8> {
    atom(b"ftyp", b"M4A \0\0\0\0")
}

/// A file of 4 seconds with these items.
fn m4a(items: &[Vec<u8>]) -> Vec<u8> {
    let moov = moov(&[&track(b"soun", 4000, &[]), &tag(&items.concat())]);
    [ftyp(), moov, atom(b"mdat", &[1; 100])].concat()
}

fn named() -> Vec<Vec<u8>> {
    vec![item(b"\xa9nam", 1, b"T"), item(b"\xa9ART", 1, b"A")]
}

#[test]
fn an_odd_atom_costs_itself() {
    let long = "\u{e9}".repeat(TEXT_MAX);
    let no_name = atom(b"----", &[atom(b"mean", b"\0\0\0\0x"), data(1, b"x")].concat());
    for (odd, lost) in [
        (item(b"\xa9alb", 1, b"caf\xe9"), "album"),
        (item(b"\xa9alb", 13, b"\xff\xd8"), "album"),
        (item(b"\xa9alb", 1, long.as_bytes()), "album"),
        (item(b"\xa9alb", 1, b""), ""),
        (atom(b"\xa9alb", &atom(b"data", &[0; 3])), "album"),
        (atom(b"\xa9alb", b"\0\0\xff\xffdata\0\0\0\x01\0\0\0\0x"), "album"),
        (atom(b"\xa9alb", b"\0\0\0\x02data"), "atoms of \\xa9alb"),
        (atom(b"\0\0\0\x01", b"abc"), ""),
        (vec![0; 64], ""),
        (b"\0\0\0\x05xxxx".to_vec(), "atoms of the tag (ilst)"),
        (no_name, "freeform atom"),
        (freeform("REPLAYGAIN_TRACK_GAIN", b"\xff"), "ReplayGain track gain"),
        (item(b"trkn", 0, &[0]), "track"),
        (item(b"gnre", 0, &[0, 0]), "genre"),
    ] {
        let reading =
            song("x.m4a", m4a(&[item(b"\xa9nam", 1, b"T"), odd.clone(), item(b"\xa9ART", 1, b"A")]));
        let texts = [Field::Title, Field::Artist].map(|field| reading.tags.first(field));
        assert_eq!(texts, [Some("T"), Some("A")], "{odd:?}");
        assert_eq!(losses(&reading), lost, "{odd:?}");
    }
    let many = m4a(&vec![item(b"\xa9alb", 21, &[]); 20_000]);
    assert!(song("x.m4a", many).more_losses > 0);
}

#[test]
fn every_type_of_value_is_read() {
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<u8>>();
    let reading = song(
        "x.m4a",
        m4a(&[
            item(b"\xa9nam", 2, &utf16("T\u{e9}")),
            atom(b"\xa9ART", &[data(0, b"A"), atom(b"free", b""), data(1, b"B")].concat()),
            item(b"gnre", 0, &[0, 18]),
            item(b"\xa9gen", 1, b"Text"),
            item(b"\xa9day", 21, &[7, 206]),
            item(b"trkn", 0, &[0, 0, 0, 3, 0, 9, 0, 0]),
            item(b"disk", 0, &[0, 0, 0, 1]),
            item(b"cpil", 21, &[1]),
            item(b"covr", 14, &[7; 20]),
            freeform("MusicBrainz Track Id", b"id"),
            freeform("musicbrainz release track id", b"other"),
            freeform("TITLE", b"weaker"),
        ]),
    );
    assert_eq!((row(&reading).as_str(), losses(&reading).as_str()), ("T\u{e9}|A|-|Text|3|1998|4000", ""));
    assert_eq!(reading.tags.all(Field::Artist).collect::<Vec<_>>(), ["A", "B"]);
    for (field, value) in [
        (Field::TrackTotal, "9"),
        (Field::Disc, "1"),
        (Field::Compilation, "1"),
        (Field::MusicbrainzRecording, "id"),
        (Field::MusicbrainzTrack, "other"),
    ] {
        assert_eq!(reading.tags.first(field), Some(value));
    }
    assert!(reading.has_cover);
    assert_eq!(song("x.m4a", m4a(&[item(b"gnre", 0, &[0, 18])])).tags.first(Field::Genre), Some("Rock"));
}

#[test]
fn the_index_is_found_wherever_it_stands() {
    let names = tag(&named().concat());
    let audio = track(b"soun", 4000, &[]);
    let index = moov(&[&track(b"vide", 9000, &[]), &audio, &names]);
    let sound = atom(b"mdat", &[1; 100_000]);
    let long = |name: &[u8; 4], content: &[u8]| {
        [b"\0\0\0\x01", name.as_slice(), &(content.len() as u64 + 16).to_be_bytes(), content].concat()
    };
    let lying = [b"\x7f\0\0\0mdat".as_slice(), &[1; 70_000]].concat();
    let endless = [b"\0\0\0\0mdat".as_slice(), &[1; 100]].concat();
    for (what, bytes) in [
        ("in front", [ftyp(), index.clone(), sound.clone()].concat()),
        ("behind", [ftyp(), sound.clone(), index.clone()].concat()),
        ("64 bits", [ftyp(), long(b"mdat", &[1; 50_000]), index.clone()].concat()),
        ("without ftyp", [index.clone(), sound.clone()].concat()),
        ("sound first", [sound.clone(), index.clone()].concat()),
        ("padding first", [atom(b"free", &[0; 30]), ftyp(), index.clone(), sound.clone()].concat()),
        ("sound without a size", [ftyp(), index.clone(), endless].concat()),
        ("sound with a wrong size", [ftyp(), lying, index.clone(), atom(b"free", &[0; 9])].concat()),
        ("a small size before", [ftyp(), b"\0\0\0\x04free".to_vec(), index.clone(), sound.clone()].concat()),
        ("a zero before", [ftyp(), moov(&[b"\0\0\0\0free", &audio, &names]), sound.clone()].concat()),
    ] {
        let (reading, calls) = read_named("x.m4a", bytes);
        let reading = reading.unwrap_or_else(|unread| panic!("{what}: {unread:?}"));
        assert_eq!(row(&reading), "T|A|-|-|-|-|4000", "{what}");
        assert_eq!((reading.sound.codec, reading.sound.sample_rate), ("alac", 44_100));
        assert!(calls <= 8, "{what}: {calls}");
    }
    for bytes in [ftyp(), [ftyp(), sound].concat(), [ftyp(), moov(&[&track(b"vide", 9, &[])])].concat()] {
        assert!(matches!(read_named("x.m4a", bytes.clone()).0, Err(Unread::Broken(_))));
        assert!(matches!(read_named("x.mov", bytes).0, Err(Unread::NotAudio)));
    }
}

#[test]
fn a_length_comes_from_any_place_that_states_it() {
    let summed = track(b"soun", 0, &full(b"stts", &[0, 2, 3, 1000, 1, 500]));
    let unknown = track(b"soun", u32::MAX, &full(b"stts", &[0, u32::MAX, 3, 1000]));
    let whole = [full(b"mvhd", &[0, 0, 0, 600, 1200]), track(b"soun", 0, &[])].concat();
    for (parts, length) in [
        (moov(&[&summed]), Some(3500)),
        (moov(&[&unknown]), Some(3000)),
        (atom(b"moov", &whole), Some(2000)),
        (moov(&[&track(b"soun", 0, &[])]), None),
    ] {
        let reading = song("x.m4a", [ftyp(), parts, atom(b"mdat", &[1; 9])].concat());
        assert_eq!(reading.sound.length.map(|length| length.as_millis()), length);
        assert_eq!(losses(&reading), if length.is_some() { "" } else { "length" });
    }
}

#[test]
fn fragments_are_summed_up_unless_an_index_states_the_length() {
    let defaults = full(b"trex", &[0, 2, 1, 250, 0, 0]);
    let extended = |more: &[u8]| atom(b"mvex", &[more, &defaults].concat());
    let fragment = |id: u32, head: &[u32], start: Option<u32>, run: &[u32]| {
        let head = full(b"tfhd", &[&[head[0], id], &head[1..]].concat());
        let start = start.map_or(Vec::new(), |start| full(b"tfdt", &[0, start]));
        let traf = atom(b"traf", &[head, start, full(b"trun", run)].concat());
        [atom(b"moof", &traf), atom(b"mdat", &[1; 40])].concat()
    };
    let plain = |start| fragment(2, &[0], start, &[0, 4]);
    let file = |duration, mvex: &[u8], behind: &[Vec<u8>]| {
        let index = moov(&[&track(b"soun", duration, &[]), mvex, &tag(&named().concat())]);
        [ftyp(), index, behind.concat()].concat()
    };
    let two = [plain(None), plain(None)];
    let listed = |sizes: u32, behind: &[Vec<u8>]| {
        let index = full(b"sidx", &[0, 2, 1000, 0, 0, 1, sizes, 7000, 0]);
        [vec![index], behind.to_vec()].concat()
    };
    let len = two.concat().len() as u32;
    for (what, bytes, length) in [
        ("default of the file", file(0, &extended(&[]), &two), 2000),
        ("behind sound of its own", file(500, &extended(&[]), &two), 2500),
        (
            "default of the fragment",
            file(0, &extended(&[]), &[fragment(2, &[0xb, 0, 0, 0, 100], None, &[0, 5])]),
            500,
        ),
        (
            "each sample",
            file(0, &extended(&[]), &[fragment(2, &[0], None, &[0x301, 2, 8, 100, 9, 200, 9])]),
            300,
        ),
        ("joined late", file(0, &extended(&[]), &[plain(Some(90_000)), plain(Some(91_000))]), 2000),
        ("a gap", file(0, &extended(&[]), &[plain(Some(0)), plain(Some(5000))]), 6000),
        ("of another track", file(0, &extended(&[]), &[fragment(9, &[0], None, &[0, 4]), plain(None)]), 1000),
        ("mehd", file(0, &extended(&full(b"mehd", &[0, 1800])), &two), 3000),
        ("sidx", file(0, &extended(&[]), &listed(len, &two)), 7000),
        ("sidx of the first fragment", file(0, &extended(&[]), &listed(len / 2, &two)), 2000),
    ] {
        let reading = song("x.m4a", bytes);
        assert_eq!(row(&reading), format!("T|A|-|-|-|-|{length}"), "{what}");
        assert_eq!(losses(&reading), "", "{what}");
    }
}

#[test]
fn names_of_quicktime_are_read() {
    let text = |name, language: &[u8; 2], text: &[u8]| {
        atom(name, &[&(text.len() as u16).to_be_bytes(), language.as_slice(), text].concat())
    };
    let plain =
        [text(b"\xa9nam", &[0x55, 0xc4], "T\u{e9}".as_bytes()), text(b"\xa9ART", &[0, 0], b"caf\xe9")];
    let cut = atom(b"\xa9alb", b"\xff\xff\x55\xc4Album");
    let texts = atom(b"udta", &[plain.concat(), cut, atom(b"\xa9gen", b"\0")].concat());
    let sound = track(b"soun", 4000, &[]);
    let reading = song("x.mov", [ftyp(), moov(&[&sound, &texts])].concat());
    assert_eq!(
        (row(&reading).as_str(), losses(&reading).as_str()),
        ("T\u{e9}|caf\u{e9}|Album|-|-|-|4000", "")
    );
    // iTunes' list comes first, wherever it stands.
    let both = song("x.mov", [ftyp(), moov(&[&sound, &texts, &tag(&named().concat())])].concat());
    assert_eq!(row(&both), "T|A|Album|-|-|-|4000");

    let keys = ["com.apple.quicktime.title", "x", "artist", "com.apple.quicktime.album"];
    let keys: Vec<u8> = keys.iter().flat_map(|key| atom(b"mdta", key.as_bytes())).collect();
    let keys = atom(b"keys", &[[0, 0, 0, 0, 0, 0, 0, 4].as_slice(), &keys].concat());
    let items = [item(&[0, 0, 0, 3], 1, b"A"), item(&[0, 0, 0, 1], 1, b"T"), item(&[0, 0, 0, 2], 1, b"x")];
    let odd = [item(&[0, 0, 0, 9], 1, b"x"), item(&[0, 0, 0, 4], 13, b"x")];
    let list = atom(b"ilst", &[items.concat(), odd.concat()].concat());
    let meta = atom(b"meta", &[full(b"hdlr", &[0; 6]), keys, list].concat());
    let reading = song("x.mov", [ftyp(), moov(&[&sound, &meta])].concat());
    assert_eq!((row(&reading).as_str(), losses(&reading).as_str()), ("T|A|-|-|-|-|4000", "album"));
}

#[test]
fn nested_atoms_come_to_an_end() {
    let mut nested = Vec::new();
    for _ in 0..20_000 {
        nested.extend([&u32::MAX.to_be_bytes(), b"meta".as_slice()].concat());
    }
    for parts in [moov(&[&atom(b"udta", &nested)]), moov(&[&nested]), nested.clone()] {
        assert_ends("x.m4a", [ftyp(), parts].concat());
    }
}

proptest! {
    #[test]
    fn any_content_of_an_atom_keeps_all_others(
        name in prop::sample::select(vec![*b"\xa9alb", *b"trkn", *b"gnre", *b"covr", *b"----", *b"cpil", *b"abcd"]),
        content in prop::collection::vec(any::<u8>(), 0..60),
        place in 0..3_usize,
    ) {
        let mut items = named();
        items.insert(place, atom(&name, &content));
        let reading = song("x.m4a", m4a(&items));
        prop_assert_eq!(reading.tags.first(Field::Title), Some("T"));
        prop_assert_eq!(reading.tags.first(Field::Artist), Some("A"));
        prop_assert!(reading.sound.length.is_some());
    }

    #[test]
    fn any_bytes_come_to_an_end(at in 0..450_usize, junk in prop::collection::vec(any::<u8>(), 1..30)) {
        let mut bytes = m4a(&named());
        bytes[at..].iter_mut().zip(&junk).for_each(|(byte, junk)| *byte = *junk);
        assert_ends("x.m4a", bytes);
        assert_ends("x.m4a", [ftyp(), junk].concat());
    }
}
