//! Fetching: the pointer, and the snapshot that it names.

use std::io::{self, Read, Write};

use super::download::{Download, Patience};
use super::error::PublicationError;
use super::object::Object;
use super::open::source;
use super::pointer::{POINTER_LEN_MAX, Pointer, pointer_key};
use super::store::{Source, Tag};
use crate::config::SnapshotUrl;
use crate::snapshot::{Identity, Passing, VERSION};

/// Log2 of the most bytes to which decompression refers back: 16 MB, which also bounds its memory.
const WINDOW_LOG_MAX: u32 = 24;

/// The pointer of a store, from a single request; `None` if nothing was published there. For a program that
/// polls.
///
/// # Errors
/// The store fails, or the pointer is invalid.
pub fn seen(url: &SnapshotUrl) -> Result<Option<Pointer>, PublicationError> {
    let found = source(url)?.pointer(&pointer_key(VERSION), POINTER_LEN_MAX)?;
    found.map(|(bytes, _)| Pointer::parse(&bytes)).transpose()
}

/// The pointer with its state, for a publisher, which also replaces a pointer that it cannot read.
pub(super) fn state(
    source: &dyn Source,
    format: u32,
) -> Result<(Option<Pointer>, Option<Tag>), PublicationError> {
    let found = Patience::new().retry(|| source.pointer(&pointer_key(format), POINTER_LEN_MAX))?;
    let Some((bytes, tag)) = found else { return Ok((None, None)) };
    Ok((Pointer::parse(&bytes).ok(), tag))
}

/// The snapshot of a store that a server has already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Had {
    /// The counter of the pointer.
    pub counter: Option<u64>,
    /// Rows of the database serve in place of those to which a pointer with this counter leads: the server
    /// accepts only a newer pointer.
    pub left: Option<u64>,
    /// The revision of these rows in the database, if it is known: the server accepts only rows that are not
    /// older.
    pub rows: Option<u64>,
    /// The hash of the served content, from any source.
    pub hash: Option<u128>,
}

/// The outcome of a fetch.
#[derive(Debug)]
pub enum Fetched {
    /// The snapshot of this pointer, which was written.
    Snapshot(Pointer),
    /// The pointer leads to the served content, so nothing was written.
    Same(Pointer),
}

/// Fetches the snapshot that serves, unless the server `had` it already, and writes it to `to`, with constant
/// memory and with retries. The written bytes have the length, checksum and hash in the pointer; opening them
/// checks whether they are a sound snapshot.
///
/// # Errors
/// The store fails, nothing is published, the pointer is older than that of the served snapshot, its object
/// is missing or damaged, or `to` cannot be written.
pub fn fetch(url: &SnapshotUrl, had: Had, to: impl Write) -> Result<Fetched, PublicationError> {
    let source = source(url)?;
    let found = Patience::new().retry(|| source.pointer(&pointer_key(VERSION), POINTER_LEN_MAX))?;
    let (bytes, _) = found.ok_or(PublicationError::Nothing(VERSION))?;
    let pointer = Pointer::parse(&bytes)?;
    if let Some(served) = had.counter.filter(|served| pointer.counter < *served) {
        return Err(PublicationError::Behind { found: pointer.counter, served });
    }
    let is_renewed = had.left.is_none_or(|left| pointer.counter > left);
    let is_older = had.rows.zip(pointer.revision).is_some_and(|(rows, published)| published < rows);
    if !is_renewed || is_older {
        return Err(PublicationError::NotRenewed { published: pointer.revision, served: had.rows });
    }
    if had.hash == Some(pointer.object.hash) {
        return Ok(Fetched::Same(pointer));
    }
    copy(source.as_ref(), VERSION, &pointer.object, to)?;
    Ok(Fetched::Snapshot(pointer))
}

/// Copies an object to `to`, decompressed, and compares it with its description.
pub(super) fn copy(
    source: &dyn Source,
    format: u32,
    object: &Object,
    to: impl Write,
) -> Result<Identity, PublicationError> {
    let mut to = Checked { to, passing: Passing::default(), object };
    decompress(Download::new(source, format, object), object, &mut to)?;
    let identity = to.passing.finish().map_err(|error| object.wrong(error.to_string()))?;
    match object.is(&identity) && identity.version == format {
        true => Ok(identity),
        false => Err(object.wrong("it is another snapshot than the pointer says")),
    }
}

/// Decompresses at most the bytes that the object promises.
fn decompress(from: impl Read, object: &Object, to: &mut impl Write) -> Result<(), PublicationError> {
    let mut decoder = zstd::stream::read::Decoder::new(from).map_err(PublicationError::Local)?;
    decoder.window_log_max(WINDOW_LOG_MAX).map_err(PublicationError::Local)?;
    let mut buffer = vec![0; 128 * 1024];
    loop {
        let len = match decoder.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(len) => len,
            Err(error) => {
                return Err(match error.downcast::<PublicationError>() {
                    Ok(error) => error,
                    Err(error) => object.wrong(format!("it cannot be decompressed: {error}")),
                });
            }
        };
        to.write_all(&buffer[..len]).map_err(PublicationError::of_copy)?;
    }
}

/// Passes the bytes of a snapshot on, as long as they can be those of `object`.
struct Checked<'a, W> {
    to: W,
    passing: Passing,
    object: &'a Object,
}

impl<W: Write> Write for Checked<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.passing.write_all(bytes)?;
        if self.passing.len() > self.object.length {
            return Err(io::Error::other(self.object.wrong("it is longer than the pointer says")));
        }
        self.to.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Checks whether an object exists and is sound; `None` if not.
///
/// # Errors
/// The store fails.
pub(super) fn sound(source: &dyn Source, key: &str) -> Result<Option<(Identity, u64)>, PublicationError> {
    let Some(reading) = Patience::new().retry(|| source.open(key, 0))? else { return Ok(None) };
    // This describes an object that is read alone, without a pointer that says more.
    let object = Object {
        hash: 0,
        checksum: 0,
        length: u64::MAX,
        compressed_length: reading.len,
        songs: 0,
        created: 0,
    };
    let mut passing = Passing::default();
    let len = reading.len;
    match decompress(reading.body, &object, &mut passing) {
        Ok(()) => Ok(passing.finish().ok().map(|identity| (identity, len))),
        Err(PublicationError::Object(..)) => Ok(None),
        Err(error) => Err(error),
    }
}
