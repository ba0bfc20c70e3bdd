//! AIFF and AIFF-C: chunks in big-endian order. Names stand in an ID3 chunk and, with less
//! in them, in text chunks.

use std::time::Duration;

use super::chunks::{self, Chunks, Layout, number16, number32, read_text};
use super::source::Source;
use super::tags::{Field, Reading, Unread};
use super::text::ByteOrder;

/// Bytes of `COMM` that matter.
const COMMON_LEN: u64 = 22;
/// Bytes in front of the samples in `SSND`.
const SOUND_HEAD_LEN: u64 = 8;

/// What the common chunk says.
#[derive(Debug, Clone, Copy)]
struct Common {
    channels: u16,
    frames: u32,
    bits: u16,
    /// Samples per second; 0 when it states nonsense.
    rate: f64,
    /// Four letters, of AIFF-C; zeros in AIFF.
    compression: [u8; 4],
}

pub(super) fn read(source: &mut Source, reading: &mut Reading) -> Result<(), Unread> {
    let mut chunks = Chunks::new(Layout::IFF, 12, source.len());
    let mut common = None;
    let mut sound_len = None;
    loop {
        let wanted = match (&common, sound_len) {
            (None, _) => Some(b"COMM"),
            (Some(Common { frames: 1.., .. }), None) => Some(b"SSND"),
            _ => None,
        };
        let Some(chunk) = chunks.next_or_find(source, reading, wanted)? else { break };
        let text = (chunk.from, chunk.to);
        match chunk.name() {
            b"COMM" if common.is_none() => common = Some(Common::of(chunk.bytes(source, COMMON_LEN)?)),
            b"SSND" if sound_len.is_none() => {
                let offset = number32(chunk.bytes(source, SOUND_HEAD_LEN)?, 0, ByteOrder::Big);
                let len = chunk.len().saturating_sub(SOUND_HEAD_LEN);
                sound_len = Some(len.checked_sub(offset.into()).unwrap_or(len));
            }
            b"NAME" => read_text(source, text, Field::Title, reading)?,
            b"AUTH" => read_text(source, text, Field::Artist, reading)?,
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

    /// Samples of each channel: as stated, if the bytes for them are there. Codecs that pack
    /// them state packets instead.
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

    /// The codec, and how many bytes of a channel hold how many samples, where that is fixed.
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

/// A number in Apple's format of 80 bits; 0 for what is no positive number.
fn extended(bytes: &[u8]) -> f64 {
    let exponent = i32::from(number16(bytes, 0, ByteOrder::Big));
    let mantissa = chunks::number(bytes, 2, 8, ByteOrder::Big);
    let value = mantissa as f64 * 2f64.powi(exponent - 16_383 - 63);
    // No device plays faster than some MHz: more is nonsense.
    if (1e-3..=1e9).contains(&value) { value } else { 0.0 }
}
