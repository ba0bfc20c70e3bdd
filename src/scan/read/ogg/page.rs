//! The pages of an Ogg file, and packets that extend over several of them.

use std::io;

use memchr::memmem;

use crate::scan::read::source::{Source, WINDOW};
use crate::scan::read::vorbis_comment::Packet;

/// First bytes of a page.
const MARK: &[u8] = b"OggS";
/// Bytes of the header of a page, without its table of segments.
const HEADER_LEN: u64 = 27;
/// Most bytes of a page: 255 segments of 255 bytes.
pub(super) const PAGE_MAX: u64 = HEADER_LEN + 255 + 255 * 255;
/// Most pages of other streams between two of one stream.
const FOREIGN_MAX: usize = 4096;

const CONTINUED: u8 = 1;
const FIRST: u8 = 2;

/// A page.
#[derive(Debug, Clone)]
pub(super) struct Page {
    /// Offset of its header.
    pub(super) at: u64,
    flags: u8,
    /// Place in the sound at the end of the last packet that ends here; `None` if none does.
    pub(super) granule: Option<u64>,
    pub(super) serial: u32,
    pub(super) sequence: u32,
    /// Bytes of each segment; a segment of less than 255 ends a packet.
    pub(super) segments: Vec<u8>,
}

impl Page {
    /// Returns the page whose header is at `at`, whole or not.
    pub(super) fn at(source: &mut Source, at: u64) -> io::Result<Option<Page>> {
        let bytes = source.bytes(at, HEADER_LEN as usize + 255)?;
        let Some((header, rest)) = bytes.split_first_chunk::<{ HEADER_LEN as usize }>() else {
            return Ok(None);
        };
        let [b'O', b'g', b'g', b'S', 0, flags, numbers @ .., count] = *header else { return Ok(None) };
        let Some(segments) = rest.get(..usize::from(count)) else { return Ok(None) };
        let [a, b, c, d, e, f, g, h, serial @ ..] = numbers;
        let [s0, s1, s2, s3, n0, n1, n2, n3, _, _, _, _] = serial;
        let granule = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        Ok(Some(Page {
            at,
            flags,
            // A signed number; all ones mean that no packet ends here.
            granule: Some(granule).filter(|granule| granule >> 63 == 0),
            serial: u32::from_le_bytes([s0, s1, s2, s3]),
            sequence: u32::from_le_bytes([n0, n1, n2, n3]),
            segments: segments.to_vec(),
        }))
    }

    /// Returns the first page that begins at `from` or behind, and before `to`.
    pub(super) fn find(source: &mut Source, from: u64, to: u64) -> io::Result<Option<Page>> {
        let mut at = from;
        while at < to {
            // Read no more than needed: these bytes may be in a window already.
            let wanted = usize::try_from(to - at + 3).unwrap_or(WINDOW).min(WINDOW);
            let bytes = source.bytes(at, wanted)?;
            let len = bytes.len() as u64;
            match memmem::find(bytes, MARK).map(|offset| at + offset as u64) {
                Some(mark) if mark < to => match Page::at(source, mark)? {
                    Some(page) => return Ok(Some(page)),
                    None => at = mark + 1,
                },
                Some(_) => break,
                None if len < WINDOW as u64 => break,
                None => at += len - 3,
            }
        }
        Ok(None)
    }

    /// Reports whether a stream begins here.
    pub(super) fn is_first(&self) -> bool {
        self.flags & FIRST != 0
    }

    fn is_continued(&self) -> bool {
        self.flags & CONTINUED != 0
    }

    /// Returns the offset of its first packet.
    pub(super) fn body(&self) -> u64 {
        self.at + HEADER_LEN + self.segments.len() as u64
    }

    /// Returns the offset behind it.
    pub(super) fn end(&self) -> u64 {
        self.body() + self.segments.iter().map(|len| u64::from(*len)).sum::<u64>()
    }

    /// Returns how many packets end here.
    pub(super) fn ended(&self) -> u64 {
        self.segments.iter().filter(|len| **len < 255).count() as u64
    }

    /// Returns the offsets and lengths of the packets that end here.
    pub(super) fn packets(&self) -> Vec<(u64, u64)> {
        let mut packets = Vec::new();
        let (mut start, mut len) = (self.body(), 0);
        for segment in &self.segments {
            len += u64::from(*segment);
            if *segment < 255 {
                packets.push((start, len));
                start += len;
                len = 0;
            }
        }
        packets
    }
}

/// Returns the offsets of `OggS` in `bytes`.
pub(super) fn marks_in(bytes: &[u8]) -> Vec<usize> {
    memmem::find_iter(bytes, MARK).collect()
}

/// A place in the packets of a stream.
#[derive(Debug)]
pub(super) struct Cursor {
    page: Page,
    /// The segment behind the piece of the packet on this page.
    segment: usize,
    /// Offset of the next byte.
    at: u64,
    /// Bytes of the packet that are left on this page.
    left: u64,
    /// Whether the packet continues on the next page.
    goes_on: bool,
    /// Whether to try to leap over pages.
    leaps: bool,
}

impl Cursor {
    /// At the start of the first packet of a page.
    pub(super) fn new(page: Page) -> Cursor {
        let at = page.body();
        let mut cursor = Cursor { page, segment: 0, at, left: 0, goes_on: false, leaps: true };
        cursor.begin();
        cursor
    }

    /// Goes to the next packet; `false` when there is none.
    pub(super) fn next(&mut self, source: &mut Source) -> io::Result<bool> {
        self.skip(source, u64::MAX)?;
        if self.segment < self.page.segments.len() {
            self.begin();
            return Ok(true);
        }
        self.turn(source, false)
    }

    /// Returns the offset behind the page.
    pub(super) fn page_end(&self) -> u64 {
        self.page.end()
    }

    /// Takes up the piece that begins at `segment`.
    fn begin(&mut self) {
        let rest = &self.page.segments[self.segment.min(self.page.segments.len())..];
        let full = rest.iter().take_while(|len| **len == 255).count();
        let count = rest.len().min(full + 1);
        self.left = rest[..count].iter().map(|len| u64::from(*len)).sum();
        self.goes_on = full == rest.len();
        self.segment += count;
    }

    /// Goes to the next page of the stream, which must continue a packet or begin one.
    fn turn(&mut self, source: &mut Source, continued: bool) -> io::Result<bool> {
        self.goes_on = false;
        let mut at = self.page.end();
        for _ in 0..FOREIGN_MAX {
            let Some(page) = Page::at(source, at)? else { return Ok(false) };
            if page.serial == self.page.serial {
                if page.is_first() || page.is_continued() != continued {
                    return Ok(false);
                }
                *self = Cursor { leaps: self.leaps, ..Cursor::new(page) };
                return Ok(true);
            }
            at = page.end();
        }
        Ok(false)
    }

    /// Skips pages that the packet fills completely, as long as `len` bytes extend beyond them. Returns how
    /// many bytes of the packet it skipped.
    fn leap(&mut self, source: &mut Source, len: u64) -> io::Result<u64> {
        let (size, body) = (self.page.end() - self.page.at, self.page.end() - self.page.body());
        let is_full = self.page.segments.iter().all(|segment| *segment == 255);
        if !(self.leaps && self.goes_on && is_full && body > 0) {
            return Ok(0);
        }
        let count = len.saturating_sub(self.left) / body;
        let mut count = u32::try_from(count).unwrap_or(u32::MAX);
        if count < 2 {
            return Ok(0);
        }
        while count > 1 {
            let target = self.page.end().saturating_add(u64::from(count) * size);
            // Pages usually have one size; if they do, the number of the page at that place confirms it.
            let page = if target < source.len() { Page::at(source, target)? } else { None };
            let is_it = |page: &Page| {
                page.serial == self.page.serial
                    && page.is_continued()
                    && Some(page.sequence) == self.page.sequence.checked_add(count + 1)
            };
            if let Some(page) = page.filter(is_it) {
                let passed = self.left + u64::from(count) * body;
                *self = Cursor::new(page);
                return Ok(passed);
            }
            count /= 4;
        }
        self.leaps = false;
        Ok(0)
    }
}

impl Packet for Cursor {
    fn take(&mut self, source: &mut Source, len: usize) -> io::Result<Vec<u8>> {
        let mut taken = Vec::new();
        while taken.len() < len {
            if self.left == 0 {
                if self.goes_on && self.turn(source, true)? {
                    continue;
                }
                break;
            }
            let piece = source.vec(self.at, self.left, len - taken.len())?;
            if piece.is_empty() {
                break;
            }
            self.at += piece.len() as u64;
            self.left -= piece.len() as u64;
            taken.extend_from_slice(&piece);
        }
        Ok(taken)
    }

    fn skip(&mut self, source: &mut Source, len: u64) -> io::Result<u64> {
        let mut passed = 0;
        while passed < len {
            let leapt = self.leap(source, len - passed)?;
            passed += leapt;
            if leapt > 0 {
                continue;
            }
            let step = self.left.min(len - passed).min(source.len().saturating_sub(self.at));
            self.at += step;
            self.left -= step;
            passed += step;
            if passed < len && (self.left > 0 || !self.goes_on || !self.turn(source, true)?) {
                break;
            }
        }
        Ok(passed)
    }
}
