//! The tracks of an MP4 file: the first track of audio, its codec, and its length.

use std::io;

use super::atom::Atom;
use crate::scan::read::source::Source;
use crate::scan::read::tags::Sound;

/// Most entries of the table of durations; a usual file has one or two.
const ENTRIES_MAX: u64 = 200_000;
/// Most bytes of the description of a stream.
const DESCRIPTION_MAX: usize = 256;

/// A track of audio.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Track {
    /// Its number in the file.
    pub(super) id: u32,
    /// Units of time per second.
    pub(super) timescale: u32,
    /// Its duration, in units of time; 0 if unknown.
    pub(super) duration: u64,
    pub(super) sound: Sound,
}

impl Track {
    /// Returns the first track of audio in `moov`.
    ///
    /// # Errors
    /// Those of reading.
    pub(super) fn find(source: &mut Source, moov: Atom) -> io::Result<Option<Track>> {
        let mut children = moov.children();
        while let Some(trak) = children.next(source)? {
            if trak.name == *b"trak"
                && let Some(track) = Track::of(source, trak)?
            {
                return Ok(Some(track));
            }
        }
        Ok(None)
    }

    fn of(source: &mut Source, trak: Atom) -> io::Result<Option<Track>> {
        let (mut mdhd, mut minf, mut handler, mut id) = (None, None, None, 0);
        let mut parts = trak.children();
        while let Some(part) = parts.next(source)? {
            match &part.name {
                b"tkhd" => id = track_id(source, part)?,
                b"mdia" => {
                    let mut media = part.children();
                    while let Some(atom) = media.next(source)? {
                        match &atom.name {
                            b"mdhd" => mdhd = Some(atom),
                            b"minf" => minf = Some(atom),
                            b"hdlr" => handler = handler.or(atom.array::<4>(source, 8)?),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        let is_audio = match (handler, minf) {
            (Some(handler), _) => handler == *b"soun",
            (None, Some(minf)) => minf.child(source, b"smhd")?.is_some(),
            (None, None) => false,
        };
        if !is_audio {
            return Ok(None);
        }
        let (timescale, mut duration) = match mdhd {
            Some(mdhd) => times(source, mdhd)?,
            None => (0, 0),
        };
        let mut sound = Sound::default();
        if let Some(minf) = minf
            && let Some(table) = minf.child(source, b"stbl")?
        {
            if let Some(stsd) = table.child(source, b"stsd")? {
                sound = describe(source, stsd)?;
            }
            if duration == 0
                && let Some(stts) = table.child(source, b"stts")?
            {
                duration = sum(source, stts)?;
            }
        }
        if sound.sample_rate == 0 && (8000..=384_000).contains(&timescale) {
            sound.sample_rate = timescale;
        }
        Ok(Some(Track { id, timescale, duration, sound }))
    }
}

fn track_id(source: &mut Source, tkhd: Atom) -> io::Result<u32> {
    let offset = if is_long(source, tkhd)? { 20 } else { 12 };
    Ok(tkhd.u32(source, offset)?.unwrap_or(0))
}

/// Reports whether the version of an atom says that its times take eight bytes.
pub(super) fn is_long(source: &mut Source, atom: Atom) -> io::Result<bool> {
    Ok(atom.array(source, 0)?.is_some_and(|[version]: [u8; 1]| version == 1))
}

/// Units of time per second and duration of `mdhd` or `mvhd`; 0 when unknown.
pub(super) fn times(source: &mut Source, header: Atom) -> io::Result<(u32, u64)> {
    if is_long(source, header)? {
        let duration = header.u64(source, 24)?.filter(|duration| *duration != u64::MAX);
        return Ok((header.u32(source, 20)?.unwrap_or(0), duration.unwrap_or(0)));
    }
    let duration = header.u32(source, 16)?.filter(|duration| *duration != u32::MAX);
    Ok((header.u32(source, 12)?.unwrap_or(0), u64::from(duration.unwrap_or(0))))
}

/// Returns the sum of the durations of all samples.
fn sum(source: &mut Source, stts: Atom) -> io::Result<u64> {
    let claimed = u64::from(stts.u32(source, 4)?.unwrap_or(0));
    let mut sum = 0_u64;
    for index in 0..claimed.min(stts.len() / 8).min(ENTRIES_MAX) {
        let Some(entry) = stts.u64(source, 8 + 8 * index)? else { break };
        sum = sum.saturating_add((entry >> 32).saturating_mul(entry & 0xffff_ffff));
    }
    Ok(sum)
}

/// Returns the sound that the first description of samples tells.
fn describe(source: &mut Source, stsd: Atom) -> io::Result<Sound> {
    let mut sound = Sound::default();
    let Some(entry) = super::atom::Atoms::new(stsd.start + 8, stsd.end).next(source)? else {
        return Ok(sound);
    };
    sound.codec = codec(&entry.name);
    let number = |source: &mut Source, offset| -> io::Result<u16> {
        Ok(entry.array(source, offset)?.map_or(0, u16::from_be_bytes))
    };
    let version = number(source, 8)?;
    sound.channels = number(source, 16)?;
    sound.bit_depth = if sound.codec == "pcm" { number(source, 18)? } else { 0 };
    // Of a number with 16 bits of fraction.
    sound.sample_rate = u32::from(number(source, 24)?);
    let mut start = entry.start + 28;
    match version {
        1 => start += 16,
        2 => {
            start += 36;
            sound.sample_rate = entry.u64(source, 32)?.map_or(0, |bits| f64::from_bits(bits) as u32);
            sound.channels = u16::try_from(entry.u32(source, 40)?.unwrap_or(0)).unwrap_or(0);
        }
        _ => {}
    }
    let mut extensions = super::atom::Atoms::new(start, entry.end);
    while let Some(extension) = extensions.next(source)? {
        match &extension.name {
            b"esds" => elementary(source, extension, &mut sound)?,
            b"alac" => lossless(source, extension, &mut sound)?,
            b"wave" => {
                if let Some(esds) = extension.child(source, b"esds")? {
                    elementary(source, esds, &mut sound)?;
                }
            }
            _ => {}
        }
    }
    Ok(sound)
}

fn codec(name: &[u8; 4]) -> &'static str {
    match name {
        b"mp4a" | b"enca" | b"drms" => "aac",
        b"alac" => "alac",
        b"fLaC" => "flac",
        b"Opus" => "opus",
        b".mp3" | b"ms\0\x55" => "mp3",
        b"ac-3" => "ac3",
        b"ec-3" => "eac3",
        b"samr" | b"sawb" => "amr",
        b"dtsc" | b"dtse" | b"dtsh" | b"dtsl" => "dts",
        b"twos" | b"sowt" | b"lpcm" | b"raw " | b"NONE" | b"in24" | b"in32" | b"fl32" | b"fl64" | b"ipcm" => {
            "pcm"
        }
        b"ulaw" => "ulaw",
        b"alaw" => "alaw",
        _ => "",
    }
}

/// Reads the settings of Apple Lossless.
fn lossless(source: &mut Source, atom: Atom, sound: &mut Sound) -> io::Result<()> {
    let Some([depth, _, _, _, channels]) = atom.array(source, 9)? else { return Ok(()) };
    sound.bit_depth = u16::from(depth);
    sound.channels = u16::from(channels);
    sound.bit_rate = atom.u32(source, 20)?.unwrap_or(0);
    sound.sample_rate = atom.u32(source, 24)?.unwrap_or(sound.sample_rate);
    Ok(())
}

/// Reads the description of an MPEG stream: nested descriptors of a tag, a length and content.
fn elementary(source: &mut Source, esds: Atom, sound: &mut Sound) -> io::Result<()> {
    const STREAM: u8 = 3;
    const CONFIG: u8 = 4;
    let bytes = source.vec(esds.start + 4, esds.len().saturating_sub(4), DESCRIPTION_MAX)?;
    let mut rest = bytes.as_slice();
    while let Some((tag, content)) = descriptor(rest) {
        match (tag, content) {
            (STREAM, [_, _, flags, inner @ ..]) => {
                let url = inner.first().map_or(0, |len| 1 + usize::from(*len));
                let skipped = [(0x80, 2), (0x40, url), (0x20, 2)];
                let skip = skipped.iter().filter(|(flag, _)| flags & flag != 0).map(|(_, len)| len).sum();
                rest = inner.get(skip..).unwrap_or(&[]);
            }
            (CONFIG, [object, _, _, _, _, _, _, _, _, average @ ..]) => {
                sound.codec = match object {
                    0x69 | 0x6b => "mp3",
                    0xa5 => "ac3",
                    0xa6 => "eac3",
                    0xa9 => "dts",
                    0xdd => "vorbis",
                    0xad => "opus",
                    _ => sound.codec,
                };
                sound.bit_rate = average.first_chunk().map_or(0, |average| u32::from_be_bytes(*average));
                return Ok(());
            }
            _ => return Ok(()),
        }
    }
    Ok(())
}

fn descriptor(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let len_bytes = rest.iter().take(4).position(|byte| byte & 0x80 == 0)? + 1;
    Some((*tag, &rest[len_bytes..]))
}
