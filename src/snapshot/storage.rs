//! Where a snapshot's bytes live: a sealed memfd, or an unlinked file in a folder.
//!
//! A descriptor is all that processes pass on. Nobody can change or shorten what it
//! shows once it is sealed: the memfd because the kernel refuses, the file because it
//! has no name and every descriptor of it that can write is closed.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use memmap2::{Mmap, MmapOptions};
use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// A snapshot in the making: where a loader writes it, and where it will be read.
pub struct Draft {
    write: File,
    read: OwnedFd,
}

impl Draft {
    /// A new, empty place: in memory, or in `folder`.
    ///
    /// # Errors
    /// What the kernel says; for a folder its name stands in the message.
    pub fn create(folder: Option<&Path>) -> io::Result<Self> {
        let write = match folder {
            None => memfd()?,
            Some(folder) => unnamed_file(folder).map_err(|error| {
                io::Error::new(error.kind(), format!("SNAPSHOT_DIR {}: {error}", folder.display()))
            })?,
        };
        // Opened now, as a loader that has changed its user may not look into /proc/self/fd.
        let read = File::open(format!("/proc/self/fd/{}", write.as_raw_fd()))?.into();
        Ok(Draft { write, read })
    }

    /// Where to write.
    pub fn writer(&self) -> &File {
        &self.write
    }

    /// Forbids every change of what has been written. A file on disk cannot be sealed; it
    /// cannot change once [`Draft::finish`] has closed the only writable descriptor.
    ///
    /// # Errors
    /// What the kernel says, for instance that somebody maps it for writing.
    pub fn seal(&self) -> io::Result<()> {
        // A file on tmpfs has seals as well, but of the kind that takes no more.
        if seals_of(&self.write).is_some_and(|seals| !seals.contains(SealFlag::F_SEAL_SEAL)) {
            let seals = SealFlag::F_SEAL_SHRINK
                | SealFlag::F_SEAL_GROW
                | SealFlag::F_SEAL_WRITE
                | SealFlag::F_SEAL_SEAL;
            fcntl(&self.write, FcntlArg::F_ADD_SEALS(seals))?;
        }
        Ok(())
    }

    /// Where to read what has been sealed.
    pub fn reader(&self) -> &OwnedFd {
        &self.read
    }

    /// The finished snapshot, which nobody can write any more.
    pub fn finish(self) -> OwnedFd {
        self.read
    }

    /// Its descriptors, for processes that have no business with them.
    pub fn fds(&self) -> [RawFd; 2] {
        [self.write.as_raw_fd(), self.read.as_raw_fd()]
    }
}

fn memfd() -> io::Result<File> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    // Linux before 6.3 does not know the flag that refuses execution.
    let noexec = MFdFlags::from_bits_retain(nix::libc::MFD_NOEXEC_SEAL);
    let fd = memfd_create(c"avalon-snapshot", flags | noexec)
        .or_else(|_| memfd_create(c"avalon-snapshot", flags))?;
    Ok(File::from(fd))
}

/// A file without a name. Where the file system has no O_TMPFILE, one whose name is taken
/// away at once.
fn unnamed_file(folder: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    match options.clone().custom_flags(nix::libc::O_TMPFILE).open(folder) {
        Err(error) if error.raw_os_error() == Some(nix::libc::EOPNOTSUPP) => {
            let path = folder.join(format!(".avalon-snapshot-{}", std::process::id()));
            let file = options.create_new(true).open(&path)?;
            std::fs::remove_file(&path)?;
            Ok(file)
        }
        result => result,
    }
}

/// Maps a sealed snapshot for reading, to be shared with every process forked later.
///
/// # Errors
/// What the kernel says; `PermissionDenied` for a descriptor that is not sealed.
#[allow(unsafe_code)]
pub fn map(sealed: impl AsFd) -> io::Result<Mmap> {
    if !is_sealed(&sealed)? {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the snapshot is not sealed"));
    }
    // SAFETY: the mapped bytes never change and never go away while they are mapped.
    // `is_sealed` has just shown that the memfd is sealed against writing and shrinking,
    // which the kernel enforces for ever, or that the file has no name by which anybody
    // could open it and that this descriptor cannot write; the only writable one is that
    // of a `Draft`, whose owner (our loader) writes no more once it has sealed it, and
    // which `Draft::finish` closes. MAP_PRIVATE, because Linux
    // before 6.7 refuses a shared mapping of a write-sealed memfd; pages that nobody
    // writes stay shared all the same.
    unsafe { MmapOptions::new().map_copy_read_only(sealed.as_fd().as_raw_fd()) }
}

fn is_sealed(sealed: &impl AsFd) -> io::Result<bool> {
    // A file on tmpfs can be sealed no further, a file on a disk has no seals at all.
    if let Some(seals) = seals_of(sealed).filter(|seals| *seals != SealFlag::F_SEAL_SEAL) {
        return Ok(seals.contains(SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_WRITE));
    }
    let flags = OFlag::from_bits_retain(fcntl(sealed, FcntlArg::F_GETFL)?);
    let unnamed = nix::sys::stat::fstat(sealed)?.st_nlink == 0;
    Ok(unnamed && flags & OFlag::O_ACCMODE == OFlag::O_RDONLY)
}

fn seals_of(file: impl AsFd) -> Option<SealFlag> {
    fcntl(file, FcntlArg::F_GET_SEALS).ok().map(SealFlag::from_bits_retain)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn check(folder: Option<&Path>) {
        let draft = Draft::create(folder).unwrap();
        draft.writer().write_all(b"0123456789").unwrap();
        if folder.is_none() {
            assert!(map(draft.reader()).is_err(), "mapped before it was sealed");
        }
        draft.seal().unwrap();
        let mut sealed = File::from(draft.finish());
        let mapped = map(&sealed).unwrap();
        assert!(sealed.write_all(b"x").is_err() && sealed.set_len(3).is_err() && sealed.set_len(99).is_err());
        assert_eq!(&mapped[..], b"0123456789");
    }

    #[test]
    fn sealed_memory_cannot_change() {
        check(None);
    }

    #[test]
    fn unnamed_file_cannot_change() {
        let folder = tempfile::tempdir().unwrap();
        check(Some(folder.path()));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn unnamed_file_on_tmpfs_cannot_change() {
        check(Some(Path::new("/dev/shm")));
    }

    #[test]
    fn missing_folder_is_named() {
        let error = Draft::create(Some(Path::new("/nowhere/at/all"))).err().unwrap();
        assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
    }
}
