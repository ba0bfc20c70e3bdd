//! A real systemd in namespaces, on a throw-away overlay of the machine's files or of another root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

const SCRIPT: &str = include_str!("systemd_box.sh");
/// Set inside: the folder that is shared with the outside.
const VARIABLE: &str = "AVALON_SYSTEMD_BOX";

/// A scenario, and the fact that it shows.
pub(crate) type Scenario<M> = (&'static str, fn(&M));

/// Why there can be no box on `root` on this machine, if so.
fn obstacle(root: &Path) -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("it needs root".to_owned());
    }
    if !Path::new("/lib/systemd/systemd").exists() {
        return Some("systemd is not installed (Debian: apt-get install systemd)".to_owned());
    }
    if !root.exists() {
        return Some(format!("there is no {} (scripts/install-test-deps makes it)", root.display()));
    }
    // The first steps of the box: namespaces, an overlay and control groups.
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

/// The folder that is shared with the outside.
///
/// # Panics
/// Outside.
pub(crate) fn shared() -> PathBuf {
    PathBuf::from(std::env::var_os(VARIABLE).expect("a box"))
}

/// Runs the test `name` once more, in a box on `root` whose shared folder `fill` has filled. Says so
/// where there can be none.
///
/// # Panics
/// With the output, if the test fails.
pub(crate) fn run_test(name: &str, root: &Path, fill: impl FnOnce(&Path)) {
    if let Some(obstacle) = obstacle(root) {
        return super::skip(obstacle);
    }
    let folder = tempfile::tempdir_in("/var/tmp").expect("a folder");
    let shared = folder.path().join("shared");
    fs::create_dir(&shared).expect("a folder");
    fill(&shared);
    let script = folder.path().join("systemd_box.sh");
    fs::write(&script, SCRIPT).expect("a file");
    let program = std::env::current_exe().expect("this program");
    let begin = Instant::now();
    let mut command = Command::new("/bin/bash");
    command.arg(&script).args([root, &shared, &program]).args(["--exact", name, "--nocapture"]);
    let status = command.status().expect("bash");
    let read = |name| String::from_utf8_lossy(&fs::read(shared.join(name)).unwrap_or_default()).into_owned();
    let output = read("output.before") + &read("output");
    assert!(status.success(), "{status}: {output}\nsystemd:\n{}", read("console"));
    println!("{output}\nall in {:?}", begin.elapsed());
}

/// Has the machine boot once more when this test has passed, which is then run there again.
pub(crate) fn reboot() {
    fs::write(shared().join("reboot"), "").expect("a file");
}

/// Whether it has.
pub(crate) fn is_rebooted() -> bool {
    shared().join("rebooted").exists()
}

/// Plays scenarios inside, one after the other.
///
/// # Panics
/// With the name of the first that fails; the output of the units is printed before.
pub(crate) fn play<M>(machine: &M, scenarios: &[Scenario<M>]) {
    for (name, scenario) in scenarios {
        let begin = Instant::now();
        let played = std::panic::AssertUnwindSafe(|| scenario(machine));
        let result = std::panic::catch_unwind(played);
        println!("{name}: {} in {:.1?}", if result.is_ok() { "ok" } else { "FAILED" }, begin.elapsed());
        if result.is_err() {
            println!("{}", sh("systemctl status --no-pager -n 0 'avalon*'; journalctl --no-pager -n 150").1);
            panic!("{name}");
        }
    }
}

/// Runs a line of shell: exit code and output.
pub(crate) fn sh(line: &str) -> (i32, String) {
    let output = Command::new("/bin/sh").args(["-c", line]).output().expect("a shell");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
}

/// The output of a line of shell.
///
/// # Panics
/// If it fails.
pub(crate) fn sh_ok(line: &str) -> String {
    let (code, text) = sh(line);
    assert_eq!(code, 0, "{line}: {text}");
    text
}

/// A property of avalon.service.
pub(crate) fn show(name: &str) -> String {
    sh_ok(&format!("systemctl show avalon.service --value -p {name}")).trim().to_owned()
}
