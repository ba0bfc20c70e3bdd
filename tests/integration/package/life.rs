//! The life of both packages on a machine, inside the box: two boots, in an order in which each
//! scenario starts from the state after the one before.

use std::collections::BTreeSet;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::load::{Load, Plan, status_200};
use crate::harness::systemd_box::{self, Scenario, sh, sh_ok, shared, show};
use crate::harness::{eventually, http};

const CONFIG: &str = "/etc/avalon/avalon.toml";

/// A machine with nothing of ours on it.
struct Machine {
    address: String,
    /// Every file, and the accounts, before anything was installed.
    before: (BTreeSet<String>, String),
}

pub(super) fn play() {
    if !systemd_box::is_rebooted() {
        sh_ok(&format!("cp -r {}/music /srv/music", shared().display()));
        let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
        let machine = Machine { address: format!("127.0.0.1:{port}"), before: state() };
        let all: [Scenario<Machine>; 3] = [
            ("package is installed and starts nothing", Machine::installed),
            ("two commands and the music is served", Machine::two_commands),
            ("machine is to boot again", Machine::remembered),
        ];
        return systemd_box::play(&machine, &all);
    }
    let machine = Machine::remember();
    let all: [Scenario<Machine>; 9] = [
        ("boot starts what was enabled", Machine::booted),
        ("failed scan and rotated journal change nothing", Machine::failed_scan),
        ("upgrade under load loses nothing", Machine::upgraded),
        ("upgrade that cannot start changes nothing", Machine::failed_upgrade),
        ("removal stops, and keeps settings and rows", Machine::removed),
        ("purge leaves nothing", Machine::purged),
        ("archive is installed by its notes", Machine::archive_installed),
        ("archive is upgraded by its notes", Machine::archive_upgraded),
        ("archive is removed by its notes", Machine::archive_removed),
    ];
    systemd_box::play(&machine, &all);
}

/// Returns all files but the system's own logs, and the users.
fn state() -> (BTreeSet<String>, String) {
    const BOOKS: [&str; 6] = [
        "/etc/passwd-",
        "/etc/group-",
        "/etc/shadow-",
        "/etc/gshadow-",
        "/etc/.pwd.lock",
        "/var/lib/systemd/timers",
    ];
    let files = sh_ok("find / -xdev -path /var/lib/dpkg -prune -o -path /var/log -prune -o -print");
    let files = files.lines().filter(|file| !BOOKS.contains(file)).map(str::to_owned).collect();
    (files, sh_ok("cat /etc/passwd /etc/group /etc/shadow /etc/gshadow"))
}

/// The packages of a version.
fn folder(version: &str) -> PathBuf {
    shared().join(version)
}

fn install(version: &str) -> String {
    sh_ok(&format!("dpkg -i {}", super::file(&folder(version), ".deb").display()))
}

fn version() -> String {
    sh_ok("dpkg-query --show --showformat='${Version} ${db:Status-Abbrev}' avalon-music-server")
        .trim()
        .to_owned()
}

/// The commands of the README's section on installing.
fn readme() -> Vec<&'static str> {
    let text = include_str!("../../../README.md");
    let (_, block) = text.split_once("```sh run-by=package\n").expect("a block of commands");
    let commands: Vec<&str> =
        block.lines().map(str::trim).take_while(|line| !line.starts_with("```")).collect();
    assert_eq!(commands.len(), 3, "{commands:?}");
    commands
}

/// Runs the commands below a heading of the archive's notes, as they stand there.
fn follow(version: &str, heading: &str) {
    let archive = super::file(&folder(version), ".tar.gz");
    let notes = format!("tar -xzOf {} --wildcards '*/INSTALL.md'", archive.display());
    let notes = sh_ok(&notes);
    let section = notes.split("\n## ").find_map(|section| section.strip_prefix(heading)).expect("a section");
    let commands: Vec<&str> = section.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    assert!(commands.len() > 3, "{notes}");
    sh_ok(&format!("set -e; cd {}\n{}", folder(version).display(), commands.join("\n")));
}

/// The program that the service runs.
fn program() -> String {
    sh_ok(&format!("readlink /proc/{}/exe", show("MainPID"))).trim().to_owned()
}

impl Machine {
    /// As `systemctl edit avalon.socket` would, for a port that is free.
    fn choose_port(&self) {
        fs::create_dir_all("/etc/systemd/system/avalon.socket.d").expect("a folder");
        let text = format!("[Socket]\nListenStream=\nListenStream={}\n", self.address);
        fs::write("/etc/systemd/system/avalon.socket.d/override.conf", text).expect("a drop-in");
        sh_ok("systemctl daemon-reload");
    }

    fn load(&self) -> Load {
        let plan = Plan::standard(&self.address, &["/avalon/songs", "/avalon/heartbeat"], status_200);
        Load::start(&plan)
    }

    fn assert_serves_the_music(&self) {
        assert_eq!(http::get(&self.address, "/avalon/songs").success().len(), 24);
    }

    fn assert_nothing_left(&self) {
        let (files, accounts) = state();
        let left: Vec<&String> = files.symmetric_difference(&self.before.0).collect();
        assert!(left.is_empty(), "{left:?}");
        assert_eq!(accounts, self.before.1);
        let units = sh_ok(
            "systemctl list-units --all --no-legend 'avalon*'; systemctl list-unit-files --no-legend 'avalon*' || true",
        );
        assert_eq!(units, "");
        assert!(TcpStream::connect(&self.address).is_err());
        assert!(!Path::new("/run/avalon").exists());
    }

    fn installed(&self) {
        sh_ok(&format!("cd {} && {}", folder("first").display(), readme()[0]));
        assert_eq!(version(), "1.0.0 ii");
        assert_eq!(sh_ok("dpkg --verify avalon-music-server"), "");
        assert_eq!(
            sh_ok(&format!("stat -c '%a %U %G' {CONFIG} /var/lib/avalon")),
            "640 root avalon\n750 avalon avalon\n"
        );
        let units = "avalon.service avalon.socket avalon-scan.service avalon-scan.timer avalon-watch.service";
        assert_eq!(sh(&format!("systemd-analyze verify --man=no {units}")), (0, String::new()));
        let (_, active) = sh(&format!("systemctl is-active {units}"));
        assert_eq!(active, "inactive\n".repeat(5));
        let (_, enabled) =
            sh("systemctl is-enabled avalon.service avalon.socket avalon-scan.timer avalon-watch.service");
        assert_eq!(enabled, "disabled\n".repeat(4));
    }

    fn two_commands(&self) {
        self.choose_port();
        let [enable, scan] = readme()[1..] else { panic!("two commands") };
        sh_ok(enable);
        // Before the first scan there is nothing, and that is said.
        let nothing = http::get(&self.address, "/avalon/songs").json();
        assert_eq!(nothing["warnings"][0]["message_key"], "avalon.service.warning.empty_collection");
        // The server may answer before systemd has read its status message.
        eventually("the status of an empty server", || {
            show("StatusText").contains("nothing has been scanned").then_some(())
        });
        sh_ok(scan);
        self.assert_serves_the_music();
        assert_eq!(program(), "/usr/bin/avalon-master");
    }

    /// Leaves the facts for the next boot.
    fn remembered(&self) {
        let (files, accounts) = &self.before;
        let memory = serde_json::json!({"address": self.address, "files": files, "accounts": accounts});
        fs::write(shared().join("memory"), memory.to_string()).expect("a file");
        systemd_box::reboot();
    }

    fn remember() -> Self {
        let text = fs::read_to_string(shared().join("memory")).expect("what the boot before has left");
        let memory: Value = serde_json::from_str(&text).expect("JSON");
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let files = memory["files"].as_array().expect("a list").iter().map(text).collect();
        Machine { address: text(&memory["address"]), before: (files, text(&memory["accounts"])) }
    }

    /// No user has started a service since the machine was booted.
    fn booted(&self) {
        self.assert_serves_the_music();
        assert_eq!(sh_ok("systemctl is-active avalon-scan.timer"), "active\n");
    }

    fn failed_scan(&self) {
        sh_ok("mv /srv/music /srv/elsewhere");
        assert_ne!(sh("systemctl start avalon-scan.service").0, 0);
        self.assert_serves_the_music();
        sh_ok("mv /srv/elsewhere /srv/music && systemctl reset-failed avalon-scan.service");
        sh_ok("journalctl --rotate && systemctl reload avalon.service");
        assert!(sh_ok("journalctl -u avalon.service -o cat").contains(" serves on "));
        self.assert_serves_the_music();
    }

    fn upgraded(&self) {
        let settings = fs::read_to_string(CONFIG).expect("settings").replace("WORKERS = 3", "WORKERS = 2");
        fs::write(CONFIG, &settings).expect("settings");
        sh_ok("systemctl reload avalon.service");
        let (before, invocation) = (show("MainPID"), show("InvocationID"));
        let load = self.load();
        install("second");
        assert_eq!(version(), "1.0.1 ii");
        eventually("another main process", || (show("MainPID") != before).then_some(()));
        eventually("the end of the former one", || {
            (!Path::new("/proc").join(&before).exists()).then_some(())
        });
        load.assert_nothing_lost();
        // The file that dpkg has just installed, and not the deleted one.
        assert_eq!(program(), "/usr/bin/avalon-master");
        // It was never stopped, not even for a moment.
        assert_eq!(show("InvocationID"), invocation);
        assert_eq!(fs::read_to_string(CONFIG).expect("settings"), settings);
        assert_eq!(sh_ok(&format!("stat -c '%a %U %G' {CONFIG}")), "640 root avalon\n");
        assert_eq!(sh_ok("systemctl is-enabled avalon.socket"), "enabled\n");
        self.assert_serves_the_music();
    }

    fn failed_upgrade(&self) {
        eventually("the names taken over", || (sh("avalonctl status").0 == 0).then_some(()));
        let settings = fs::read_to_string(CONFIG).expect("settings");
        fs::write(CONFIG, "WORKERS = many\n").expect("settings");
        let before = show("MainPID");
        let load = self.load();
        let said = install("second");
        assert!(said.contains("the former version goes on serving"), "{said}");
        assert_eq!((version(), show("MainPID")), ("1.0.1 ii".to_owned(), before));
        load.assert_nothing_lost();
        fs::write(CONFIG, settings).expect("settings");
    }

    fn removed(&self) {
        sh_ok("dpkg -r avalon-music-server");
        assert!(TcpStream::connect(&self.address).is_err());
        assert!(!Path::new("/run/avalon").exists() && !Path::new("/usr/bin/avalon-master").exists());
        assert!(Path::new(CONFIG).exists() && Path::new("/var/lib/avalon/avalon.sqlite").exists());
        assert_eq!(sh_ok("find /etc/systemd/system -lname '*avalon*'"), "");
        // Installed again it has the settings and the rows.
        install("second");
        sh_ok("systemctl enable --now avalon.socket");
        self.assert_serves_the_music();
        eventually("two workers", || show("StatusText").contains("2 workers").then_some(()));
    }

    fn purged(&self) {
        sh_ok("dpkg -P avalon-music-server");
        assert_eq!(sh_ok("ls /var/lib/dpkg/info | grep avalon || true"), "");
        self.assert_nothing_left();
    }

    fn archive_installed(&self) {
        self.choose_port();
        follow("first", "Install");
        self.assert_serves_the_music();
        assert!(program().starts_with("/opt/avalon-music-server-1.0.0-"), "{}", program());
    }

    fn archive_upgraded(&self) {
        let (before, invocation) = (show("MainPID"), show("InvocationID"));
        let load = self.load();
        follow("second", "Upgrade");
        eventually("another main process", || (show("MainPID") != before).then_some(()));
        eventually("the end of the former one", || {
            (!Path::new("/proc").join(&before).exists()).then_some(())
        });
        load.assert_nothing_lost();
        assert_eq!(show("InvocationID"), invocation);
        assert!(program().starts_with("/opt/avalon-music-server-1.0.1-"), "{}", program());
        self.assert_serves_the_music();
    }

    fn archive_removed(&self) {
        follow("second", "Remove");
        sh_ok("systemctl reset-failed 'avalon*' || true");
        self.assert_nothing_left();
    }
}
