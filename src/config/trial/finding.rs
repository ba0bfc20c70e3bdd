//! The findings of a trial of the configuration.

use std::error::Error;
use std::path::PathBuf;
use std::{fmt, io};

use nix::unistd::{Gid, Uid};

use crate::cli::chain;
use crate::config::BindAddress;

/// Something that a trial has found. `Display` says it, `source` has the system's reason.
#[derive(Debug)]
pub struct Finding {
    /// The setting that it is about.
    pub key: &'static str,
    /// The file or folder that the setting names, unless the obstacle says what it names.
    pub path: Option<PathBuf>,
    /// The obstacle.
    pub obstacle: Obstacle,
    /// Whether a server with this configuration would certainly not start, or not do its work. Otherwise the
    /// configuration may be right, or another program than the server would stumble.
    pub is_certain: bool,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { key, path, obstacle, .. } = self;
        match path {
            Some(path) => write!(f, "{key}: {}: {obstacle}", path.display()),
            None => write!(f, "{key}: {obstacle}"),
        }
    }
}

impl Error for Finding {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.obstacle.source()
    }
}

/// The reason why a setting cannot take effect.
#[derive(Debug)]
pub enum Obstacle {
    /// A folder stands where a file belongs.
    IsFolder,
    /// Something else than a folder stands where a folder belongs.
    NoFolder(PathBuf),
    /// A folder cannot be looked at.
    Folder(PathBuf, io::Error),
    /// Something else than a socket stands where a Unix socket belongs.
    NoSocket,
    /// The path of a Unix socket is too long; the number is the first length in bytes that is.
    LongPath(usize),
    /// The file or folder cannot be opened or listed.
    Unreadable(io::Error),
    /// This cannot be looked at.
    Unseen(PathBuf, io::Error),
    /// This process cannot write this.
    Unwritable(PathBuf, nix::Error),
    /// The account of the workers cannot write this.
    UnwritableBy(PathBuf, Uid, Gid),
    /// The address is used already.
    InUse(BindAddress),
    /// The address cannot be listened on.
    Listen(BindAddress, io::Error),
    /// The host has no address.
    Unresolved(HostObstacle),
    /// The same of the host that metrics are sent to.
    NoMetrics(HostObstacle),
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Obstacle::IsFolder => f.write_str("it is a folder"),
            Obstacle::NoFolder(path) => write!(f, "{} is no folder", path.display()),
            Obstacle::Folder(path, _) => write!(f, "folder {}", path.display()),
            Obstacle::NoSocket => f.write_str("something else than a socket is there"),
            Obstacle::LongPath(len) => write!(f, "the path of a Unix socket has less than {len} bytes"),
            Obstacle::Unreadable(error) => error.fmt(f),
            Obstacle::Unseen(path, _) => write!(f, "{}", path.display()),
            Obstacle::Unwritable(path, errno) => {
                write!(f, "{} cannot be written: {}", path.display(), errno.desc())
            }
            Obstacle::UnwritableBy(path, uid, gid) => {
                write!(f, "{} cannot be written by USER (user {uid}, group {gid})", path.display())
            }
            Obstacle::InUse(address) => write!(
                f,
                "not checked: {address} is in use, by this server if it runs, or by another program"
            ),
            Obstacle::Listen(address, _) => write!(f, "cannot listen on {address}"),
            Obstacle::Unresolved(host) => host.fmt(f),
            Obstacle::NoMetrics(host) => write!(f, "{}; no metrics are sent until then", chain(host)),
        }
    }
}

impl Error for Obstacle {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Obstacle::Folder(_, error) | Obstacle::Unseen(_, error) | Obstacle::Listen(_, error) => {
                Some(error)
            }
            Obstacle::Unresolved(host) => host.source(),
            // The reason is the text, or in the middle of it.
            Obstacle::Unreadable(_)
            | Obstacle::Unwritable(..)
            | Obstacle::NoMetrics(_)
            | Obstacle::IsFolder
            | Obstacle::NoFolder(_)
            | Obstacle::NoSocket
            | Obstacle::LongPath(_)
            | Obstacle::UnwritableBy(..)
            | Obstacle::InUse(_) => None,
        }
    }
}

/// Why a host has no address.
#[derive(Debug)]
pub enum HostObstacle {
    /// No thread could look the host up.
    NoThread(String, io::Error),
    /// The resolver says so.
    NoAddress(String, io::Error),
    /// The resolver said nothing in this number of seconds.
    Silence(String, u64),
}

impl HostObstacle {
    /// Whether it is certain that the host has none.
    pub(super) fn is_certain(&self) -> bool {
        matches!(self, HostObstacle::NoAddress(..))
    }
}

impl fmt::Display for HostObstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostObstacle::NoThread(host, _) => write!(f, "host {host:?} was not looked up"),
            HostObstacle::NoAddress(host, _) => write!(f, "host {host:?} has no address"),
            HostObstacle::Silence(host, seconds) => {
                write!(f, "not checked: host {host:?} was not resolved within {seconds} seconds")
            }
        }
    }
}

impl Error for HostObstacle {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            HostObstacle::NoThread(_, error) | HostObstacle::NoAddress(_, error) => Some(error),
            HostObstacle::Silence(..) => None,
        }
    }
}
