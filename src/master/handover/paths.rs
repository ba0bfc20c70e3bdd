//! Paths that belong to a master: sockets and the pid file. Programs that clean /run and /tmp remove them,
//! and other programs take them.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, umask};
use socket2::{Domain, SockAddr, Socket, Type};

/// Device and inode of a file. For a link it is that of the link itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity(u64, u64);

/// A path of this master, and the file that the master has put there.
pub(crate) type Name = (PathBuf, Identity);

/// The file at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// This file.
    Something(Identity),
    /// The path does not exist.
    Nothing,
    /// The master cannot look at the path.
    Unknown,
}

/// The owner of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    /// This master, or nothing shows that it is another program.
    Ours,
    /// The path does not exist.
    Unheld,
    /// Another program.
    Another,
}

impl Identity {
    /// The file at this path.
    ///
    /// # Errors
    /// There is no file, or the kernel refuses the look.
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        fs::symlink_metadata(path).map(|found| Identity::of(&found))
    }

    /// The file with this metadata.
    pub(crate) fn of(found: &fs::Metadata) -> Self {
        Identity(found.dev(), found.ino())
    }

    /// The owner of a path at which the master has put this file.
    pub(crate) fn holder(self, path: &Path) -> Holder {
        self.holder_of(Seen::at(path))
    }

    /// The owner of that path, if a look at it has found `seen`.
    pub(crate) fn holder_of(self, seen: Seen) -> Holder {
        match seen {
            Seen::Something(found) if found == self => Holder::Ours,
            Seen::Something(_) => Holder::Another,
            Seen::Nothing => Holder::Unheld,
            Seen::Unknown => Holder::Ours,
        }
    }
}

impl Seen {
    /// Looks at a path.
    pub(crate) fn at(path: &Path) -> Self {
        match Identity::at(path) {
            Ok(found) => Seen::Something(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Seen::Nothing,
            Err(_) => Seen::Unknown,
        }
    }

    /// The result as a line, for [`Seen::parse`].
    pub(crate) fn line(self) -> String {
        match self {
            Seen::Something(Identity(device, inode)) => format!("{device} {inode}"),
            Seen::Nothing => "nothing".to_owned(),
            Seen::Unknown => "unknown".to_owned(),
        }
    }

    /// Parses a line. One that is unreadable says nothing about the path.
    pub(crate) fn parse(line: &[u8]) -> Self {
        let text = std::str::from_utf8(line).unwrap_or_default();
        let numbers = text.split_once(' ').and_then(|(device, inode)| {
            Some(Seen::Something(Identity(device.parse().ok()?, inode.parse().ok()?)))
        });
        numbers.unwrap_or(if text == "nothing" { Seen::Nothing } else { Seen::Unknown })
    }
}

/// Binds a Unix socket, in place of one that no process serves any more. The socket lacks the mode bits in
/// `mask`, and does not listen yet.
///
/// # Errors
/// Another process serves the path, something other than a socket is there, or the kernel refuses.
pub(crate) fn bind_unix(path: &Path, mask: Mode) -> io::Result<Socket> {
    remove_stale(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    let before = umask(mask);
    let bound = socket.bind(&SockAddr::unix(path)?);
    umask(before);
    bound?;
    Ok(socket)
}

/// Removes a socket that no process serves any more; anything else stays.
///
/// # Errors
/// Another process serves it, or something other than a socket is there.
pub(crate) fn remove_stale(path: &Path) -> io::Result<()> {
    let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something else than a socket is there"));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        _ => Err(io::Error::new(io::ErrorKind::AddrInUse, "another process serves it")),
    }
}

/// The path that a new master uses while the former one has the path itself.
pub(crate) fn second(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".2");
    name.into()
}

/// The path from which [`second`] was made.
pub(crate) fn first(path: &Path) -> PathBuf {
    if path.extension().is_some_and(|extension| extension == "2") {
        path.with_extension("")
    } else {
        path.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_path_leads_back_to_the_first() {
        for path in ["/run/avalon.pid", "/run/avalon", "/run/a.b/c"].map(Path::new) {
            assert_ne!(second(path), path);
            assert_eq!(first(&second(path)), path);
            assert_eq!(first(path), path);
        }
    }

    #[test]
    fn holder_of_a_path_is_told_from_another_with_the_same_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let socket = bind_unix(&path, Mode::from_bits_truncate(0o177)).unwrap();
        let identity = Identity::at(&path).unwrap();
        assert_eq!(identity.holder(&path), Holder::Ours);
        fs::rename(&path, folder.path().join("moved")).unwrap();
        assert_eq!(identity.holder(&path), Holder::Unheld);
        fs::write(&path, "another's").unwrap();
        assert_eq!(identity.holder(&path), Holder::Another);
        drop(socket);
    }

    #[test]
    fn found_file_passes_through_a_line() {
        for seen in [Seen::Something(Identity(7, u64::MAX)), Seen::Nothing, Seen::Unknown] {
            assert_eq!(Seen::parse(seen.line().as_bytes()), seen);
        }
        assert_eq!(Seen::parse(b"7 x"), Seen::Unknown);
        let ours = Identity(1, 2);
        for (seen, holder) in [
            (Seen::Something(ours), Holder::Ours),
            (Seen::Something(Identity(1, 3)), Holder::Another),
            (Seen::Nothing, Holder::Unheld),
            (Seen::Unknown, Holder::Ours),
        ] {
            assert_eq!(ours.holder_of(seen), holder);
        }
    }

    #[test]
    fn socket_gets_its_mode_and_the_process_keeps_its_mask() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        drop(bind_unix(&path, Mode::from_bits_truncate(0o177)).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        // It is stale now, and gives way.
        bind_unix(&path, Mode::from_bits_truncate(0o111)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o666);
    }
}
