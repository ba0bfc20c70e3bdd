//! The format chunk of WAV, which ASF has as well: Microsoft's WAVEFORMATEX.

use std::time::Duration;

use crate::scan::read::chunks::{number16, number32};
use crate::scan::read::tags::{Reading, Sound};
use crate::scan::read::text::ByteOrder;

/// The tag of a format whose real tag is in its extension.
const EXTENSIBLE: u16 = 0xfffe;
/// Explanation of the length if only the byte rate gives it.
const BY_BYTE_RATE: &str = "the length is that of its bytes at the stated byte rate";

/// The format of the sound, and the speed of its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::scan::read) struct WaveFormat {
    /// Number of the codec, by Microsoft's list.
    tag: u16,
    channels: u16,
    /// Samples per second.
    rate: u32,
    /// Bytes per second.
    byte_rate: u32,
    /// Bytes of a unit: a sample of every channel, or a packet.
    block: u16,
    /// Bits per sample.
    bits: u16,
    /// Samples in a block, if the codec packs many.
    block_samples: u16,
}

impl WaveFormat {
    /// Decodes the format in these bytes; missing fields are 0.
    pub(in crate::scan::read) fn of(bytes: &[u8], order: ByteOrder) -> WaveFormat {
        let stated = number16(bytes, 0, order);
        WaveFormat {
            tag: if stated == EXTENSIBLE { number16(bytes, 24, order) } else { stated },
            channels: number16(bytes, 2, order),
            rate: number32(bytes, 4, order),
            byte_rate: number32(bytes, 8, order),
            block: number16(bytes, 12, order),
            bits: number16(bytes, 14, order),
            block_samples: if stated == EXTENSIBLE { 0 } else { number16(bytes, 18, order) },
        }
    }

    /// Fills in all but the length.
    pub(in crate::scan::read) fn describe(&self, sound: &mut Sound) {
        sound.codec = self.codec();
        sound.sample_rate = self.rate;
        sound.channels = self.channels;
        sound.bit_rate = self.byte_rate.saturating_mul(8);
        if self.is_linear() || matches!(sound.codec, "flac" | "wmalossless") {
            sound.bit_depth = self.bits;
        }
    }

    /// Finds the length of `len` bytes of sound. `samples` is the number that the file states.
    pub(super) fn measure(&self, len: u64, samples: Option<u64>, reading: &mut Reading) {
        if self.is_linear() && self.rate > 0 && self.frame_len() > 0 {
            reading.set_samples(len / self.frame_len(), self.rate);
            return;
        }
        let packed = self.packed_samples(len).and_then(|samples| seconds(samples, self.rate));
        let estimate = packed.or_else(|| seconds(len, self.byte_rate));
        let stated = samples.and_then(|samples| seconds(samples, self.rate));
        // Some encoders state the number of bytes, or a number of another file.
        let stated = stated.filter(|stated| estimate.is_none_or(|estimate| are_close(*stated, estimate)));
        reading.sound.length = stated.or(estimate);
        if stated.is_none() && packed.is_none() && estimate.is_some() {
            reading.guess = Some(BY_BYTE_RATE);
        }
        if reading.sound.length.is_none() {
            reading
                .lose("length", format!("its format states a rate of {} samples and of 0 bytes", self.rate));
        }
    }

    fn codec(&self) -> &'static str {
        match self.tag {
            0x0001 | 0x0003 => "pcm",
            0x0002 | 0x0010..=0x0014 | 0x0017 | 0x0020 | 0x0036 | 0x0045 | 0x0064 | 0x0065 | 0x0200 => {
                "adpcm"
            }
            0x0006 => "alaw",
            0x0007 => "mulaw",
            0x000a => "wmavoice",
            0x0031 => "gsm",
            0x0050 => "mp2",
            0x0055 => "mp3",
            0x00ff | 0x1600 | 0x1602 | 0x1610 | 0x706d | 0x4143 | 0xa106 => "aac",
            0x0160 | 0x0161 => "wma",
            0x0162 => "wmapro",
            0x0163 => "wmalossless",
            0x0270 => "atrac3",
            0x2000 => "ac3",
            0x2001 => "dts",
            0x566f | 0x674f..=0x6751 | 0x676f..=0x6771 => "vorbis",
            0x704f => "opus",
            0xa109 => "speex",
            0xf1ac => "flac",
            _ => "",
        }
    }

    /// Reports whether every sample takes the same number of bytes.
    fn is_linear(&self) -> bool {
        matches!(self.tag, 0x0001 | 0x0003 | 0x0006 | 0x0007)
    }

    /// Returns the bytes of one sample of all channels; 0 if unknown.
    fn frame_len(&self) -> u64 {
        let computed = u64::from(self.channels) * u64::from(self.bits.div_ceil(8));
        let block = u64::from(self.block);
        let fits = block * u64::from(self.rate) == u64::from(self.byte_rate);
        if block > 0 && (computed == 0 || fits) { block } else { computed }
    }

    /// Returns the number of samples in `len` bytes of a codec whose blocks all hold as many.
    fn packed_samples(&self, len: u64) -> Option<u64> {
        let packs = matches!(self.tag, 0x0002 | 0x0011 | 0x0031) && self.block > 0 && self.block_samples > 0;
        packs.then(|| (len / u64::from(self.block)).saturating_mul(self.block_samples.into()))
    }
}

/// Returns the duration of `count` units at a `rate` per second.
fn seconds(count: u64, rate: u32) -> Option<Duration> {
    Duration::try_from_secs_f64(count as f64 / f64::from(rate)).ok()
}

/// Reports whether neither is more than twice the other. A second more or less does not matter.
fn are_close(a: Duration, b: Duration) -> bool {
    let (a, b) = (a.as_secs_f64(), b.as_secs_f64());
    a <= 2.0 * b + 1.0 && b <= 2.0 * a + 1.0
}
