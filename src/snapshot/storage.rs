//! Where a snapshot's bytes live: a sealed memfd, or an unlinked file in a folder.
//!
//! A descriptor is all that processes pass on. Nobody can change or shorten what it
//! shows once it is sealed: the memfd because the kernel refuses, the file because it
//! has no name and every descriptor of it that can write is closed.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use memmap2::{Mmap, MmapOptions};
use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// A new, empty place for a snapshot: in memory, or in `folder`.
///
/// # Errors
/// What the kernel says; for a folder its name stands in the message.
pub fn create(folder: Option<&Path>) -> io::Result<File> {
    let Some(folder) = folder else {
        return memfd();
    };
    let unnamed = OpenOptions::new().read(true).write(true).custom_flags(nix::libc::O_TMPFILE).open(folder);
    unnamed.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", folder.display())))
}

fn memfd() -> io::Result<File> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    // Linux before 6.3 does not know the flag that refuses execution.
    let noexec = MFdFlags::from_bits_retain(nix::libc::MFD_NOEXEC_SEAL);
    let fd = memfd_create(c"avalon-snapshot", flags | noexec)
        .or_else(|_| memfd_create(c"avalon-snapshot", flags))?;
    Ok(File::from(fd))
}

/// Forbids every change of a finished snapshot. A file on disk is reopened for reading
/// only, and the writable descriptor is closed.
///
/// # Errors
/// What the kernel says, for instance that somebody maps it for writing.
pub fn seal(file: File) -> io::Result<OwnedFd> {
    // A file on tmpfs has seals as well, but of the kind that takes no more.
    if seals_of(&file).is_some_and(|seals| !seals.contains(SealFlag::F_SEAL_SEAL)) {
        let seals =
            SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SEAL;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
        return Ok(file.into());
    }
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(File::open(path)?.into())
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
    // which the kernel enforces for ever, or that the file has no name left by which
    // anybody could open it and is open here for reading only; the one process that
    // wrote it (our loader) has ended or writes no more. MAP_PRIVATE, because Linux
    // before 6.7 refuses a shared mapping of a write-sealed memfd; pages that nobody
    // writes stay shared all the same.
    unsafe { MmapOptions::new().map_copy_read_only(sealed.as_fd().as_raw_fd()) }
}

fn is_sealed(sealed: &impl AsFd) -> io::Result<bool> {
    let needed = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_WRITE;
    if seals_of(sealed).is_some_and(|seals| seals.contains(needed)) {
        return Ok(true);
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
        let mut file = create(folder).unwrap();
        file.write_all(b"0123456789").unwrap();
        assert!(map(&file).is_err(), "mapped before it was sealed");
        let mut sealed = File::from(seal(file).unwrap());
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
        let error = create(Some(Path::new("/nowhere/at/all"))).unwrap_err();
        assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
    }
}
