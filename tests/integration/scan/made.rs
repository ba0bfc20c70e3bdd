//! Songs made byte by byte in every format that carries tags, with items of any size: a large item
//! that does not matter is a hole in the file.

use std::path::{Path, PathBuf};

use super::parts::{Part, Parts};

/// The kind of an item in a tag.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Key {
    Title,
    Artist,
    Cover,
}

/// The items of a tag.
type Items = [(Key, Parts)];

/// A way to write tags: its name, the ending of the file, the whole file with these items, and whether
/// it may hold a cover.
pub(super) type Way = (&'static str, &'static str, fn(&Items) -> Parts, bool);

/// All of them.
pub(super) const WAYS: [Way; 27] = [
    ("id3v22", "mp3", |items| id3(2, items).then(mpeg()), true),
    ("id3v23", "mp3", |items| id3(3, items).then(mpeg()), true),
    ("id3v24", "mp3", |items| id3(4, items).then(mpeg()), true),
    ("apev2", "mp3", |items| Parts::of(mpeg()).then(ape(items)), true),
    ("id3", "aac", |items| id3(4, items).then(bare("x.aac")), true),
    ("apev2", "aac", |items| Parts::of(bare("x.aac")).then(ape(items)), true),
    ("id3", "tta", |items| id3(4, items).then(bare("x.tta")), true),
    ("id3", "wav", |items| wave(chunk_le("id3 ", id3(3, items))), true),
    ("info", "wav", |items| wave(info(items)), false),
    ("id3", "aiff", |items| aiff(chunk_be("ID3 ", id3(3, items))), true),
    ("text", "aiff", |items| aiff(texts(items)), false),
    ("id3", "dsf", |items| dsf(id3(4, items)), true),
    ("id3", "dff", |items| dff(chunk_be8("ID3 ", id3(4, items))), true),
    ("names", "dff", |items| dff(chunk_be8("DIIN", names(items))), false),
    ("apev2", "wv", |items| Parts::of(bare("x.wv")).then(ape(items)), true),
    ("apev2", "ape", |items| Parts::of(bare("x.ape")).then(ape(items)), true),
    ("apev2", "mpc", |items| Parts::of(bare("x.mpc")).then(ape(items)), true),
    ("apev2", "tak", |items| Parts::of(bare("x.tak")).then(ape(items)), true),
    ("apev2", "ofr", |items| Parts::of(bare("x.ofr")).then(ape(items)), true),
    ("comments", "flac", flac, true),
    (
        "comments",
        "ogg",
        |items| {
            ogg(b"\x01vorbis\0\0\0\0\x01\x40\x1f\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xb8\x01", b"\x03vorbis", items)
        },
        true,
    ),
    (
        "comments",
        "opus",
        |items| ogg(b"OpusHead\x01\x01\x38\x01\x80\xbb\0\0\0\0\0", b"OpusTags", items),
        true,
    ),
    ("comments", "spx", |items| ogg(&bare("x.spx")[28..108], b"", items), true),
    ("ilst", "m4a", mp4, true),
    ("values", "wma", asf, true),
    ("tags", "mka", matroska, true),
    ("info", "caf", caf, false),
];

/// A format that carries an ID3v2 tag: the ending of the file, and the whole file with this tag.
pub(super) type Carrier = (&'static str, fn(Parts) -> Parts);

/// All of them.
pub(super) const CARRIERS: [Carrier; 7] = [
    ("mp3", |tag| tag.then(mpeg())),
    ("aac", |tag| tag.then(bare("x.aac"))),
    ("tta", |tag| tag.then(bare("x.tta"))),
    ("wav", |tag| wave(chunk_le("id3 ", tag))),
    ("aiff", |tag| aiff(chunk_be("ID3 ", tag))),
    ("dsf", dsf),
    ("dff", |tag| dff(chunk_be8("ID3 ", tag))),
];

/// The folder of small valid files, from which the fuzz targets start too.
pub(super) fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus/read")
}

/// One of them, without its APEv2 tag.
pub(super) fn bare(name: &str) -> Vec<u8> {
    let path = corpus().join(name);
    let mut bytes = std::fs::read(path).expect("a file");
    let end = bytes.windows(8).position(|mark| mark == b"APETAGEX").unwrap_or(bytes.len());
    bytes.truncate(end);
    bytes
}

fn size7(size: u64) -> [u8; 4] {
    [size >> 21, size >> 14, size >> 7, size].map(|part| (part & 0x7f) as u8)
}

fn id3(version: u8, items: &Items) -> Parts {
    let mut frames = Parts::default();
    for (key, value) in items {
        let (id, lead) = match (key, version) {
            (Key::Title, 2) => ("TT2", "\u{3}"),
            (Key::Artist, 2) => ("TP1", "\u{3}"),
            (Key::Cover, 2) => ("PIC", "\0JPG\u{3}\0"),
            (Key::Title, _) => ("TIT2", "\u{3}"),
            (Key::Artist, _) => ("TPE1", "\u{3}"),
            (Key::Cover, _) => ("APIC", "\0image/jpeg\0\u{3}\0"),
        };
        frames = frames.then(frame(version, id, [0, 0], Parts::of(lead).then(value.clone())));
    }
    id3_tag(version, 0, frames)
}

pub(super) fn frame(version: u8, id: &str, flags: [u8; 2], mut content: Parts) -> Parts {
    if version == 2 {
        // As large as its size can tell.
        content = content.split(0xff_ffff).0;
    }
    let size = content.len();
    let head = match version {
        2 => [id.as_bytes(), &(size as u32).to_be_bytes()[1..]].concat(),
        3 => [id.as_bytes(), &(size as u32).to_be_bytes(), &flags].concat(),
        _ => [id.as_bytes(), &size7(size), &flags].concat(),
    };
    Parts::of(head).then(content)
}

pub(super) fn id3_tag(version: u8, flags: u8, frames: Parts) -> Parts {
    Parts::of([&b"ID3"[..], &[version, 0, flags], &size7(frames.len())].concat()).then(frames)
}

fn ape(items: &Items) -> Parts {
    let mut body = Parts::default();
    for (key, value) in items {
        let (name, flags, lead) = match key {
            Key::Title => ("Title", 0_u32, ""),
            Key::Artist => ("Artist", 0, ""),
            Key::Cover => ("Cover Art (Front)", 2, "x.jpg\0"),
        };
        let value = Parts::of(lead).then(value.clone());
        let head = [(value.len() as u32).to_le_bytes(), flags.to_le_bytes()].concat();
        body = body.then([&head, name.as_bytes(), b"\0"].concat()).then(value);
    }
    let end = |flags: u32| {
        let numbers =
            [2000, body.len() as u32 + 32, items.len() as u32, flags].map(u32::to_le_bytes).concat();
        [&b"APETAGEX"[..], &numbers, &[0; 8]].concat()
    };
    Parts::of(end(0xa000_0000)).then(body.clone()).then(end(0x8000_0000))
}

/// Vorbis comments.
fn comments(items: &Items) -> Parts {
    let mut all = Parts::of([&b"\x04\0\0\0test"[..], &(items.len() as u32).to_le_bytes()].concat());
    for (key, value) in items {
        let name = match key {
            Key::Title => "TITLE=",
            Key::Artist => "ARTIST=",
            Key::Cover => "METADATA_BLOCK_PICTURE=",
        };
        let len = name.len() as u64 + value.len();
        all = all.then((len as u32).to_le_bytes()).then(name).then(value.clone());
    }
    all
}

fn mpeg() -> Vec<u8> {
    [&b"\xff\xfb\x90\0"[..], &[0xaa; 413]].concat().repeat(40)
}

fn chunk_le(id: &str, content: Parts) -> Parts {
    let pad = vec![0; (content.len() % 2) as usize];
    Parts::of([id.as_bytes(), &(content.len() as u32).to_le_bytes()].concat()).then(content).then(pad)
}

fn chunk_be(id: &str, content: Parts) -> Parts {
    let pad = vec![0; (content.len() % 2) as usize];
    Parts::of([id.as_bytes(), &(content.len() as u32).to_be_bytes()].concat()).then(content).then(pad)
}

fn chunk_be8(id: &str, content: Parts) -> Parts {
    let pad = vec![0; (content.len() % 2) as usize];
    Parts::of([id.as_bytes(), &content.len().to_be_bytes()].concat()).then(content).then(pad)
}

fn wave(tags: Parts) -> Parts {
    let format = b"\x01\0\x01\0\x40\x1f\0\0\x40\x1f\0\0\x01\0\x08\0".to_vec();
    let chunks = chunk_le("fmt ", format.into()).then(tags).then(chunk_le("data", vec![7; 8000].into()));
    chunk_le("RIFF", Parts::of("WAVE").then(chunks))
}

fn info(items: &Items) -> Parts {
    let mut all = Parts::of("INFO");
    for (key, value) in items {
        let id = if *key == Key::Title { "INAM" } else { "IART" };
        all = all.then(chunk_le(id, value.clone()));
    }
    chunk_le("LIST", all)
}

fn aiff(tags: Parts) -> Parts {
    let common = b"\0\x01\0\0\x1f\x40\0\x08\x40\x0b\xfa\0\0\0\0\0\0\0".to_vec();
    let sound = chunk_be("SSND", vec![7; 8008].into());
    chunk_be("FORM", Parts::of("AIFF").then(chunk_be("COMM", common.into())).then(sound).then(tags))
}

fn texts(items: &Items) -> Parts {
    let chunk = |(key, value): &(Key, Parts)| {
        chunk_be(if *key == Key::Title { "NAME" } else { "AUTH" }, value.clone())
    };
    items.iter().map(chunk).fold(Parts::default(), Parts::then)
}

fn dsf(tag: Parts) -> Parts {
    let chunk = |id: &str, content: Vec<u8>| {
        [id.as_bytes(), &(content.len() as u64 + 12).to_le_bytes(), &content].concat()
    };
    let numbers = [1, 0, 1, 1, 2_822_400, 1].map(u32::to_le_bytes).concat();
    let format = chunk("fmt ", [&numbers[..], &2_822_400_u64.to_le_bytes(), &[0; 8]].concat());
    let data = chunk("data", vec![0x69; 352_800]);
    let pointer = 28 + format.len() as u64 + data.len() as u64;
    let head = chunk("DSD ", [pointer + tag.len(), pointer].map(u64::to_le_bytes).concat());
    Parts::of([head, format, data].concat()).then(tag)
}

fn dff(tags: Parts) -> Parts {
    let rate = chunk_be8("FS  ", 2_822_400_u32.to_be_bytes().into());
    let channels = chunk_be8("CHNL", b"\0\x01C   ".to_vec().into());
    let properties = chunk_be8("PROP", Parts::of("SND ").then(rate).then(channels));
    let sound = chunk_be8("DSD ", vec![0x69; 352_800].into());
    chunk_be8("FRM8", Parts::of("DSD ").then(properties).then(tags).then(sound))
}

fn names(items: &Items) -> Parts {
    let name = |(key, value): &(Key, Parts)| {
        let content = Parts::of((value.len() as u32).to_be_bytes()).then(value.clone());
        chunk_be8(if *key == Key::Title { "DITI" } else { "DIAR" }, content)
    };
    items.iter().map(name).fold(Parts::default(), Parts::then)
}

/// A block of FLAC holds at most 16 MB.
fn flac(items: &Items) -> Parts {
    const BLOCK_MAX: u64 = (1 << 24) - 1;
    let bytes = bare("x.flac");
    let block = |kind: u8, content: Parts| {
        let content = content.split(BLOCK_MAX).0;
        let size = content.len() as u32 | u32::from(kind) << 24;
        Parts::of(size.to_be_bytes()).then(content)
    };
    let texts: Vec<_> = items.iter().filter(|(key, _)| *key != Key::Cover).cloned().collect();
    let mut file = Parts::of(&bytes[..42]).then(block(4, comments(&texts)));
    for (_, cover) in items.iter().filter(|(key, _)| *key == Key::Cover) {
        let head = [&b"\0\0\0\x03\0\0\0\x0aimage/jpeg"[..], &[0; 20], b"\0\xff\xff\xff"].concat();
        file = file.then(block(6, Parts::of(head).then(cover.clone())));
    }
    let sound = bytes.windows(2).position(|mark| mark == b"\xff\xf8").expect("a frame");
    // The last block is padding.
    file.then([0x81, 0, 0, 0]).then(&bytes[sound..])
}

fn ogg(first: &[u8], mark: &[u8], items: &Items) -> Parts {
    let mut number = 0;
    let mut pages = |flags: u8, granule: u64, mut packet: Parts| {
        let mut all = Parts::default();
        let mut flags = flags;
        loop {
            let full = packet.len() >= 255 * 255;
            let (body, rest) = packet.split(255 * 255);
            let mut segments = vec![255; (body.len() / 255) as usize];
            segments.extend((!full).then_some((body.len() % 255) as u8));
            let place = if full { u64::MAX } else { granule };
            let head = [
                &b"OggS\0"[..],
                &[flags],
                &place.to_le_bytes(),
                &[9, 0, 0, 0],
                &u32::to_le_bytes(number),
                &[0; 4],
                &[segments.len() as u8],
                &segments,
            ];
            all = all.then(head.concat()).then(body);
            number += 1;
            (packet, flags) = (rest, 1);
            if !full {
                return all;
            }
        }
    };
    let head = pages(2, 0, first.into());
    let tags = pages(0, 0, Parts::of(mark).then(comments(items)));
    let setup =
        if mark == b"\x03vorbis" { pages(0, 0, b"\x05vorbis".to_vec().into()) } else { Parts::default() };
    let sound = (1..=4).map(|page| pages(0, page * 48_000, vec![0; 100].into()));
    let sound = sound.fold(Parts::default(), Parts::then);
    head.then(tags).then(setup).then(sound)
}

fn atom(name: &[u8; 4], content: Parts) -> Parts {
    Parts::of([&(content.len() as u32 + 8).to_be_bytes()[..], name].concat()).then(content)
}

fn mp4(items: &Items) -> Parts {
    let mut list = Parts::default();
    for (key, value) in items {
        let (name, kind) = match key {
            Key::Title => (b"\xa9nam", 1_u32),
            Key::Artist => (b"\xa9ART", 1),
            Key::Cover => (b"covr", 13),
        };
        let head = [kind.to_be_bytes(), [0; 4]].concat();
        list = list.then(atom(name, atom(b"data", Parts::of(head).then(value.clone()))));
    }
    let handler = atom(b"hdlr", b"\0\0\0\0\0\0\0\0mdirappl\0\0\0\0\0\0\0\0\0".to_vec().into());
    let meta = atom(b"meta", Parts::of([0; 4]).then(handler).then(atom(b"ilst", list)));
    // The tracks of a whole file, with a tag of our own.
    let bytes = bare("x.m4a");
    let at = |name: &[u8; 4]| bytes.windows(4).position(|mark| mark == name).expect("an atom") - 4;
    let (moov, udta) = (at(b"moov"), at(b"udta"));
    let tracks = Parts::of(&bytes[moov + 8..udta]);
    Parts::of(&bytes[..moov]).then(atom(b"moov", tracks.then(atom(b"udta", meta))))
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

fn object(id: &[u8], content: Parts) -> Parts {
    Parts::of([id, &(content.len() + 24).to_le_bytes()].concat()).then(content)
}

/// Values with sizes of four bytes, which stand in the extension of the head.
fn asf(items: &Items) -> Parts {
    let mut values = Parts::of((items.len() as u16).to_le_bytes());
    for (key, value) in items {
        let (name, kind) = match key {
            Key::Title => ("Title", 0),
            Key::Artist => ("Author", 0),
            Key::Cover => ("WM/Picture", 1),
        };
        // Texts in UTF-8 are turned into UTF-16, other bytes are left as they are.
        let value = match (kind, value.parts()) {
            (0, [Part::Bytes(text)]) => match std::str::from_utf8(text) {
                Ok(text) if !text.contains('\0') => utf16(text).into(),
                _ => value.clone(),
            },
            _ => value.clone(),
        };
        let name = utf16(name);
        let head = [0, 0, name.len() as u16, kind].map(u16::to_le_bytes).concat();
        values = values.then(head).then((value.len() as u32).to_le_bytes()).then(name).then(value);
    }
    let library = object(b"\x94\x1c\x23\x44\x98\x94\xd1\x49\xa1\x41\x1d\x13\x4e\x45\x70\x54", values);
    let size = (library.len() as u32).to_le_bytes();
    let reserved = b"\x11\xd2\xd3\xab\xba\xa9\xcf\x11\x8e\xe6\x00\xc0\x0c\x20\x53\x65\x06\0".to_vec();
    let extension = Parts::of(reserved).then(size).then(library);
    let extension = object(b"\xb5\x03\xbf\x5f\x2e\xa9\xcf\x11\x8e\xe3\x00\xc0\x0c\x20\x53\x65", extension);
    // The description of the sound of a whole file, and the sound.
    let bytes = bare("x.wma");
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes")) as usize;
    let (mut head, mut at) = (Parts::default(), 30);
    while at < number(16) {
        let is_kept = [&b"\xa1\xdc\xab\x8c"[..], b"\x91\x07\xdc\xb7"].contains(&&bytes[at..at + 4]);
        head = if is_kept { head.then(&bytes[at..at + number(at + 16)]) } else { head };
        at += number(at + 16);
    }
    let head = Parts::of(b"\x03\0\0\0\x01\x02".to_vec()).then(head).then(extension);
    object(&bytes[..16], head).then(&bytes[number(16)..])
}

fn element(id: &[u8], content: impl Into<Parts>) -> Parts {
    let content = content.into();
    Parts::of([id, &(content.len() | 1 << 56).to_be_bytes()].concat()).then(content)
}

fn matroska(items: &Items) -> Parts {
    let (mut tag, mut files) = (Parts::default(), Parts::default());
    for (key, value) in items {
        let simple = |name: &str| {
            element(b"\x67\xc8", element(b"\x45\xa3", name).then(element(b"\x44\x87", value.clone())))
        };
        match key {
            Key::Title => tag = tag.then(simple("TITLE")),
            Key::Artist => tag = tag.then(simple("ARTIST")),
            Key::Cover => {
                let head = element(b"\x46\x6e", "cover.jpg").then(element(b"\x46\x60", "image/jpeg"));
                files = files.then(element(b"\x61\xa7", head.then(element(b"\x46\x5c", value.clone()))));
            }
        }
    }
    let audio = element(b"\xe1", element(b"\xb5", 48_000_f64.to_be_bytes()));
    let numbers = element(b"\xd7", [1]).then(element(b"\x83", [2])).then(element(b"\x86", "A_OPUS"));
    let tracks = element(b"\x16\x54\xae\x6b", element(b"\xae", numbers.then(audio)));
    let times =
        element(b"\x2a\xd7\xb1", [0x0f, 0x42, 0x40]).then(element(b"\x44\x89", 2000_f64.to_be_bytes()));
    let cluster = element(
        b"\x1f\x43\xb6\x75",
        element(b"\xe7", [0]).then(element(b"\xa3", b"\x81\0\0\x80abc".to_vec())),
    );
    let body = element(b"\x15\x49\xa9\x66", times).then(tracks);
    let body = body.then(element(b"\x19\x41\xa4\x69", files));
    let body = body.then(element(b"\x12\x54\xc3\x67", element(b"\x73\x73", tag))).then(cluster);
    element(b"\x1a\x45\xdf\xa3", element(b"\x42\x82", "matroska")).then(element(b"\x18\x53\x80\x67", body))
}

fn caf(items: &Items) -> Parts {
    let mut pairs = Parts::of((items.len() as u32).to_be_bytes());
    for (key, value) in items {
        let name = if *key == Key::Title { "title\0" } else { "artist\0" };
        pairs = pairs.then(name).then(value.clone()).then([0]);
    }
    let chunk = |id: &str, content: Parts| {
        Parts::of([id.as_bytes(), &content.len().to_be_bytes()].concat()).then(content)
    };
    let format = [&8000_f64.to_be_bytes()[..], b"lpcm", &[0; 4]].concat();
    let format = [format, [1, 1, 1, 8].map(u32::to_be_bytes).concat()].concat();
    let head = Parts::of(b"caff\0\x01\0\0".to_vec()).then(chunk("desc", format.into()));
    head.then(chunk("info", pairs)).then(chunk("data", vec![7; 8004].into()))
}
