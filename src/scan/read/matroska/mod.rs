//! Matroska and WebM: nested elements. The index at the head (`SeekHead`) states where names are
//! behind the sound, so that a reader need not walk over the clusters of sound.

mod element;
mod tag;
#[cfg(test)]
mod tests;

use std::io;
use std::time::Duration;

use super::source::{Source, WINDOW};
use super::tags::{Field, Reading, Sound, Unread};
use element::Element;
use tag::Levels;

const SEGMENT: u32 = 0x1853_8067;
const SEEK_HEAD: u32 = 0x114d_9b74;
const SEEK: u32 = 0x4dbb;
const SEEK_ID: u32 = 0x53ab;
const SEEK_POSITION: u32 = 0x53ac;
const INFO: u32 = 0x1549_a966;
const SCALE: u32 = 0x2a_d7b1;
const DURATION: u32 = 0x4489;
const TITLE: u32 = 0x7ba9;
const TRACKS: u32 = 0x1654_ae6b;
const TRACK: u32 = 0xae;
const TRACK_TYPE: u32 = 0x83;
const CODEC: u32 = 0x86;
const AUDIO: u32 = 0xe1;
const RATE: u32 = 0xb5;
const CHANNELS: u32 = 0x9f;
const DEPTH: u32 = 0x6264;
const TAGS: u32 = 0x1254_c367;
const ATTACHMENTS: u32 = 0x1941_a469;
const ATTACHMENT: u32 = 0x61a7;
const MIME_TYPE: u32 = 0x4660;
const CLUSTER: u32 = 0x1f43_b675;
const TIMESTAMP: u32 = 0xe7;
const SIMPLE_BLOCK: u32 = 0xa3;
const BLOCK_GROUP: u32 = 0xa0;
const BLOCK: u32 = 0xa1;

/// Track types.
const VIDEO_TRACK: u64 = 1;
const AUDIO_TRACK: u64 = 2;
/// Nanoseconds of a unit of time, unless stated.
const SCALE_DEFAULT: u64 = 1_000_000;
/// Most entries of the index.
const SEEKS_MAX: usize = 64;
/// Most elements of a segment that are read.
const PARTS_MAX: usize = 100_000;
/// Most bytes before the end of the file in which to search the last cluster.
const TAIL_MAX: u64 = 4 << 20;
/// Most places where the last cluster may begin.
const CLUSTERS_MAX: usize = 32;

/// Reads a Matroska file. `promised` says whether its name promises audio. A file with another name
/// that holds video is a film.
///
/// # Errors
/// When it holds no track of audio.
pub(super) fn read(source: &mut Source, reading: &mut Reading, promised: bool) -> Result<(), Unread> {
    let Some(segment) = segment(source)? else {
        return Err(Unread::Broken("it has no segment".to_owned()));
    };
    let mut found = Found::default();
    found.read_front(source, segment, reading)?;
    found.read_indexed(source, segment, reading)?;
    if found.is_video && !promised {
        return Err(Unread::NotAudio);
    }
    let Some(sound) = found.sound.take() else {
        return Err(Unread::Broken("it has no track of audio".to_owned()));
    };
    reading.sound = sound;
    let scale = if found.scale == 0 { SCALE_DEFAULT } else { found.scale };
    match length(found.duration, scale) {
        Some(length) => reading.sound.length = Some(length),
        None => count(source, segment, found.cluster, scale, reading)?,
    }
    if let Some(cluster) = found.cluster {
        reading.set_average_bit_rate(segment.end.saturating_sub(cluster));
    }
    let mut tags = found.levels.merge();
    if !tags.has(Field::Title)
        && let Some(title) = found.title
    {
        tag::push(source, title, Field::Title, reading)?;
    }
    tags.fill_from(std::mem::take(&mut reading.tags));
    reading.tags = tags;
    Ok(())
}

/// Returns the segment, which holds all but the header.
fn segment(source: &mut Source) -> io::Result<Option<Element>> {
    let end = source.len();
    let Some(header) = Element::at(source, 0, end)? else { return Ok(None) };
    let mut at = header.end;
    // Padding may stand between.
    for _ in 0..SEEKS_MAX {
        let Some(element) = Element::at(source, at, end)? else { return Ok(None) };
        if element.id == SEGMENT {
            return Ok(Some(element));
        }
        at = element.end;
    }
    Ok(None)
}

/// A length of `units`, each of `scale` nanoseconds.
fn length(units: f64, scale: u64) -> Option<Duration> {
    let seconds = units * scale as f64 / 1e9;
    (seconds > 0.0).then(|| Duration::try_from_secs_f64(seconds).ok()).flatten()
}

/// The findings in the segment.
#[derive(Debug, Default)]
struct Found {
    scale: u64,
    /// In units of `scale`; 0 when unknown.
    duration: f64,
    title: Option<Element>,
    sound: Option<Sound>,
    is_video: bool,
    levels: Levels,
    /// Offsets of parts that the index tells, relative to the segment.
    seeks: Vec<(u32, u64)>,
    /// Offsets of the parts that were read.
    seen: Vec<u64>,
    /// Offset of the first cluster.
    cluster: Option<u64>,
}

impl Found {
    /// Reads the parts up to the first cluster, or all of them if there is no index.
    fn read_front(&mut self, source: &mut Source, segment: Element, reading: &mut Reading) -> io::Result<()> {
        let mut at = segment.start;
        for _ in 0..PARTS_MAX {
            let Some(part) = Element::at(source, at, segment.end)? else { break };
            if part.id == CLUSTER {
                self.cluster = self.cluster.or(Some(at));
                // A part without a size holds the rest of the file; with an index there is no need
                // to go on.
                if part.is_open || !self.seeks.is_empty() {
                    break;
                }
            } else {
                self.read_part(source, part, reading)?;
            }
            at = part.end;
        }
        Ok(())
    }

    /// Reads the parts in the index that were not read yet.
    fn read_indexed(
        &mut self,
        source: &mut Source,
        segment: Element,
        reading: &mut Reading,
    ) -> io::Result<()> {
        let mut next = 0;
        while let Some((id, position)) = self.seeks.get(next).copied() {
            next += 1;
            let at = segment.start.saturating_add(position);
            let wanted = matches!(id, SEEK_HEAD | INFO | TRACKS | TAGS | ATTACHMENTS);
            if !wanted {
                continue;
            }
            match Element::at(source, at, segment.end)? {
                Some(part) if part.id == id => self.read_part(source, part, reading)?,
                _ if id == TAGS => reading.lose("tags", "the index points to where there are none"),
                _ => {}
            }
        }
        Ok(())
    }

    fn read_part(&mut self, source: &mut Source, part: Element, reading: &mut Reading) -> io::Result<()> {
        if self.seen.contains(&part.start) || self.seen.len() == SEEKS_MAX {
            return Ok(());
        }
        match part.id {
            SEEK_HEAD => self.read_seek_head(source, part)?,
            INFO => self.read_info(source, part)?,
            TRACKS => self.read_tracks(source, part)?,
            TAGS => self.levels.read(source, part, reading)?,
            ATTACHMENTS => reading.has_cover |= holds_picture(source, part)?,
            _ => return Ok(()),
        }
        self.seen.push(part.start);
        Ok(())
    }

    fn read_seek_head(&mut self, source: &mut Source, head: Element) -> io::Result<()> {
        let mut children = head.children();
        while let Some(seek) = children.next(source)? {
            if seek.id != SEEK || self.seeks.len() == SEEKS_MAX {
                continue;
            }
            let (mut id, mut position) = (0, None);
            let mut fields = seek.children();
            while let Some(field) = fields.next(source)? {
                match field.id {
                    SEEK_ID => id = u32::try_from(field.uint(source)?).unwrap_or(0),
                    SEEK_POSITION => position = Some(field.uint(source)?),
                    _ => {}
                }
            }
            self.seeks.extend(position.map(|position| (id, position)));
        }
        Ok(())
    }

    fn read_info(&mut self, source: &mut Source, info: Element) -> io::Result<()> {
        let mut children = info.children();
        while let Some(child) = children.next(source)? {
            match child.id {
                SCALE => self.scale = child.uint(source)?,
                DURATION => self.duration = child.float(source)?,
                TITLE => self.title = Some(child),
                _ => {}
            }
        }
        Ok(())
    }

    fn read_tracks(&mut self, source: &mut Source, tracks: Element) -> io::Result<()> {
        let mut children = tracks.children();
        while let Some(track) = children.next(source)? {
            if track.id != TRACK {
                continue;
            }
            let (mut kind, mut sound) = (0, Sound::default());
            let mut fields = track.children();
            while let Some(field) = fields.next(source)? {
                match field.id {
                    TRACK_TYPE => kind = field.uint(source)?,
                    CODEC => sound.codec = codec(&field.text(source, 32)?),
                    AUDIO => read_audio(source, field, &mut sound)?,
                    _ => {}
                }
            }
            self.is_video |= kind == VIDEO_TRACK;
            if kind == AUDIO_TRACK && self.sound.is_none() {
                self.sound = Some(sound);
            }
        }
        Ok(())
    }
}

fn read_audio(source: &mut Source, audio: Element, sound: &mut Sound) -> io::Result<()> {
    (sound.sample_rate, sound.channels) = (8000, 1);
    let mut fields = audio.children();
    while let Some(field) = fields.next(source)? {
        match field.id {
            RATE => sound.sample_rate = field.float(source)? as u32,
            CHANNELS => sound.channels = u16::try_from(field.uint(source)?).unwrap_or(0),
            DEPTH => sound.bit_depth = u16::try_from(field.uint(source)?).unwrap_or(0),
            _ => {}
        }
    }
    Ok(())
}

/// Reports whether one of the attachments is a picture.
fn holds_picture(source: &mut Source, attachments: Element) -> io::Result<bool> {
    let mut files = attachments.children();
    while let Some(file) = files.next(source)? {
        let mut fields = file.children();
        while file.id == ATTACHMENT
            && let Some(field) = fields.next(source)?
        {
            if field.id == MIME_TYPE && field.text(source, 16)?.starts_with(b"image/") {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn codec(id: &[u8]) -> &'static str {
    const NAMES: [(&[u8], &str); 15] = [
        (b"A_VORBIS", "vorbis"),
        (b"A_OPUS", "opus"),
        (b"A_FLAC", "flac"),
        (b"A_AAC", "aac"),
        (b"A_MPEG/L3", "mp3"),
        (b"A_MPEG/L2", "mp2"),
        (b"A_MPEG/L1", "mp1"),
        (b"A_PCM", "pcm"),
        (b"A_ALAC", "alac"),
        (b"A_AC3", "ac3"),
        (b"A_EAC3", "eac3"),
        (b"A_DTS", "dts"),
        (b"A_TRUEHD", "truehd"),
        (b"A_TTA1", "tta"),
        (b"A_WAVPACK4", "wavpack"),
    ];
    NAMES.iter().find(|(known, _)| id.starts_with(known)).map_or("", |(_, name)| name)
}

/// Counts the length, which a live recording does not state, from the last block of sound.
fn count(
    source: &mut Source,
    segment: Element,
    first: Option<u64>,
    scale: u64,
    reading: &mut Reading,
) -> io::Result<()> {
    let times = match first {
        Some(first) => {
            let start = cluster_times(source, first, segment.end)?.map(|(start, _)| start);
            start.zip(last_cluster(source, first, segment.end)?)
        }
        None => None,
    };
    let units = times.map_or(0, |(start, end)| end.saturating_sub(start));
    match length(units as f64, scale) {
        Some(length) => {
            reading.sound.length = Some(length);
            reading.guess = Some("from the time of the last block");
        }
        None => reading.lose("length", "the file does not state it, and its last block was not found"),
    }
    Ok(())
}

/// Returns the time of the last block.
fn last_cluster(source: &mut Source, first: u64, segment_end: u64) -> io::Result<Option<u64>> {
    let mark = CLUSTER.to_be_bytes();
    let stop = first.max(segment_end.saturating_sub(TAIL_MAX));
    let (mut end, mut tried) = (segment_end, 0);
    while end > stop {
        let from = stop.max(end.saturating_sub(WINDOW as u64 - 3));
        let size = usize::try_from(end - from + 3).unwrap_or(WINDOW);
        let bytes = source.bytes(from, size)?;
        let marks: Vec<_> = bytes.windows(4).enumerate().filter(|(_, four)| *four == mark).collect();
        let marks: Vec<_> = marks.into_iter().map(|(index, _)| from + index as u64).rev().collect();
        for at in marks {
            tried += 1;
            if tried > CLUSTERS_MAX {
                return Ok(None);
            }
            if let Some((_, end)) = cluster_times(source, at, segment_end)? {
                return Ok(Some(end));
            }
        }
        end = from;
    }
    Ok(None)
}

/// Returns the times of the cluster at `at` and of its last block.
fn cluster_times(source: &mut Source, at: u64, end: u64) -> io::Result<Option<(u64, u64)>> {
    let Some(cluster) = Element::at(source, at, end)?.filter(|cluster| cluster.id == CLUSTER) else {
        return Ok(None);
    };
    let (mut start, mut last) = (None, 0);
    let mut children = cluster.children();
    while let Some(child) = children.next(source)? {
        match child.id {
            TIMESTAMP => start = Some(child.uint(source)?),
            SIMPLE_BLOCK => last = last.max(block_time(source, child)?),
            BLOCK_GROUP => {
                let mut blocks = child.children();
                while let Some(block) = blocks.next(source)? {
                    if block.id == BLOCK {
                        last = last.max(block_time(source, block)?);
                    }
                }
            }
            // Another cluster, or the element behind the last one.
            id if id > 0xff_ffff => break,
            _ => {}
        }
    }
    Ok(start.map(|start| (start, start.saturating_add(last))))
}

/// Returns the time of a block, relative to its cluster; it follows the number of the track.
fn block_time(source: &mut Source, block: Element) -> io::Result<u64> {
    let head = source.bytes(block.start, 10)?;
    let track_len = head.first().map_or(1, |first| first.leading_zeros() as usize + 1);
    let time = head.get(track_len..).and_then(|rest| rest.first_chunk());
    Ok(time.map_or(0, |time| u64::try_from(i16::from_be_bytes(*time)).unwrap_or(0)))
}
