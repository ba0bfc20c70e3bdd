//! Files that are put together from bytes and holes.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

/// A part of a file.
#[derive(Clone)]
pub(super) enum Part {
    Bytes(Vec<u8>),
    /// So many zeros, which take no room on the disk.
    Hole(u64),
    /// Counted in the sizes around it, but not there.
    Claim(u64),
}

/// A file, or something in it.
#[derive(Clone, Default)]
pub(super) struct Parts(Vec<Part>);

impl Parts {
    pub(super) fn of(bytes: impl Into<Vec<u8>>) -> Parts {
        Parts(vec![Part::Bytes(bytes.into())])
    }

    pub(super) fn one(part: Part) -> Parts {
        Parts(vec![part])
    }

    pub(super) fn then(mut self, next: impl Into<Parts>) -> Parts {
        for part in next.into().0 {
            match (self.0.last_mut(), part) {
                (Some(Part::Bytes(last)), Part::Bytes(bytes)) => last.extend(bytes),
                (_, part) => self.0.push(part),
            }
        }
        self
    }

    pub(super) fn len(&self) -> u64 {
        let len = |part: &Part| match part {
            Part::Bytes(bytes) => bytes.len() as u64,
            Part::Hole(len) | Part::Claim(len) => *len,
        };
        self.0.iter().map(len).sum()
    }

    pub(super) fn write(&self, path: &Path) {
        let mut file = File::create(path).expect("a file");
        for part in &self.0 {
            match part {
                Part::Bytes(bytes) => file.write_all(bytes).expect("written"),
                Part::Hole(len) => drop(file.seek(SeekFrom::Current(*len as i64)).expect("a hole")),
                Part::Claim(_) => {}
            }
        }
        let end = file.stream_position().expect("a place");
        file.set_len(end).expect("a length");
    }

    pub(super) fn parts(&self) -> &[Part] {
        &self.0
    }

    /// The first `len` bytes, and the rest.
    pub(super) fn split(mut self, len: u64) -> (Parts, Parts) {
        let (mut first, mut left) = (Parts::default(), len);
        while left > 0 && !self.0.is_empty() {
            let (part, size) = (self.0.remove(0), left);
            let (part, rest) = match part {
                Part::Bytes(mut bytes) if bytes.len() as u64 > size => {
                    let rest = bytes.split_off(size as usize);
                    (Part::Bytes(bytes), Some(Part::Bytes(rest)))
                }
                Part::Hole(len) if len > size => (Part::Hole(size), Some(Part::Hole(len - size))),
                Part::Claim(len) if len > size => (Part::Claim(size), Some(Part::Claim(len - size))),
                part => (part, None),
            };
            first.0.push(part);
            left = len - first.len();
            self.0.splice(0..0, rest);
        }
        (first, self)
    }
}

impl<T: Into<Vec<u8>>> From<T> for Parts {
    fn from(bytes: T) -> Parts {
        Parts::of(bytes)
    }
}
