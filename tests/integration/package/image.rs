//! The container image: its contents according to skopeo and umoci, and its life as process 1 of a
//! container, without root, on a read-only root.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use super::{FIRST, VERSIONS, file, names, root, run};
use crate::harness::{eventually, skip};

/// The account of the image.
const USER: &str = "65532";

/// Returns a command for an account without rights: this one, or for root the account `nobody`.
fn unprivileged(program: &str) -> Command {
    if !nix::unistd::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", program]);
    command
}

/// A folder that every account may write.
fn open_folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("permissions");
    folder
}

/// A copy of the image that every account may read: an archive, and its layout in a folder.
fn unpacked(folder: &Path) -> (PathBuf, PathBuf) {
    let (archive, layout) = (folder.join("image.oci.tar"), folder.join("layout"));
    fs::copy(file(&FIRST, ".oci.tar"), &archive).expect("the image");
    run(unprivileged("mkdir").arg(&layout));
    run(unprivileged("tar").arg("-xf").arg(&archive).arg("-C").arg(&layout));
    (archive, layout)
}

/// Returns the root of a container, and umoci's translation of the image's settings for a runtime.
fn bundle(folder: &Path) -> (PathBuf, Value) {
    let (_, layout) = unpacked(folder);
    let image = format!("{}:{}", layout.display(), VERSIONS[0]);
    let bundle = folder.join("bundle");
    let mut command = unprivileged("umoci");
    run(command.args(["unpack", "--rootless", "--image", &image]).arg(&bundle).env("HOME", folder));
    // Only its owner may see it.
    let config = run(unprivileged("cat").arg(bundle.join("config.json")));
    (bundle.join("rootfs"), serde_json::from_str(&config).expect("JSON"))
}

fn skopeo(arguments: &[&str]) -> Value {
    serde_json::from_str(&run(unprivileged("skopeo").args(arguments))).expect("JSON")
}

#[test]
fn skopeo_reads_the_image() {
    let folder = open_folder();
    let (archive, layout) = unpacked(folder.path());
    let (oci, docker) =
        (format!("oci-archive:{}", archive.display()), format!("docker-archive:{}", archive.display()));
    let image = skopeo(&["inspect", &oci]);
    assert_eq!((&image["Architecture"], &image["Os"]), (&architecture().into(), &"linux".into()));
    let labels = &image["Labels"];
    for (label, value) in [
        ("version", VERSIONS[0]),
        ("licenses", env!("CARGO_PKG_LICENSE")),
        ("description", env!("CARGO_PKG_DESCRIPTION")),
        ("created", image["Created"].as_str().expect("a time")),
    ] {
        assert_eq!(labels[format!("org.opencontainers.image.{label}")], value, "{labels}");
    }
    // Docker loads the same image.
    assert_eq!(skopeo(&["inspect", "--config", &oci]), skopeo(&["inspect", "--config", &docker]));
    assert_eq!(image["Layers"].as_array().map(Vec::len), Some(1));
    // Every blob has the hash that it is called by, or skopeo would not copy it.
    let copy = format!("oci:{}:copy", folder.path().join("copy").display());
    let policy = ["--insecure-policy", "copy", "--quiet"];
    run(unprivileged("skopeo").args(policy).arg(&oci).arg(&copy));
    assert_eq!(names(&folder.path().join("copy/blobs/sha256")).len(), 3);
    assert!(
        names(&layout.join("blobs/sha256")).is_superset(&names(&folder.path().join("copy/blobs/sha256")))
    );
}

fn architecture() -> String {
    run(Command::new("dpkg").arg("--print-architecture")).trim().to_owned()
}

#[test]
fn umoci_unpacks_the_image_without_root() {
    let folder = open_folder();
    let (rootfs, config) = bundle(folder.path());
    let process = &config["process"];
    assert_eq!(process["args"], serde_json::json!(["/usr/bin/avalon-master"]));
    assert_eq!((&process["user"]["uid"], &process["user"]["gid"]), (&65532.into(), &65532.into()));
    // Owners that an account without rights cannot give are in the archive all the same.
    let listed = run(Command::new("/bin/sh").args(["-c", LIST_LAYERS, "list"]).arg(file(&FIRST, ".oci.tar")));
    let line = |path: &str| {
        listed
            .lines()
            .find(|line| line.ends_with(&format!(" {path}")))
            .unwrap_or_else(|| panic!("{path}: {listed}"))
    };
    for (path, start) in [
        ("data/", "drwxr-x--- 65532/65532 "),
        ("tmp/", "drwxrwxrwt 0/0 "),
        ("music/", "drwxr-xr-x 0/0 "),
        ("usr/bin/avalon-master", "-rwxr-xr-x 0/0 "),
        ("usr/bin/avalon-scan -> avalon-master", "lrwxrwxrwx 0/0 "),
        ("usr/bin/avalonctl -> avalon-master", "lrwxrwxrwx 0/0 "),
        ("usr/bin/avalon-echo-config -> avalon-master", "lrwxrwxrwx 0/0 "),
        ("etc/passwd", "-rw-r--r-- 0/0 "),
    ] {
        assert!(line(path).starts_with(start), "{}", line(path));
    }
    let passwd = fs::read_to_string(rootfs.join("etc/passwd")).expect("accounts");
    assert!(passwd.lines().any(|line| line.starts_with(&format!("avalon:x:{USER}:{USER}:"))), "{passwd}");
    assert_certificates(&rootfs.join("etc/ssl/certs/ca-certificates.crt"));
    let documents = names(&rootfs.join("usr/share/doc/avalon-music-server"));
    assert!(documents.contains("LICENSE") && documents.iter().any(|name| name.ends_with(".cdx.json")));
    // With static programs of a release the image has at most 12 MB, which scripts/package checks. The programs
    // and the library here are larger; all else must stay small.
    let size = |line: &str| line.split_whitespace().nth(2).and_then(|size| size.parse::<u64>().ok());
    let others = listed.lines().filter(|line| !line.contains(" usr/bin/") && !line.contains(" lib"));
    assert!((200_000..1_000_000).contains(&others.filter_map(size).sum::<u64>()), "{listed}");
}

/// Lists the contents of all layers, with owners.
const LIST_LAYERS: &str = r#"for blob in $(tar -tf "$1" | grep blobs/sha256/.); do
    tar -xOf "$1" "$blob" | tar -tzv --numeric-owner -f - 2>/dev/null
done; true"#;

/// Checks for exactly the certificates of Debian's package; others that this machine trusts do not
/// count.
fn assert_certificates(bundle: &Path) {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    let bundle = fs::read_to_string(bundle).expect("certificates");
    let package = names(Path::new("/usr/share/ca-certificates/mozilla"));
    assert!(package.len() > 100, "{}", package.len());
    assert_eq!(bundle.matches(BEGIN).count(), package.len());
    for name in package {
        let one = fs::read_to_string(Path::new("/usr/share/ca-certificates/mozilla").join(&name));
        assert!(bundle.contains(one.expect("a certificate").trim()), "{name}");
    }
}

/// The image in a container: namespaces of its own for all that there are, no network but a loopback of its own,
/// no capabilities. It is killed when dropped.
struct Container {
    folder: TempDir,
    process: Child,
    /// Of process 1, outside.
    pid: Pid,
}

impl Container {
    /// Runs the image's own command with its settings and `variables`, on the sample music.
    fn start(variables: &[(&str, &str)]) -> Container {
        let folder = open_folder();
        let (rootfs, config) = bundle(folder.path());
        let at = |name: &str| folder.path().join(name);
        // As volumes that the image's account may write.
        run(unprivileged("mkdir").arg(at("data")));
        run(Command::new("cp").arg("-r").arg(root().join("scripts/sample-music")).arg(at("music")));
        run(Command::new("chmod").args(["-R", "a+rX"]).arg(at("music")));
        let mut command = unprivileged("bwrap");
        command.args(["--unshare-all", "--die-with-parent", "--uid", USER, "--gid", USER, "--as-pid-1"]);
        command.args(["--cap-drop", "ALL", "--ro-bind"]).arg(&rootfs).arg("/").args(["--proc", "/proc"]);
        // A /dev of its own would come with a second user namespace, which nsenter could not pass.
        command
            .args(["--dev-bind", "/dev", "/dev", "--tmpfs", "/tmp", "--bind"])
            .arg(at("data"))
            .arg("/data");
        command.arg("--ro-bind").arg(at("music")).args(["/music", "--chdir", "/", "--clearenv"]);
        let environment = config["process"]["env"].as_array().expect("variables");
        let own = environment.iter().filter_map(|variable| variable.as_str()?.split_once('='));
        let all: BTreeMap<&str, &str> = own.chain(variables.iter().copied()).collect();
        for (name, value) in all {
            command.args(["--setenv", name, value]);
        }
        command.args(["--json-status-fd", "1"]);
        for argument in config["process"]["args"].as_array().expect("a command") {
            command.arg(argument.as_str().expect("text"));
        }
        let log = |name: &str| fs::File::create(at(name)).expect("a file");
        command.stdin(Stdio::null()).stdout(log("status")).stderr(log("log"));
        let mut process = command.spawn().expect("bwrap: scripts/install-test-deps installs it");
        let pid = eventually("process 1", || {
            let status = fs::read_to_string(at("status")).expect("a file");
            if let Some(code) = process.try_wait().expect("a child") {
                panic!("{code}: {}", fs::read_to_string(at("log")).unwrap_or_default());
            }
            let first: Value = serde_json::from_str(status.lines().next()?).ok()?;
            first["child-pid"].as_i64().and_then(|pid| i32::try_from(pid).ok())
        });
        Container { folder, process, pid: Pid::from_raw(pid) }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).expect("a file")
    }

    /// Runs a program inside, beside process 1, in as many of its namespaces as `namespaces` names.
    fn enter(&self, namespaces: &[&str], command: &[&str]) -> (bool, String) {
        let mut enter = unprivileged("nsenter");
        enter.args(["--preserve-credentials", "--user", "--target", &self.pid.to_string()]);
        let output = enter.args(namespaces).arg("--").args(command).output().expect("nsenter");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Returns the answer to a client on its loopback; it has no other network.
    fn get(&self, target: &str) -> Option<String> {
        let url = format!("http://127.0.0.1:8000{target}");
        let (done, body) = self.enter(&["--net"], &["curl", "--silent", "--fail", &url]);
        done.then_some(body)
    }

    fn songs(&self) -> Option<usize> {
        let answer: Value = serde_json::from_str(&self.get("/avalon/songs")?).ok()?;
        answer["success"].as_array().map(Vec::len)
    }

    /// Ends process 1 with SIGTERM: its exit code.
    fn stop(&mut self) -> Option<i32> {
        kill(self.pid, Signal::SIGTERM).expect("SIGTERM");
        let status = eventually("the end of the container", || self.process.try_wait().expect("a child"));
        status.code()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Why there can be no container here, if so.
fn obstacle() -> Option<String> {
    let tried = unprivileged("bwrap")
        .args(["--unshare-all", "--uid", USER, "--ro-bind", "/", "/", "--proc", "/proc", "true"])
        .output()
        .expect("bwrap: scripts/install-test-deps installs it");
    (!tried.status.success()).then(|| String::from_utf8_lossy(&tried.stderr).trim().to_owned())
}

#[test]
fn process_1_of_a_container_scans_and_serves() {
    if let Some(obstacle) = obstacle() {
        return skip(format!("no namespaces without root: {obstacle}"));
    }
    let mut container = Container::start(&[("AVALON_SCAN_EVERY", "1h")]);
    eventually("the sample music", || (container.songs() == Some(24)).then_some(()));
    let status = fs::read_to_string(format!("/proc/{}/status", container.pid)).expect("a process");
    let field =
        |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).expect(name).trim().to_owned();
    assert_eq!(field("NSpid:").split_whitespace().last(), Some("1"), "{status}");
    assert_eq!(field("CapEff:"), "0000000000000000");
    // Only the volume and the temporary folder can be written.
    let mounts = fs::read_to_string(format!("/proc/{}/mounts", container.pid)).expect("mounts");
    let options = |at: &str| {
        let line = mounts.lines().rfind(|line| line.split(' ').nth(1) == Some(at)).expect(at);
        line.split(' ').nth(3).expect("options").to_owned()
    };
    let read_only = |at| options(at).split(',').any(|option| option == "ro");
    assert!(read_only("/") && read_only("/music") && !read_only("/data") && !read_only("/tmp"), "{mounts}");
    // The image's own programs find the master, and the account has a name.
    let inside = ["--mount", "--net", "--pid", "--root", "--wd"];
    let control = ["/usr/bin/avalonctl", "--socket", "/tmp/control", "status"];
    let (done, shown) = container.enter(&inside, &control);
    assert!(done && shown.contains("24 songs"), "{shown}");
    assert!(container.log().contains(" as avalon:avalon "), "{}", container.log());
    assert_eq!(container.stop(), Some(0), "{}", container.log());
    assert!(container.log().contains("stopped exit_code=0"));
    let kept = names(&container.folder.path().join("data"));
    assert!(kept.contains("avalon.sqlite") && kept.contains("snapshot"), "{kept:?}");
}
