//! The header of a snapshot alone, and the check of a snapshot that arrives in pieces.

use std::io::{self, Write};

use xxhash_rust::xxh3::Xxh3;
use zerocopy::FromBytes;

use super::error::OpenError;
use crate::snapshot::format::{HEADER_LEN, Header, MAGIC, VERSIONS, checksum};

/// The values in the header of a snapshot that describe all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The version of the format.
    pub version: u32,
    /// The hash of the content.
    pub hash: u128,
    /// The checksum of all bytes.
    pub checksum: u128,
    /// The number of these bytes.
    pub length: u64,
}

impl From<&Header> for Identity {
    fn from(header: &Header) -> Self {
        Identity {
            version: header.version.get(),
            hash: u128::from_be_bytes(header.hash),
            checksum: u128::from_be_bytes(header.checksum),
            length: header.length.get(),
        }
    }
}

/// The header at the beginning of `bytes`, if it is of a version that this program writes.
fn header(bytes: &[u8]) -> Result<Header, OpenError> {
    let Ok((header, _)) = Header::read_from_prefix(bytes) else {
        return Err(OpenError::TooShort { len: bytes.len() });
    };
    match header.magic == MAGIC {
        false => Err(OpenError::Magic),
        true if VERSIONS.contains(&header.version.get()) => Ok(header),
        true => Err(OpenError::Version { found: header.version.get() }),
    }
}

/// Takes the bytes of a snapshot as they arrive, keeps only the header, and checks length and checksum at the
/// end.
#[derive(Default)]
pub struct Passing {
    head: Vec<u8>,
    rest: Xxh3,
    len: u64,
}

impl Passing {
    /// The values of the header, as soon as it has arrived.
    ///
    /// # Errors
    /// The bytes do not begin as a snapshot of a version that this program writes.
    pub fn identity(&self) -> Result<Identity, OpenError> {
        Ok(Identity::from(&header(&self.head)?))
    }

    /// The number of bytes that have arrived.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether no byte has arrived.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The values of the header, if all bytes that have arrived agree with them.
    ///
    /// # Errors
    /// The first fault.
    pub fn finish(self) -> Result<Identity, OpenError> {
        let header = header(&self.head)?;
        if header.length.get() != self.len {
            let actual = self.len;
            return Err(OpenError::Length { expected: header.length.get(), actual });
        }
        match checksum(self.rest, &header) == header.checksum {
            true => Ok(Identity::from(&header)),
            false => Err(OpenError::Checksum),
        }
    }
}

impl Write for Passing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let missing = (HEADER_LEN - self.head.len()).min(bytes.len());
        let (head, rest) = bytes.split_at(missing);
        self.head.extend_from_slice(head);
        self.rest.update(rest);
        self.len += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::model::Collection;
    use crate::rows::Rows;
    use crate::snapshot::{Snapshot, Verify, build};

    #[test]
    fn snapshot_that_passes_in_pieces_is_checked_as_a_whole_one() {
        let mut made = Cursor::new(Vec::new());
        build(&Rows::of(&Collection::default()).unwrap(), &mut made).unwrap();
        let good = made.into_inner();
        let passed = |bytes: &[u8], step: usize| {
            let mut passing = Passing::default();
            bytes.chunks(step).for_each(|piece| passing.write_all(piece).unwrap());
            passing.finish()
        };
        for step in [1, 63, 64, 65, good.len()] {
            let identity = passed(&good, step).unwrap();
            assert_eq!(identity.hash, Snapshot::open(&good, Verify::Full).unwrap().hash());
            assert_eq!(identity.length, good.len() as u64);
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(passed(&bad, 100).is_err(), "byte {at}");
        }
        assert!(passed(&good[..good.len() - 1], 100).is_err() && passed(b"", 1).is_err());
    }
}
