//! Which file system a path lies on, by what the kernel tells of this process's mounts.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// A mounted file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// Where it is mounted.
    pub(super) point: PathBuf,
    /// Its type, as `ext4`, `nfs4` or `fuse.sshfs`.
    pub(super) kind: String,
}

/// All mounts, the later ones on top; none where the kernel does not tell.
pub(super) fn all() -> Vec<Mount> {
    fs::read("/proc/self/mountinfo").map_or_else(|_| Vec::new(), |text| parse(&text))
}

/// The mount that holds `path`. Links in the path are followed if it can be reached.
pub(super) fn of<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let holding = mounts.iter().filter(|mount| real.starts_with(&mount.point));
    // Of two mounts at one place the later one is on top: max_by_key takes the last.
    holding.max_by_key(|mount| mount.point.components().count())
}

/// Reads proc_pid_mountinfo(5). Lines that cannot be read are passed over.
fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|byte| *byte == b'\n').filter_map(mount).collect()
}

fn mount(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let point = OsString::from_vec(unescaped(fields.nth(4)?)).into();
    // Optional fields end with a dash.
    let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
    Some(Mount { point, kind: String::from_utf8_lossy(kind).into_owned() })
}

/// The kernel writes blanks, line breaks and backslashes as three octal digits.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()).filter(|_| *first == b'\\') {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"\
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 21 0:40 / /srv/my\\040music rw master:2 shared:7 - fuse.sshfs host:/x rw
31 21 0:41 / /srv/my\\040music rw - nfs4 nas:/music rw
32 21 0:42 / /srv/back\\134slash rw
broken
";

    #[test]
    fn the_innermost_and_latest_mount_holds_a_path() {
        let mounts = parse(TEXT);
        assert_eq!(mounts.len(), 3);
        for (path, point, kind) in [
            ("/srv/my music/a/b", "/srv/my music", "nfs4"),
            ("/srv/my music", "/srv/my music", "nfs4"),
            ("/srv/my music 2", "/", "ext4"),
        ] {
            let mount = of(&mounts, Path::new(path)).expect("a mount");
            assert_eq!((mount.point.as_path(), mount.kind.as_str()), (Path::new(point), kind), "{path}");
        }
        assert_eq!(unescaped(b"back\\134slash\\0"), b"back\\slash\\0");
    }

    #[test]
    fn the_kernel_tells_of_proc() {
        assert_eq!(of(&all(), Path::new("/proc/self")).map(|mount| mount.kind.as_str()), Some("proc"));
    }
}
