//! Hosts to deploy to: each a real sshd in namespaces of its own, with its own /opt and /run, and
//! its own processes, which end with it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use avalon::config::DatabaseUrl;
use tempfile::TempDir;

use super::server::collection;
use super::{eventually, free_port};

/// Makes the host's folders its own, with nothing in that of the user, and becomes its sshd.
const BOX: &str = "mount --bind \"$1/opt\" /opt && mount --bind \"$1/run\" /run && \
    mount -t tmpfs tmpfs /root && \
    exec /usr/sbin/sshd -D -e -f \"$1/sshd_config\"";

/// How a host starts its service where none runs: in the background, as a user who is not the one
/// that logs in.
const START: &str = "cd /opt && setsid setpriv --reuid=nobody --regid=nogroup --clear-groups \
    env -i AVALON_DATABASE_URL=sqlite:////opt/data/avalon.sqlite AVALON_CONTROL=/run/avalon/control \
    /opt/avalon/current/bin/avalon-master --bind=127.0.0.1:0 --workers=2 --keep-alive=1 </dev/null >>/opt/log 2>&1 &";

/// Why there can be no such hosts on this machine, if so.
pub(crate) fn obstacle() -> Option<&'static str> {
    (!nix::unistd::geteuid().is_root()).then_some("it needs root, for namespaces")
}

/// Machines that one person can log in to.
pub(crate) struct Hosts {
    // They end before their folder does.
    hosts: Vec<Host>,
    folder: TempDir,
}

impl Hosts {
    pub(crate) fn start(names: &[&'static str]) -> Hosts {
        let folder = tempfile::tempdir().expect("a folder");
        let key = folder.path().join("key");
        keygen(&key);
        let mut client = format!(
            "Host *\n  User root\n  HostName 127.0.0.1\n  IdentityFile {}\n  IdentitiesOnly yes\n  \
             UserKnownHostsFile {}\n  LogLevel ERROR\n  \
             KexAlgorithms curve25519-sha256\n  GSSAPIAuthentication no\n",
            key.display(),
            folder.path().join("known_hosts").display()
        );
        let mut known = String::new();
        let mut hosts = Vec::new();
        for &name in names {
            let host = Host::start(name, &folder.path().join(name), &key.with_extension("pub"));
            let public = read(&host.path("host_key.pub"));
            known += &format!("[127.0.0.1]:{} {public}", host.port);
            client += &format!("Host {name}\n  Port {}\n", host.port);
            hosts.push(host);
        }
        fs::write(folder.path().join("known_hosts"), known).expect("a file");
        fs::write(folder.path().join("ssh_config"), client).expect("a file");
        Hosts { hosts, folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn host(&self, name: &str) -> &Host {
        self.hosts.iter().find(|host| host.name == name).expect("a host of this name")
    }

    /// scripts/deploy with these words, for these hosts.
    pub(crate) fn command(&self, words: &[&str], binaries: &Path) -> Command {
        let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/deploy"));
        command.args(words).stdin(Stdio::null());
        command.env("DEPLOY_SSH", format!("ssh -F {}", self.path("ssh_config").display()));
        command.env("DEPLOY_USER", "nobody").env("DEPLOY_START", START).env("DEPLOY_PATIENCE", "60");
        command.env("DEPLOY_BINARIES", binaries);
        command
    }

    /// Runs it: its exit code, and all it says.
    pub(crate) fn deploy(&self, words: &[&str], binaries: &Path) -> (i32, String) {
        let output = self.command(words, binaries).output().expect("scripts/deploy");
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
    }

    /// Runs it, which must succeed, and returns its output.
    pub(crate) fn deploy_ok(&self, words: &[&str], binaries: &Path) -> String {
        let (code, text) = self.deploy(words, binaries);
        assert_eq!(code, 0, "{words:?}:\n{text}{}", self.logs());
        text
    }

    /// Runs a command on a host, which must succeed, and returns its output.
    pub(crate) fn on(&self, name: &str, command: &str) -> String {
        let mut ssh = Command::new("ssh");
        ssh.arg("-F").arg(self.path("ssh_config")).args([name, command]);
        let output = ssh.stdin(Stdio::null()).output().expect("ssh");
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn logs(&self) -> String {
        let log = |host: &Host| format!("{}:\n{}{}", host.name, read(&host.path("sshd.log")), host.log());
        self.hosts.iter().map(log).collect()
    }
}

/// One host. Its /opt and /run are folders here.
pub(crate) struct Host {
    name: &'static str,
    folder: PathBuf,
    port: u16,
    sshd: Child,
}

impl Host {
    fn start(name: &'static str, folder: &Path, allowed: &Path) -> Host {
        for part in ["", "opt", "opt/data", "run", "run/sshd", "run/avalon"] {
            fs::create_dir(folder.join(part)).expect("a folder");
        }
        let nobody = nix::unistd::User::from_name("nobody").expect("users").expect("the user nobody");
        std::os::unix::fs::chown(folder.join("run/avalon"), Some(nobody.uid.as_raw()), None).expect("chown");
        let url = format!("sqlite:///{}", folder.join("opt/data/avalon.sqlite").display());
        let url = DatabaseUrl::parse(&url).expect("a URL");
        avalon::database::replace(&url, &collection(3)).expect("a database");
        fs::set_permissions(folder.join("opt/data/avalon.sqlite"), fs::Permissions::from_mode(0o644))
            .expect("permissions");
        keygen(&folder.join("host_key"));
        // Another process may be quicker to use the port.
        let (sshd, port) = eventually("an sshd", || {
            let port = free_port();
            let config = format!(
                "Port {port}\nListenAddress 127.0.0.1\nHostKey {0}/host_key\nAuthorizedKeysFile {1}\n\
                 PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n\
                 KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n",
                folder.display(),
                allowed.display()
            );
            fs::write(folder.join("sshd_config"), config).expect("a file");
            let mut sshd = Command::new("unshare")
                .args([
                    "--mount",
                    "--pid",
                    "--fork",
                    "--kill-child=KILL",
                    "--mount-proc",
                    "/bin/sh",
                    "-c",
                    BOX,
                ])
                .args(["sh".as_ref(), folder.as_os_str()])
                .stdin(Stdio::null())
                .stderr(fs::File::create(folder.join("sshd.log")).expect("a file"))
                .spawn()
                .expect("unshare(1)");
            let serves = eventually("sshd to serve or to end", || {
                let ended = sshd.try_wait().expect("a child").is_some();
                let greeting = !ended && greets(port);
                (ended || greeting).then_some(greeting)
            });
            serves.then_some((sshd, port))
        });
        Host { name, folder: folder.to_owned(), port, sshd }
    }

    /// Where a path of the host's /opt or /run is seen from here.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) fn log(&self) -> String {
        read(&self.path("opt/log"))
    }

    /// As [`super::server::Server::address`], of the master that was started first; those after it
    /// have the same.
    pub(crate) fn address(&self) -> String {
        eventually("an address", || {
            let log = self.log();
            Some(log.split(" serves on ").nth(1)?.split(" workers=").next()?.to_owned())
        })
    }

    /// The releases that are installed, oldest first.
    pub(crate) fn releases(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("opt/avalon/releases")).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.file_name().to_str().expect("UTF-8").to_owned()).collect();
        names.sort();
        names
    }

    /// The release that a link leads to.
    pub(crate) fn link(&self, name: &str) -> Option<String> {
        let to = fs::read_link(self.path("opt/avalon").join(name)).ok()?;
        Some(to.file_name()?.to_str()?.to_owned())
    }

    /// Returns the releases of which a process runs, from the files themselves: the script's own
    /// report is not trusted.
    pub(crate) fn running(&self) -> Vec<String> {
        let programs = fs::read_dir("/proc").expect("/proc").flatten();
        let programs: Vec<(u64, u64)> = programs
            .filter_map(|process| fs::metadata(process.path().join("exe")).ok())
            .map(|file| (file.dev(), file.ino()))
            .collect();
        let runs = |name: &String| {
            let file = self.path("opt/avalon/releases").join(name).join("bin/avalon-master");
            fs::metadata(file).is_ok_and(|file| programs.contains(&(file.dev(), file.ino())))
        };
        self.releases().into_iter().filter(runs).collect()
    }

    /// Returns the contents of the host's folder: names, targets of links, and times of change.
    pub(crate) fn snapshot(&self) -> Vec<String> {
        let entries = walkdir::WalkDir::new(self.path("opt")).sort_by_file_name().into_iter().flatten();
        let entries = entries.filter(|entry| entry.path() != self.path("opt/log"));
        let line = |entry: walkdir::DirEntry| {
            let metadata = entry.metadata().expect("metadata");
            let link = fs::read_link(entry.path()).ok();
            format!("{:?} {:?} {:?} {:?}", entry.path(), metadata.len(), metadata.modified(), link)
        };
        entries.map(line).collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("log of the server on {}:\n{}", self.name, self.log());
        }
        let _ = self.sshd.kill();
        let _ = self.sshd.wait();
        // unshare takes the host's first process along, and that all others.
        eventually("the end of the host", || (!greets(self.port)).then_some(()));
    }
}

/// Whether an SSH server answers there.
fn greets(port: u16) -> bool {
    let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).is_ok_and(|_| line.starts_with("SSH-"))
}

fn keygen(path: &Path) {
    let status = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path).status();
    assert!(status.expect("ssh-keygen: scripts/install-test-deps installs it").success());
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// A folder with programs that were built at this second (2026-11-24 from 12:00 on), and so make a
/// release of their own.
pub(crate) fn binaries(folder: &Path, second: u32) -> PathBuf {
    static STRIPPED: OnceLock<TempDir> = OnceLock::new();
    let stripped = STRIPPED.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, program) in PROGRAMS {
            let to = folder.path().join(name);
            let strip = Command::new("strip").arg("-o").args([to.as_os_str(), program.as_ref()]).status();
            assert!(strip.expect("strip(1), which comes with the compiler").success());
        }
        folder
    });
    let binaries = folder.join(format!("build-{second}"));
    fs::create_dir(&binaries).expect("a folder");
    for (name, _) in PROGRAMS {
        fs::copy(stripped.path().join(name), binaries.join(name)).expect("a copy");
    }
    date(&binaries, second);
    binaries
}

/// Does the same with programs that only know their version; `rest` is the further text of the
/// script.
pub(crate) fn scripts(folder: &Path, second: u32, rest: &str) -> PathBuf {
    let binaries = folder.join(format!("build-{second}"));
    fs::create_dir(&binaries).expect("a folder");
    for (name, _) in PROGRAMS {
        let text = format!("#!/bin/sh\n[ \"$1\" = --version ] && echo {second} && exit\n{rest}\n");
        fs::write(binaries.join(name), text).expect("a script");
        fs::set_permissions(binaries.join(name), fs::Permissions::from_mode(0o755)).expect("permissions");
    }
    date(&binaries, second);
    binaries
}

fn date(binaries: &Path, second: u32) {
    let time = format!("2026-11-24T12:{:02}:{:02}Z", second / 60, second % 60);
    let touch = Command::new("touch").args(["-d", &time]).arg(binaries.join("avalon-master")).status();
    assert!(touch.expect("touch(1)").success());
}

const PROGRAMS: [(&str, &str); 4] = [
    ("avalon-master", env!("CARGO_BIN_EXE_avalon-master")),
    ("avalon-scan", env!("CARGO_BIN_EXE_avalon-scan")),
    ("avalonctl", env!("CARGO_BIN_EXE_avalonctl")),
    ("avalon-echo-config", env!("CARGO_BIN_EXE_avalon-echo-config")),
];
