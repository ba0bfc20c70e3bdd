//! Writes sections one after the other, then the table and the header that locate them.

use std::io::{Seek, SeekFrom, Write};

use xxhash_rust::xxh3::Xxh3;
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U32, U64};

use super::error::BuildError;
use crate::model::Kind;
use crate::snapshot::format::{
    ALIGNMENT, Column, HEADER_LEN, Header, MAGIC, SectionEntry, checksum, content_hash, section_id,
};

/// Bytes that are gathered before they are hashed and written.
const BUFFER_LEN: usize = 1 << 20;

/// Writes sections one after the other, and remembers their offsets.
pub(in crate::snapshot) struct Sections<W> {
    out: W,
    buffer: Vec<u8>,
    position: u64,
    written: Xxh3,
    /// The state of the content's hash.
    content: Xxh3,
    table: Vec<SectionEntry>,
}

impl<W: Write + Seek> Sections<W> {
    pub(in crate::snapshot) fn create(mut out: W) -> Result<Self, BuildError> {
        out.seek(SeekFrom::Start(0))?;
        out.write_all(&[0; HEADER_LEN])?;
        let buffer = Vec::with_capacity(BUFFER_LEN);
        let position = HEADER_LEN as u64;
        Ok(Sections { out, buffer, position, written: Xxh3::new(), content: Xxh3::new(), table: Vec::new() })
    }

    pub(in crate::snapshot) fn append(&mut self, bytes: &[u8]) -> Result<(), BuildError> {
        if bytes.len() >= BUFFER_LEN {
            return self.append_run(bytes);
        }
        self.buffer.extend_from_slice(bytes);
        self.position += bytes.len() as u64;
        if self.buffer.len() >= BUFFER_LEN { self.flush() } else { Ok(()) }
    }

    /// Many bytes bypass the buffer. This hashes them in parts that are still in the processor's cache.
    fn append_run(&mut self, bytes: &[u8]) -> Result<(), BuildError> {
        self.flush()?;
        for part in bytes.chunks(BUFFER_LEN / 4) {
            self.out.write_all(part)?;
            self.written.update(part);
        }
        self.position += bytes.len() as u64;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), BuildError> {
        self.out.write_all(&self.buffer)?;
        self.written.update(&self.buffer);
        self.buffer.clear();
        Ok(())
    }

    fn align(&mut self) -> Result<(), BuildError> {
        let gap = self.position.next_multiple_of(ALIGNMENT) - self.position;
        self.append(&[0; ALIGNMENT as usize][..gap as usize])
    }

    /// Begins the section of `column`; it holds the bytes that are appended until [`Sections::end`].
    pub(in crate::snapshot) fn begin(&mut self, kind: Kind, column: Column) -> Result<(), BuildError> {
        self.align()?;
        self.table.push(SectionEntry {
            id: section_id(kind, column).into(),
            width: column.width().into(),
            offset: self.position.into(),
            size: 0.into(),
        });
        Ok(())
    }

    pub(in crate::snapshot) fn end(&mut self) {
        if let Some(entry) = self.table.last_mut() {
            entry.size = (self.position - entry.offset.get()).into();
        }
    }

    pub(in crate::snapshot) fn bytes(
        &mut self,
        kind: Kind,
        column: Column,
        bytes: &[u8],
    ) -> Result<(), BuildError> {
        self.begin(kind, column)?;
        self.append(bytes)?;
        self.end();
        Ok(())
    }

    pub(in crate::snapshot) fn numbers(
        &mut self,
        kind: Kind,
        column: Column,
        mut numbers: impl Iterator<Item = u32>,
    ) -> Result<(), BuildError> {
        self.begin(kind, column)?;
        numbers.try_for_each(|number| self.append(U32::new(number).as_bytes()))?;
        self.end();
        Ok(())
    }

    pub(in crate::snapshot) fn ids(
        &mut self,
        kind: Kind,
        ids: impl Iterator<Item = uuid::Uuid>,
    ) -> Result<(), BuildError> {
        self.begin(kind, Column::Ids)?;
        for id in ids {
            self.append(id.as_bytes())?;
        }
        self.end();
        Ok(())
    }

    /// Writes `count` texts without gaps, and the offset of each.
    pub(in crate::snapshot) fn texts(
        &mut self,
        kind: Kind,
        texts: Column,
        offsets: Column,
        count: u32,
        append: impl Fn(u32, &mut Vec<u8>),
    ) -> Result<(), BuildError> {
        let mut starts = Vec::with_capacity(count as usize + 1);
        let mut buffer = Vec::new();
        self.begin(kind, texts)?;
        let begin = self.position;
        for at in 0..count {
            starts.push(U64::new(self.position - begin));
            buffer.clear();
            append(at, &mut buffer);
            self.append(&buffer)?;
        }
        starts.push(U64::new(self.position - begin));
        self.end();
        self.begin(kind, offsets)?;
        self.append(starts.as_slice().as_bytes())?;
        self.end();
        Ok(())
    }

    /// Ends the content: only compressed lists follow, which are not part of its hash.
    pub(in crate::snapshot) fn end_content(&mut self) -> Result<(), BuildError> {
        self.align()?;
        self.flush()?;
        self.content = self.written.clone();
        Ok(())
    }

    /// Writes the table, and the header last: a torn snapshot has no header.
    pub(in crate::snapshot) fn finish(mut self, version: u32) -> Result<(), BuildError> {
        self.align()?;
        let table = self.position;
        self.table.sort_unstable_by_key(|entry| entry.id.get());
        let entries = std::mem::take(&mut self.table);
        self.append(entries.as_slice().as_bytes())?;
        self.flush()?;
        let mut header = Header {
            magic: MAGIC,
            version: version.into(),
            sections: (entries.len() as u32).into(),
            length: self.position.into(),
            checksum: [0; 16],
            table: table.into(),
            hash: content_hash(self.content, &entries),
        };
        header.checksum = checksum(self.written, &header);
        self.out.seek(SeekFrom::Start(0))?;
        self.out.write_all(header.as_bytes())?;
        self.out.flush()?;
        Ok(())
    }
}
