//! The bytes of one object, from a store that may fail during the transfer.
//!
//! An interrupted transfer continues where it stopped, after a growing wait, until no bytes have arrived for
//! too long. That limit grows with the time that the transfer has taken: the bytes that have arrived are
//! worth more patience.

use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};
use std::thread;
use std::time::{Duration, Instant};

use super::error::{PublicationError, StoreError};
use super::object::{Object, key};
use super::store::{Reading, Source, Tag};

/// The shortest time without progress that ends a transfer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The bytes that count as progress: a store that sends fewer of them within the patience counts as silent.
const PROGRESS: u64 = 64 * 1024;
/// The wait before the first retry, and the longest one.
const WAIT_FIRST: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(2);

/// The patience of one transfer.
pub(super) struct Patience {
    began: Instant,
    progressed: Instant,
    /// Bytes that have arrived since then.
    since: u64,
    wait: Duration,
}

impl Patience {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Patience { began: now, progressed: now, since: 0, wait: WAIT_FIRST }
    }

    fn came(&mut self, bytes: u64) {
        self.since += bytes;
        if self.since >= PROGRESS {
            (self.progressed, self.since, self.wait) = (Instant::now(), 0, WAIT_FIRST);
        }
    }

    fn is_over(&self) -> bool {
        let borne = self.progressed.duration_since(self.began).max(PATIENCE);
        self.progressed.elapsed() > borne
    }

    /// Waits before the next try; returns false if there is none.
    fn may_retry(&mut self, error: &StoreError) -> bool {
        if !matches!(error, StoreError::Unreachable(_)) || self.is_over() {
            return false;
        }
        thread::sleep(self.wait.mul_f64(share()));
        self.wait = (self.wait * 2).min(WAIT_MAX);
        true
    }

    /// Repeats `work` until it succeeds or the patience is over.
    pub(super) fn retry<T>(
        &mut self,
        mut request: impl FnMut() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        loop {
            match request() {
                Err(error) if self.may_retry(&error) => {}
                result => return result,
            }
        }
    }
}

/// A random factor from 0.5 to 1, so that servers do not all return at the same moment.
fn share() -> f64 {
    let random = RandomState::new().hash_one(std::process::id());
    0.5 + (random % 1024) as f64 / 2048.0
}

/// The bytes of an object; errors hold a [`PublicationError`].
pub(super) struct Download<'a> {
    source: &'a dyn Source,
    object: &'a Object,
    key: String,
    at: u64,
    tag: Option<Tag>,
    body: Option<Box<dyn Read>>,
    patience: Patience,
}

impl<'a> Download<'a> {
    /// Begins to read an object.
    pub(super) fn new(source: &'a dyn Source, format: u32, object: &'a Object) -> Self {
        let key = key(format, object.hash);
        Download { source, object, key, at: 0, tag: None, body: None, patience: Patience::new() }
    }

    fn connect(&mut self) -> Result<Box<dyn Read>, PublicationError> {
        let (source, key, at) = (self.source, &self.key, self.at);
        let Some(Reading { tag, len, body }) = self.patience.retry(|| source.open(key, at))? else {
            return Err(PublicationError::Missing(self.object.name()));
        };
        if len != self.object.compressed_length {
            let expected = self.object.compressed_length;
            return Err(self.object.wrong(format!("it has {len} compressed bytes instead of {expected}")));
        }
        if self.tag.is_some() && self.tag != tag {
            return Err(self.object.wrong("it was replaced while it was read"));
        }
        self.tag = tag;
        Ok(body)
    }
}

impl Read for Download<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let total = self.object.compressed_length;
        while self.at < total {
            let mut body = match self.body.take() {
                Some(body) => body,
                None => self.connect().map_err(io::Error::other)?,
            };
            let error = match body.read(buffer) {
                Ok(0) => format!("it ended after {} of {total} bytes", self.at),
                Ok(len) => {
                    self.at += len as u64;
                    self.patience.came(len as u64);
                    if !self.patience.is_over() {
                        self.body = Some(body);
                        return Ok(len);
                    }
                    format!("it is too slow: {} of {total} bytes have come", self.at)
                }
                Err(error) => format!("{error}, after {} of {total} bytes", self.at),
            };
            let error = StoreError::Unreachable(error);
            if !self.patience.may_retry(&error) {
                return Err(io::Error::other(PublicationError::Store(error)));
            }
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io::Cursor;

    use super::super::store::Small;
    use super::*;

    /// A store that answers each request with less than the rest, and every other one not at all.
    struct Flaky {
        content: Vec<u8>,
        requests: Cell<u32>,
        tag: fn(u32) -> &'static str,
    }

    impl Source for Flaky {
        fn open(&self, _: &str, from: u64) -> Result<Option<Reading>, StoreError> {
            let request = self.requests.replace(self.requests.get() + 1);
            if request.is_multiple_of(2) {
                return Err(StoreError::Unreachable("503".to_owned()));
            }
            let from = usize::try_from(from).unwrap();
            let piece = self.content[from..self.content.len().min(from + 100_000)].to_vec();
            let tag = Some(Tag((self.tag)(request).to_owned()));
            Ok(Some(Reading { tag, len: self.content.len() as u64, body: Box::new(Cursor::new(piece)) }))
        }

        fn pointer(&self, _: &str, _: u64) -> Result<Option<Small>, StoreError> {
            Ok(None)
        }
    }

    fn object(compressed_length: u64) -> Object {
        Object { hash: 1, checksum: 2, length: 100, compressed_length, songs: 3, created: 9 }
    }

    fn flaky(tag: fn(u32) -> &'static str) -> Flaky {
        let content = (0..350_000_u32).map(|at| (at % 251) as u8).collect();
        Flaky { content, requests: Cell::new(0), tag }
    }

    fn read(source: &Flaky, object: &Object) -> Result<Vec<u8>, PublicationError> {
        let mut bytes = Vec::new();
        let read = Download::new(source, 2, object).read_to_end(&mut bytes);
        read.map(|_| bytes).map_err(PublicationError::of_copy)
    }

    #[test]
    fn transfer_that_is_cut_goes_on_where_it_was() {
        let store = flaky(|_| "same");
        assert_eq!(read(&store, &object(350_000)).unwrap(), store.content);
        assert_eq!(store.requests.get(), 8);
    }

    #[test]
    fn object_that_is_replaced_or_of_another_length_is_refused() {
        let replaced = read(&flaky(|request| if request < 3 { "old" } else { "new" }), &object(350_000));
        assert!(replaced.unwrap_err().to_string().contains("replaced"));
        let longer = read(&flaky(|_| "same"), &object(350_001));
        assert!(longer.unwrap_err().to_string().contains("350000 compressed bytes instead of 350001"));
    }
}
