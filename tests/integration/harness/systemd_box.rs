//! A real systemd in namespaces, on a throw-away overlay of the machine's files.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

const SCRIPT: &str = include_str!("systemd_box.sh");
/// Set inside: the folder that is shared with the outside.
const VARIABLE: &str = "AVALON_SYSTEMD_BOX";

/// Why there can be no box on this machine, if so.
pub(crate) fn obstacle() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("it needs root".to_owned());
    }
    if !Path::new("/lib/systemd/systemd").exists() {
        return Some("systemd is not installed (Debian: apt-get install systemd)".to_owned());
    }
    // What the box does first: namespaces, an overlay and control groups.
    const TRY: &str = "mount --make-rprivate / && mount -t tmpfs tmpfs /mnt && \
        mkdir /mnt/up /mnt/work /mnt/root /mnt/groups && \
        mount -t overlay overlay -o lowerdir=/usr,upperdir=/mnt/up,workdir=/mnt/work /mnt/root && \
        mount -t cgroup2 cgroup2 /mnt/groups";
    let tried = Command::new("unshare")
        .args(["--mount", "--pid", "--uts", "--ipc", "--cgroup", "--fork", "/bin/sh", "-c", TRY])
        .stdin(Stdio::null())
        .output();
    match tried {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!("no namespaces: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Some(format!("no unshare(1): {error}")),
    }
}

/// Whether this process runs in a box.
pub(crate) fn is_inside() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// Runs `command` in a box that shares `folder` with the outside: its exit code, its output, and
/// what systemd had to say.
pub(crate) fn run(folder: &Path, command: &[&str]) -> (i32, String, String) {
    let script = folder.join("systemd_box.sh");
    fs::write(&script, SCRIPT).expect("a file");
    let shared = folder.join("shared");
    fs::create_dir(&shared).expect("a folder");
    let status = Command::new("/bin/bash").arg(&script).arg(&shared).args(command).status().expect("bash");
    let read = |name| String::from_utf8_lossy(&fs::read(shared.join(name)).unwrap_or_default()).into_owned();
    (status.code().unwrap_or(-1), read("output"), read("console"))
}
