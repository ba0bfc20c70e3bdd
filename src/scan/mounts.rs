//! The mounts of this machine, from `/proc/self/mountinfo` (proc_pid_mountinfo(5)). A question to a
//! dead network share itself could take for ever.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The kernel's list of mounts. It is always readable, also in the packaged unit.
pub(super) const MOUNTS: &str = "/proc/self/mountinfo";

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// The kernel's number of the mount. A later mount at the same place has another one.
    id: u64,
    /// The folder on which it is mounted.
    pub(super) point: PathBuf,
    /// Its type, as `ext4`, `nfs4` or `fuse.sshfs`.
    pub(super) kind: String,
}

/// All mounts, those that cover others last.
#[derive(Debug, Default)]
pub(super) struct Mounts(Vec<Mount>);

impl Mounts {
    /// Reads the kernel's list.
    ///
    /// # Errors
    /// If there is no `/proc`.
    pub(super) fn read() -> io::Result<Mounts> {
        Ok(Mounts::parse(&fs::read(MOUNTS)?))
    }

    fn parse(text: &[u8]) -> Mounts {
        Mounts(text.split(|byte| *byte == b'\n').filter_map(parse_line).collect())
    }

    /// Returns the mount that holds `path`. Links in the path are followed if it can be reached.
    pub(super) fn of(&self, path: &Path) -> Option<&Mount> {
        let real = fs::canonicalize(path);
        self.over(real.as_deref().unwrap_or(path))
    }

    /// Reports whether a file system begins at `point` whose changes the kernel does not report,
    /// because other machines or programs make them too.
    pub(super) fn is_remote_point(&self, point: &Path) -> bool {
        let last = self.0.iter().rev().find(|mount| mount.point == point);
        last.is_some_and(|mount| is_remote(&mount.kind))
    }

    /// Reports whether `path` lies on such a file system.
    pub(super) fn is_remote(&self, path: &Path) -> bool {
        self.over(path).is_some_and(|mount| is_remote(&mount.kind))
    }

    /// Returns the mount that `path` lies on: the longest, of equal ones the last.
    fn over(&self, path: &Path) -> Option<&Mount> {
        let above = self.0.iter().filter(|mount| path.starts_with(&mount.point));
        above.max_by_key(|mount| mount.point.as_os_str().len())
    }

    /// Returns the mounts that these folders lie on or hold.
    pub(super) fn around(&self, folders: &[PathBuf]) -> Vec<Mount> {
        let over: Vec<&Mount> = folders.iter().filter_map(|folder| self.over(folder)).collect();
        let counts = |mount: &&Mount| {
            over.contains(mount) || folders.iter().any(|folder| mount.point.starts_with(folder))
        };
        self.0.iter().filter(counts).cloned().collect()
    }
}

/// `36 35 98:0 /root /point options [more]... - kind source options`
fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let point = unescape(fields.nth(3)?);
    let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
    Some(Mount { id, point, kind: String::from_utf8_lossy(kind).into_owned() })
}

/// The kernel writes blanks, line breaks and backslashes as three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let digits = tail.get(..3).filter(|digits| first == b'\\' && digits.iter().all(u8::is_ascii_digit));
        match digits {
            Some(digits) => {
                bytes.push(
                    digits.iter().fold(0u8, |sum, digit| sum.wrapping_mul(8).wrapping_add(digit - b'0')),
                );
                rest = &tail[3..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// Reports whether the kernel reports only this machine's changes. An automatic mount counts as
/// well: its future file system is unknown.
fn is_remote(kind: &str) -> bool {
    const KINDS: [&str; 20] = [
        "9p",
        "afs",
        "autofs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "gfs2",
        "glusterfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "ocfs2",
        "orangefs",
        "prl_fs",
        "smb3",
        "smbfs",
        "vboxsf",
        "virtiofs",
    ];
    KINDS.contains(&kind) || kind.starts_with("fuse")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n\
        20 1 0:40 / /srv/nas rw shared:5 - nfs4 nas:/music rw\n\
        21 1 0:41 / /srv/my\\040disk\\134 rw - ext4 /dev/sdb1 rw\n\
        22 1 0:42 / /srv/disk rw - autofs systemd-1 rw\n\
        23 22 8:3 / /srv/disk rw - btrfs /dev/sdc1 rw\n\
        24 1 0:44 / /srv/phone rw - fuse.sshfs phone: rw\n\
        no mount\n";

    #[test]
    fn a_path_lies_on_the_nearest_mount_above_it_and_the_last_one_there() {
        let mounts = Mounts::parse(TEXT);
        assert_eq!(mounts.0.len(), 6);
        for (path, remote) in [
            ("/srv/nas", true),
            ("/srv/nas/a/b", true),
            ("/srv/nasty", false),
            ("/srv/my disk\\/a", false),
            ("/srv/disk/a", false),
            ("/srv/phone", true),
            ("/srv", false),
        ] {
            assert_eq!(mounts.is_remote(Path::new(path)), remote, "{path}");
        }
        assert!(mounts.is_remote_point(Path::new("/srv/nas")));
        assert!(!mounts.is_remote_point(Path::new("/srv/nas/a")));
        assert!(!mounts.is_remote_point(Path::new("/srv/disk")));
    }

    #[test]
    fn only_mounts_over_and_below_the_folders_count() {
        let mounts = Mounts::parse(TEXT);
        let ids = |folders: &[&str]| -> Vec<u64> {
            let folders: Vec<PathBuf> = folders.iter().map(PathBuf::from).collect();
            mounts.around(&folders).iter().map(|mount| mount.id).collect()
        };
        assert_eq!(ids(&["/srv/nas/a"]), [20]);
        assert_eq!(ids(&["/srv"]), [1, 20, 21, 22, 23, 24]);
        assert_eq!(ids(&["/home/music"]), [1]);
        assert_eq!(ids(&[]), [0u64; 0]);
    }

    #[test]
    fn the_mounts_of_this_machine_can_be_read() {
        let mounts = Mounts::read().expect("mounts");
        assert!(mounts.over(Path::new("/")).is_some());
        assert_eq!(mounts.of(Path::new("/proc/self")).map(|mount| mount.kind.as_str()), Some("proc"));
    }
}
