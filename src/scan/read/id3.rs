//! ID3: version 2.2, 2.3 and 2.4 in front of the sound or in a chunk of another format,
//! version 1 behind it.
//!
//! As forgiving as mutagen's reader: damage costs only the frame that holds it. Only frames with a
//! known field are read; the others are skipped by their sizes.

mod body;
mod frame;
mod v1;

use std::io;

use super::source::{Source, WINDOW};
use super::tags::{Reading, Tags};
use super::{adts, mpeg, probe};
use body::Body;
use frame::{Frame, Meaning, synchsafe};
pub(super) use v1::{V1_LEN, read_v1};

/// Name of the tag in messages.
const TAG: &str = "ID3 tag";
/// Bytes of the header of a tag, and of its footer.
const HEADER_LEN: u64 = 10;
/// Bytes behind the frames of a tag that are searched for sound.
const PADDING_MAX: usize = 4096;
/// Most frames of a tag that are read.
const FRAMES_MAX: usize = 10_000;
/// Most searches in a tag for the frame that follows one with a wrong size.
const SEARCHES_MAX: usize = 64;

/// An ID3v2 tag.
#[derive(Debug, PartialEq)]
pub(super) struct V2 {
    /// The values of its frames.
    pub(super) tags: Tags,
    /// Offset of the first byte after it.
    pub(super) end: u64,
}

/// The header of a tag, as far as it concerns its frames.
#[derive(Debug, Clone, Copy)]
struct Header {
    version: u8,
    flags: u8,
    /// Bytes of the frames and their padding.
    len: u64,
}

impl Header {
    fn of(bytes: [u8; HEADER_LEN as usize]) -> Option<Header> {
        let [b'I', b'D', b'3', version, _, flags, size @ ..] = bytes else { return None };
        Some(Header { version, flags, len: synchsafe(u32::from_be_bytes(size)).into() })
    }

    /// Reports whether zeros were put after each `ff`: in the whole tag, or from version 2.4 on in
    /// every frame.
    fn is_unsynchronised(self) -> bool {
        self.flags & 0x80 != 0
    }

    fn has_extension(self) -> bool {
        self.version > 2 && self.flags & 0x40 != 0
    }

    fn footer_len(self) -> u64 {
        if self.version == 4 && self.flags & 0x10 != 0 { HEADER_LEN } else { 0 }
    }

    /// Returns the number of bytes of a frame's header.
    fn frame_header_len(self) -> u64 {
        if self.version == 2 { 6 } else { 10 }
    }
}

/// Reads the ID3v2 tag at `at`; `None` if there is none. Losses and the presence of a cover go into
/// `reading`.
///
/// # Errors
/// Those of reading.
pub(super) fn read_v2(source: &mut Source, at: u64, reading: &mut Reading) -> io::Result<Option<V2>> {
    let Some(header) = source.array(at)?.and_then(Header::of) else { return Ok(None) };
    let from = at + HEADER_LEN;
    let claimed = from + header.len;
    let end = claimed + header.footer_len();
    if !(2..=4).contains(&header.version) {
        reading.lose(TAG, format!("version 2.{} is not known", header.version));
        return Ok(Some(V2 { tags: Tags::default(), end: end.min(source.len()) }));
    }
    let is_cut = claimed > source.len();
    let mut frames = Frames::new(source, header, from, claimed.min(source.len()))?;
    let last = frames.read(reading)?;
    let sound = frames.sound;
    let tags = frames.tags();
    if let Some(sound_at) = sound_inside(source, last, claimed)? {
        reading.lose(TAG, format!("it claims {} bytes, and sound begins inside", header.len));
        return Ok(Some(V2 { tags, end: sound_at }));
    }
    if !is_cut {
        return Ok(Some(V2 { tags, end: end.min(source.len()) }));
    }
    reading.lose(
        TAG,
        format!("it claims {} bytes, of which the file holds {}", header.len, source.len() - from),
    );
    let end = match sound {
        Some(at) => at,
        None => skip_zeros(source, last)?,
    };
    Ok(Some(V2 { tags, end }))
}

/// Returns the offset of MPEG audio between the last frame of a tag and the end that the tag
/// claims. The claimed size is wrong then, and would cost the song.
fn sound_inside(source: &mut Source, last: u64, claimed: u64) -> io::Result<Option<u64>> {
    let len = usize::try_from(claimed.saturating_sub(last)).unwrap_or(PADDING_MAX).min(PADDING_MAX);
    let Some(zeros) = source.bytes(last, len)?.iter().position(|byte| *byte != 0) else { return Ok(None) };
    let (at, end) = (last + zeros as u64, source.len());
    let begins = source.within(at, end, |source| mpeg::begins(source, false))?;
    Ok(begins.then_some(at))
}

/// Returns the offset of sound at `at` or behind.
fn sound_behind(source: &mut Source, at: u64) -> io::Result<Option<u64>> {
    if let Some(mark) = probe::find_mark(source, at)? {
        return Ok(Some(mark));
    }
    let end = source.len();
    source.within(at, end, |source| {
        let found = match mpeg::find(source)? {
            Some(found) => Some(found),
            None => adts::find(source)?,
        };
        Ok(found.map(|found| at + found))
    })
}

/// Returns the offset of an ID3v2 tag at the end of the view. Such a tag must have a footer.
///
/// # Errors
/// Those of reading.
pub(super) fn v2_before_end(source: &mut Source) -> io::Result<Option<u64>> {
    let Some(footer_at) = source.len().checked_sub(HEADER_LEN) else { return Ok(None) };
    let Some([b'3', b'D', b'I', rest @ ..]) = source.array::<{ HEADER_LEN as usize }>(footer_at)? else {
        return Ok(None);
    };
    let header = Header {
        version: rest[0],
        flags: rest[2],
        len: synchsafe(u32::from_be_bytes([rest[3], rest[4], rest[5], rest[6]])).into(),
    };
    let Some(start) = footer_at.checked_sub(header.len + HEADER_LEN) else { return Ok(None) };
    let is_there = source.bytes(start, 3)? == b"ID3";
    Ok(Some(start).filter(|_| is_there && header.footer_len() > 0))
}

/// Returns the offset of the first byte from `at` on that is not 0.
fn skip_zeros(source: &mut Source, mut at: u64) -> io::Result<u64> {
    loop {
        let bytes = source.bytes(at, WINDOW)?;
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        at += zeros as u64;
        if zeros == 0 || zeros < bytes.len() {
            return Ok(at);
        }
    }
}

/// The frames of a tag, while they are read.
struct Frames<'a> {
    source: &'a mut Source,
    header: Header,
    body: Body,
    /// The values of frames made for their field.
    tags: Tags,
    /// The values of frames that only replace those.
    weak: Tags,
    searches: usize,
    /// Whether the tag claims more than the file has.
    is_cut: bool,
    /// Offset of sound inside the last frame, if that frame is suspiciously long.
    sound: Option<u64>,
}

impl<'a> Frames<'a> {
    fn new(source: &'a mut Source, header: Header, from: u64, to: u64) -> io::Result<Frames<'a>> {
        let is_cut = from + header.len > to;
        let whole = header.version < 4 && header.is_unsynchronised();
        let body = if whole { Body::unsynchronised(source, from, to)? } else { Body::plain(from, to) };
        let (tags, weak) = (Tags::default(), Tags::default());
        Ok(Frames { source, header, body, tags, weak, searches: 0, is_cut, sound: None })
    }

    fn tags(mut self) -> Tags {
        self.tags.fill_from(self.weak);
        self.tags
    }

    /// Reads all frames. Returns the offset in the file of the first byte behind the last one.
    fn read(&mut self, reading: &mut Reading) -> io::Result<u64> {
        let mut at = if self.header.has_extension() { self.extension_len()? } else { 0 };
        for _ in 0..FRAMES_MAX {
            let head = self.bytes(at, self.header.frame_header_len())?;
            // Padding, or the end.
            if (head.len() as u64) < self.header.frame_header_len() || head[..3] == [0; 3] {
                return self.body.offset(self.source, at);
            }
            let Some((frame, next)) = self.frame(at, &head, reading)? else {
                return self.body.offset(self.source, at);
            };
            self.keep(&frame, reading)?;
            at = next;
        }
        reading.lose(TAG, format!("it has more than {FRAMES_MAX} frames"));
        self.body.offset(self.source, at)
    }

    /// Returns the frame with this header, and the offset of the next one. `None` if the bytes are
    /// not a frame and none follows.
    fn frame(&mut self, at: u64, head: &[u8], reading: &mut Reading) -> io::Result<Option<(Frame, u64)>> {
        let mut frame = Frame::new(self.header.version, head, at + self.header.frame_header_len());
        for size in frame::sizes(self.header.version, head) {
            if self.leads_on(frame.body + size)? {
                frame.size = size;
                return Ok(Some((frame, frame.body + size)));
            }
        }
        let name = frame.name();
        let is_frame = is_frame_id(&head[..4.min(head.len())], self.header.version);
        if let Some(next) = self.search(if is_frame { frame.body } else { at + 1 })? {
            let room = next.saturating_sub(frame.body);
            if is_frame && frame.size > room {
                reading.lose(name, "its size is wrong; the next frame was searched for");
                frame.size = room;
            } else {
                reading.lose(TAG, format!("bytes that are no frame stand before the one at {next}"));
            }
            // Bytes that are not a frame have no content.
            frame.meaning = frame.meaning.filter(|_| is_frame);
            return Ok(Some((frame, next)));
        }
        if !is_frame {
            reading.lose(TAG, "behind its frames stands neither padding nor its end");
            return Ok(None);
        }
        let end = frame.body.saturating_add(frame.size);
        if end > self.body.len() {
            reading.lose(name, "it is longer than its tag");
            frame.size = self.body.len().saturating_sub(frame.body);
            if self.is_cut {
                let at = self.body.offset(self.source, frame.body)?;
                self.sound = sound_behind(self.source, at)?;
                frame.size = self.sound.map_or(frame.size, |sound| frame.size.min(sound - at));
            }
        }
        Ok(Some((frame, end)))
    }

    /// Reports whether a frame, padding or the end of the tag is at `at`.
    fn leads_on(&mut self, at: u64) -> io::Result<bool> {
        if at > self.body.len() {
            return Ok(false);
        }
        let id = self.bytes(at, 4)?;
        if id.is_empty() {
            return Ok(at == self.body.len());
        }
        Ok(is_frame_id(&id, self.header.version) || id.iter().all(|byte| *byte == 0))
    }

    /// Returns the offset of the next frame near `from` that leads to another one.
    fn search(&mut self, from: u64) -> io::Result<Option<u64>> {
        self.searches += 1;
        if self.searches > SEARCHES_MAX {
            return Ok(None);
        }
        let head_len = self.header.frame_header_len() as usize;
        let bytes = self.bytes(from, WINDOW as u64)?;
        for (offset, head) in bytes.windows(head_len).enumerate() {
            let at = from + offset as u64;
            if !is_frame_id(&head[..4], self.header.version) || !head[0].is_ascii_uppercase() {
                continue;
            }
            for size in frame::sizes(self.header.version, head) {
                if size > 0 && self.leads_on(at + head_len as u64 + size)? {
                    return Ok(Some(at));
                }
            }
        }
        Ok(None)
    }

    /// Keeps the values of the frame.
    fn keep(&mut self, frame: &Frame, reading: &mut Reading) -> io::Result<()> {
        let Some(meaning) = frame.meaning else { return Ok(()) };
        if meaning == Meaning::Cover {
            reading.has_cover |= frame.size > 0;
            return Ok(());
        }
        let data = self.bytes(frame.body, frame.size.min(frame::FETCH_MAX))?;
        let is_cut = frame.size > data.len() as u64;
        let content = match frame.unwrap(data, is_cut, self.header.is_unsynchronised(), reading) {
            Ok(content) => content,
            Err(why) => {
                reading.lose(frame.name(), why.to_string());
                return Ok(());
            }
        };
        let lost = reading.losses.len() + reading.more_losses;
        let is_weak = frame.is_weak();
        let tags = if is_weak { &mut self.weak } else { &mut self.tags };
        std::mem::swap(tags, &mut reading.tags);
        let outcome = frame::push(meaning, &content, reading);
        std::mem::swap(tags, &mut reading.tags);
        if let Err(why) = outcome {
            reading.lose(frame.name(), why.to_string());
        } else if content.is_cut && lost == reading.losses.len() + reading.more_losses {
            reading.lose(frame.name(), "it is too long; its end is cut");
        }
        Ok(())
    }

    /// Returns the length of the extended header. Some taggers set its flag and write none: then
    /// the name of a frame takes the place of the length, which is absurdly large.
    fn extension_len(&mut self) -> io::Result<u64> {
        let Ok(len) = <[u8; 4]>::try_from(self.bytes(0, 4)?) else { return Ok(0) };
        let raw = u32::from_be_bytes(len);
        Ok(match self.header.version {
            _ if is_frame_id(&len, self.header.version) => 0,
            // Version 2.3 does not count these four bytes themselves, version 2.4 does.
            3 => u64::from(raw) + 4,
            _ => synchsafe(raw).into(),
        })
    }

    fn bytes(&mut self, at: u64, len: u64) -> io::Result<Vec<u8>> {
        self.body.read(self.source, at, len)
    }
}

/// Reports whether these four bytes are the name of a frame, or three and the start of a size. Some
/// taggers write names of version 2.2 into later tags, padded with a NUL or a space.
fn is_frame_id(bytes: &[u8], version: u8) -> bool {
    let is_name = |name: &[u8]| name.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    match bytes {
        [name @ .., _] if version == 2 && name.len() == 3 => is_name(name),
        [name @ .., 0 | b' '] if name.len() == 3 => is_name(name),
        name => name.len() == 4 && is_name(name),
    }
}

#[cfg(test)]
mod tests;
