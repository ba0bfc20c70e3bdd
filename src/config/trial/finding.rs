//! The findings of a trial of the configuration.

use std::error::Error;
use std::path::PathBuf;
use std::{fmt, io};

use nix::unistd::{Gid, Uid};

use crate::cli::chain;
use crate::config::BindAddress;

/// A finding of a trial. `Display` describes it, `source` has the system's reason.
#[derive(Debug)]
pub struct Finding {
    /// The setting concerned.
    pub key: &'static str,
    /// The file or folder that the setting names, unless the obstacle names it.
    pub path: Option<PathBuf>,
    /// The obstacle.
    pub obstacle: Obstacle,
    /// Whether a server with this configuration would certainly not start, or not do its work.
    /// Otherwise the configuration may be right, or the fault may concern another program.
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
    /// A folder is in the place of a file.
    IsFolder,
    /// A file of another kind is in the place of a folder.
    NoFolder(PathBuf),
    /// A folder cannot be examined.
    Folder(PathBuf, io::Error),
    /// A file of another kind is in the place of a Unix socket.
    NoSocket,
    /// The path of a Unix socket is too long; the number is the first length in bytes that is not
    /// allowed.
    LongPath(usize),
    /// The file or folder cannot be opened or listed.
    Unreadable(io::Error),
    /// This path cannot be examined.
    Unseen(PathBuf, io::Error),
    /// This process cannot write to this path.
    Unwritable(PathBuf, nix::Error),
    /// The account of the workers cannot write to this path.
    UnwritableBy(PathBuf, Uid, Gid),
    /// The address is in use already.
    InUse(BindAddress),
    /// The address cannot be listened on.
    Listen(BindAddress, io::Error),
    /// The host has no address.
    Unresolved(HostObstacle),
    /// The host for metrics has no address.
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
            // The text includes the reason.
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

/// The reason why a host has no address.
#[derive(Debug)]
pub enum HostObstacle {
    /// No thread could be started for the look-up.
    NoThread(String, io::Error),
    /// The resolver returned an error.
    NoAddress(String, io::Error),
    /// The resolver did not answer within this number of seconds.
    Silence(String, u64),
}

impl HostObstacle {
    /// Reports whether it is certain that the host has none.
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
