//! Containers of named chunks: RIFF, IFF, Wave64, DSDIFF, Core Audio and ASF differ mainly in the
//! width of names and sizes. A size beyond the end of the file is cut to it, and a reader looks at
//! no more than [`CHUNKS_MAX`] chunks of any file.

use std::io;

use super::id3;
use super::source::{Source, WINDOW};
use super::tags::{ENCODED_MAX, Field, Reading};
use super::text::{self, ByteOrder};

/// Most chunks that are read in one row.
const CHUNKS_MAX: usize = 10_000;
/// Most zeros that are skipped in front of a chunk: padding outside the format's rules.
const ZEROS_MAX: u64 = 16;
/// Most comparisons of a name in one window.
const NAMES_MAX: usize = 64;
/// Distance from the first chunk within which the reader searches a chunk by its name.
const SEARCH_MAX: u64 = 4 * WINDOW as u64;

/// How a container writes the heads of its chunks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    /// Bytes of a name: 4, or 16 for a GUID.
    name_len: usize,
    /// Bytes of a size.
    size_len: usize,
    pub(super) order: ByteOrder,
    /// Whether a size counts the head.
    counts_head: bool,
    /// Alignment of chunks, in bytes.
    align: u64,
}

impl Layout {
    pub(super) const RIFF: Layout =
        Layout { name_len: 4, size_len: 4, order: ByteOrder::Little, counts_head: false, align: 2 };
    pub(super) const IFF: Layout = Layout { order: ByteOrder::Big, ..Layout::RIFF };
    pub(super) const DSDIFF: Layout = Layout { size_len: 8, ..Layout::IFF };
    pub(super) const CORE_AUDIO: Layout = Layout { align: 1, ..Layout::DSDIFF };
    pub(super) const DSF: Layout =
        Layout { size_len: 8, counts_head: true, align: 1, order: ByteOrder::Little, ..Layout::RIFF };
    pub(super) const ASF: Layout = Layout { name_len: 16, ..Layout::DSF };
    pub(super) const WAVE64: Layout = Layout { align: 8, ..Layout::ASF };
    /// MIDI: like IFF, and without padding.
    pub(super) const MIDI: Layout = Layout { align: 1, ..Layout::IFF };
    /// Items of Wave64's list of summaries.
    pub(super) const SUMMARY: Layout = Layout { align: 1, ..Layout::RIFF };

    fn head_len(self) -> u64 {
        (self.name_len + self.size_len) as u64
    }

    /// A chunk as bytes.
    #[cfg(test)]
    pub(super) fn chunk(self, name: &[u8], body: &[u8]) -> Vec<u8> {
        let size = body.len() as u64 + if self.counts_head { self.head_len() } else { 0 };
        let mut chunk = self.head(name, size);
        chunk.extend(body);
        while !(chunk.len() as u64).is_multiple_of(self.align) {
            chunk.push(0);
        }
        chunk
    }

    /// The head of a chunk that claims `size` bytes.
    #[cfg(test)]
    pub(super) fn head(self, name: &[u8], size: u64) -> Vec<u8> {
        assert_eq!(name.len(), self.name_len);
        let mut size = size.to_le_bytes()[..self.size_len].to_vec();
        if self.order == ByteOrder::Big {
            size.reverse();
        }
        [name, &size].concat()
    }
}

/// A chunk. Offsets are those of the view in which it was found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunk {
    /// The name; zeros follow one of four bytes.
    name: [u8; 16],
    /// Bytes of the body as its head states them.
    pub(super) claimed: u64,
    /// Offset of the body, and of the first byte behind it: cut to the view.
    pub(super) from: u64,
    pub(super) to: u64,
}

impl Chunk {
    /// Returns the name, where names have four bytes; of a GUID, its first four.
    pub(super) fn name(&self) -> &[u8] {
        &self.name[..4]
    }

    /// Returns the name, where names are GUIDs.
    pub(super) fn guid(&self) -> [u8; 16] {
        self.name
    }

    /// Returns the number of bytes of the body that are there.
    pub(super) fn len(&self) -> u64 {
        self.to - self.from
    }

    /// Reports whether its size reaches beyond the end of the view.
    pub(super) fn is_cut(&self) -> bool {
        self.claimed > self.len()
    }

    /// Returns the first `len` bytes of the body, fewer where it ends before.
    ///
    /// # Errors
    /// Those of reading.
    pub(super) fn bytes<'a>(&self, source: &'a mut Source, len: u64) -> io::Result<&'a [u8]> {
        source.bytes(self.from, usize::try_from(len.min(self.len())).unwrap_or(WINDOW))
    }
}

/// The chunks in a row, from an offset to the end of a part.
#[derive(Debug)]
pub(super) struct Chunks {
    layout: Layout,
    first: u64,
    at: u64,
    end: u64,
    /// Whether a byte of padding may follow at `at`. Many writers forget it.
    padded: bool,
    count: usize,
    searches: usize,
}

impl Chunks {
    /// Returns the chunks between two offsets.
    pub(super) fn new(layout: Layout, from: u64, to: u64) -> Chunks {
        Chunks { layout, first: from, at: from, end: to, padded: false, count: 0, searches: 0 }
    }

    /// Returns the next chunk.
    ///
    /// # Errors
    /// Those of reading.
    pub(super) fn next(&mut self, source: &mut Source, reading: &mut Reading) -> io::Result<Option<Chunk>> {
        self.end = self.end.min(source.len());
        self.pass_padding(source)?;
        let head_len = self.layout.head_len();
        if self.at.saturating_add(head_len) > self.end {
            return Ok(None);
        }
        if self.count >= CHUNKS_MAX {
            reading.lose("chunks", format!("there are more than {CHUNKS_MAX}; the others are not looked at"));
            self.at = self.end;
            return Ok(None);
        }
        self.count += 1;
        let head = source.bytes(self.at, self.layout.head_len() as usize)?;
        if !is_name(head, self.layout) {
            if head.iter().any(|byte| *byte != 0) {
                reading.lose("chunks", format!("none begins at byte {}; the rest is not read", self.at));
            }
            self.at = self.end;
            return Ok(None);
        }
        let mut name = [0; 16];
        name[..self.layout.name_len].copy_from_slice(&head[..self.layout.name_len]);
        let size = number(head, self.layout.name_len, self.layout.size_len, self.layout.order);
        let claimed = if self.layout.counts_head { size.saturating_sub(head_len) } else { size };
        let from = self.at + head_len;
        let to = from.saturating_add(claimed).min(self.end);
        self.skip(from, to - from);
        Ok(Some(Chunk { name, claimed, from, to }))
    }

    /// Returns the next chunk. If there is none and a chunk named `wanted` is still missing, returns the
    /// first of that name near the first chunk: then an earlier size was wrong.
    ///
    /// # Errors
    /// Those of reading.
    pub(super) fn next_or_find(
        &mut self,
        source: &mut Source,
        reading: &mut Reading,
        wanted: Option<&[u8]>,
    ) -> io::Result<Option<Chunk>> {
        if let Some(chunk) = self.next(source, reading)? {
            return Ok(Some(chunk));
        }
        let (Some(wanted), 0..2) = (wanted, self.searches) else {
            return Ok(None);
        };
        self.searches += 1;
        let Some(at) = self.find(source, wanted)? else {
            return Ok(None);
        };
        reading.lose("chunks", format!("a size before byte {at} is wrong"));
        (self.at, self.padded) = (at, false);
        self.next(source, reading)
    }

    /// Sets the start of later searches to `at`, behind bytes that they must not find.
    pub(super) fn search_from(&mut self, at: u64) {
        self.first = at;
    }

    /// Goes on behind a body of `len` bytes at `from`.
    pub(super) fn skip(&mut self, from: u64, len: u64) {
        self.padded = self.layout.align == 2 && !len.is_multiple_of(2);
        let to = from.saturating_add(len);
        let whole = self.layout.align <= 2 || to.is_multiple_of(self.layout.align);
        self.at = if whole { to } else { to.saturating_add(self.layout.align - to % self.layout.align) };
    }

    /// Reports whether a chunk begins at `at`: its head has a name, and a size within the rest.
    ///
    /// # Errors
    /// Those of reading.
    pub(super) fn begins(&self, source: &mut Source, at: u64) -> io::Result<bool> {
        let head_len = self.layout.head_len();
        let head = source.bytes(at, head_len as usize)?;
        let size = number(head, self.layout.name_len, self.layout.size_len, self.layout.order);
        Ok(head.len() as u64 == head_len && is_name(head, self.layout) && size <= self.end.saturating_sub(at))
    }

    /// Returns the offset of a chunk of this name near the first chunk. A chunk with a plausible
    /// size comes before others: a text may hold the name too.
    fn find(&self, source: &mut Source, name: &[u8]) -> io::Result<Option<u64>> {
        let (mut at, mut found) = (self.first, None);
        while at < self.first + SEARCH_MAX {
            let bytes = source.bytes(at, WINDOW)?;
            let len = bytes.len();
            let places = memchr::memmem::find_iter(bytes, name).map(|index| at + index as u64);
            let places: Vec<u64> = places.take(NAMES_MAX).collect();
            for place in places {
                if self.begins(source, place)? {
                    return Ok(Some(place));
                }
                found = found.or(Some(place));
            }
            if len < WINDOW {
                break;
            }
            at += (WINDOW - name.len()) as u64;
        }
        Ok(found)
    }

    /// Skips the padding between two chunks, if there is any.
    fn pass_padding(&mut self, source: &mut Source) -> io::Result<()> {
        if self.padded {
            self.padded = false;
            let forgotten = {
                let next = source.bytes(self.at, 5)?;
                let here = next.len() == 5 && is_text(&next[..4]);
                let there = next.len() == 5 && is_text(&next[1..]);
                here && (!there || self.begins(source, self.at)?)
            };
            self.at += u64::from(!forgotten);
        }
        if self.layout.name_len == 4 && self.at < self.end {
            let ahead = source.bytes(self.at, ZEROS_MAX as usize)?;
            let zeros = ahead.iter().take_while(|byte| **byte == 0).count();
            if zeros < ahead.len() {
                self.at += zeros as u64;
            }
        }
        Ok(())
    }
}

/// Returns a number of `len` bytes in `bytes`; missing bytes count as 0.
pub(super) fn number(bytes: &[u8], at: usize, len: usize, order: ByteOrder) -> u64 {
    let byte = |index: usize| u64::from(bytes.get(at + index).copied().unwrap_or(0));
    (0..len).fold(0, |number, index| match order {
        ByteOrder::Big => number << 8 | byte(index),
        ByteOrder::Little => number << 8 | byte(len - 1 - index),
    })
}

/// Returns a number of two bytes, as [`number`] does.
pub(super) fn number16(bytes: &[u8], at: usize, order: ByteOrder) -> u16 {
    number(bytes, at, 2, order) as u16
}

/// Returns a number of four bytes, as [`number`] does.
pub(super) fn number32(bytes: &[u8], at: usize, order: ByteOrder) -> u32 {
    number(bytes, at, 4, order) as u32
}

/// Reads the ID3v2 tag that is a part of the file. The tags behind it only add to it.
///
/// # Errors
/// Those of reading.
pub(super) fn read_id3(source: &mut Source, from: u64, to: u64, reading: &mut Reading) -> io::Result<bool> {
    let tag = source.within(from, to, |part| id3::read_v2(part, 0, reading))?;
    Ok(tag.map(|tag| reading.tags.fill_from(tag.tags)).is_some())
}

/// Adds a text without a stated encoding to the weak tags: as UTF-8, or as UTF-16 if it looks like
/// it. A text ends at its first NUL.
///
/// # Errors
/// Those of reading.
pub(super) fn read_text(
    source: &mut Source,
    (from, to): (u64, u64),
    field: Field,
    reading: &mut Reading,
) -> io::Result<()> {
    let bytes = source.vec(from, to.saturating_sub(from), ENCODED_MAX)?;
    let (encoding, text) = text::guess(&bytes);
    reading.weakly(|reading| reading.push_encoded(field, text, encoding));
    Ok(())
}

/// Adds the text of a chunk as [`read_text`] does. A size beyond the end of the view is a loss.
///
/// # Errors
/// Those of reading.
pub(super) fn read_text_chunk(
    source: &mut Source,
    chunk: &Chunk,
    field: Field,
    reading: &mut Reading,
) -> io::Result<()> {
    if chunk.is_cut() {
        let (claimed, there) = (chunk.claimed, chunk.len());
        reading.lose(field.name(), format!("it claims {claimed} bytes, of which {there} are there"));
    }
    read_text(source, (chunk.from, chunk.to), field, reading)
}

fn is_name(head: &[u8], layout: Layout) -> bool {
    match layout.name_len {
        4 => head.get(..4).is_some_and(is_text),
        _ => head.iter().take(16).any(|byte| *byte != 0),
    }
}

fn is_text(name: &[u8]) -> bool {
    name.iter().all(|byte| matches!(byte, b' '..=b'~'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(bytes: Vec<u8>, layout: Layout) -> (Vec<String>, Reading) {
        let (mut source, mut reading) = (Source::of(bytes), Reading::default());
        let mut chunks = Chunks::new(layout, 0, u64::MAX);
        let mut names = Vec::new();
        while let Some(chunk) = chunks.next(&mut source, &mut reading).unwrap() {
            names.push(format!("{} {}", String::from_utf8_lossy(chunk.name()), chunk.len()));
        }
        (names, reading)
    }

    #[test]
    fn padding_is_passed_over_whether_it_is_there_or_not() {
        let riff = Layout::RIFF;
        for between in [&b""[..], b"\0", b"x", b"\0\0\0"] {
            let file = [riff.head(b"odd ", 3), b"abc".to_vec(), between.to_vec(), riff.chunk(b"next", b"12")];
            let (names, reading) = names(file.concat(), riff);
            assert_eq!(names, ["odd  3", "next 2"], "{between:?}");
            assert_eq!(reading.losses, []);
        }
    }

    #[test]
    fn sizes_are_cut_to_the_file() {
        for layout in [Layout::RIFF, Layout::IFF, Layout::DSDIFF, Layout::CORE_AUDIO, Layout::DSF] {
            let file = [layout.chunk(b"good", b"1234"), layout.head(b"lies", u64::MAX), b"xy".to_vec()];
            assert_eq!(names(file.concat(), layout).0, ["good 4", "lies 2"], "{layout:?}");
        }
        let guid = [b'g'; 16];
        let file = [Layout::WAVE64.chunk(&guid, b"123"), Layout::WAVE64.head(&guid, 0)].concat();
        assert_eq!(names(file, Layout::WAVE64).0, ["gggg 3", "gggg 0"]);
    }

    #[test]
    fn chunks_without_end_are_left() {
        let (names, reading) = names(Layout::RIFF.chunk(b"none", b"").repeat(20_000), Layout::RIFF);
        assert_eq!((names.len(), reading.losses.len()), (CHUNKS_MAX, 1));
    }

    #[test]
    fn junk_is_told_and_zeros_are_not() {
        let chunk = Layout::RIFF.chunk(b"good", b"1234");
        for (behind, told) in [(&[0; 100][..], 0), (&[1; 100], 1), (b"abc", 0)] {
            let (names, reading) = names([&chunk[..], behind].concat(), Layout::RIFF);
            assert_eq!((names.len(), reading.losses.len()), (1, told), "{behind:?}");
        }
    }

    #[test]
    fn numbers_are_read_in_both_orders_and_beyond_the_end() {
        assert_eq!(number(b"\x01\x02\x03\x04", 0, 4, ByteOrder::Big), 0x0102_0304);
        assert_eq!(number(b"\x01\x02\x03\x04", 1, 2, ByteOrder::Little), 0x0302);
        assert_eq!(number(b"\x01", 0, 8, ByteOrder::Little), 1);
    }
}
