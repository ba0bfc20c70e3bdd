//! The storage of a snapshot's bytes: a sealed memfd, a file without a name, or a file that is saved for the
//! next start.
//!
//! Processes pass on only a descriptor. Once a snapshot is sealed, its bytes can neither change nor be cut
//! short: for a memfd the kernel refuses, and a file without a name has no open descriptor that can write. A
//! saved file is only replaced as a whole, and belongs to this user or to root.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use memmap2::{Advice, Mmap, MmapOptions, UncheckedAdvice};
use nix::fcntl::{AT_FDCWD, AtFlags, FcntlArg, OFlag, SealFlag, fcntl};
use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::FileStat;
use nix::unistd::linkat;

use crate::snapshot::format::MAGIC;

/// Bytes of the pages that one call maps ahead.
const POPULATE_LEN: usize = 4 << 20;

/// A snapshot while a loader writes it: a descriptor for the loader, and one for its readers.
pub struct Draft {
    write: File,
    read: OwnedFd,
}

impl Draft {
    /// A new, empty draft: in memory, or in `folder`.
    ///
    /// # Errors
    /// An error of the kernel; for a folder the message names it.
    pub fn create(folder: Option<&Path>) -> io::Result<Self> {
        let write = match folder {
            None => memfd()?,
            Some(folder) => unnamed_file(folder).map_err(|error| {
                io::Error::new(error.kind(), format!("SNAPSHOT_DIR {}: {error}", folder.display()))
            })?,
        };
        Draft::of(write)
    }

    /// A new, empty draft in the folder of `path`, to which [`link`] can give that name once it is sealed.
    ///
    /// # Errors
    /// An error of the kernel; the file system may not support files without names.
    pub fn beside(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).mode(0o600).custom_flags(libc::O_TMPFILE);
        Draft::of(options.open(folder_of(path))?)
    }

    fn of(write: File) -> io::Result<Self> {
        // Open it now: a loader that has changed its user may not look into /proc/self/fd.
        let read = format!("/proc/self/fd/{}", write.as_raw_fd());
        let read = File::open(&read).map_err(|error| without_proc(&read, &error))?.into();
        Ok(Draft { write, read })
    }

    /// The file to write to.
    pub fn writer(&self) -> &File {
        &self.write
    }

    /// Empties the draft.
    ///
    /// # Errors
    /// An error of the kernel, for instance because it is sealed.
    pub fn clear(&self) -> io::Result<()> {
        let mut write = &self.write;
        write.set_len(0)?;
        write.rewind()
    }

    /// Forbids every change of the written bytes. A file on disk has no seals; it cannot change once
    /// [`Draft::finish`] has closed the only writable descriptor.
    ///
    /// # Errors
    /// An error of the kernel, for instance because a process maps the file for writing.
    pub fn seal(&self) -> io::Result<()> {
        // A file on tmpfs has the one seal that forbids others.
        if seals_of(&self.write).is_some_and(|seals| !seals.contains(SealFlag::F_SEAL_SEAL)) {
            let seals = SealFlag::F_SEAL_SHRINK
                | SealFlag::F_SEAL_GROW
                | SealFlag::F_SEAL_WRITE
                | SealFlag::F_SEAL_SEAL;
            fcntl(&self.write, FcntlArg::F_ADD_SEALS(seals))?;
        }
        Ok(())
    }

    /// Whether another snapshot is in memory as this one, or in the same file system.
    ///
    /// # Errors
    /// An error of the kernel.
    pub fn is_on_disk_of(&self, other: impl AsFd) -> io::Result<bool> {
        let device = |file: &dyn AsFd| nix::sys::stat::fstat(file.as_fd()).map(|stat| stat.st_dev);
        Ok(device(&self.write)? == device(&other)?)
    }

    /// The descriptor through which readers get the sealed bytes.
    pub fn reader(&self) -> &OwnedFd {
        &self.read
    }

    /// The finished snapshot, which no process can write any more.
    pub fn finish(self) -> OwnedFd {
        self.read
    }

    /// The descriptors of the draft, for the process that writes it.
    pub fn fds(&self) -> [RawFd; 2] {
        [self.write.as_raw_fd(), self.read.as_raw_fd()]
    }
}

/// Adds the remedy to the error of a kernel, or a filter of system calls, that lacks memfd_create.
fn with_remedy(call: &str, error: &io::Error) -> io::Error {
    let message = format!("{call}: {error}; SNAPSHOT_DIR keeps the snapshot in a folder instead of memory");
    io::Error::new(error.kind(), message)
}

fn without_proc(path: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{path}: {error}; mount /proc (mount -t proc proc /proc)"))
}

fn memfd() -> io::Result<File> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    // Linux before 6.3 does not know the flag that forbids execution.
    let noexec = MFdFlags::from_bits_retain(libc::MFD_NOEXEC_SEAL);
    let fd = memfd_create(c"avalon-snapshot", flags | noexec)
        .or_else(|_| memfd_create(c"avalon-snapshot", flags))
        .map_err(|errno| with_remedy("memfd_create", &errno.into()))?;
    Ok(File::from(fd))
}

/// Opens a file without a name. Where the file system has no O_TMPFILE, it has a name until it is open.
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

/// The folder in which `path` is.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Gives this name, which is free, to a snapshot without a name. Returns whether it has the name now: the
/// kernel cannot link a memfd or a file on another file system, and a file that has a name keeps it.
///
/// # Errors
/// The kernel's error for the file.
pub fn link(snapshot: &File, path: &Path) -> io::Result<bool> {
    if nix::sys::stat::fstat(snapshot)?.st_nlink != 0 {
        return Ok(false);
    }
    let file = format!("/proc/self/fd/{}", snapshot.as_raw_fd());
    let linked = linkat(AT_FDCWD, Path::new(&file), AT_FDCWD, path, AtFlags::AT_SYMLINK_FOLLOW);
    Ok(linked.is_ok())
}

/// Whether a snapshot may replace the file at `path`: it is a snapshot, or empty, or missing.
///
/// # Errors
/// The file cannot be read.
pub fn is_replaceable(path: &Path) -> io::Result<bool> {
    let mut options = OpenOptions::new();
    match options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path) {
        Ok(file) => {
            let mut begin = Vec::new();
            file.take(MAGIC.len() as u64).read_to_end(&mut begin)?;
            Ok(begin.is_empty() || begin == MAGIC)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        // The path is a link.
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Maps a sealed snapshot for reading; processes that are forked later share the mapping.
///
/// # Errors
/// An error of the kernel; `PermissionDenied` for a descriptor that is not sealed.
#[allow(unsafe_code)]
pub fn map(sealed: impl AsFd) -> io::Result<Mmap> {
    if !is_sealed(&sealed)? {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the snapshot is not sealed"));
    }
    // SAFETY: the mapped bytes never change and never go away while they are mapped, for one of three
    // reasons, which `is_sealed` has just checked. A memfd is sealed against writing and shrinking, which the
    // kernel enforces for good. A file without a name cannot be opened by any process, and this descriptor
    // cannot write; the only writable one belongs to a `Draft`, whose owner (the loader) does not write after
    // sealing, and `Draft::finish` closes it. For a saved file the argument is weaker: only its owner (this
    // user or root) may write it, and they do so only by replacing it with another file. If they truncate it
    // nevertheless, SIGBUS kills the readers, and the master reloads from the database. The mapping is
    // private, because Linux before 6.7 refuses a shared mapping of a write-sealed memfd; processes still
    // share pages without writes.
    unsafe { MmapOptions::new().map_copy_read_only(sealed.as_fd().as_raw_fd()) }
}

/// Makes the kernel map the pages of `map` from its beginning to its end, ahead of a thread that reads them
/// in the same order. Linux before 5.14 lacks the call.
pub fn populate(map: &Mmap) {
    let pieces = (0..map.len()).step_by(POPULATE_LEN);
    let _ = pieces.map(|at| (at, POPULATE_LEN.min(map.len() - at))).try_for_each(|(at, len)| {
        // Reading maps the remaining pages, so an error only costs time.
        map.advise_range(Advice::PopulateRead, at, len)
    });
}

/// Makes the kernel unmap all pages of `map`, `piece_len` bytes at a time; `rest` runs before each. Pages are mapped again
/// as they are read.
#[allow(unsafe_code)]
pub fn depopulate(map: &Mmap, piece_len: usize, rest: impl Fn()) {
    let pieces = (0..map.len()).step_by(piece_len);
    let _ = pieces.map(|at| (at, piece_len.min(map.len() - at))).try_for_each(|(at, len)| {
        rest();
        // SAFETY: the mapping is read-only, so no page of it differs from the file, and a page that is read later has
        // the same bytes.
        unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, at, len) }
    });
}

/// What tells a file from all others while it is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// That of an open file.
    ///
    /// # Errors
    /// An error of the kernel.
    pub fn of(file: impl AsFd) -> io::Result<Self> {
        let stat = nix::sys::stat::fstat(file)?;
        Ok(FileId { device: stat.st_dev, inode: stat.st_ino })
    }
}

fn is_sealed(sealed: &impl AsFd) -> io::Result<bool> {
    // A file on tmpfs has the one seal that forbids others; a file on a disk has no seals at all.
    if let Some(seals) = seals_of(sealed).filter(|seals| *seals != SealFlag::F_SEAL_SEAL) {
        return Ok(seals.contains(SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_WRITE));
    }
    let flags = OFlag::from_bits_retain(fcntl(sealed, FcntlArg::F_GETFL)?);
    let stat = nix::sys::stat::fstat(sealed)?;
    let unchanging = stat.st_nlink == 0 || is_private(&stat);
    Ok(unchanging && flags & OFlag::O_ACCMODE == OFlag::O_RDONLY)
}

/// Whether only root and this user may write a file.
fn is_private(stat: &FileStat) -> bool {
    let owner = [0, nix::unistd::geteuid().as_raw()].contains(&stat.st_uid);
    owner && stat.st_mode & (libc::S_IWGRP | libc::S_IWOTH) == 0
}

/// Opens a saved snapshot; `None` if there is none.
///
/// # Errors
/// An error of the kernel, or `path` is not a file.
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

    /// Runs in a separate thread, because the filter stays with it.
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
    fn pages_are_mapped_ahead_and_let_go() {
        let draft = Draft::create(None).unwrap();
        // More than two pieces, and a part of one.
        let len = 2 * POPULATE_LEN + (1 << 20);
        draft.writer().write_all(&vec![1; len]).unwrap();
        draft.seal().unwrap();
        let map = map(draft.reader()).unwrap();
        assert_eq!(resident(&map), 0);
        populate(&map);
        assert_eq!(resident(&map), len);
        let rests = std::cell::Cell::new(0);
        depopulate(&map, POPULATE_LEN, || rests.set(rests.get() + 1));
        assert_eq!((resident(&map), rests.get()), (0, 3));
        assert!(map.iter().all(|byte| *byte == 1));
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
    fn draft_beside_a_path_can_be_linked_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("saved");
        let draft = Draft::beside(&path).unwrap();
        draft.writer().write_all(b"0123456789").unwrap();
        draft.seal().unwrap();
        let sealed = File::from(draft.finish());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let mapped = map(&sealed).unwrap();
        assert!(link(&sealed, &path).unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), b"0123456789");
        // With its name it is still mapped, as only this user may write it.
        assert_eq!(mapped[..], map(&sealed).unwrap()[..]);
        assert!(!link(&sealed, &folder.path().join("second")).unwrap(), "it has a name");
        let memory = Draft::create(None).unwrap();
        assert!(!link(&File::from(memory.finish()), &folder.path().join("third")).unwrap());
        assert!(Draft::beside(Path::new("/nowhere/at/all")).is_err());
    }

    #[test]
    fn saved_file_is_mapped_if_no_other_user_may_write_it() {
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
