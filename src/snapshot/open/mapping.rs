//! The mapping of a snapshot in a process that answers from it, or may come to.
//!
//! The kernel maps pages as they are first read, each with some neighbours, and takes 3 us for it. An answer reads
//! dozens of them, so first answers take 0.2 ms longer than others. After a reload this would be so for all clients at
//! once. So the processes have the pages mapped while the next generation proves itself.

use std::hint::black_box;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use memmap2::Mmap;

use super::{Snapshot, Verify, storage};
use crate::scheduling;

/// The longest snapshot whose pages are mapped ahead and unmapped with pauses: two million songs. The pages of a longer
/// one may not fit the memory, and no reload should read them from a disk again.
const LEN_MAX: usize = 1 << 30;
/// Bytes of the pages that are mapped or unmapped between two pauses. This takes less than a tenth of a millisecond.
const PIECE_LEN: usize = 512 << 10;
/// Bytes of the smallest page. The kernel maps neighbours of one that is read, but gives no promise to.
const PAGE_LEN: usize = 4 << 10;
/// The time after which pages are unmapped without pauses: if all processors are busy, each pause is a long one.
const PAUSES: Duration = Duration::from_millis(500);

/// A mapped snapshot. A loader has verified all of it and sealed it.
#[derive(Debug)]
pub struct Mapping {
    map: Arc<Mmap>,
    file: storage::FileId,
}

impl Mapping {
    /// Maps the snapshot in this file.
    ///
    /// # Errors
    /// The kernel cannot map it, or it is not sealed.
    pub fn of(sealed: impl AsFd) -> io::Result<Self> {
        Ok(Mapping { map: Arc::new(storage::map(&sealed)?), file: storage::FileId::of(sealed)? })
    }

    /// Whether it is the snapshot in this file.
    pub fn is_of(&self, sealed: impl AsFd) -> bool {
        storage::FileId::of(sealed).is_ok_and(|file| file == self.file)
    }

    /// Has a thread read a byte of each page of the snapshot, so that the kernel maps them. The thread gives way to all
    /// others, so it uses no call that maps many pages at once: the others could not change their memory meanwhile.
    pub fn populate(&self) {
        if self.map.len() > LEN_MAX {
            return;
        }
        let map = Arc::clone(&self.map);
        let body = move || {
            let _ = scheduling::give_way();
            for piece in map.chunks(PIECE_LEN) {
                scheduling::pause();
                for byte in piece.iter().step_by(PAGE_LEN) {
                    let _ = black_box(*byte);
                }
            }
        };
        // Without the thread, the first access maps each page.
        let _ = thread::Builder::new().name("pages".to_owned()).spawn(body);
    }

    /// Unmaps all pages, with pauses. At the exit of a process the kernel does it in one go, 2 ms for 54 MB, in which
    /// no other process gets the processor.
    pub fn depopulate(all: &[Mapping]) {
        let begin = Instant::now();
        let rest = || {
            if begin.elapsed() < PAUSES {
                scheduling::pause();
            }
        };
        let short = all.iter().filter(|mapping| mapping.map.len() <= LEN_MAX);
        short.for_each(|mapping| storage::depopulate(&mapping.map, PIECE_LEN, rest));
    }

    /// Opens the snapshot for the rest of the process's life.
    ///
    /// # Errors
    /// It is no snapshot.
    pub fn open(&self) -> io::Result<&'static Snapshot<'static>> {
        let map: &'static Arc<Mmap> = Box::leak(Box::new(Arc::clone(&self.map)));
        let snapshot = Snapshot::open(map, Verify::Structure).map_err(io::Error::other)?;
        Ok(Box::leak(Box::new(snapshot)))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::OwnedFd;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::snapshot::Kind;
    use crate::snapshot::storage::Draft;
    use crate::snapshot::tests::snapshot_bytes;

    fn sealed(bytes: &[u8]) -> OwnedFd {
        let draft = Draft::create(None).unwrap();
        draft.writer().write_all(bytes).unwrap();
        draft.seal().unwrap();
        draft.finish()
    }

    #[test]
    fn mapping_is_of_one_file_and_opens_as_long_as_it_is_needed() {
        let bytes = snapshot_bytes(&crate::model::Collection::default());
        let (file, other) = (sealed(&bytes), sealed(&bytes));
        let mapping = Mapping::of(&file).unwrap();
        assert!(mapping.is_of(&file) && !mapping.is_of(&other));
        let copy = file.try_clone().unwrap();
        drop(file);
        assert!(mapping.is_of(copy));
        let snapshot = mapping.open().unwrap();
        Mapping::depopulate(&[mapping]);
        assert_eq!(snapshot.count(Kind::Song), 0);
        assert!(Mapping::of(sealed(b"no snapshot")).unwrap().open().is_err());
    }

    #[test]
    fn thread_that_maps_pages_ends() {
        let mapping = Mapping::of(sealed(&vec![1; 3 * PIECE_LEN])).unwrap();
        mapping.populate();
        let begin = Instant::now();
        while Arc::strong_count(&mapping.map) > 1 {
            assert!(begin.elapsed() < Duration::from_secs(60), "the thread does not end");
            thread::yield_now();
        }
    }
}
