//! MIDI files, bare or in RIFF: they hold no sound but times, which the tempo turns into seconds. A
//! bare file has no tags: the names of its tracks are those of instruments.

use std::io;
use std::time::Duration;

use super::chunks::{Chunks, Layout, number16};
use super::riff;
use super::source::{Source, WINDOW};
use super::tags::{Reading, Unread};
use super::text::ByteOrder;

/// Microseconds of a quarter note without a tempo event.
const TEMPO: u32 = 500_000;
/// Most changes of the tempo that are kept.
const TEMPI_MAX: usize = 10_000;
/// Most bytes of events that are read: a day of dense music has fewer.
const EVENTS_MAX: u64 = 32 << 20;

/// How the ticks of a file count.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Division {
    /// Ticks of a quarter note.
    Quarter(u16),
    /// Ticks of a second.
    Second(f64),
}

/// The findings in one track.
#[derive(Debug, Default, PartialEq)]
struct Track {
    /// Ticks up to its end.
    ticks: u64,
    /// Changes of the tempo, the first [`TEMPI_MAX`]: when, in ticks, and microseconds of a quarter note.
    tempi: Vec<(u64, u32)>,
    /// The reason why it was not read to its end.
    fault: Option<&'static str>,
}

pub(super) fn read(source: &mut Source, reading: &mut Reading) -> Result<(), Unread> {
    if source.bytes(0, 4)? != b"RIFF" {
        return read_bare(source, reading);
    }
    let mut chunks = Chunks::new(Layout::RIFF, 12, source.len());
    let mut found = None;
    loop {
        let wanted: Option<&[u8]> = if found.is_none() { Some(b"data") } else { None };
        let Some(chunk) = chunks.next_or_find(source, reading, wanted)? else { break };
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

/// Returns how long the tracks play: at once, or one after the other in format 2.
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
                            } else {
                                track.fault =
                                    Some("its tempo changes too often; the later ones do not count");
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
                // The first byte of data: the event has the kind of the one before.
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

    /// Returns a number of seven bits a byte.
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

/// Returns the number of bytes of data of an event.
fn data_len(status: u8) -> u64 {
    if matches!(status, 0xc0..=0xdf) { 1 } else { 2 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::scan::read::tags::Field;

    const MIDI: Layout = Layout::MIDI;
    const END: &[u8] = b"\0\xff\x2f\0";
    /// A note after 192 ticks.
    const NOTE: &[u8] = b"\x81\x40\x90\x40\x40";

    fn head(format: u16, tracks: u16, division: u16) -> Vec<u8> {
        MIDI.chunk(b"MThd", &[format, tracks, division].map(u16::to_be_bytes).concat())
    }

    fn track(events: &[&[u8]]) -> Vec<u8> {
        MIDI.chunk(b"MTrk", &events.concat())
    }

    fn tempo(delta: u8, micros: u32) -> Vec<u8> {
        [&[delta, 0xff, 0x51, 3][..], &micros.to_be_bytes()[1..]].concat()
    }

    fn read_file(file: Vec<u8>) -> Result<Reading, Unread> {
        let mut reading = Reading::default();
        read(&mut Source::of(file), &mut reading).map(|()| reading)
    }

    fn seconds(chunks: &[Vec<u8>]) -> (Option<f64>, usize) {
        let reading = read_file(chunks.concat()).expect("a song");
        assert_eq!(reading.tags, Default::default());
        (reading.sound.length.map(|length| length.as_secs_f64()), reading.losses.len())
    }

    #[test]
    fn the_length_is_that_of_the_longest_track() {
        let note = track(&[NOTE, END]);
        assert_eq!(seconds(&[head(0, 1, 96), note.clone()]), (Some(1.0), 0));
        // A second tempo in the middle, stated in a separate track.
        let tempi = track(&[&tempo(0, 1_000_000), &tempo(96, 250_000), END]);
        assert_eq!(seconds(&[head(1, 2, 96), tempi.clone(), note.clone()]), (Some(1.25), 0));
        assert_eq!(seconds(&[head(1, 2, 96), note.clone(), tempi]), (Some(1.25), 0));
        // Silent events take time too: text, and the end.
        let karaoke = track(&[b"\x60\xff\x05\x02la", NOTE, b"\x60\xff\x2f\0"]);
        assert_eq!(seconds(&[head(0, 1, 96), karaoke]), (Some(2.0), 0));
        assert_eq!(seconds(&[head(2, 2, 96), note.clone(), note]), (Some(2.0), 0));
    }

    #[test]
    fn events_of_every_kind_are_passed_over() {
        let events: [&[u8]; 6] = [
            NOTE,
            b"\x60\x40\0",
            b"\0\xc0\x01",
            b"\0\xf0\x03\x01\x02\xf7",
            b"\0\xb0\x07\x7f",
            b"\0\xff\x7f\x01x",
        ];
        assert_eq!(seconds(&[head(0, 1, 96), track(&[&events.concat(), NOTE, END])]), (Some(2.5), 0));
    }

    #[test]
    fn ticks_may_be_parts_of_a_frame() {
        for (division, due) in
            [(0xe728, 192.0 / 1000.0), (0xe264, 192.0 / 3000.0), (0xe364, 192.0 * 1.001 / 3000.0)]
        {
            let (length, losses) = seconds(&[head(0, 1, division), track(&[NOTE, END])]);
            assert!(length.is_some_and(|length| (length - due).abs() < 1e-6), "{division:x} {length:?}");
            assert_eq!(losses, 0);
        }
        for division in [0, 0x8000, 0xe700] {
            assert_eq!(seconds(&[head(0, 1, division), track(&[NOTE, END])]), (None, 1), "{division:x}");
        }
    }

    #[test]
    fn events_before_a_fault_count() {
        for fault in [&b"\0\x90\x40"[..], b"\0\xf4", b"\0\xff\x03\x60x", b"\0\xff\x51\x03\x01", b"\0"] {
            assert_eq!(seconds(&[head(0, 1, 96), track(&[NOTE, fault])]), (Some(1.0), 1), "{fault:x?}");
        }
        assert_eq!(seconds(&[head(0, 1, 96), track(&[b"\0\x40\x40", NOTE])]), (Some(0.0), 1));
        let claims_more = [MIDI.head(b"MTrk", u32::MAX.into()), [NOTE, END].concat()].concat();
        assert_eq!(seconds(&[head(0, 1, 96), claims_more]), (Some(1.0), 0));
        let stranger = MIDI.chunk(b"XFIH", b"abc");
        assert_eq!(seconds(&[head(0, 2, 96), stranger, track(&[NOTE, END])]), (Some(1.0), 1));
        for file in [vec![], head(0, 1, 96), MIDI.chunk(b"MThd", b"abc"), b"RIFF\0\0\0\0RMID".to_vec()] {
            assert!(matches!(read_file(file), Err(Unread::Broken(_))));
        }
    }

    #[test]
    fn riff_gives_it_names() {
        let riff = Layout::RIFF;
        let list = [b"INFO".to_vec(), riff.chunk(b"INAM", b"Title")].concat();
        let music = riff.chunk(b"data", &[head(0, 1, 96), track(&[NOTE, END])].concat());
        let file = [b"RIFF\0\0\0\0RMID".to_vec(), music, riff.chunk(b"LIST", &list)].concat();
        let reading = read_file(file).unwrap();
        assert_eq!(reading.sound.length, Some(Duration::from_secs(1)));
        assert_eq!(reading.weak.first(Field::Title), Some("Title"));
    }

    #[test]
    fn huge_tracks_are_bounded() {
        let mut source = Source::of([head(1, 9, 96), track(&[&NOTE.repeat(12 << 20), END])].concat());
        let mut reading = Reading::default();
        read(&mut source, &mut reading).unwrap();
        assert_eq!(reading.losses[0].what, "track 1");
        assert!(source.traffic().0 <= EVENTS_MAX + 4 * WINDOW as u64, "{:?}", source.traffic());
        let tempi = track(&[&tempo(1, 1).repeat(100_000), NOTE]);
        let (length, losses) = seconds(&[head(0, 1, 96), tempi]);
        assert_eq!((length.is_some(), losses), (true, 1));
    }

    proptest! {
        #[test]
        fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..300), division in any::<u16>()) {
            let _ = read_file([head(1, 2, division), track(&[&bytes]), bytes].concat());
        }
    }
}
