//! Atoms: a size, a name, content. A wrong size costs at most the atoms behind it in the same
//! parent.

use std::io;

use crate::scan::read::source::Source;
use crate::scan::read::tags::Reading;

/// Most atoms of one parent that are read.
const ATOMS_MAX: usize = 10_000;
/// Bytes of a header.
const HEADER_LEN: u64 = 8;
/// Most headers of zeros between atoms.
const ZEROS_MAX: usize = 10_000;

/// An atom.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Atom {
    pub(super) name: [u8; 4],
    /// Offset of its header.
    pub(super) at: u64,
    /// Offset of its content.
    pub(super) start: u64,
    /// Offset behind it, not beyond its parent.
    pub(super) end: u64,
    /// Whether it claims to go beyond its parent.
    pub(super) is_cut: bool,
}

impl Atom {
    /// Returns the number of bytes of the content.
    pub(super) fn len(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Returns its name for a message.
    pub(super) fn label(&self) -> String {
        self.name.escape_ascii().to_string()
    }

    /// Returns the atoms in it.
    pub(super) fn children(&self) -> Atoms {
        Atoms::new(self.start, self.end)
    }

    /// Returns the first atom of this name in it.
    pub(super) fn child(&self, source: &mut Source, name: &[u8; 4]) -> io::Result<Option<Atom>> {
        let mut children = self.children();
        while let Some(child) = children.next(source)? {
            if child.name == *name {
                return Ok(Some(child));
            }
        }
        Ok(None)
    }

    /// Returns the number at an offset in the content, if it is there.
    pub(super) fn u32(&self, source: &mut Source, offset: u64) -> io::Result<Option<u32>> {
        Ok(self.array(source, offset)?.map(u32::from_be_bytes))
    }

    /// Returns the number at an offset in the content, if it is there.
    pub(super) fn u64(&self, source: &mut Source, offset: u64) -> io::Result<Option<u64>> {
        Ok(self.array(source, offset)?.map(u64::from_be_bytes))
    }

    /// Returns the bytes at an offset in the content, if they are there.
    pub(super) fn array<const N: usize>(
        &self,
        source: &mut Source,
        offset: u64,
    ) -> io::Result<Option<[u8; N]>> {
        let at = self.start + offset;
        if at + N as u64 > self.end { Ok(None) } else { source.array(at) }
    }
}

/// The reason why the atoms behind one cannot be found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fault {
    /// The size of an atom is smaller than its header.
    Size,
    /// There are more atoms than the reader looks at.
    Many,
}

/// The atoms between two offsets, one by one.
#[derive(Debug)]
pub(super) struct Atoms {
    at: u64,
    end: u64,
    count: usize,
    zeros: usize,
    /// Most of them.
    max: usize,
    /// Whether they are those of the file itself.
    is_top: bool,
    /// The reason why they ended early.
    pub(super) fault: Option<Fault>,
}

impl Atoms {
    pub(super) fn new(at: u64, end: u64) -> Atoms {
        Atoms { at, end, count: 0, zeros: 0, max: ATOMS_MAX, is_top: false, fault: None }
    }

    /// Those of the whole file from `at` on.
    pub(super) fn of_file(source: &Source, at: u64) -> Atoms {
        Atoms { is_top: true, ..Atoms::new(at, source.len()) }
    }

    /// With another limit to their number.
    pub(super) fn up_to(self, max: usize) -> Atoms {
        Atoms { max, ..self }
    }

    /// Returns the next one. A size that is smaller than a header costs the atom alone.
    ///
    /// # Errors
    /// Those of reading.
    pub(super) fn next(&mut self, source: &mut Source) -> io::Result<Option<Atom>> {
        while self.at + HEADER_LEN <= self.end {
            let at = self.at;
            let Some([a, b, c, d, name @ ..]) = source.array::<8>(at)? else { break };
            let (mut size, mut start) = (u64::from(u32::from_be_bytes([a, b, c, d])), at + HEADER_LEN);
            self.at = start;
            if size == 0 && name == [0; 4] {
                // Padding; QuickTime also ends lists with a zero.
                self.zeros += 1;
                if self.zeros == ZEROS_MAX {
                    break;
                }
                continue;
            }
            if self.count == self.max {
                self.fault = Some(Fault::Many);
                break;
            }
            self.count += 1;
            if size == 1 {
                let Some(large) = source.array(start)? else { break };
                (size, start) = (u64::from_be_bytes(large), start + 8);
            }
            // An atom without a size is the last one of the file.
            let claimed = if size == 0 && self.is_top { self.end } else { at.saturating_add(size) };
            if claimed < start {
                self.fault = Some(Fault::Size);
                continue;
            }
            let end = claimed.min(self.end);
            self.at = end;
            return Ok(Some(Atom { name, at, start: start.min(end), end, is_cut: claimed > self.end }));
        }
        self.at = self.end;
        Ok(None)
    }

    /// Logs why the atoms of `parent` ended early.
    pub(super) fn tell_fault(&self, parent: &str, reading: &mut Reading) {
        match self.fault {
            Some(Fault::Size) => {
                reading.lose(
                    format!("atoms of {parent}"),
                    "the size of one is smaller than its header; it was passed over",
                );
            }
            Some(Fault::Many) => {
                reading.lose(
                    format!("atoms of {parent}"),
                    format!("only the first {} were looked at", self.max),
                );
            }
            None => {}
        }
    }
}
