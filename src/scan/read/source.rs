//! The bytes of one file, read at offsets through four small windows. A reader asks for bytes at an
//! offset. There are no seeks, and skipped bytes are never read.
//!
//! The source remembers an I/O error, even if the reader or a library above hides it: the file then
//! counts as unreachable and not as damaged.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Bytes of a window, and most that [`Source::bytes`] hands out at once.
pub(in crate::scan) const WINDOW: usize = 16 * 1024;

/// Numbers of the windows.
const HEAD: usize = 0;
const TAIL: usize = 1;
const MOVING: [usize; 2] = [2, 3];

/// The storage of the bytes.
pub(in crate::scan) trait Storage: Send {
    /// Reads at an offset, as `pread` does.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
}

impl Storage for Arc<File> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(&**self, buffer, offset)
    }
}

/// Bytes in memory, for tests.
impl Storage for Vec<u8> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.len());
        let len = buffer.len().min(self.len() - start);
        buffer[..len].copy_from_slice(&self[start..start + len]);
        Ok(len)
    }
}

/// A part of a file that was read.
#[derive(Debug, Default)]
struct Window {
    /// Offset in the file.
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    fn covers(&self, at: u64, len: usize) -> bool {
        at >= self.start && at + len as u64 <= self.start + self.bytes.len() as u64
    }
}

/// A file, or the part of it between two offsets. All offsets are relative to that part.
pub(in crate::scan) struct Source {
    storage: Box<dyn Storage>,
    /// Bytes of the whole file.
    file_len: u64,
    start: u64,
    end: u64,
    /// The window of the head, that of the tail, and two that move in turn.
    windows: [Window; 4],
    /// Which of those two moves next.
    next: usize,
    error: Option<io::Error>,
    /// Bytes read so far, and calls made for them.
    traffic: (u64, u64),
}

impl Source {
    /// A file of `len` bytes.
    pub(in crate::scan) fn new(storage: Box<dyn Storage>, len: u64) -> Source {
        Source {
            storage,
            file_len: len,
            start: 0,
            end: len,
            windows: Default::default(),
            next: MOVING[0],
            error: None,
            traffic: (0, 0),
        }
    }

    /// Bytes in memory as a file.
    #[cfg(test)]
    pub(in crate::scan) fn of(bytes: impl Into<Vec<u8>>) -> Source {
        let bytes = bytes.into();
        let len = bytes.len() as u64;
        Source::new(Box::new(bytes), len)
    }

    /// Returns the number of bytes of the part in view.
    pub(in crate::scan) fn len(&self) -> u64 {
        self.end - self.start
    }

    /// Makes the part from `from` to `to` the view; both are clamped to the present view.
    pub(in crate::scan) fn narrow(&mut self, from: u64, to: u64) {
        let end = self.start.saturating_add(to).min(self.end);
        self.start = self.start.saturating_add(from).min(end);
        self.end = end;
    }

    /// Runs `work` on the part from `from` to `to`, and restores the view.
    pub(in crate::scan) fn within<T>(
        &mut self,
        from: u64,
        to: u64,
        work: impl FnOnce(&mut Source) -> T,
    ) -> T {
        let view = (self.start, self.end);
        self.narrow(from, to);
        let result = work(self);
        (self.start, self.end) = view;
        result
    }

    /// Returns the bytes at `at`: `len` of them, fewer only where the view ends. At most [`WINDOW`]
    /// can be had at once.
    ///
    /// # Errors
    /// Those of reading.
    pub(in crate::scan) fn bytes(&mut self, at: u64, len: usize) -> io::Result<&[u8]> {
        let left = self.len().saturating_sub(at);
        let len = len.min(WINDOW).min(usize::try_from(left).unwrap_or(usize::MAX));
        if len == 0 {
            return Ok(&[]);
        }
        let from = self.start + at;
        let index = match self.windows.iter().position(|window| window.covers(from, len)) {
            Some(index) => index,
            None => self.load(from, len)?,
        };
        let window = &self.windows[index];
        let offset = usize::try_from(from.saturating_sub(window.start)).unwrap_or(usize::MAX);
        // The file may have shrunk since its length was read.
        let offset = offset.min(window.bytes.len());
        Ok(&window.bytes[offset..window.bytes.len().min(offset + len)])
    }

    /// Exactly `N` bytes at `at`; `None` where the view ends before.
    ///
    /// # Errors
    /// Those of reading.
    pub(in crate::scan) fn array<const N: usize>(&mut self, at: u64) -> io::Result<Option<[u8; N]>> {
        Ok(self.bytes(at, N)?.try_into().ok())
    }

    /// Returns the bytes at `at`, at most `len` and at most `cap`, as a copy. `cap` bounds the memory.
    ///
    /// # Errors
    /// Those of reading.
    pub(in crate::scan) fn vec(&mut self, at: u64, len: u64, cap: usize) -> io::Result<Vec<u8>> {
        let wanted = usize::try_from(len.min(self.len().saturating_sub(at))).unwrap_or(usize::MAX).min(cap);
        let mut copy = Vec::new();
        while copy.len() < wanted {
            let from = at + copy.len() as u64;
            let len = wanted - copy.len();
            let part =
                self.bytes(from, self.before_tail(self.start + from).map_or(len, |left| len.min(left)))?;
            if part.is_empty() {
                break;
            }
            copy.extend_from_slice(part);
        }
        Ok(copy)
    }

    /// Returns the first error of reading.
    pub(in crate::scan) fn take_error(&mut self) -> Option<io::Error> {
        self.error.take()
    }

    /// Returns how many bytes were read, in how many calls.
    pub(in crate::scan) fn traffic(&self) -> (u64, u64) {
        self.traffic
    }

    /// Bytes from `from` to the window of the tail, if that was read and lies behind.
    fn before_tail(&self, from: u64) -> Option<usize> {
        let tail = &self.windows[TAIL];
        let left = tail.start.checked_sub(from).filter(|left| *left > 0 && !tail.bytes.is_empty())?;
        usize::try_from(left).ok()
    }

    /// Fills a window that covers `len` bytes at `from`, and returns its number.
    fn load(&mut self, from: u64, len: usize) -> io::Result<usize> {
        // The first window of a file stays: readers come back to the head. The window of the tail
        // stays too; it is placed so that it also holds the bytes before the tail.
        let tail = self.file_len.saturating_sub(WINDOW as u64);
        let start = from.min(tail);
        let index = match self.windows[HEAD].bytes.is_empty() {
            true => HEAD,
            false if start == tail => TAIL,
            false => self.next,
        };
        // Bytes in the tail's window are not read again.
        let room =
            self.before_tail(start).filter(|room| *room >= len).map_or(WINDOW, |room| room.min(WINDOW));
        let mut bytes = std::mem::take(&mut self.windows[index].bytes);
        bytes.resize(room, 0);
        let wanted = usize::try_from(from - start).unwrap_or(0) + len;
        let result = self.fill(&mut bytes, start, wanted);
        bytes.truncate(*result.as_ref().unwrap_or(&0));
        self.windows[index] = Window { start, bytes };
        if index == self.next {
            self.next = if index == MOVING[0] { MOVING[1] } else { MOVING[0] };
        }
        match result {
            Ok(_) => Ok(index),
            Err(error) => {
                self.error.get_or_insert_with(|| copy_of(&error));
                Err(error)
            }
        }
    }

    /// Reads until at least `wanted` bytes are there or the file ends.
    fn fill(&mut self, buffer: &mut [u8], start: u64, wanted: usize) -> io::Result<usize> {
        let mut filled = 0;
        while filled < wanted {
            self.traffic.1 += 1;
            match self.storage.read_at(&mut buffer[filled..], start + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.traffic.0 += filled as u64;
        Ok(filled)
    }
}

/// Returns an equal error: `io::Error` cannot be cloned.
fn copy_of(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(number) => io::Error::from_raw_os_error(number),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct Broken;

    impl Storage for Broken {
        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
            if offset >= WINDOW as u64 {
                return Err(io::Error::from_raw_os_error(5));
            }
            buffer.fill(7);
            Ok(buffer.len())
        }
    }

    #[test]
    fn an_error_is_remembered_though_the_reader_ignores_it() {
        let mut source = Source::new(Box::new(Broken), 10 * WINDOW as u64);
        assert_eq!(source.bytes(0, 3).unwrap(), [7; 3]);
        assert!(source.take_error().is_none());
        assert!(source.bytes(5 * WINDOW as u64, 3).is_err());
        assert_eq!(source.bytes(0, 3).unwrap(), [7; 3]);
        assert_eq!(source.take_error().and_then(|error| error.raw_os_error()), Some(5));
    }

    #[test]
    fn head_and_tail_cost_one_read_each() {
        let mut source = Source::of(vec![1; 100 * WINDOW]);
        let len = source.len();
        for at in [0, 100, len - 128, len - 160, 200, len - 10_000] {
            assert!(!source.bytes(at, 10).unwrap().is_empty());
        }
        assert_eq!(source.traffic(), (2 * WINDOW as u64, 2));
    }

    #[test]
    fn a_file_that_became_shorter_ends_early() {
        let mut source = Source::new(Box::new(vec![1; 10]), 1_000_000);
        assert_eq!(source.bytes(5, 10).unwrap(), [1; 5]);
        assert!(source.bytes(500_000, 10).unwrap().is_empty());
        assert_eq!(source.vec(0, 100, 100).unwrap(), [1; 10]);
    }

    proptest! {
        #[test]
        fn any_view_holds_the_bytes_of_the_file(
            len in 0..3 * WINDOW,
            asks in prop::collection::vec((0..4 * WINDOW as u64, 0..2 * WINDOW), 1..20),
            from in 0..WINDOW as u64,
            to in 0..4 * WINDOW as u64,
        ) {
            let file: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
            let mut source = Source::of(file.clone());
            source.narrow(from, to);
            let end = (to as usize).min(len);
            let view = &file[(from as usize).min(end)..end];
            prop_assert_eq!(source.len(), view.len() as u64);
            for (at, count) in asks {
                let start = (at as usize).min(view.len());
                let whole = &view[start..view.len().min(start + count)];
                prop_assert_eq!(source.bytes(at, count).unwrap(), &whole[..whole.len().min(WINDOW)]);
                prop_assert_eq!(source.vec(at, count as u64, usize::MAX).unwrap(), whole);
            }
        }
    }
}
