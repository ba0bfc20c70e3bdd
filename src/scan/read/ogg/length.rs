//! The playing time of an Ogg file, from the first page of its sound to the last. If several recordings
//! follow each other, the reader walks over all pages.

use std::io;
use std::time::Duration;

use super::codec::{Codec, Frames};
use super::page::{Cursor, PAGE_MAX, Page, marks_in};
use super::stream::{Stream, headers};
use crate::scan::read::source::{Source, WINDOW};
use crate::scan::read::tags::Reading;
use crate::scan::read::vorbis_comment::Packet as _;

/// Most bytes before the end of the file in which to search the last page.
const TAIL_MAX: u64 = 1 << 20;
/// Most pages of a file.
const PAGES_MAX: usize = 4_000_000;
/// Most bytes between pages that the reader searches.
const JUNK_MAX: u64 = 16 << 20;
/// Most bytes of the header of a page.
const HEADER_MAX: u64 = 282;
/// Most places where pages are counted.
const PROBES_MAX: usize = 8;

/// Sets the length of `stream`, whose first page of sound is at `sound` or behind.
///
/// # Errors
/// Those of reading.
pub(super) fn find(
    source: &mut Source,
    streams: &[Stream],
    stream: &Stream,
    sound: u64,
    reading: &mut Reading,
) -> io::Result<()> {
    let opening = Opening::of(source, stream, sound)?;
    let is_chained = match (&opening, last_page(source, streams, stream.page.serial, sound)?) {
        (Some(opening), Last::Page(last)) => {
            if streams.len() > 1 || !restarts(source, opening, &last)? {
                let end = last.granule.unwrap_or(0);
                set(stream, end.saturating_sub(opening.start), reading);
                return Ok(());
            }
            true
        }
        (_, Last::Foreign) => true,
        (_, Last::Missing) => source.len() > TAIL_MAX,
        (None, _) => false,
    };
    let played = if is_chained { walk(source, reading)? } else { Duration::ZERO };
    if played > Duration::ZERO {
        reading.sound.length = Some(played);
        reading.guess = Some("by walking over its pages");
    } else if let Codec::Flac(Some(info)) = &stream.codec
        && info.samples > 0
    {
        reading.set_samples(info.samples, info.rate);
    } else {
        reading.lose("length", "no whole page of sound is there");
    }
    Ok(())
}

/// Sets the length of a stream of video, which its last page states.
///
/// # Errors
/// Those of reading.
pub(super) fn find_of_video(
    source: &mut Source,
    streams: &[Stream],
    (stream, frames): (&Stream, Frames),
    sound: u64,
    reading: &mut Reading,
) -> io::Result<()> {
    let Last::Page(last) = last_page(source, streams, stream.page.serial, sound)? else {
        reading.lose("length", "its last page was not found");
        return Ok(());
    };
    reading.sound.length = last.granule.and_then(|place| frames.nanos(place)).map(Duration::from_nanos);
    if reading.sound.length.is_none() {
        reading.lose("length", "the frame rate is 0");
    }
    Ok(())
}

fn set(stream: &Stream, samples: u64, reading: &mut Reading) {
    let samples = match &stream.codec {
        Codec::Flac(Some(info)) if info.samples > 0 => info.samples,
        codec => samples.saturating_sub(codec.pre_skip()),
    };
    reading.set_samples(samples, stream.codec.rate());
    if stream.codec.rate() == 0 {
        reading.lose("length", "the sample rate is 0");
    }
}

/// The beginning of the sound. It is all read at once, because it is in one window.
#[derive(Debug)]
struct Opening {
    first: Page,
    /// Place in the sound where the first page begins.
    start: u64,
    /// Bytes of the largest page nearby.
    largest: u64,
}

impl Opening {
    fn of(source: &mut Source, stream: &Stream, sound: u64) -> io::Result<Option<Opening>> {
        let Some(first) = first_page(source, stream.page.serial, sound)? else { return Ok(None) };
        let start = stream.codec.start(source, &first)?;
        let largest = largest_page(source, first.at, WINDOW as u64 / 2)?;
        Ok(Some(Opening { first, start, largest }))
    }
}

/// Returns the first page on which a packet of sound ends.
fn first_page(source: &mut Source, serial: u32, sound: u64) -> io::Result<Option<Page>> {
    let mut at = sound;
    for _ in 0..4096 {
        let Some(page) = Page::at(source, at)? else { return Ok(None) };
        if page.is_first() {
            return Ok(None);
        }
        at = page.end();
        if page.serial == serial && page.ended() > 0 && page.granule.is_some() {
            return Ok(Some(page));
        }
    }
    Ok(None)
}

#[derive(Debug)]
enum Last {
    Page(Page),
    /// The file ends with a stream that does not begin at its head.
    Foreign,
    Missing,
}

/// Returns the last whole page of a stream that says how far the sound goes.
fn last_page(source: &mut Source, streams: &[Stream], serial: u32, sound: u64) -> io::Result<Last> {
    let len = source.len();
    let stop = sound.max(len.saturating_sub(TAIL_MAX));
    let mut end = len;
    while end > stop {
        // Marks that begin in the last bytes of a part were seen with the part behind it.
        let from = stop.max(end.saturating_sub(WINDOW as u64 - 3));
        let size = usize::try_from(end - from + 3).unwrap_or(WINDOW);
        let marks = marks_in(source.bytes(from, size)?);
        for at in marks.into_iter().rev().map(|mark| from + mark as u64) {
            let Some(page) = Page::at(source, at)? else { continue };
            if page.end() > len {
                continue;
            }
            if streams.iter().all(|stream| stream.page.serial != page.serial) {
                return Ok(Last::Foreign);
            }
            if page.serial == serial && page.granule.is_some_and(|granule| granule > 0) {
                return Ok(Last::Page(page));
            }
        }
        end = from;
    }
    Ok(Last::Missing)
}

/// Reports whether the numbers of the pages start again between two pages of a stream, as in recordings with
/// the same serial number one after the other. A few pages show it: the numbers then grow more slowly than
/// the sizes of pages suggest.
fn restarts(source: &mut Source, opening: &Opening, last: &Page) -> io::Result<bool> {
    let first = &opening.first;
    if last.at <= first.at || last.sequence <= first.sequence {
        return Ok(last.at > first.at);
    }
    let tail = first.at.max(source.len().saturating_sub(WINDOW as u64));
    let largest = opening.largest.max(largest_page(source, tail, WINDOW as u64)?);
    let density = |from: &Page, to: &Page| (to.at - from.at) / u64::from(to.sequence - from.sequence).max(1);
    if density(first, last) <= largest + largest / 2 {
        return Ok(false);
    }
    let (mut low, mut high) = (first.clone(), last.clone());
    for _ in 0..PROBES_MAX {
        let middle = low.at + (high.at - low.at) / 2;
        let Some(page) = Page::find(source, middle, high.at.min(middle + PAGE_MAX))? else { break };
        if page.sequence < low.sequence || page.sequence > high.sequence {
            return Ok(true);
        }
        match density(&low, &page) > density(&page, &high) {
            true => high = page,
            false => low = page,
        }
    }
    Ok(false)
}

/// Returns the number of bytes of the largest page that begins in the `len` bytes at `from`.
fn largest_page(source: &mut Source, from: u64, len: u64) -> io::Result<u64> {
    let end = from.saturating_add(len).min(source.len());
    let mut largest = 0;
    let mut at = from;
    while let Some(page) = Page::find(source, at, end.saturating_sub(HEADER_MAX))? {
        largest = largest.max(page.end() - page.at);
        at = page.end();
    }
    Ok(largest)
}

/// A recording, while the reader walks over its pages.
#[derive(Debug, Default)]
struct Link {
    stream: Option<Stream>,
    /// Packets of headers that are still to come.
    headers: u64,
    start: Option<u64>,
    end: u64,
}

impl Link {
    fn length(&self) -> Duration {
        let (Some(stream), Some(start)) = (&self.stream, self.start) else { return Duration::ZERO };
        let mut reading = Reading::default();
        set(stream, self.end.saturating_sub(start), &mut reading);
        reading.sound.length.unwrap_or_default()
    }

    fn begin(&mut self, source: &mut Source, page: Page) -> io::Result<()> {
        let mut cursor = Cursor::new(page.clone());
        let head = cursor.take(source, super::codec::HEAD_MAX)?;
        let codec = Codec::of(&head);
        if self.stream.is_none() && codec.is_audio() {
            self.headers = headers(&codec, &head);
            self.stream = Some(Stream { page, codec, head });
        }
        Ok(())
    }

    fn go_on(&mut self, source: &mut Source, page: &Page) -> io::Result<()> {
        let Some(stream) = self.stream.as_ref().filter(|stream| stream.page.serial == page.serial) else {
            return Ok(());
        };
        if self.headers > 0 {
            self.headers = self.headers.saturating_sub(page.ended());
        } else if let Some(granule) = page.granule.filter(|_| page.ended() > 0) {
            if self.start.is_none() {
                self.start = Some(stream.codec.start(source, page)?);
            }
            self.end = granule;
        }
        Ok(())
    }
}

/// Returns the sum of the lengths of all recordings in the file.
fn walk(source: &mut Source, reading: &mut Reading) -> io::Result<Duration> {
    let mut played = Duration::ZERO;
    let mut link = Link::default();
    let mut in_head = true;
    let (mut at, mut junk) = (0, 0);
    for _ in 0..PAGES_MAX {
        let page = match Page::at(source, at)? {
            Some(page) => page,
            None => {
                let Some(page) = Page::find(source, at, at.saturating_add(JUNK_MAX - junk))? else {
                    return Ok(played + link.length());
                };
                junk = (junk + page.at - at).min(JUNK_MAX);
                page
            }
        };
        at = page.end();
        if at > source.len() {
            return Ok(played + link.length());
        }
        if page.is_first() {
            if !in_head {
                played += std::mem::take(&mut link).length();
            }
            link.begin(source, page)?;
            in_head = true;
        } else {
            in_head = false;
            link.go_on(source, &page)?;
        }
    }
    reading.lose("length", format!("only the first {PAGES_MAX} pages were looked at"));
    Ok(played + link.length())
}
