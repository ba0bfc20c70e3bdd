//! The codecs of streams in Ogg: the fields of the first packet, and the duration of packets.

use std::io;

use super::page::Page;
use crate::scan::read::flac;
use crate::scan::read::source::Source;
use crate::scan::read::tags::Reading;

/// Samples per second of every Opus stream.
const OPUS_RATE: u32 = 48_000;
/// Most bytes of a first packet that are read.
pub(super) const HEAD_MAX: usize = 128;

/// The codec of a stream.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Codec {
    Vorbis {
        channels: u8,
        rate: u32,
        bit_rate: u32,
        /// Samples of the two sizes of blocks.
        blocks: [u64; 2],
    },
    Opus {
        channels: u8,
        pre_skip: u16,
    },
    Speex {
        channels: u32,
        rate: u32,
        bit_rate: u32,
        /// Samples of a packet.
        packet: u64,
        extra_headers: u32,
    },
    /// The description may be in another packet (before 2006).
    Flac(Option<flac::Info>),
    Theora(Frames),
    /// Another codec for video.
    Video,
    Other,
}

/// The frames of a Theora stream. 0 marks a value that the first packet lacks.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Frames {
    /// Frames in `seconds`.
    count: u32,
    seconds: u32,
    /// Number of low bits of a place in the stream that count frames from the last key frame on.
    shift: u32,
    bit_rate: u32,
}

impl Frames {
    fn of(head: &[u8]) -> Frames {
        let Some(head) = head.first_chunk::<42>() else { return Frames::default() };
        let number = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        Frames {
            count: number(22),
            seconds: number(26),
            shift: number(38) >> 5 & 31,
            bit_rate: number(36) & 0xff_ffff,
        }
    }

    /// Returns the time at which the frame at this place is shown, in nanoseconds.
    pub(super) fn nanos(self, place: u64) -> Option<u64> {
        let frames = (place >> self.shift).saturating_add(place & ((1 << self.shift) - 1));
        let nanos = u128::from(frames) * u128::from(self.seconds) * 1_000_000_000;
        u64::try_from(nanos.checked_div(self.count.into())?).ok()
    }
}

impl Codec {
    /// Returns the codec whose first packet begins with these bytes.
    pub(super) fn of(head: &[u8]) -> Codec {
        vorbis(head).or_else(|| opus(head)).or_else(|| speex(head)).unwrap_or_else(|| match head {
            // Version, number of header packets, mark and header of the block go before.
            [0x7f, b'F', b'L', b'A', b'C', ..] => Codec::Flac(head.get(17..).and_then(flac::Info::of)),
            [b'f', b'L', b'a', b'C', ..] => Codec::Flac(head.get(8..).and_then(flac::Info::of)),
            [0x80, b't', b'h', b'e', b'o', b'r', b'a', ..] => Codec::Theora(Frames::of(head)),
            [1, b'v', b'i', b'd', b'e', b'o', ..] | [b'B', b'B', b'C', b'D', ..] => Codec::Video,
            [b'O', b'V', b'P', b'8', b'0', ..] => Codec::Video,
            _ => Codec::Other,
        })
    }

    /// Reports whether it is audio that this program reads.
    pub(super) fn is_audio(&self) -> bool {
        matches!(self, Codec::Vorbis { .. } | Codec::Opus { .. } | Codec::Speex { .. } | Codec::Flac(_))
    }

    /// Returns the samples per second, the unit of places in the sound.
    pub(super) fn rate(&self) -> u32 {
        match self {
            Codec::Vorbis { rate, .. } | Codec::Speex { rate, .. } => *rate,
            Codec::Opus { .. } => OPUS_RATE,
            Codec::Flac(info) => info.as_ref().map_or(0, |info| info.rate),
            _ => 0,
        }
    }

    /// Returns the number of samples at the start of a stream that are not played.
    pub(super) fn pre_skip(&self) -> u64 {
        match self {
            Codec::Opus { pre_skip, .. } => u64::from(*pre_skip),
            _ => 0,
        }
    }

    /// Copies the known fields of the sound, but for the length.
    pub(super) fn describe(&self, reading: &mut Reading) {
        let sound = &mut reading.sound;
        sound.sample_rate = self.rate();
        match self {
            Codec::Vorbis { channels, bit_rate, .. } => {
                (sound.codec, sound.channels, sound.bit_rate) = ("vorbis", u16::from(*channels), *bit_rate);
            }
            Codec::Opus { channels, .. } => (sound.codec, sound.channels) = ("opus", u16::from(*channels)),
            Codec::Speex { channels, bit_rate, .. } => {
                sound.codec = "speex";
                sound.channels = u16::try_from(*channels).unwrap_or(0);
                sound.bit_rate = *bit_rate;
            }
            Codec::Flac(Some(info)) => info.describe(reading),
            Codec::Flac(None) => sound.codec = "flac",
            Codec::Theora(frames) => (sound.codec, sound.bit_rate) = ("theora", frames.bit_rate),
            Codec::Video | Codec::Other => {}
        }
    }

    /// Returns the place in the sound where the packets that end on the first page of sound begin.
    /// It is not 0 in a recording of a live stream.
    ///
    /// # Errors
    /// Those of reading.
    pub(super) fn start(&self, source: &mut Source, page: &Page) -> io::Result<u64> {
        let place = page.granule.unwrap_or(0);
        let count = page.ended();
        Ok(place.saturating_sub(match self {
            // The packets of a first page that begins at 0 may hold more than they claim.
            Codec::Vorbis { blocks, .. } if place <= count * blocks[1] / 2 => place,
            Codec::Vorbis { blocks, .. } => vorbis_samples(source, page, *blocks)?,
            Codec::Opus { .. } => opus_samples(source, page)?,
            Codec::Speex { packet, .. } => count.saturating_mul(*packet),
            Codec::Flac(Some(info)) => count * u64::from(info.block_size),
            _ => place,
        }))
    }
}

fn number(head: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*head.get(at..)?.first_chunk()?))
}

/// Returns a bit rate; negative numbers mean that it is unknown.
fn bit_rate(number: u32) -> u32 {
    if number > i32::MAX as u32 { 0 } else { number }
}

fn vorbis(head: &[u8]) -> Option<Codec> {
    let text = head.strip_prefix(b"\x01vorbis")?;
    let sizes = *text.get(21)?;
    Some(Codec::Vorbis {
        channels: *text.get(4)?,
        rate: number(text, 5)?,
        bit_rate: bit_rate(number(text, 13)?),
        blocks: [1 << (sizes & 15), 1 << (sizes >> 4)],
    })
}

fn opus(head: &[u8]) -> Option<Codec> {
    let text = head.strip_prefix(b"OpusHead")?;
    Some(Codec::Opus {
        channels: *text.get(1)?,
        pre_skip: u16::from_le_bytes([*text.get(2)?, *text.get(3)?]),
    })
}

fn speex(head: &[u8]) -> Option<Codec> {
    head.strip_prefix(b"Speex   ")?;
    Some(Codec::Speex {
        rate: number(head, 36)?,
        channels: number(head, 48)?,
        bit_rate: bit_rate(number(head, 52)?),
        packet: u64::from(number(head, 56)?) * u64::from(number(head, 64)?),
        extra_headers: number(head, 68)?,
    })
}

/// Returns the number of samples of the Vorbis packets that end on a page. The first bits of a packet state
/// the mode; every encoder has two, the second of which is that of long blocks.
fn vorbis_samples(source: &mut Source, page: &Page, blocks: [u64; 2]) -> io::Result<u64> {
    let (mut sum, mut before) = (0, None);
    for (at, _) in page.packets() {
        let Some([first]) = source.array(at)? else { break };
        let block = blocks[usize::from(first >> 1 & 1)];
        sum += before.map_or(0, |before: u64| before / 4 + block / 4);
        before = Some(block);
    }
    Ok(sum)
}

/// Returns the number of samples of the Opus packets that end on a page.
fn opus_samples(source: &mut Source, page: &Page) -> io::Result<u64> {
    let mut sum = 0;
    for (at, len) in page.packets() {
        let Some([first, second]) = source.array(at)? else { break };
        let frame = match first >> 3 {
            config @ 0..12 => [480, 960, 1920, 2880][usize::from(config & 3)],
            config @ 12..16 => [480, 960][usize::from(config & 1)],
            config => [120, 240, 480, 960][usize::from(config & 3)],
        };
        sum += frame
            * match first & 3 {
                0 => 1,
                1 | 2 => 2,
                _ if len < 2 => 0,
                _ => u64::from(second & 63),
            };
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_first_packets_are_of_no_codec() {
        for head in [&b""[..], b"\x01vorbis", b"OpusHead\x01\x02", b"Speex   1.2"] {
            assert_eq!(Codec::of(head), Codec::Other, "{head:?}");
        }
        assert_eq!(Codec::of(b"\x80theora\x03"), Codec::Theora(Frames::default()));
        assert_eq!(Frames::default().nanos(9), None);
        assert_eq!(Codec::of(b"\x7fFLAC"), Codec::Flac(None));
        assert_eq!(Codec::of(b"OpusHead\x01\x02\x38\x01"), Codec::Opus { channels: 2, pre_skip: 312 });
    }
}
