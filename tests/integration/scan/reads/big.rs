//! Songs as large as they are outside of tests, made of small ones: a cover of 200,000 bytes
//! stands before the title, and a megabyte of sound behind them or between.

use std::io::Read;
use std::ops::Range;

use flate2::read::GzDecoder;

const SOUND: usize = 1 << 20;

/// A large song with the title `Title`.
pub(super) struct Big {
    pub(super) name: &'static str,
    pub(super) bytes: Vec<u8>,
    /// Where the cover stands in it.
    pub(super) cover: Range<usize>,
}

impl Big {
    pub(super) fn all() -> Vec<Big> {
        let big = |name, bytes: Vec<u8>| Big { name, cover: place_of_cover(&bytes), bytes };
        vec![
            big("a.flac", flac()),
            big("a.m4a", m4a()),
            big("a.mp3", [id3(), mp3_sound()].concat()),
            big("a.ogg", ogg()),
            big("a.wav", wav()),
            big("v1.mp3", [id3(), mp3_sound(), id3v1()].concat()),
        ]
    }
}

/// Songs whose frames must be counted to tell how long they play.
pub(super) fn counted() -> Vec<(&'static str, Vec<u8>)> {
    vec![("a.aac", adts()), ("tagged.aac", [id3(), adts(), id3v1()].concat())]
}

fn fixture(name: &str) -> Vec<u8> {
    let archive = GzDecoder::new(&include_bytes!("../../../fixtures/scan/music.tar.gz")[..]);
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().expect("tar").map(|entry| entry.expect("tar"));
    let mut entry =
        entries.into_iter().find(|entry| entry.path_bytes().ends_with(name.as_bytes())).expect("a fixture");
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).expect("tar");
    bytes
}

/// Bytes that are also letters of base64.
fn cover() -> Vec<u8> {
    vec![b'J'; 200_000]
}

fn place_of_cover(bytes: &[u8]) -> Range<usize> {
    let run = [b'J'; 32];
    let start = bytes.windows(32).position(|bytes| bytes == run).expect("a cover");
    let end = bytes.windows(32).rposition(|bytes| bytes == run).expect("a cover") + 32;
    start..end
}

/// Four bytes, seven bits in each.
fn seven_bits(len: usize) -> [u8; 4] {
    [21, 14, 7, 0].map(|shift| (len >> shift & 0x7f) as u8)
}

fn id3() -> Vec<u8> {
    let frame = |name: &[u8], body: &[u8]| [name, &seven_bits(body.len()), &[0, 0], body].concat();
    let picture = [&b"\0image/jpeg\0\x03\0"[..], &cover()].concat();
    let frames = [frame(b"APIC", &picture), frame(b"TIT2", b"\x03Title")].concat();
    [&b"ID3\x04\0\0"[..], &seven_bits(frames.len()), &frames].concat()
}

fn id3v1() -> Vec<u8> {
    let mut tag = b"TAGAnother".to_vec();
    tag.resize(128, 0);
    tag
}

fn mp3_sound() -> Vec<u8> {
    let song = fixture("mp3/id3v24-utf8.mp3");
    let tag_len = song[6..10].iter().fold(0, |len, byte| len << 7 | usize::from(*byte)) + 10;
    let frames = &song[tag_len..];
    frames.repeat(SOUND / frames.len())
}

fn adts() -> Vec<u8> {
    let frame = |number: usize| {
        let len = 300 + number % 200;
        let mut frame = vec![0xff, 0xf1, 0x50, 0x80 | (len >> 11) as u8, (len >> 3) as u8];
        frame.extend([(len as u8) << 5 | 0x1f, 0xfc]);
        frame.resize(len, 0);
        frame
    };
    (0..SOUND / 400).flat_map(frame).collect()
}

fn comments(list: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    bytes.extend((list.len() as u32).to_le_bytes());
    for comment in list {
        bytes.extend((comment.len() as u32).to_le_bytes());
        bytes.extend(comment);
    }
    bytes
}

fn flac() -> Vec<u8> {
    let song = fixture("flac/lower.flac");
    let block = |kind: u8, body: &[u8]| [&[kind], &(body.len() as u32).to_be_bytes()[1..], body].concat();
    let counted = |bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat();
    let picture = [&[0, 0, 0, 3][..], &counted(b"image/jpeg"), &counted(b""), &[0; 16], &counted(&cover())];
    [
        b"fLaC".to_vec(),
        block(0, &song[8..42]),
        block(6, &picture.concat()),
        block(0x84, &comments(&[b"TITLE=Title".to_vec()])),
        vec![0; SOUND],
    ]
    .concat()
}

fn ogg() -> Vec<u8> {
    let song = fixture("ogg/lower.ogg");
    let first_len = 4 + song[4..].windows(4).position(|bytes| bytes == b"OggS").expect("a second page");
    let serial = &song[14..18];
    let page = |flags: u8, granule: u64, sequence: u32, segments: &[u8], body: &[u8]| {
        let head =
            [&b"OggS\0"[..], &[flags], &granule.to_le_bytes(), serial, &sequence.to_le_bytes()].concat();
        [&head[..], &[0; 4], &[segments.len() as u8], segments, body].concat()
    };
    let picture = [&b"METADATA_BLOCK_PICTURE="[..], &cover()].concat();
    let mut packet = [&b"\x03vorbis"[..], &comments(&[picture, b"TITLE=Title".to_vec()]), &[1]].concat();
    // The last segment must tell the end.
    packet.resize(packet.len() + usize::from(packet.len() % 255 == 0), 0);
    let mut bytes = song[..first_len].to_vec();
    let mut sequence = 1;
    for part in packet.chunks(255 * 255) {
        let segments: Vec<u8> = part.chunks(255).map(|segment| segment.len() as u8).collect();
        let is_last = segments.last() != Some(&255);
        let granule = if is_last { 0 } else { u64::MAX };
        bytes.extend(page(u8::from(sequence > 1), granule, sequence, &segments, part));
        sequence += 1;
    }
    bytes.extend(page(0, 0, sequence, &[100], &[&b"\x05vorbis"[..], &[0; 93]].concat()));
    let pages = SOUND / 4096;
    for number in 1..=pages {
        let flags = if number == pages { 4 } else { 0 };
        let granule = number as u64 * 1024;
        bytes.extend(page(flags, granule, sequence + number as u32, &[255, 255, 255, 100], &[0x42; 865]));
    }
    bytes
}

fn atom(name: &[u8], body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32 + 8).to_be_bytes()[..], name, body].concat()
}

/// The atoms that follow each other here.
fn atoms(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut list = Vec::new();
    while let Some(len) = bytes.first_chunk().map(|len| u32::from_be_bytes(*len) as usize) {
        let (atom, rest) = bytes.split_at(len);
        list.push(atom);
        bytes = rest;
    }
    list
}

fn m4a() -> Vec<u8> {
    let song = fixture("m4a/aac.m4a");
    let moov = atoms(&song).into_iter().find(|atom| &atom[4..8] == b"moov").expect("a movie");
    let kept: Vec<u8> =
        atoms(&moov[8..]).into_iter().filter(|atom| &atom[4..8] != b"udta").flatten().copied().collect();
    let item = |name: &[u8], kind: u8, value: &[u8]| {
        atom(name, &atom(b"data", &[&[0, 0, 0, kind, 0, 0, 0, 0], value].concat()))
    };
    let list = atom(b"ilst", &[item(b"covr", 13, &cover()), item(b"\xa9nam", 1, b"Title")].concat());
    let handler = atom(b"hdlr", &[&[0; 8][..], b"mdirappl", &[0; 9]].concat());
    let tags = atom(b"udta", &atom(b"meta", &[vec![0; 4], handler, list].concat()));
    let sound = atom(b"mdat", &vec![0x21; SOUND]);
    [atoms(&song)[0].to_vec(), sound, atom(b"moov", &[kept, tags].concat())].concat()
}

fn wav() -> Vec<u8> {
    let song = fixture("other/plain.wav");
    let at = song.windows(4).position(|bytes| bytes == b"fmt ").expect("a format");
    let chunk = |name: &[u8], body: &[u8]| {
        let pad = vec![0; body.len() % 2];
        [name, &(body.len() as u32).to_le_bytes(), body, &pad].concat()
    };
    let info = chunk(b"LIST", &[&b"INFO"[..], &chunk(b"IART", b"Artist\0")].concat());
    let chunks = [
        chunk(b"fmt ", &song[at + 8..at + 24]),
        chunk(b"data", &vec![0; SOUND]),
        info,
        chunk(b"id3 ", &id3()),
    ];
    chunk(b"RIFF", &[&b"WAVE"[..], &chunks.concat()].concat())
}
