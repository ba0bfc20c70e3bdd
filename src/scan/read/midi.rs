//! MIDI files, bare or in RIFF: there is no sound in them but times, which the tempo turns
//! into seconds. A bare one has no tags: the names of its tracks are those of instruments.

use std::io;
use std::time::Duration;

use super::chunks::{Chunks, Layout, number16};
use super::riff;
use super::source::{Source, WINDOW};
use super::tags::{Reading, Unread};
use super::text::ByteOrder;

/// Microseconds of a quarter note where no event says it.
const TEMPO: u32 = 500_000;
/// Most changes of the tempo that are kept.
const TEMPI_MAX: usize = 10_000;
/// Most bytes of events that are looked at: a day of dense music has less.
const EVENTS_MAX: u64 = 32 << 20;

/// How the ticks of a file count.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Division {
    /// Ticks of a quarter note.
    Quarter(u16),
    /// Ticks of a second.
    Second(f64),
}

/// What one track tells.
#[derive(Debug, Default, PartialEq)]
struct Track {
    /// Ticks up to its end.
    ticks: u64,
    /// Changes of the tempo: when, in ticks, and microseconds of a quarter note.
    tempi: Vec<(u64, u32)>,
    /// Why it was not read to its end.
    fault: Option<&'static str>,
}

pub(super) fn read(source: &mut Source, reading: &mut Reading) -> Result<(), Unread> {
    if source.bytes(0, 4)? != b"RIFF" {
        return read_bare(source, reading);
    }
    let mut chunks = Chunks::new(Layout::RIFF, 12, source.len());
    let mut found = None;
    while let Some(chunk) = chunks.next_or_find(source, reading, found.is_none().then_some(b"data"))? {
        match chunk.name() {
            b"data" if found.is_none() => found = Some(chunk),
            b"LIST" => riff::read_list(&chunk, Layout::RIFF, source, reading)?,
            _ => {}
        }
    }
    match found {
        Some(chunk) => source.within(chunk.from, chunk.to, |part| read_bare(part, reading)),
        None => Err(Unread::Broken("it has no music: its data chunk is missing".to_owned())),
    }
}

fn read_bare(source: &mut Source, reading: &mut Reading) -> Result<(), Unread> {
    let mut chunks = Chunks::new(Layout::MIDI, 0, source.len());
    let head = chunks.next(source, reading)?.filter(|chunk| chunk.name() == b"MThd" && chunk.len() >= 6);
    let Some(head) = head else {
        return Err(Unread::Broken("its head is cut".to_owned()));
    };
    let head = head.bytes(source, 6)?;
    let (format, stated) = (number16(head, 0, ByteOrder::Big), number16(head, 2, ByteOrder::Big));
    let division = Division::of([head[4], head[5]]);
    let mut tracks = Vec::new();
    let mut left = EVENTS_MAX;
    while let Some(chunk) = chunks.next(source, reading)? {
        if chunk.name() == b"MTrk" {
            let to = chunk.to.min(chunk.from + left);
            left -= to - chunk.from;
            let mut track = Events::new(source, chunk.from, to).read()?;
            if to < chunk.to {
                track.fault = Some("it is too long; its rest is not read");
            }
            if let Some(fault) = track.fault {
                reading.lose(format!("track {}", tracks.len() + 1), fault);
            }
            tracks.push(track);
        }
    }
    if tracks.is_empty() {
        return Err(Unread::Broken("it has no music: there is no track in it".to_owned()));
    }
    if tracks.len() < usize::from(stated) {
        reading.lose("tracks", format!("{stated} are stated, {} are there", tracks.len()));
    }
    reading.sound.codec = "midi";
    match division {
        Some(division) => reading.sound.length = length(format, tracks, division),
        None => reading.lose("length", "its head does not state how long a tick is"),
    }
    Ok(())
}

/// How long the tracks play: at once, or one after the other in format 2.
fn length(format: u16, mut tracks: Vec<Track>, division: Division) -> Option<Duration> {
    if format != 2 {
        let mut whole = Track::default();
        for track in tracks {
            whole.ticks = whole.ticks.max(track.ticks);
            whole.tempi.extend(track.tempi);
        }
        tracks = vec![whole];
    }
    Duration::try_from_secs_f64(tracks.into_iter().map(|track| division.seconds(track)).sum()).ok()
}

impl Division {
    fn of([high, low]: [u8; 2]) -> Option<Division> {
        match (high, low) {
            (0, 0) => None,
            (..0x80, _) => Some(Division::Quarter(u16::from_be_bytes([high, low]))),
            (_, 0) => None,
            // Frames of a second, with a minus sign; 29 stands for those of NTSC.
            (227, _) => Some(Division::Second(f64::from(low) * 30_000.0 / 1001.0)),
            _ => Some(Division::Second(f64::from(low) * f64::from(high.wrapping_neg()))),
        }
    }

    fn seconds(self, mut track: Track) -> f64 {
        let ticks_per_quarter = match self {
            Division::Second(ticks) => return track.ticks as f64 / ticks,
            Division::Quarter(ticks) => f64::from(ticks),
        };
        track.tempi.sort_by_key(|(at, _)| *at);
        let (mut micros, mut since, mut tempo) = (0.0, 0, TEMPO);
        for (at, next) in track.tempi.into_iter().chain([(track.ticks, TEMPO)]) {
            let at = at.min(track.ticks);
            micros += (at - since) as f64 / ticks_per_quarter * f64::from(tempo);
            (since, tempo) = (at, next);
        }
        micros / 1e6
    }
}

/// The events of a track, read block by block.
struct Events<'a> {
    source: &'a mut Source,
    /// Offset of the block.
    at: u64,
    end: u64,
    block: Vec<u8>,
    index: usize,
}

impl Events<'_> {
    fn new(source: &mut Source, from: u64, to: u64) -> Events<'_> {
        Events { source, at: from, end: to, block: Vec::new(), index: 0 }
    }

    fn read(mut self) -> io::Result<Track> {
        let mut track = Track::default();
        let mut status = 0;
        while let Some(delta) = self.number()? {
            track.ticks = track.ticks.saturating_add(delta);
            let whole = match self.byte()? {
                Some(0xff) => {
                    let kind = self.byte()?;
                    let len = self.number()?.unwrap_or(0);
                    match (kind, len) {
                        (Some(0x2f), _) => return Ok(track),
                        (Some(0x51), 3) => self.tempo()?.map(|tempo| {
                            if track.tempi.len() < TEMPI_MAX {
                                track.tempi.push((track.ticks, tempo));
                            }
                        }),
                        _ => self.skip(len),
                    }
                }
                Some(0xf0 | 0xf7) => match self.number()? {
                    Some(len) => self.skip(len),
                    None => None,
                },
                Some(0xf1..=0xfe) => {
                    track.fault = Some("there is an event in it that no file may hold");
                    return Ok(track);
                }
                Some(event @ 0x80..) => {
                    status = event;
                    self.skip(data_len(event))
                }
                // The first byte of data: the event is of the kind of the last one.
                Some(_) if status != 0 => self.skip(data_len(status) - 1),
                _ => None,
            };
            if whole.is_none() {
                track.fault = Some("it ends within an event");
                return Ok(track);
            }
        }
        Ok(track)
    }

    fn byte(&mut self) -> io::Result<Option<u8>> {
        if self.index >= self.block.len() {
            self.at += self.index as u64;
            self.index = 0;
            let len = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(WINDOW);
            self.block.clear();
            self.block.extend_from_slice(self.source.bytes(self.at, len)?);
        }
        let byte = self.block.get(self.index).copied();
        self.index += usize::from(byte.is_some());
        Ok(byte)
    }

    /// A number of seven bits a byte.
    fn number(&mut self) -> io::Result<Option<u64>> {
        let mut number = 0;
        for _ in 0..4 {
            let Some(byte) = self.byte()? else { return Ok(None) };
            number = number << 7 | u64::from(byte & 0x7f);
            if byte & 0x80 == 0 {
                break;
            }
        }
        Ok(Some(number))
    }

    fn tempo(&mut self) -> io::Result<Option<u32>> {
        let mut tempo = 0;
        for _ in 0..3 {
            let Some(byte) = self.byte()? else { return Ok(None) };
            tempo = tempo << 8 | u32::from(byte);
        }
        Ok(Some(tempo))
    }

    /// Passes over `len` bytes; `None` when there are fewer.
    fn skip(&mut self, len: u64) -> Option<()> {
        let target = self.at + self.index as u64 + len;
        if target > self.end {
            return None;
        }
        self.index += usize::try_from(len).ok()?;
        Some(())
    }
}

/// Bytes of data of an event.
fn data_len(status: u8) -> u64 {
    if matches!(status, 0xc0..=0xdf) { 1 } else { 2 }
}
