//! Work on a large snapshot by two threads. A reload has one, so that a processor is free for requests; but a large
//! snapshot would keep it busy for half a minute, most of which the kernel needs to copy bytes.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

/// The fewest bytes of a large snapshot: about two million songs.
const LARGE: usize = 1 << 30;

/// Parts that wait until they are written. The snapshot gives parts of a megabyte or less.
const QUEUE: usize = 8;

/// Whether a snapshot of `len` bytes is worth a second thread.
pub(super) fn is_large(len: usize) -> bool {
    len >= LARGE
}

/// Lets a second thread write to `file`, if the kernel grants one, while `work` makes the bytes.
///
/// # Errors
/// That of the file, else that of `work`.
pub(super) fn write_beside<T, E: From<io::Error>>(
    file: &File,
    work: impl FnOnce(Output<'_>) -> Result<T, E>,
) -> Result<T, E> {
    thread::scope(|scope| {
        let (steps, wanted) = sync_channel(QUEUE);
        let (written, spare) = channel();
        let writer = thread::Builder::new().spawn_scoped(scope, move || write(file, &wanted, &written));
        let Ok(writer) = writer else { return work(Output::File(file)) };
        let done = work(Output::Thread { steps, spare });
        match writer.join() {
            Ok(Ok(())) => done,
            Ok(Err(error)) => Err(error.into()),
            Err(panic) => resume_unwind(panic),
        }
    })
}

/// Takes the steps until the other thread has no more, and gives the room of written parts back.
fn write(mut file: &File, steps: &Receiver<Step>, written: &Sender<Vec<u8>>) -> io::Result<()> {
    for step in steps {
        match step {
            Step::Write(part) => {
                file.write_all(&part)?;
                // Near its end the other thread needs no more room.
                let _ = written.send(part);
            }
            Step::Seek(place) => drop(file.seek(SeekFrom::Start(place))?),
        }
    }
    Ok(())
}

/// A step of the thread that writes.
pub(super) enum Step {
    Write(Vec<u8>),
    /// To this place, from the start.
    Seek(u64),
}

/// The file of [`write_beside`], as `work` sees it.
pub(super) enum Output<'a> {
    File(&'a File),
    /// Another thread takes the steps, and gives back the room of the parts that it has written.
    Thread {
        steps: SyncSender<Step>,
        spare: Receiver<Vec<u8>>,
    },
}

impl Write for Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Output::File(file) => file.write(bytes),
            Output::Thread { steps, spare } => {
                let mut part = spare.try_recv().unwrap_or_default();
                part.clear();
                part.extend_from_slice(bytes);
                steps.send(Step::Write(part)).map_err(ended)?;
                Ok(bytes.len())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Output::File(file) => file.flush(),
            Output::Thread { .. } => Ok(()),
        }
    }
}

impl Seek for Output<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match (self, to) {
            (Output::File(file), to) => file.seek(to),
            (Output::Thread { steps, .. }, SeekFrom::Start(place)) => {
                steps.send(Step::Seek(place)).map_err(ended)?;
                Ok(place)
            }
            (Output::Thread { .. }, _) => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

/// The thread ends before its time only with an error of its own, which [`write_beside`] returns.
fn ended<T>(_: T) -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes a header last, as a snapshot does.
    fn work(mut out: Output<'_>) -> io::Result<usize> {
        out.write_all(&[0; 8])?;
        for part in 0..100 {
            out.write_all(&[part; 1000])?;
        }
        out.rewind()?;
        out.write_all(b"header")?;
        out.flush()?;
        Ok(100)
    }

    #[test]
    fn file_has_the_same_bytes_whichever_thread_writes() {
        let files = [tempfile::NamedTempFile::new().unwrap(), tempfile::NamedTempFile::new().unwrap()];
        assert_eq!(write_beside::<_, io::Error>(files[0].as_file(), work).unwrap(), 100);
        assert_eq!(work(Output::File(files[1].as_file())).unwrap(), 100);
        let [beside, here] = files.map(|file| std::fs::read(file.path()).unwrap());
        assert_eq!(beside.len(), 100_008);
        assert!(beside == here);
    }

    #[test]
    fn error_of_the_file_comes_before_that_of_the_work() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let error = write_beside::<_, io::Error>(&full, work).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        let file = tempfile::tempfile().unwrap();
        let failed = |_: Output<'_>| Err::<(), io::Error>(io::ErrorKind::InvalidData.into());
        assert_eq!(write_beside(&file, failed).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
