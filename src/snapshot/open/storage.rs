//! Where a snapshot's bytes live: a sealed memfd, an unlinked file in a folder, or a file
//! that was saved for the next start.
//!
//! A descriptor is all that processes pass on. Nobody can change or shorten what it
//! shows once it is sealed: the memfd because the kernel refuses, the unlinked file because
//! it has no name and every descriptor of it that can write is closed. A saved file is only
//! ever replaced as a whole, and belongs to us or to root and to nobody else.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use memmap2::{Advice, Mmap, MmapOptions};
use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl};
use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::FileStat;

use crate::snapshot::format::MAGIC;

/// Bytes that are mapped at once.
const POPULATE_LEN: usize = 4 << 20;

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
        let read = format!("/proc/self/fd/{}", write.as_raw_fd());
        let read = File::open(&read).map_err(|error| without_proc(&read, &error))?.into();
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

    /// Its descriptors, for the process that fills it.
    pub fn fds(&self) -> [RawFd; 2] {
        [self.write.as_raw_fd(), self.read.as_raw_fd()]
    }
}

/// What to do where the kernel, or a filter of system calls, has no such memory.
fn with_remedy(call: &str, error: &io::Error) -> io::Error {
    let message = format!("{call}: {error}; SNAPSHOT_DIR keeps the snapshot in a folder instead of memory");
    io::Error::new(error.kind(), message)
}

fn without_proc(path: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{path}: {error}; mount /proc (mount -t proc proc /proc)"))
}

fn memfd() -> io::Result<File> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    // Linux before 6.3 does not know the flag that refuses execution.
    let noexec = MFdFlags::from_bits_retain(libc::MFD_NOEXEC_SEAL);
    let fd = memfd_create(c"avalon-snapshot", flags | noexec)
        .or_else(|_| memfd_create(c"avalon-snapshot", flags))
        .map_err(|errno| with_remedy("memfd_create", &errno.into()))?;
    Ok(File::from(fd))
}

/// A file without a name. Where the file system has no O_TMPFILE, one whose name is taken
/// away at once.
fn unnamed_file(folder: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    match options.clone().custom_flags(libc::O_TMPFILE).open(folder) {
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
            let path = folder.join(format!(".avalon-snapshot-{}", std::process::id()));
            let file = options.create_new(true).open(&path)?;
            std::fs::remove_file(&path)?;
            Ok(file)
        }
        result => result,
    }
}

/// Whether the file at `path` may be replaced by a snapshot: it is one, or empty, or not there.
///
/// # Errors
/// If it cannot be read.
pub fn is_replaceable(path: &Path) -> io::Result<bool> {
    let mut options = OpenOptions::new();
    match options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path) {
        Ok(file) => {
            let mut begin = Vec::new();
            file.take(MAGIC.len() as u64).read_to_end(&mut begin)?;
            Ok(begin.is_empty() || begin == MAGIC)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        // A link.
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => Ok(false),
        Err(error) => Err(error),
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
    // which `Draft::finish` closes. For a saved file the argument is weaker: it has an owner
    // (this user or root) who alone may write it, and does so only by putting another file in
    // its place. Should he truncate it all the same, readers are killed by SIGBUS, and the master
    // reloads from the database. MAP_PRIVATE, because Linux
    // before 6.7 refuses a shared mapping of a write-sealed memfd; pages that nobody
    // writes stay shared all the same.
    unsafe { MmapOptions::new().map_copy_read_only(sealed.as_fd().as_raw_fd()) }
}

/// Has the kernel map the pages of `map` from its beginning to its end, so that whoever reads it meanwhile
/// in the same order meets them mapped. Linux before 5.14 does not know how.
pub fn populate(map: &Mmap) {
    let pieces = (0..map.len()).step_by(POPULATE_LEN);
    let _ = pieces.map(|at| (at, POPULATE_LEN.min(map.len() - at))).try_for_each(|(at, len)| {
        // Whoever reads will map what is not, so an error ends it and costs time only.
        map.advise_range(Advice::PopulateRead, at, len)
    });
}

fn is_sealed(sealed: &impl AsFd) -> io::Result<bool> {
    // A file on tmpfs can be sealed no further, a file on a disk has no seals at all.
    if let Some(seals) = seals_of(sealed).filter(|seals| *seals != SealFlag::F_SEAL_SEAL) {
        return Ok(seals.contains(SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_WRITE));
    }
    let flags = OFlag::from_bits_retain(fcntl(sealed, FcntlArg::F_GETFL)?);
    let stat = nix::sys::stat::fstat(sealed)?;
    let unchanging = stat.st_nlink == 0 || is_private(&stat);
    Ok(unchanging && flags & OFlag::O_ACCMODE == OFlag::O_RDONLY)
}

/// Whether nobody but root and this user may write a file.
fn is_private(stat: &FileStat) -> bool {
    let owner = [0, nix::unistd::geteuid().as_raw()].contains(&stat.st_uid);
    owner && stat.st_mode & (libc::S_IWGRP | libc::S_IWOTH) == 0
}

/// Opens a snapshot that was saved; `None` if there is none.
///
/// # Errors
/// What the kernel says, or that it is no file.
pub fn open_saved(path: &Path) -> io::Result<Option<OwnedFd>> {
    match OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path) {
        Ok(file) if file.metadata()?.is_file() => Ok(Some(file.into())),
        Ok(_) => Err(io::Error::other("it is no file")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn seals_of(file: impl AsFd) -> Option<SealFlag> {
    fcntl(file, FcntlArg::F_GET_SEALS).ok().map(SealFlag::from_bits_retain)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// In a thread of its own, which keeps the filter.
    #[test]
    fn kernel_without_such_memory_is_named_with_what_to_do() {
        use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
        let refuse = [(libc::SYS_memfd_create, Vec::new())].into_iter().collect();
        let refused = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
        let arch = std::env::consts::ARCH.try_into().unwrap();
        let filter = SeccompFilter::new(refuse, SeccompAction::Allow, refused, arch).unwrap();
        let program: BpfProgram = filter.try_into().unwrap();
        let failed = std::thread::spawn(move || {
            apply_filter(&program).unwrap();
            Draft::create(None).err().unwrap().to_string()
        });
        let message = failed.join().unwrap();
        assert!(message.contains("memfd_create") && message.contains("SNAPSHOT_DIR"), "{message}");
    }

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
    fn populated_pages_are_all_mapped() {
        let draft = Draft::create(None).unwrap();
        // More than two pieces, and no whole number of them.
        let len = 2 * POPULATE_LEN + (1 << 20);
        draft.writer().write_all(&vec![1; len]).unwrap();
        draft.seal().unwrap();
        let map = map(draft.reader()).unwrap();
        assert_eq!(resident(&map), 0);
        populate(&map);
        assert_eq!(resident(&map), len);
    }

    /// Bytes of a mapping whose pages are mapped, by smaps (proc(5)).
    fn resident(map: &Mmap) -> usize {
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let begin = format!("{:x}-", map.as_ptr() as usize);
        let of_map = smaps.lines().skip_while(|line| !line.starts_with(&begin));
        let resident = of_map.skip(1).find_map(|line| line.strip_prefix("Rss:")).unwrap();
        resident.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
    }

    #[test]
    fn saved_file_is_mapped_if_nobody_else_may_write_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("saved");
        assert!(open_saved(&path).unwrap().is_none());
        assert!(open_saved(folder.path()).is_err());
        std::fs::write(&path, b"0123456789").unwrap();
        for (mode, maps) in [(0o400, true), (0o644, true), (0o620, false), (0o602, false)] {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let saved = open_saved(&path).unwrap().unwrap();
            assert_eq!(map(&saved).is_ok(), maps, "{mode:o}");
        }
        assert!(map(OpenOptions::new().read(true).write(true).open(&path).unwrap()).is_err());
    }

    #[test]
    fn missing_folder_is_named() {
        let error = Draft::create(Some(Path::new("/nowhere/at/all"))).err().unwrap();
        assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
    }
}
