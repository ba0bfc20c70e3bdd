//! Elements of EBML: an id, a size, content. Id and size state their own length.

use std::io;

use crate::scan::read::source::Source;

/// Most elements of one parent that are read.
const ELEMENTS_MAX: usize = 10_000;
/// Most bytes of id and size.
const HEADER_MAX: usize = 12;

/// An element.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Element {
    pub(super) id: u32,
    /// Offset of its content.
    pub(super) start: u64,
    /// Offset behind it, not beyond its parent.
    pub(super) end: u64,
    /// Whether its size is unknown; then it ends with its parent at the latest.
    pub(super) is_open: bool,
    /// Whether it claims to go beyond its parent.
    pub(super) is_cut: bool,
}

impl Element {
    /// Returns the element at `at`, in a parent that ends at `end`; `None` when there is none.
    pub(super) fn at(source: &mut Source, at: u64, end: u64) -> io::Result<Option<Element>> {
        if at >= end {
            return Ok(None);
        }
        let bytes = source.bytes(at, HEADER_MAX)?;
        let Some((id, id_len)) = number(bytes, 4, false) else { return Ok(None) };
        let Some((size, size_len)) = number(&bytes[id_len..], 8, true) else { return Ok(None) };
        let start = at + (id_len + size_len) as u64;
        let is_open = size == (1 << (7 * size_len)) - 1;
        let claimed = if is_open { end } else { start.saturating_add(size) };
        Ok(Some(Element {
            id: u32::try_from(id).unwrap_or(0),
            start: start.min(end),
            end: claimed.min(end),
            is_open,
            is_cut: claimed > end,
        }))
    }

    /// Returns the number of bytes of the content.
    pub(super) fn len(&self) -> u64 {
        self.end - self.start
    }

    /// Returns the elements in it.
    pub(super) fn children(&self) -> Elements {
        Elements { at: self.start, end: self.end, count: 0, is_broken: false }
    }

    /// Returns its content as a number; 0 when it is empty or too long.
    pub(super) fn uint(&self, source: &mut Source) -> io::Result<u64> {
        if self.len() > 8 {
            return Ok(0);
        }
        Ok(source.vec(self.start, self.len(), 8)?.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }

    /// Returns its content as a number with a fraction; 0 when it is none.
    pub(super) fn float(&self, source: &mut Source) -> io::Result<f64> {
        Ok(match self.len() {
            4 => source.array(self.start)?.map_or(0.0, |bytes| f64::from(f32::from_be_bytes(bytes))),
            8 => source.array(self.start)?.map_or(0.0, f64::from_be_bytes),
            _ => 0.0,
        })
    }

    /// Returns the first `cap` bytes of its content, without padding.
    pub(super) fn text(&self, source: &mut Source, cap: usize) -> io::Result<Vec<u8>> {
        let mut text = source.vec(self.start, self.len(), cap)?;
        let end = text.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        text.truncate(end);
        Ok(text)
    }
}

/// The elements of a parent, one by one.
#[derive(Debug)]
pub(super) struct Elements {
    at: u64,
    end: u64,
    count: usize,
    /// Whether the elements ended early, because bytes are no element or the elements are too many.
    pub(super) is_broken: bool,
}

impl Elements {
    /// Returns the next element.
    ///
    /// # Errors
    /// Those of reading.
    pub(super) fn next(&mut self, source: &mut Source) -> io::Result<Option<Element>> {
        if self.at >= self.end {
            return Ok(None);
        }
        let element = match self.count {
            ELEMENTS_MAX => None,
            _ => Element::at(source, self.at, self.end)?,
        };
        self.count += 1;
        match element {
            Some(element) => self.at = element.end,
            None => (self.is_broken, self.at) = (true, self.end),
        }
        Ok(element)
    }
}

/// Returns a number whose first bits tell how many bytes it takes; with or without those bits.
fn number(bytes: &[u8], len_max: usize, bare: bool) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let len = first.leading_zeros() as usize + 1;
    if len > len_max {
        return None;
    }
    let head = if bare { u64::from(first) & (0xff >> len) } else { u64::from(first) };
    let rest = bytes.get(1..len)?;
    Some((rest.iter().fold(head, |number, byte| number << 8 | u64::from(*byte)), len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_tell_their_length() {
        for (bytes, bare, expected) in [
            (&[0x81][..], true, Some((1, 1))),
            (&[0x40, 0x02], true, Some((2, 2))),
            (&[0xff], true, Some((127, 1))),
            (&[0x01, 0, 0, 0, 0, 0, 0, 5], true, Some((5, 8))),
            (&[0x01, 0, 0], true, None),
            (&[0x00, 1], true, None),
            (&[], true, None),
            (&[0x1a, 0x45, 0xdf, 0xa3], false, Some((0x1a45_dfa3, 4))),
        ] {
            assert_eq!(number(bytes, 8, bare), expected, "{bytes:?}");
        }
        assert_eq!(number(&[0x01, 0, 0, 0, 0, 0, 0, 5], 4, false), None);
    }
}
