//! One-bit sound: Sony's DSF, with an ID3 tag at its end, and Philips' DSDIFF, whose sound
//! may be packed (DST).

use std::io;
use std::time::Duration;

use super::chunks::{self, Chunk, Chunks, Layout, number, number16, number32, read_text};
use super::source::Source;
use super::tags::{Field, Reading, Unread};
use super::text::ByteOrder;

/// Bytes of the first chunk of DSF.
const DSF_HEAD_LEN: u64 = 28;
/// Bytes of the body of DSF's `fmt `.
const DSF_FORMAT_LEN: u64 = 40;
/// Bytes in front of the first chunk of DSDIFF.
const DSDIFF_HEAD_LEN: u64 = 16;
/// Bytes of an entry of the index of packed frames.
const INDEX_ENTRY_LEN: u64 = 12;
/// Packed frames in a second, as all known files have.
const FRAMES_PER_SECOND: u16 = 75;
/// Packed frames that are looked at to guess how many there are.
const FRAMES_MAX: u64 = 500;
/// How the length was found when the sound is shorter than stated.
const COUNTED: &str = "its number of samples is wrong: they are counted by their bytes";

pub(super) fn read(source: &mut Source, reading: &mut Reading) -> Result<(), Unread> {
    match source.bytes(0, 4)? {
        b"DSD " => read_dsf(source, reading),
        _ => read_dsdiff(source, reading),
    }
}

fn read_dsf(source: &mut Source, reading: &mut Reading) -> Result<(), Unread> {
    let head = source.bytes(0, DSF_HEAD_LEN as usize)?;
    let pointer = number(head, 20, 8, ByteOrder::Little);
    let mut chunks = Chunks::new(Layout::DSF, DSF_HEAD_LEN, source.len());
    let (mut format, mut data) = (None, None);
    while data.is_none() {
        let wanted = if format.is_none() { b"fmt " } else { b"data" };
        let Some(chunk) = chunks.next_or_find(source, reading, Some(wanted))? else { break };
        match chunk.name() {
            b"fmt " => format = Some(chunk.bytes(source, DSF_FORMAT_LEN)?.to_vec()),
            b"data" => data = Some(chunk),
            _ => {}
        }
    }
    let (Some(format), Some(data)) = (format, data) else {
        return Err(Unread::Broken("its fmt or its data chunk is missing".to_owned()));
    };
    let (channels, rate) =
        (number32(&format, 12, ByteOrder::Little), number32(&format, 16, ByteOrder::Little));
    let stated = number(&format, 24, 8, ByteOrder::Little);
    let there = (data.len() * 8).checked_div(channels.into());
    if there.is_some_and(|there| stated == 0 || stated > there) {
        reading.guess = Some(COUNTED);
    }
    let samples = there.filter(|there| stated == 0 || stated > *there).unwrap_or(stated);
    describe(reading, "dsd", channels, rate);
    measure(reading, samples, rate);
    read_dsf_tag(source, pointer, &data, reading)?;
    Ok(())
}

/// Reads the tag behind the sound of DSF: where the head says, else where it should be.
fn read_dsf_tag(source: &mut Source, pointer: u64, data: &Chunk, reading: &mut Reading) -> io::Result<()> {
    let end = source.len();
    let found = pointer > 0 && pointer < end && chunks::read_id3(source, pointer, end, reading)?;
    let found = found || (pointer != data.to && chunks::read_id3(source, data.to, end, reading)?);
    if !found && pointer > 0 {
        reading.lose("ID3 tag", format!("there is none at byte {pointer}, where the head points to"));
    }
    Ok(())
}

/// What the property chunk of DSDIFF says.
#[derive(Debug, Default, Clone, Copy)]
struct Properties {
    rate: u32,
    channels: u16,
}

fn read_dsdiff(source: &mut Source, reading: &mut Reading) -> Result<(), Unread> {
    let mut chunks = Chunks::new(Layout::DSDIFF, DSDIFF_HEAD_LEN, source.len());
    let (mut properties, mut sound) = (None, None);
    loop {
        let wanted = match properties {
            None => Some(b"PROP"),
            Some(_) => None,
        };
        let Some(chunk) = chunks.next_or_find(source, reading, wanted)? else { break };
        match chunk.name() {
            b"PROP" if properties.is_none() => properties = Some(read_properties(&chunk, source, reading)?),
            b"DSD " | b"DST " if sound.is_none() => sound = Some(chunk),
            b"DSTI" => {
                let frames = chunk.len() / INDEX_ENTRY_LEN;
                set_frames(reading, frames, FRAMES_PER_SECOND);
            }
            b"DIIN" => read_edited_master(&chunk, source, reading)?,
            b"ID3 " | b"id3 " => {
                chunks::read_id3(source, chunk.from, chunk.to, reading)?;
            }
            _ => {}
        }
    }
    let Some(sound) = sound else {
        return Err(Unread::Broken("it has no sound: its DSD or DST chunk is missing".to_owned()));
    };
    let Properties { rate, channels } = properties.unwrap_or_default();
    if sound.name() == b"DST " {
        describe(reading, "dst", channels.into(), rate);
        measure_packed(&sound, source, reading)?;
    } else {
        describe(reading, "dsd", channels.into(), rate);
        match (sound.len() * 8).checked_div(channels.into()) {
            Some(samples) => measure(reading, samples, rate),
            None => reading.lose("length", "it does not state its channels"),
        }
        if sound.is_cut() && reading.sound.length.is_some() {
            reading.guess = Some(COUNTED);
        }
    }
    Ok(())
}

fn read_properties(chunk: &Chunk, source: &mut Source, reading: &mut Reading) -> io::Result<Properties> {
    let mut properties = Properties::default();
    let mut inner = Chunks::new(Layout::DSDIFF, chunk.from + 4, chunk.to);
    while let Some(part) = inner.next(source, reading)? {
        match part.name() {
            b"FS  " => properties.rate = number32(part.bytes(source, 4)?, 0, ByteOrder::Big),
            b"CHNL" => properties.channels = number16(part.bytes(source, 2)?, 0, ByteOrder::Big),
            _ => {}
        }
    }
    Ok(properties)
}

/// Reads the names in `DIIN`: each is a length and a text.
fn read_edited_master(chunk: &Chunk, source: &mut Source, reading: &mut Reading) -> io::Result<()> {
    let mut inner = Chunks::new(Layout::DSDIFF, chunk.from, chunk.to);
    while let Some(part) = inner.next(source, reading)? {
        let field = match part.name() {
            b"DITI" => Field::Title,
            b"DIAR" => Field::Artist,
            _ => continue,
        };
        let stated = number32(part.bytes(source, 4)?, 0, ByteOrder::Big);
        let from = (part.from + 4).min(part.to);
        let to = (from + u64::from(stated)).min(part.to);
        if part.is_cut() || u64::from(stated) > to - from {
            reading.lose(field.name(), format!("it claims {stated} bytes, of which {} are there", to - from));
        }
        read_text(source, (from, to), field, reading)?;
    }
    Ok(())
}

/// Finds the length of packed sound: by its head, its index, or its first frames.
fn measure_packed(sound: &Chunk, source: &mut Source, reading: &mut Reading) -> io::Result<()> {
    let mut frames = Chunks::new(Layout::DSDIFF, sound.from, sound.to);
    let (mut seen, mut seen_to, mut per_second) = (0, sound.from, FRAMES_PER_SECOND);
    while seen < FRAMES_MAX {
        let Some(part) = frames.next(source, reading)? else { break };
        match part.name() {
            b"FRTE" => {
                let head = part.bytes(source, 6)?;
                let stated = number32(head, 0, ByteOrder::Big);
                per_second = match number16(head, 4, ByteOrder::Big) {
                    0 => FRAMES_PER_SECOND,
                    rate => rate,
                };
                if stated > 0 && !sound.is_cut() {
                    set_frames(reading, stated.into(), per_second);
                    return Ok(());
                }
            }
            b"DSTF" => (seen, seen_to) = (seen + 1, part.to),
            _ => {}
        }
        if seen > 0 && reading.sound.length.is_some() && !sound.is_cut() {
            return Ok(());
        }
    }
    if seen == 0 && reading.sound.length.is_none() {
        reading.lose("length", "neither the head of the packed sound nor its index tells it");
    } else if seen > 0 {
        let whole = (sound.len() as f64 * seen as f64 / (seen_to - sound.from) as f64) as u64;
        set_frames(reading, whole, per_second);
        reading.guess = Some("the length is guessed from the size of the first packed frames");
    }
    Ok(())
}

fn set_frames(reading: &mut Reading, frames: u64, per_second: u16) {
    reading.sound.length = Duration::try_from_secs_f64(frames as f64 / f64::from(per_second)).ok();
}

fn describe(reading: &mut Reading, codec: &'static str, channels: u32, rate: u32) {
    let sound = &mut reading.sound;
    (sound.codec, sound.sample_rate, sound.bit_depth) = (codec, rate, 1);
    sound.channels = u16::try_from(channels).unwrap_or(0);
    if codec == "dsd" {
        sound.bit_rate = rate.saturating_mul(channels);
    }
}

fn measure(reading: &mut Reading, samples: u64, rate: u32) {
    reading.set_samples(samples, rate);
    if rate == 0 {
        reading.lose("length", "its sample rate is 0");
    }
}
