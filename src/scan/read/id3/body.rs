//! The bytes between the header of a tag and its end, without unsynchronisation: some taggers put a
//! zero after each `ff` in them, so that no player takes them for sound.

use std::io;

use crate::scan::read::source::{Source, WINDOW};

/// Most remembered places of an unsynchronised body.
const MARKS_MAX: usize = 16;
/// Bytes in the check whether a body is unsynchronised as its header says.
const SAMPLE: usize = 4096;

/// A place in an unsynchronised body.
#[derive(Debug, Clone, Copy, Default)]
struct Mark {
    /// Offset without the zeros that were put in.
    plain: u64,
    /// Offset with them.
    raw: u64,
    /// Whether the byte before is `ff`.
    after_ff: bool,
}

/// The body of a tag. Offsets are relative to it and do not count the inserted zeros.
#[derive(Debug)]
pub(super) struct Body {
    from: u64,
    to: u64,
    /// Its length; for an unsynchronised body known only once its end was read.
    len: Option<u64>,
    /// Places from which reading can resume in an unsynchronised body; new ones replace the oldest.
    marks: Vec<Mark>,
    oldest: usize,
}

impl Body {
    pub(super) fn plain(from: u64, to: u64) -> Body {
        let len = Some(to.saturating_sub(from));
        Body { from, to: to.max(from), len, marks: Vec::new(), oldest: 0 }
    }

    /// Creates a body that its header calls unsynchronised. An `ff` before a byte that needs a zero
    /// before it shows that the tagger set the flag and wrote plain bytes.
    pub(super) fn unsynchronised(source: &mut Source, from: u64, to: u64) -> io::Result<Body> {
        let mut body = Body::plain(from, to);
        let sample = source.bytes(from, SAMPLE.min(usize::try_from(to - from).unwrap_or(SAMPLE)))?;
        if is_unsynchronised(sample) {
            body.len = None;
            body.marks.push(Mark::default());
        }
        Ok(body)
    }

    /// Returns the length, or an upper bound of it.
    pub(super) fn len(&self) -> u64 {
        self.len.unwrap_or(self.to - self.from)
    }

    /// Returns the bytes at `at`: `len` of them, fewer if the body ends. The caller bounds `len`.
    pub(super) fn read(&mut self, source: &mut Source, at: u64, len: u64) -> io::Result<Vec<u8>> {
        if at >= self.len() {
            return Ok(Vec::new());
        }
        if self.marks.is_empty() {
            let len = len.min(self.len() - at);
            return source.vec(self.from + at, len, usize::try_from(len).unwrap_or(WINDOW));
        }
        let mut mark = self.seek(source, at)?;
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < len
            && self.step(source, &mut mark, len - bytes.len() as u64, &mut bytes)?
        {}
        Ok(bytes)
    }

    /// Returns the offset in the file of the byte at `at`.
    pub(super) fn offset(&mut self, source: &mut Source, at: u64) -> io::Result<u64> {
        let at = at.min(self.len());
        if self.marks.is_empty() {
            return Ok(self.from + at);
        }
        Ok(self.from + self.seek(source, at)?.raw)
    }

    /// Finds the place of the byte at `at`, and remembers it.
    fn seek(&mut self, source: &mut Source, at: u64) -> io::Result<Mark> {
        let before = self.marks.iter().filter(|mark| mark.plain <= at).max_by_key(|mark| mark.plain);
        let mut mark = before.copied().unwrap_or_default();
        let mut skipped = Vec::new();
        while mark.plain < at {
            skipped.clear();
            let left = at - mark.plain;
            if !self.step(source, &mut mark, left, &mut skipped)? {
                return Ok(mark);
            }
        }
        if self.marks.len() < MARKS_MAX {
            self.marks.push(mark);
        } else {
            self.marks[self.oldest] = mark;
            self.oldest = (self.oldest + 1) % MARKS_MAX;
        }
        Ok(mark)
    }

    /// Appends up to `len` bytes from a place on, and moves the place behind them. Returns whether
    /// the body continues.
    fn step(
        &mut self,
        source: &mut Source,
        mark: &mut Mark,
        len: u64,
        plain: &mut Vec<u8>,
    ) -> io::Result<bool> {
        let left = self.to - self.from - mark.raw;
        let wanted = usize::try_from(len.min(left)).unwrap_or(WINDOW);
        let raw = source.bytes(self.from + mark.raw, wanted)?;
        if raw.is_empty() {
            self.len = Some(mark.plain);
            return Ok(false);
        }
        for byte in raw {
            if !(mark.after_ff && *byte == 0) {
                plain.push(*byte);
                mark.plain += 1;
            }
            mark.raw += 1;
            mark.after_ff = *byte == 0xff;
        }
        Ok(true)
    }
}

/// Reports whether no `ff` precedes a byte that needs a zero before it.
pub(super) fn is_unsynchronised(bytes: &[u8]) -> bool {
    !bytes.windows(2).any(|pair| pair[0] == 0xff && pair[1] >= 0xe0)
}

/// Removes the zero that was put after each `ff`.
pub(super) fn undo(data: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(data.len());
    let mut after_ff = false;
    for byte in data {
        if !(after_ff && *byte == 0) {
            plain.push(*byte);
        }
        after_ff = *byte == 0xff;
    }
    plain
}
