//! AIFF and AIFF-C: chunks in big-endian order. Names are in an ID3 chunk and, with fewer fields,
//! in text chunks.

use std::time::Duration;

use super::chunks::{self, Chunks, Layout, number16, number32};
use super::source::Source;
use super::tags::{Field, Reading, Unread};
use super::text::ByteOrder;

/// Bytes of `COMM` that matter.
const COMMON_LEN: u64 = 22;
/// Bytes in front of the samples in `SSND`.
const SOUND_HEAD_LEN: u64 = 8;

/// The fields of the common chunk.
#[derive(Debug, Clone, Copy)]
struct Common {
    channels: u16,
    frames: u32,
    bits: u16,
    /// Samples per second; 0 if the stated rate is absurd.
    rate: f64,
    /// Four letters, of AIFF-C; zeros in AIFF.
    compression: [u8; 4],
}

pub(super) fn read(source: &mut Source, reading: &mut Reading) -> Result<(), Unread> {
    let mut chunks = Chunks::new(Layout::IFF, 12, source.len());
    let mut common = None;
    let mut sound_len = None;
    loop {
        let wanted: Option<&[u8]> = match (&common, sound_len) {
            (None, _) => Some(b"COMM"),
            (Some(Common { frames: 1.., .. }), None) => Some(b"SSND"),
            _ => None,
        };
        let Some(chunk) = chunks.next_or_find(source, reading, wanted)? else { break };
        match chunk.name() {
            b"COMM" if common.is_none() => common = Some(Common::of(chunk.bytes(source, COMMON_LEN)?)),
            b"SSND" if sound_len.is_none() => {
                let offset = number32(chunk.bytes(source, SOUND_HEAD_LEN)?, 0, ByteOrder::Big);
                let len = chunk.len().saturating_sub(SOUND_HEAD_LEN);
                sound_len = Some(len.checked_sub(offset.into()).unwrap_or(len));
            }
            b"NAME" => chunks::read_text_chunk(source, &chunk, Field::Title, reading)?,
            b"AUTH" => chunks::read_text_chunk(source, &chunk, Field::Artist, reading)?,
            b"ID3 " | b"id3 " => {
                chunks::read_id3(source, chunk.from, chunk.to, reading)?;
            }
            _ => {}
        }
    }
    let Some(common) = common else {
        return Err(Unread::Broken("it has no COMM chunk".to_owned()));
    };
    if common.frames > 0 && sound_len.is_none() {
        return Err(Unread::Broken("it has no sound: its SSND chunk is missing".to_owned()));
    }
    common.describe(sound_len.unwrap_or(0), reading);
    Ok(())
}

impl Common {
    fn of(bytes: &[u8]) -> Common {
        let mut compression = [0; 4];
        if let Some(name) = bytes.get(18..22) {
            compression.copy_from_slice(name);
        }
        Common {
            channels: number16(bytes, 0, ByteOrder::Big),
            frames: number32(bytes, 2, ByteOrder::Big),
            bits: number16(bytes, 6, ByteOrder::Big),
            rate: bytes.get(8..18).map_or(0.0, extended),
            compression,
        }
    }

    fn describe(self, sound_len: u64, reading: &mut Reading) {
        let (codec, packing) = self.codec();
        let frames = self.frames(sound_len, packing);
        if frames != u64::from(self.frames) && !matches!(packing, Some((_, 2..))) {
            reading.guess = Some("its number of samples is wrong: they are counted by their bytes");
        }
        let sound = &mut reading.sound;
        (sound.codec, sound.channels, sound.sample_rate) = (codec, self.channels, self.rate.round() as u32);
        if matches!(packing, Some((_, 1))) && codec == "pcm" {
            sound.bit_depth = self.bits;
        }
        if self.rate <= 0.0 {
            reading.lose("length", "its sample rate is 0");
            return;
        }
        sound.length = Duration::try_from_secs_f64(frames as f64 / self.rate).ok();
        let seconds = frames as f64 / self.rate;
        if seconds > 0.0 {
            sound.bit_rate = (sound_len as f64 * 8.0 / seconds) as u32;
        }
    }

    /// Returns the samples of each channel: the stated number, if the bytes for them are present.
    /// Codecs that pack samples state packets instead.
    fn frames(self, sound_len: u64, packing: Option<(u64, u64)>) -> u64 {
        let stated = u64::from(self.frames);
        match packing {
            Some((bytes, samples)) if self.channels > 0 => {
                let there = sound_len / (bytes * u64::from(self.channels)) * samples;
                if samples > 1 || stated == 0 || stated > there { there } else { stated }
            }
            _ => stated,
        }
    }

    /// Returns the codec, and how many bytes of a channel hold how many samples, if that is fixed.
    fn codec(self) -> (&'static str, Option<(u64, u64)>) {
        let linear = Some((u64::from(self.bits.div_ceil(8)).max(1), 1));
        match &self.compression {
            b"\0\0\0\0" | b"NONE" | b"none" | b"twos" | b"sowt" | b"raw " | b"in24" | b"in32" | b"fl32"
            | b"FL32" | b"fl64" | b"FL64" | b"42ni" | b"23ni" => ("pcm", linear),
            b"alaw" | b"ALAW" => ("alaw", Some((1, 1))),
            b"ulaw" | b"ULAW" => ("mulaw", Some((1, 1))),
            b"ima4" => ("adpcm", Some((34, 64))),
            b"MAC3" => ("mace", Some((2, 6))),
            b"MAC6" => ("mace", Some((1, 6))),
            b"GSM " | b"agsm" => ("gsm", Some((33, 160))),
            b"G722" => ("adpcm", None),
            b".mp3" => ("mp3", None),
            b"Qclp" => ("qcelp", None),
            b"QDM2" | b"QDMC" => ("qdm2", None),
            _ => ("", None),
        }
    }
}

/// Returns a number in Apple's format of 80 bits; 0 for a value that is not positive.
fn extended(bytes: &[u8]) -> f64 {
    let exponent = i32::from(number16(bytes, 0, ByteOrder::Big));
    let mantissa = chunks::number(bytes, 2, 8, ByteOrder::Big);
    let value = mantissa as f64 * 2f64.powi(exponent - 16_383 - 63);
    // No device plays faster than some MHz.
    if (1e-3..=1e9).contains(&value) { value } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const IFF: Layout = Layout::IFF;
    /// 8,000, 44,100 and 22,254.545... in 80 bits.
    const RATE_8000: &[u8; 10] = b"\x40\x0b\xfa\0\0\0\0\0\0\0";
    const RATE_44100: &[u8; 10] = b"\x40\x0e\xac\x44\0\0\0\0\0\0";
    const RATE_22254: &[u8; 10] = b"\x40\x0d\xad\xdd\x17\x45\xd1\x74\x5d\x17";

    fn common(channels: u16, frames: u32, bits: u16, rate: &[u8; 10], compression: &[u8]) -> Vec<u8> {
        let body =
            [&channels.to_be_bytes()[..], &frames.to_be_bytes(), &bits.to_be_bytes(), rate, compression];
        IFF.chunk(b"COMM", &body.concat())
    }

    fn sound(len: usize) -> Vec<u8> {
        IFF.chunk(b"SSND", &[vec![0; 8], vec![7; len]].concat())
    }

    fn form(chunks: &[Vec<u8>]) -> Vec<u8> {
        [b"FORM\0\0\0\0AIFF".to_vec(), chunks.concat()].concat()
    }

    fn read_form(file: Vec<u8>) -> Result<Reading, Unread> {
        let mut reading = Reading::default();
        read(&mut Source::of(file), &mut reading).map(|()| reading)
    }

    #[test]
    fn text_chunks_are_read_and_give_way() {
        let names = [IFF.chunk(b"NAME", b"Title"), IFF.chunk(b"AUTH", b"caf\xe9"), IFF.chunk(b"ANNO", b"no")];
        let file = form(&[names.concat(), common(1, 16_000, 16, RATE_8000, b""), sound(32_000)]);
        let reading = read_form(file).unwrap();
        assert_eq!(
            (reading.weak.first(Field::Title), reading.weak.first(Field::Artist)),
            (Some("Title"), Some("caf\u{fffd}"))
        );
        assert_eq!((reading.losses.len(), reading.tags.has(Field::Title)), (1, false));
        let sound = reading.sound;
        assert_eq!((sound.length, sound.codec), (Some(Duration::from_secs(2)), "pcm"));
        assert_eq!(
            (sound.sample_rate, sound.channels, sound.bit_depth, sound.bit_rate),
            (8000, 1, 16, 128_000)
        );
    }

    #[test]
    fn the_length_is_that_of_the_samples_that_are_there() {
        for (channels, frames, bits, rate, compression, len, due, counted) in [
            (2, 44_100, 16, RATE_44100, &b""[..], 176_400, Some(1.0), false),
            (2, 44_100, 24, RATE_44100, b"NONE", 264_600, Some(1.0), false),
            (2, u32::MAX, 16, RATE_44100, b"sowt", 176_400, Some(1.0), true),
            (2, 0, 16, RATE_44100, b"", 176_400, Some(1.0), true),
            (2, 22_050, 16, RATE_44100, b"", 176_400, Some(0.5), false),
            (1, 250, 16, RATE_8000, b"ima4", 8500, Some(2.0), false),
            (1, 16_000, 16, RATE_8000, b"ima4", 8500, Some(2.0), false),
            (1, 16_000, 8, RATE_8000, b"ulaw", 16_000, Some(2.0), false),
            (0, 16_000, 16, RATE_8000, b"", 16_000, Some(2.0), false),
            (1, 44_509, 8, RATE_22254, b"raw ", 44_509, Some(2.0), false),
            (1, 16_000, 16, &[0; 10], b"", 32_000, None, false),
            (1, 16_000, 16, &[0xff; 10], b"", 32_000, None, false),
            (1, 16_000, 16, RATE_8000, b"what", 5, Some(2.0), false),
            (1, 0, 16, RATE_8000, b"", 0, Some(0.0), false),
        ] {
            let name = format!("{channels} {frames} {bits} {compression:?}");
            let reading =
                read_form(form(&[common(channels, frames, bits, rate, compression), sound(len)])).unwrap();
            let length = reading.sound.length.map(|length| length.as_secs_f64());
            assert!(
                length.zip(due).map_or(length == due, |(a, b)| (a - b).abs() < 1e-4),
                "{name}: {length:?}"
            );
            assert_eq!(
                (reading.guess.is_some(), reading.losses.is_empty()),
                (counted, due.is_some()),
                "{name}"
            );
        }
    }

    #[test]
    fn sizes_that_lie_hide_nothing() {
        let common = common(1, 16_000, 16, RATE_8000, b"");
        let whole = [sound(32_000), IFF.chunk(b"NAME", b"Title")].concat();
        for lie in [IFF.head(b"XXXX", u32::MAX.into()), IFF.head(b"XXXX", 40)] {
            for chunks in [[lie.clone(), common.clone()], [common.clone(), lie]] {
                let reading = read_form(form(&[chunks.concat(), whole.clone()])).unwrap();
                assert_eq!(reading.sound.length, Some(Duration::from_secs(2)));
                assert_eq!(
                    (reading.weak.first(Field::Title), reading.losses.is_empty()),
                    (Some("Title"), false)
                );
            }
        }
        let open = [IFF.head(b"SSND", u32::MAX.into()), vec![0; 32_008]].concat();
        assert_eq!(
            read_form(form(&[common.clone(), open])).unwrap().sound.length,
            Some(Duration::from_secs(2))
        );
        for chunks in [vec![], vec![common], vec![sound(10)]] {
            assert!(matches!(read_form(form(&chunks)), Err(Unread::Broken(_))));
        }
    }

    proptest! {
        #[test]
        fn one_bad_text_costs_itself(bad in 0..3_usize, value in prop::collection::vec(any::<u8>(), 0..40)) {
            let names: [&[u8; 4]; 3] = [b"NAME", b"AUTH", b"(c) "];
            let texts = names.iter().enumerate().map(|(index, name)| IFF.chunk(*name, if index == bad { &value } else { b"good" }));
            let reading = read_form(form(&[common(1, 16_000, 16, RATE_8000, b""), texts.collect::<Vec<_>>().concat(), sound(32_000)])).unwrap();
            prop_assert_eq!(reading.sound.length, Some(Duration::from_secs(2)));
            for (index, field) in [Field::Title, Field::Artist].into_iter().enumerate().filter(|(index, _)| *index != bad) {
                prop_assert_eq!(reading.weak.first(field), Some("good"), "{}", index);
            }
        }

        #[test]
        fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_form(form(std::slice::from_ref(&bytes)));
            let _ = read_form(form(&[common(1, 16_000, 16, RATE_8000, b""), bytes, sound(10)]));
        }
    }
}
