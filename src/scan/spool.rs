//! The records of files that a scan has read and not yet stored: in memory while they are few, in a
//! temporary file without a name when they are many. A first scan of a million files needs a few
//! megabytes of memory for them.

use std::fs;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;

use serde::Deserialize;
use uuid::Uuid;

use crate::model::library::File;

/// Bytes that stay in memory.
const MEMORY_MAX: usize = 8 << 20;
/// Bytes before each record: its length, whether it holds a song, hash and id of the song.
const HEAD_LEN: usize = 4 + 1 + 8 + 16;
/// Most bytes of one record. A file keeps 256 values of 4 KiB at most.
const RECORD_MAX: u32 = 8 << 20;

/// A file that was read.
#[derive(Debug)]
pub(super) struct Record {
    /// Id and hash of its song row; `None` where it holds no song.
    pub(super) song: Option<(Uuid, u64)>,
    /// The file, encoded.
    bytes: Vec<u8>,
}

impl Record {
    /// Decodes the file. Its texts may be borrowed (`&str`) or copied.
    ///
    /// # Errors
    /// If the bytes are damaged.
    pub(super) fn file<'a, Text: Deserialize<'a>>(&'a self) -> io::Result<File<Text>> {
        postcard::from_bytes(&self.bytes).map_err(io::Error::other)
    }
}

/// Records that are written one by one and read in the same order.
#[derive(Debug, Default)]
pub(super) struct Spool {
    /// A file without a name, once the records are many.
    disk: Option<fs::File>,
    disk_len: u64,
    /// The records that follow those in the file.
    memory: Vec<u8>,
    len: usize,
}

impl Spool {
    /// Returns the number of records.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds a file, with the id and the hash of its song row if it holds a song.
    ///
    /// # Errors
    /// If the temporary folder is full or cannot be written.
    pub(super) fn push(&mut self, file: &File, song: Option<(Uuid, u64)>) -> io::Result<()> {
        let start = self.memory.len();
        self.memory.extend_from_slice(&[0; HEAD_LEN]);
        let memory = std::mem::take(&mut self.memory);
        self.memory = postcard::to_extend(file, memory).map_err(io::Error::other)?;
        let len = u32::try_from(self.memory.len() - start - HEAD_LEN).map_err(io::Error::other)?;
        let (id, hash) = song.unwrap_or_default();
        let head = &mut self.memory[start..start + HEAD_LEN];
        head[..4].copy_from_slice(&len.to_le_bytes());
        head[4] = u8::from(song.is_some());
        head[5..13].copy_from_slice(&hash.to_le_bytes());
        head[13..].copy_from_slice(id.as_bytes());
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
    pub(super) fn records(&self) -> impl Iterator<Item = io::Result<Record>> + '_ {
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

fn next(reader: &mut impl Read) -> io::Result<Record> {
    let mut head = [0; HEAD_LEN];
    reader.read_exact(&mut head)?;
    let [l0, l1, l2, l3, has_song, h0, h1, h2, h3, h4, h5, h6, h7, id @ ..] = head;
    let len = u32::from_le_bytes([l0, l1, l2, l3]);
    if len > RECORD_MAX {
        return Err(io::Error::from(io::ErrorKind::InvalidData));
    }
    let song = (Uuid::from_bytes(id), u64::from_le_bytes([h0, h1, h2, h3, h4, h5, h6, h7]));
    let mut bytes = vec![0; len as usize];
    reader.read_exact(&mut bytes)?;
    Ok(Record { song: (has_song == 1).then_some(song), bytes })
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
            // Without a file its length is 0.
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

    fn song(number: i64) -> Option<(Uuid, u64)> {
        (number % 3 > 0).then(|| (Uuid::from_u128(number as u128), number as u64))
    }

    #[test]
    fn records_come_back_in_order_from_memory_and_from_disk() {
        let mut spool = Spool::default();
        // The second round exceeds the memory limit.
        for count in [100, 6000] {
            while spool.len() < count {
                let number = spool.len() as i64;
                spool.push(&file(number), song(number)).expect("written");
            }
            assert_eq!(spool.records().take(2).count(), 2);
            for _ in 0..2 {
                for (number, record) in (0..).zip(spool.records()) {
                    let record = record.expect("a record");
                    assert_eq!(record.song, song(number));
                    assert_eq!(record.file::<String>().expect("a file"), file(number));
                    let borrowed = record.file::<&str>().expect("a file");
                    assert_eq!(borrowed.title, file(number).title.as_deref());
                }
                assert_eq!(spool.records().count(), count);
            }
        }
        assert!(spool.disk_len > 0 && !spool.memory.is_empty());
    }
}
