//! The files that a scan has read and not yet stored: in memory while they are few, in a
//! temporary file without a name when they are many. A first scan of a million files
//! takes a few megabytes of memory for them.

use std::fs;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;

use crate::model::library::File;

/// Bytes that stay in memory.
const MEMORY_MAX: usize = 8 << 20;
/// Most bytes of one record. A file keeps 256 values of 4 KiB at most.
const RECORD_MAX: u32 = 8 << 20;

/// Records that are written one by one and read from the first on.
#[derive(Debug, Default)]
pub(super) struct Spool {
    /// A file without a name, once the records are many.
    disk: Option<fs::File>,
    disk_len: u64,
    /// What follows on the bytes in the file.
    memory: Vec<u8>,
    len: usize,
}

impl Spool {
    /// How many records it holds.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds a record.
    ///
    /// # Errors
    /// If the temporary folder is full or cannot be written.
    pub(super) fn push(&mut self, record: &File) -> io::Result<()> {
        let bytes = postcard::to_stdvec(record).map_err(io::Error::other)?;
        let len = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        self.memory.extend_from_slice(&len.to_le_bytes());
        self.memory.extend_from_slice(&bytes);
        self.len += 1;
        if self.memory.len() >= MEMORY_MAX { self.spill() } else { Ok(()) }
    }

    fn spill(&mut self) -> io::Result<()> {
        let disk = match &mut self.disk {
            Some(disk) => disk,
            none => none.insert(tempfile::tempfile()?),
        };
        disk.write_all_at(&self.memory, self.disk_len)?;
        self.disk_len += self.memory.len() as u64;
        self.memory.clear();
        Ok(())
    }

    /// Reads all records, in the order in which they were added. Ends after an error.
    pub(super) fn records(&self) -> impl Iterator<Item = io::Result<File>> + '_ {
        let mut reader = BufReader::with_capacity(64 << 10, Bytes { spool: self, at: 0 });
        let mut left = self.len;
        std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let record = next(&mut reader);
            if record.is_err() {
                left = 0;
            }
            Some(record)
        })
    }
}

fn next(reader: &mut impl Read) -> io::Result<File> {
    let mut len = [0; 4];
    reader.read_exact(&mut len)?;
    let len = u32::from_le_bytes(len);
    if len > RECORD_MAX {
        return Err(io::Error::from(io::ErrorKind::InvalidData));
    }
    let mut bytes = vec![0; len as usize];
    reader.read_exact(&mut bytes)?;
    postcard::from_bytes(&bytes).map_err(io::Error::other)
}

/// The bytes of all records.
struct Bytes<'a> {
    spool: &'a Spool,
    at: u64,
}

impl Read for Bytes<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Spool { disk, disk_len, memory, .. } = self.spool;
        let count = match (disk, self.at.checked_sub(*disk_len)) {
            (_, Some(past)) => {
                let start = usize::try_from(past).unwrap_or(usize::MAX).min(memory.len());
                let count = buffer.len().min(memory.len() - start);
                buffer[..count].copy_from_slice(&memory[start..start + count]);
                count
            }
            (Some(disk), None) => {
                let left = usize::try_from(disk_len - self.at).unwrap_or(usize::MAX);
                let count = buffer.len().min(left);
                disk.read_at(&mut buffer[..count], self.at)?
            }
            // The length on the disk is 0 as long as there is none.
            (None, None) => 0,
        };
        self.at += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    use super::*;
    use crate::model::library::{Outcome, Stamps};

    fn file(number: i64) -> File {
        File {
            folder: number,
            name: OsString::from_vec(vec![0xff, number as u8]),
            stamps: Stamps { size: i64::MIN, mtime_ns: -1, ctime_ns: i64::MAX, ino: number },
            settled: true,
            reader: 1,
            outcome: Outcome::Song,
            note: String::new(),
            added: 7,
            title: Some("x".repeat(number as usize)),
            album: None,
            artist: Some(String::new()),
            genre: None,
            track: Some("1/2".to_owned()),
            date: None,
            length_ms: Some(1),
            facts: "{}".to_owned(),
        }
    }

    #[test]
    fn records_come_back_in_order_from_memory_and_from_disk() {
        let mut spool = Spool::default();
        // The second round is longer than what stays in memory.
        for count in [100, 6000] {
            while spool.len() < count {
                spool.push(&file(spool.len() as i64)).expect("written");
            }
            assert_eq!(spool.records().take(2).count(), 2);
            for _ in 0..2 {
                let records: Vec<File> = spool.records().map(|file| file.expect("a record")).collect();
                assert!(records == (0..count as i64).map(file).collect::<Vec<_>>());
            }
        }
        assert!(spool.disk_len > 0 && !spool.memory.is_empty());
    }
}
