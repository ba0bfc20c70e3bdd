//! Apple's Core Audio Format: chunks in big-endian order with sizes of 64 bits. Names stand
//! in `info`, as pairs of strings.

use std::io;
use std::time::Duration;

use super::chunks::{Chunk, Chunks, Layout, number, number32};
use super::source::Source;
use super::tags::{ENCODED_MAX, Field, Reading, Unread};
use super::text::{ByteOrder, Encoding};

/// Bytes in front of the first chunk.
const HEAD_LEN: u64 = 8;
/// Bytes of `desc`.
const DESCRIPTION_LEN: u64 = 32;
/// Bytes of `pakt` in front of its table.
const PACKETS_LEN: u64 = 24;
/// Bytes in front of the samples in `data`.
const EDITS_LEN: u64 = 4;
/// Most bytes of a string that are looked through for its end.
const STRING_MAX: u64 = 1 << 20;
/// Most pairs of strings that are read.
const PAIRS_MAX: u32 = 10_000;
/// Most bytes of the name of a value.
const KEY_MAX: usize = 64;

/// The fields of `desc`.
#[derive(Debug, Clone, Copy)]
struct Description {
    /// Samples per second; 0 if the stated rate is absurd.
    rate: f64,
    codec: [u8; 4],
    packet_bytes: u32,
    packet_frames: u32,
    channels: u32,
    bits: u32,
}

/// The fields of `pakt`.
#[derive(Debug, Default, Clone, Copy)]
struct Packets {
    count: i64,
    /// Samples without those that only start the decoder or fill the last packet.
    valid: i64,
    /// Samples that only start the decoder or fill the last packet.
    silent: i64,
}

pub(super) fn read(source: &mut Source, reading: &mut Reading) -> Result<(), Unread> {
    let mut chunks = Chunks::new(Layout::CORE_AUDIO, HEAD_LEN, source.len());
    let (mut description, mut packets, mut data) = (None, Packets::default(), None);
    let mut duration = None;
    loop {
        let wanted: Option<&[u8]> = match (&description, &data) {
            (None, _) => Some(b"desc"),
            (_, None) => Some(b"data"),
            _ => None,
        };
        let Some(chunk) = chunks.next_or_find(source, reading, wanted)? else { break };
        match chunk.name() {
            b"desc" if description.is_none() => {
                description = Some(Description::of(chunk.bytes(source, DESCRIPTION_LEN)?));
            }
            b"pakt" => packets = Packets::of(chunk.bytes(source, PACKETS_LEN)?),
            b"data" if data.is_none() => data = Some(chunk),
            b"info" => duration = read_info(&chunk, source, reading)?,
            _ => {}
        }
    }
    let Some(description) = description else {
        return Err(Unread::Broken("it has no desc chunk".to_owned()));
    };
    let Some(data) = data else {
        return Err(Unread::Broken("it has no sound: its data chunk is missing".to_owned()));
    };
    description.describe(reading);
    description.measure(&data, packets, reading);
    if reading.sound.length.is_none() {
        match duration {
            Some(duration) => {
                reading.sound.length = Some(duration);
                reading.guess = Some("the length is the approximate one of its info chunk");
            }
            None => reading.lose("length", "neither its desc nor its pakt chunk tells it"),
        }
    }
    Ok(())
}

impl Description {
    fn of(bytes: &[u8]) -> Description {
        let rate = f64::from_bits(number(bytes, 0, 8, ByteOrder::Big));
        let mut codec = [0; 4];
        if let Some(name) = bytes.get(8..12) {
            codec.copy_from_slice(name);
        }
        Description {
            rate: if (1e-3..=1e9).contains(&rate) { rate } else { 0.0 },
            codec,
            packet_bytes: number32(bytes, 16, ByteOrder::Big),
            packet_frames: number32(bytes, 20, ByteOrder::Big),
            channels: number32(bytes, 24, ByteOrder::Big),
            bits: number32(bytes, 28, ByteOrder::Big),
        }
    }

    fn describe(&self, reading: &mut Reading) {
        let sound = &mut reading.sound;
        sound.codec = match &self.codec {
            b"lpcm" => "pcm",
            b"alac" => "alac",
            b"aac " | b"aach" | b"aacp" | b"aacl" | b"aace" | b"paac" => "aac",
            b"alaw" => "alaw",
            b"ulaw" => "mulaw",
            b"ima4" | b"ms\0\x02" | b"ms\0\x11" => "adpcm",
            b".mp1" => "mp1",
            b".mp2" => "mp2",
            b".mp3" => "mp3",
            b"ac-3" => "ac3",
            b"ec-3" => "eac3",
            b"flac" => "flac",
            b"opus" => "opus",
            b"MAC3" | b"MAC6" => "mace",
            b"samr" | b"sawb" => "amr",
            _ => "",
        };
        sound.sample_rate = self.rate.round() as u32;
        sound.channels = u16::try_from(self.channels).unwrap_or(0);
        sound.bit_depth = u16::try_from(self.bits).unwrap_or(0);
    }

    /// Finds the length: from the bytes if all packets have one size, else from the packets.
    fn measure(&self, data: &Chunk, packets: Packets, reading: &mut Reading) {
        let bytes = data.len().saturating_sub(EDITS_LEN);
        let per_packet = u64::from(self.packet_frames);
        let by_bytes = match (u64::from(self.packet_bytes), per_packet) {
            (0, _) | (_, 0) => None,
            (size, frames) => Some((bytes / size).saturating_mul(frames)),
        };
        let counted = u64::try_from(packets.count).unwrap_or(0).saturating_mul(per_packet);
        let audible = counted.saturating_sub(u64::try_from(packets.silent).unwrap_or(0));
        let by_packets = Some(match u64::try_from(packets.valid) {
            Ok(valid @ 1..) => valid,
            _ => audible,
        })
        .filter(|frames| *frames > 0);
        let frames = match (by_packets, by_bytes) {
            // The bytes limit the number of samples.
            (Some(stated), Some(there)) => Some(stated.min(there)),
            (stated, there) => stated.or(there),
        };
        let length = frames.and_then(|frames| Duration::try_from_secs_f64(frames as f64 / self.rate).ok());
        reading.sound.length = length;
        // A size of -1 means that the sound extends to the end of the file.
        if length.is_some() && data.is_cut() && data.claimed != u64::MAX {
            reading.guess = Some("the size of its sound is wrong: the bytes that are there count");
        }
        if let Some(seconds) = length.map(|length| length.as_secs_f64()).filter(|seconds| *seconds > 0.0) {
            reading.sound.bit_rate = (bytes as f64 * 8.0 / seconds) as u32;
        }
    }
}

impl Packets {
    fn of(bytes: &[u8]) -> Packets {
        let signed = |at| number(bytes, at, 8, ByteOrder::Big).cast_signed();
        let small = |at| i64::from(number32(bytes, at, ByteOrder::Big).cast_signed());
        Packets { count: signed(0), valid: signed(8), silent: small(16).max(0) + small(20).max(0) }
    }
}

/// Reads the names. Returns the length that the chunk states beside them.
fn read_info(chunk: &Chunk, source: &mut Source, reading: &mut Reading) -> io::Result<Option<Duration>> {
    let count = number32(chunk.bytes(source, 4)?, 0, ByteOrder::Big);
    let (mut at, mut duration) = (chunk.from + 4, None);
    for index in 0..count {
        if index >= PAIRS_MAX {
            reading
                .lose("info", format!("it has more than {PAIRS_MAX} values; the others are not looked at"));
            break;
        }
        let Some(value_at) = string_end(source, at, chunk.to)? else {
            reading.lose("info", format!("it ends after {index} of {count} values"));
            break;
        };
        let key = source.vec(at, value_at - at, KEY_MAX)?;
        let end = string_end(source, value_at, chunk.to)?;
        let key = key.strip_suffix(b"\0").unwrap_or(&key).to_ascii_lowercase();
        let value_len = end.map_or(chunk.to, |end| end - 1) - value_at;
        if let Some(field) = field(&key) {
            let value = source.vec(value_at, value_len, ENCODED_MAX)?;
            reading.push_encoded(field, &value, Encoding::Utf8);
        } else if key == b"approximate duration in seconds" {
            let value = source.vec(value_at, value_len, KEY_MAX)?;
            let seconds = std::str::from_utf8(&value).ok().and_then(|value| value.trim().parse().ok());
            duration = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        }
        let Some(end) = end else {
            reading.lose("info", "a value in it has no end; those behind it are not read");
            break;
        };
        at = end;
    }
    Ok(duration)
}

/// Returns the offset behind the NUL that ends the string at `from`.
fn string_end(source: &mut Source, from: u64, to: u64) -> io::Result<Option<u64>> {
    let mut at = from;
    let to = to.min(from.saturating_add(STRING_MAX));
    while at < to {
        // A short piece is enough for most strings, and saves a read behind the window.
        let wanted = if at == from { 64 } else { 4096 };
        let bytes = source.bytes(at, wanted.min(usize::try_from(to - at).unwrap_or(wanted)))?;
        if let Some(index) = bytes.iter().position(|byte| *byte == 0) {
            return Ok(Some(at + index as u64 + 1));
        }
        if bytes.is_empty() {
            break;
        }
        at += bytes.len() as u64;
    }
    Ok(None)
}

/// Returns the field of a key: Apple's names, and those that ffmpeg writes.
fn field(key: &[u8]) -> Option<Field> {
    Some(match key {
        b"title" => Field::Title,
        b"album" => Field::Album,
        b"artist" => Field::Artist,
        b"genre" => Field::Genre,
        b"track number" | b"track" => Field::Track,
        b"year" | b"date" | b"recorded date" => Field::Date,
        b"album artist" | b"album_artist" => Field::AlbumArtist,
        b"disc number" | b"disc" => Field::Disc,
        b"composer" => Field::Composer,
        b"compilation" => Field::Compilation,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::scan::read::source::WINDOW;

    const CAF: Layout = Layout::CORE_AUDIO;

    /// 8,000 Hz, stereo; bytes and samples of a packet.
    fn description(codec: &[u8; 4], bytes: u32, frames: u32) -> Vec<u8> {
        let numbers = [0, bytes, frames, 2, 16].map(u32::to_be_bytes).concat();
        CAF.chunk(b"desc", &[&8000_f64.to_be_bytes()[..], codec, &numbers].concat())
    }

    fn packets(count: i64, valid: i64, priming: i32, remainder: i32) -> Vec<u8> {
        let body = [
            &count.to_be_bytes()[..],
            &valid.to_be_bytes(),
            &priming.to_be_bytes(),
            &remainder.to_be_bytes(),
        ];
        CAF.chunk(b"pakt", &body.concat())
    }

    fn data(len: usize) -> Vec<u8> {
        CAF.chunk(b"data", &vec![0; len + 4])
    }

    fn info(pairs: &[(&str, &[u8])]) -> Vec<u8> {
        let mut body = (pairs.len() as u32).to_be_bytes().to_vec();
        for (key, value) in pairs {
            body.extend([key.as_bytes(), b"\0", value, b"\0"].concat());
        }
        CAF.chunk(b"info", &body)
    }

    fn caf(chunks: &[Vec<u8>]) -> Vec<u8> {
        [b"caff\0\x01\0\0".to_vec(), chunks.concat()].concat()
    }

    fn read_caf(file: Vec<u8>) -> Result<Reading, Unread> {
        let mut reading = Reading::default();
        read(&mut Source::of(file), &mut reading).map(|()| reading)
    }

    fn lpcm() -> Vec<u8> {
        description(b"lpcm", 4, 1)
    }

    #[test]
    fn names_are_read_before_and_behind_the_sound() {
        let pairs: [(&str, &[u8]); 6] = [
            ("title", b"T\xc3\xaftle"),
            ("Artist", b"caf\xe9"),
            ("album", b""),
            ("unknown", b"?"),
            ("track number", b"3"),
            ("recorded date", b"1997"),
        ];
        for chunks in [[info(&pairs), data(64_000)], [data(64_000), info(&pairs)]] {
            let reading = read_caf(caf(&[lpcm(), chunks.concat()])).unwrap();
            let first = |field| reading.tags.first(field);
            assert_eq!(
                (first(Field::Title), first(Field::Artist)),
                (Some("T\u{ef}tle"), Some("caf\u{fffd}"))
            );
            assert_eq!((first(Field::Album), first(Field::Track)), (Some(""), Some("3")));
            assert_eq!((first(Field::Date), reading.losses.len()), (Some("1997"), 1));
            let sound = &reading.sound;
            assert_eq!((sound.length, sound.codec), (Some(Duration::from_secs(2)), "pcm"));
            assert_eq!((sound.sample_rate, sound.channels, sound.bit_depth), (8000, 2, 16));
            assert_eq!((sound.bit_rate, reading.guess), (256_000, None));
        }
    }

    #[test]
    fn the_length_is_that_of_the_packets_or_the_bytes() {
        let aac = description(b"aac ", 0, 1024);
        let vorbis = description(b"what", 0, 0);
        let approximate = info(&[("approximate duration in seconds", b"2.5")]);
        let open = [CAF.head(b"data", u64::MAX), vec![0; 64_004]].concat();
        let beyond = [CAF.head(b"data", 1 << 40), vec![0; 64_004]].concat();
        for (chunks, due, guessed) in [
            (vec![aac.clone(), packets(20, 16_000, 2112, 368), data(999)], Some(2.0), false),
            (vec![aac.clone(), packets(20, 0, 2112, 368), data(999)], Some(2.25), false),
            (vec![aac.clone(), data(999)], None, false),
            (vec![aac.clone(), approximate.clone(), data(999)], Some(2.5), true),
            (vec![aac.clone(), packets(-1, -1, -1, -1), data(999)], None, false),
            (vec![vorbis.clone(), packets(9, 16_000, 0, 0), data(999)], Some(2.0), false),
            (vec![vorbis, data(999)], None, false),
            (vec![lpcm(), open], Some(2.0), false),
            (vec![lpcm(), beyond], Some(2.0), true),
            (vec![lpcm(), packets(1, 1 << 40, 0, 0), data(64_000)], Some(2.0), false),
            (vec![CAF.head(b"lies", 1 << 40), lpcm(), data(64_000)], Some(2.0), false),
            (vec![CAF.chunk(b"desc", &[0xff; 32]), data(64_000)], None, false),
        ] {
            let reading = read_caf(caf(&chunks)).unwrap();
            assert_eq!(reading.sound.length.map(|length| length.as_secs_f64()), due, "{:?}", reading.losses);
            assert_eq!(reading.guess.is_some(), guessed, "{due:?}");
            assert!(due.is_some() || !reading.losses.is_empty());
        }
        for chunks in [vec![], vec![lpcm()], vec![data(9)]] {
            assert!(matches!(read_caf(caf(&chunks)), Err(Unread::Broken(_))));
        }
    }

    #[test]
    fn strings_that_do_not_end_cost_themselves() {
        let long = "x".repeat(20 * WINDOW);
        let pairs: [(&str, &[u8]); 3] =
            [("title", b"Title"), (&long, long.as_bytes()), ("artist", b"Artist")];
        let mut source = Source::of(caf(&[lpcm(), info(&pairs), data(8)]));
        let mut reading = Reading::default();
        read(&mut source, &mut reading).unwrap();
        assert_eq!(reading.tags.first(Field::Artist), Some("Artist"));
        assert_eq!(reading.losses, []);
        // A value without an end, and more values stated than there are.
        let cut = CAF.chunk(b"info", b"\xff\xff\xff\xfftitle\0Title\0artist\0Art");
        let reading = read_caf(caf(&[lpcm(), cut, data(8)])).unwrap();
        assert_eq!((reading.tags.first(Field::Artist), reading.losses.len()), (Some("Art"), 1));
        let empty = [&[0xff; 4][..], &[0; 100_000]].concat();
        let reading = read_caf(caf(&[lpcm(), CAF.chunk(b"info", &empty), data(8)])).unwrap();
        assert_eq!(reading.losses.len(), 1);
    }

    proptest! {
        #[test]
        fn one_bad_value_costs_itself(bad in 0..3_usize, value in prop::collection::vec(1..=255_u8, 0..40)) {
            let pairs: Vec<(&str, &[u8])> = ["title", "artist", "album"].into_iter().enumerate()
                .map(|(index, key)| (key, if index == bad { &value[..] } else { b"good" })).collect();
            let reading = read_caf(caf(&[lpcm(), info(&pairs), data(8)])).unwrap();
            let fields = [Field::Title, Field::Artist, Field::Album];
            for (index, field) in fields.into_iter().enumerate().filter(|(index, _)| *index != bad) {
                prop_assert_eq!(reading.tags.first(field), Some("good"), "{}", index);
            }
        }

        #[test]
        fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_caf(caf(&[CAF.chunk(b"desc", &bytes), CAF.chunk(b"info", &bytes), CAF.chunk(b"pakt", &bytes), bytes]));
        }
    }
}
