//! A part of a body that is handed to the kernel at once.

use std::io::IoSlice;

use bytes::{Buf, Bytes};

/// Parts of a [`Piece`]: the bytes before a long run, the run, and the bytes after it.
const PARTS: usize = 3;

/// Bytes that leave in one write although they are not contiguous. A write of a few bytes takes as long as
/// copying some ten thousand, and wakes the client for almost nothing.
#[derive(Debug, Default)]
pub(in crate::worker) struct Piece([Bytes; PARTS]);

impl Piece {
    /// Creates a piece of these parts in this order; any of them may be empty.
    pub(in crate::worker) fn new(before: Bytes, run: Bytes, after: Bytes) -> Self {
        Piece([before, run, after])
    }

    /// Returns the number of bytes left before and after the run.
    pub(in crate::worker) fn around(&self) -> usize {
        self.0[0].len() + self.0[2].len()
    }
}

impl From<Bytes> for Piece {
    fn from(bytes: Bytes) -> Self {
        Piece([bytes, Bytes::new(), Bytes::new()])
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    fn chunk(&self) -> &[u8] {
        self.0.iter().find(|part| !part.is_empty()).map_or(&[], |part| part)
    }

    fn advance(&mut self, mut count: usize) {
        for part in &mut self.0 {
            let len = part.len().min(count);
            part.advance(len);
            count -= len;
        }
        assert!(count == 0, "advanced beyond the end of a piece");
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let parts = self.0.iter().filter(|part| !part.is_empty());
        parts.zip(slices).map(|(part, slice)| *slice = IoSlice::new(part)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_taken_in_order_from_any_point() {
        for (before, run, after) in
            [("ab", "cdef", "g"), ("", "abcdefg", ""), ("abc", "", "defg"), ("abcdefg", "", "")]
        {
            for advanced in 0..=7 {
                let parts = [before, run, after].map(|text| Bytes::from_static(text.as_bytes()));
                let [before, run, after] = parts;
                let mut piece = Piece::new(before, run, after);
                piece.advance(advanced);
                let rest = &b"abcdefg"[advanced..];
                let mut slices = [IoSlice::new(b""); 8];
                let count = piece.chunks_vectored(&mut slices);
                let listed: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
                assert_eq!((&listed[..], piece.remaining()), (rest, rest.len()));
                assert!(slices[..count].iter().all(|slice| !slice.is_empty()));
                assert!(count == 0 || piece.chunk() == &*slices[0]);
                let few = piece.chunks_vectored(&mut [IoSlice::new(b"")]);
                assert_eq!(few, count.min(1));
                assert_eq!(&piece.copy_to_bytes(rest.len())[..], rest);
            }
        }
    }
}
