//! The units in a real systemd, from start to stop. One boot for all, in an order in which each
//! scenario finds a server that serves and leaves one.

mod deploys;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use avalon::config::DatabaseUrl;
use avalon::database;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::eventually;
use crate::harness::http;
use crate::harness::load::{Load, Plan, status_200};
use crate::harness::scheduling::{BATCH, OTHER, policy};
use crate::harness::server::collection;
use crate::harness::systemd_box::{self, Scenario, sh, sh_ok, show};

const DATABASE: &str = "/var/lib/avalon/avalon.sqlite";
const CONFIG: &str = "/etc/avalon/avalon.toml";
const SETTINGS: &str = include_str!("../../systemd/avalon.toml");
const WEB: &str = "unix:/run/avalon.sock";

#[test]
fn in_a_real_systemd() {
    if systemd_box::is_inside() {
        return scenarios();
    }
    systemd_box::run_test("systemd::in_a_real_systemd", Path::new("/"), |_| ());
}

/// The machine with everything installed.
struct Machine {
    address: String,
}

fn scenarios() {
    let machine = Machine::install();
    let all: [Scenario<Machine>; 16] = [
        ("units are flawless", Machine::units_are_flawless),
        ("exposure is small", Machine::exposure_is_small),
        ("started means serving", Machine::started_means_serving),
        ("reload tells how it went", Machine::reload_tells_how_it_went),
        ("scan reloads the server", Machine::scan_reloads_the_server),
        ("a watch takes in what changes", Machine::watch),
        ("death of a worker is no death of the unit", Machine::worker_dies),
        ("workers are confined", Machine::workers_are_confined),
        ("restart under load loses nothing", Machine::restart_under_load),
        ("upgrade under load loses nothing", Machine::upgrade_under_load),
        ("deploys under load lose nothing", Machine::deploys_under_load),
        ("restart without a database serves what was kept", Machine::restart_without_database),
        ("stopped master is restarted by the watchdog", Machine::watchdog),
        ("undecided upgrade is stopped too", Machine::stop_during_upgrade),
        ("stop leaves nothing behind", Machine::stop),
        ("wrong configuration is not tried again", Machine::wrong_configuration),
    ];
    systemd_box::play(&machine, &all);
}

fn main_pid() -> Pid {
    Pid::from_raw(show("MainPID").parse().expect("a pid"))
}

fn wait_status(text: &str) -> String {
    eventually(&format!("a status with {text:?}"), || Some(show("StatusText")).filter(|s| s.contains(text)))
}

/// The children of the master that come and go: they look at names, load and keep snapshots.
const HELPERS: [&str; 3] = ["avalon: names", "avalon: loader", "avalon: saver"];

/// The master and the workers of the service.
fn processes() -> Vec<Pid> {
    let list = fs::read_to_string("/sys/fs/cgroup/system.slice/avalon.service/cgroup.procs");
    let parse = |line: &str| Pid::from_raw(line.parse().expect("a pid"));
    let is_helper = |pid: &Pid| {
        let title = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        HELPERS.iter().any(|helper| title.starts_with(helper))
    };
    list.unwrap_or_default().lines().map(parse).filter(|pid| !is_helper(pid)).collect()
}

/// Rows of a collection of so many artists, with ten songs each, of the service's user.
fn store(artists: u32) {
    let url = DatabaseUrl::sqlite(DATABASE.into());
    database::replace(&url, &collection(artists)).expect("rows");
    sh_ok(&format!("chown avalon:avalon {DATABASE}"));
}

/// The rows that [`store`] has made belong to no file, and no scan drops so many unasked.
fn scan_in_place_of_the_rows() {
    sh_ok(&format!(
        "cd / && setpriv --reuid=avalon --regid=avalon --clear-groups \
         avalon-scan --force --database sqlite:///{DATABASE} /srv/music"
    ));
}

/// It may be reading the database after it has begun with a kept snapshot.
fn assert_active() {
    let state = show("ActiveState");
    assert!(["active", "reloading"].contains(&state.as_str()), "{state}");
}

/// The units, in the test itself: the folder of the project may be in a /tmp that the box hides.
const UNITS: [(&str, &str); 5] = [
    ("avalon.service", include_str!("../../systemd/avalon.service")),
    ("avalon.socket", include_str!("../../systemd/avalon.socket")),
    ("avalon-scan.service", include_str!("../../systemd/avalon-scan.service")),
    ("avalon-scan.timer", include_str!("../../systemd/avalon-scan.timer")),
    ("avalon-watch.service", include_str!("../../systemd/avalon-watch.service")),
];

impl Machine {
    /// As the service's comment says, with a free port and a short watchdog.
    fn install() -> Machine {
        for program in [
            env!("CARGO_BIN_EXE_avalon-master"),
            env!("CARGO_BIN_EXE_avalon-scan"),
            env!("CARGO_BIN_EXE_avalonctl"),
        ] {
            sh_ok(&format!("install {program} /usr/bin"));
        }
        for (unit, text) in UNITS {
            fs::write(Path::new("/etc/systemd/system").join(unit), text).expect("a unit");
        }
        sh_ok(
            "mkdir -p /etc/avalon /etc/systemd/system/avalon.socket.d /etc/systemd/system/avalon.service.d",
        );
        fs::write(CONFIG, SETTINGS).expect("settings");
        fs::write("/etc/avalon/sysusers.conf", include_str!("../../systemd/sysusers.d/avalon.conf"))
            .expect("users");
        sh_ok("systemd-sysusers /etc/avalon/sysusers.conf");
        let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
        let sockets = format!(
            "[Socket]\nListenStream=\nListenStream=127.0.0.1:{port}\nListenStream=/run/avalon.sock\n"
        );
        fs::write("/etc/systemd/system/avalon.socket.d/test.conf", sockets).expect("a drop-in");
        let watchdog = "[Service]\nWatchdogSec=2s\nEnvironment=AVALON_KEEPALIVE=1\n";
        fs::write("/etc/systemd/system/avalon.service.d/test.conf", watchdog).expect("a drop-in");
        sh_ok("systemctl daemon-reload");
        sh_ok("install -d -o avalon -g avalon -m 750 /var/lib/avalon");
        store(2);
        Machine { address: format!("127.0.0.1:{port}") }
    }

    fn artists(&self) -> usize {
        http::get(&self.address, "/avalon/artists").success().len()
    }

    /// Workers of the generation before may still take waiting connections for a moment.
    fn wait_artists(&self, count: usize) {
        eventually(&format!("{count} artists"), || (self.artists() == count).then_some(()));
    }

    /// Load on both sockets.
    fn load(&self) -> [Load; 2] {
        [self.address.as_str(), WEB].map(|address| {
            let targets = ["/avalon/songs", "/avalon/heartbeat"];
            let plan = Plan::standard(address, &targets, status_200);
            Load::start(&plan.clients(4, 4, Duration::from_millis(20)))
        })
    }

    fn units_are_flawless(&self) {
        let files = "/etc/systemd/system/avalon.service /etc/systemd/system/avalon.socket \
            /etc/systemd/system/avalon-scan.service /etc/systemd/system/avalon-scan.timer \
            /etc/systemd/system/avalon-watch.service";
        assert_eq!(sh(&format!("systemd-analyze verify --man=no {files}")), (0, String::new()));
    }

    fn exposure_is_small(&self) {
        for unit in ["avalon.service", "avalon-scan.service", "avalon-watch.service"] {
            let (code, table) = sh(&format!("systemd-analyze security --no-pager --threshold=15 {unit}"));
            assert_eq!(code, 0, "{table}");
            let overall = table.lines().find(|line| line.contains("Overall exposure"));
            println!("{}", overall.expect("an overall exposure"));
        }
    }

    fn started_means_serving(&self) {
        let lock = rusqlite::Connection::open(DATABASE).expect("a database");
        lock.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE").expect("a lock");
        sh_ok("systemctl start avalon.socket && systemctl start --no-block avalon.service");
        wait_status("loading the collection");
        assert_eq!(show("ActiveState"), "activating");
        let mut early = http::Connection::open(&self.address).expect("a connection");
        early.send(b"GET /avalon/heartbeat HTTP/1.1\r\nHost: test\r\n\r\n").expect("written");
        drop(lock);
        assert_eq!(early.answer("GET").expect("an answer").text(), "OKOKOK");
        // Waits for the job that is under way.
        sh_ok("systemctl start avalon.service");
        assert_eq!(show("StatusText"), "generation 1: 20 songs, 3 workers");
        assert_eq!(processes().len(), 4);
        assert_eq!(self.artists(), 2);
        assert_eq!(http::get(WEB, "/avalon/artists").success().len(), 2);
        let mode = fs::metadata("/run/avalon/control").expect("a socket").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    fn reload_tells_how_it_went(&self) {
        store(3);
        sh_ok("systemctl reload avalon.service");
        self.wait_artists(3);
        assert_eq!(show("StatusText"), "generation 2: 30 songs, 3 workers");
        fs::write(CONFIG, "WORKERS = many\n").expect("settings");
        let (code, _) = sh("systemctl reload avalon.service");
        assert_ne!(code, 0);
        assert_active();
        let status = wait_status(" UTC); reload failed: /etc/avalon/avalon.toml:1");
        assert!(status.starts_with("generation 2: 30 songs, 3 workers, stale data (last read "), "{status}");
        let journal = sh_ok("journalctl --no-pager -u avalon.service -t avalonctl");
        assert!(journal.contains("/etc/avalon/avalon.toml:1"), "{journal}");
        assert_eq!(self.artists(), 3);
        fs::write(CONFIG, SETTINGS).expect("settings");
        sh_ok("systemctl reload avalon.service");
        assert_active();
    }

    fn scan_reloads_the_server(&self) {
        fs::create_dir_all("/srv/music").expect("a folder");
        let name = "/srv/music/song.mp3";
        fs::write(
            name,
            include_bytes!(
                "../../scripts/sample-music/Tres Naranjos/Corazón de Limón/01 Obertura del mercado.mp3"
            ),
        )
        .expect("a song");
        fs::copy(name, "/srv/music/first.mp3").expect("a song");
        scan_in_place_of_the_rows();
        sh_ok("systemctl start avalon-scan.service");
        fs::remove_file("/srv/music/first.mp3").expect("remove");
        sh_ok("systemctl start avalon-scan.service");
        eventually("the artists in the folder", || {
            http::get(&self.address, "/avalon/artists").text().contains("Tres Naranjos").then_some(())
        });
        let before = show("StatusText");
        // A folder that is not there changes nothing, and does not go unnoticed.
        sh_ok("mv /srv/music /srv/away");
        let (code, _) = sh("systemctl start avalon-scan.service");
        assert_ne!(code, 0);
        assert_eq!(sh_ok("systemctl show avalon-scan.service --value -p ExecMainStatus").trim(), "4");
        assert_eq!(show("StatusText"), before);
        sh_ok("mv /srv/away /srv/music && systemctl reset-failed avalon-scan.service");
        store(4);
        sh_ok("systemctl reload avalon.service");
    }

    /// With the user, the rights and the filters of the unit.
    fn watch(&self) {
        scan_in_place_of_the_rows();
        let active = || sh_ok("systemctl show avalon-watch.service --value -p StatusText");
        sh_ok("systemctl start avalon-watch.service");
        assert!(active().contains("watching 1 folders"), "{}", active());
        sh_ok("mkdir /srv/music/more && cp /srv/music/song.mp3 /srv/music/more/another.mp3");
        eventually("two songs", || {
            (http::get(&self.address, "/avalon/songs").success().len() == 2).then_some(())
        });
        eventually("another folder", || active().contains("watching 2 folders").then_some(()));
        // The unit has its own view of mounts (ProtectSystem), to which those that come later are passed on.
        sh_ok("mkdir /srv/music/disk && mount -t tmpfs disk /srv/music/disk");
        sh_ok("cp /srv/music/song.mp3 /srv/music/disk/third.mp3");
        let songs = || http::get(&self.address, "/avalon/songs").success().len();
        eventually("a song on a disk that was mounted", || (songs() == 3).then_some(()));
        sh_ok("cp /srv/music/song.mp3 /srv/music/disk/fourth.mp3");
        eventually("a change on it", || (songs() == 4).then_some(()));
        // The watch does not keep the disk busy, and its songs stay in the collection.
        sh_ok("umount /srv/music/disk && rm /srv/music/more/another.mp3");
        eventually("one song less", || (songs() == 3).then_some(()));
        sh_ok("systemctl stop avalon-watch.service");
        let result = sh_ok("systemctl show avalon-watch.service --value -p Result -p ExecMainStatus");
        assert_eq!(result, "success\n0\n");
        sh_ok("rm -r /srv/music/more /srv/music/disk");
        store(4);
        sh_ok("systemctl reload avalon.service");
    }

    fn worker_dies(&self) {
        let master = main_pid();
        let worker = processes().into_iter().find(|pid| *pid != master).expect("a worker");
        kill(worker, Signal::SIGKILL).expect("a worker");
        eventually("another worker", || {
            let now = processes();
            (now.len() == 4 && !now.contains(&worker)).then_some(())
        });
        assert_eq!((show("NRestarts").as_str(), main_pid()), ("0", master));
        assert_eq!(show("OOMPolicy"), "continue");
        assert_active();
        self.wait_artists(4);
    }

    fn workers_are_confined(&self) {
        let journal = sh_ok("journalctl --no-pager -u avalon.service");
        assert!(journal.contains(" serves on ") && !journal.contains("not fully confined"), "{journal}");
    }

    fn restart_under_load(&self) {
        let loads = self.load();
        for _ in 0..3 {
            let before = main_pid();
            sh_ok("systemctl restart avalon.service");
            assert_ne!(main_pid(), before);
        }
        loads.into_iter().for_each(Load::assert_nothing_lost);
        // The database was read again, and holds the rows that systemd has kept.
        eventually("fresh data", || {
            (show("StatusText") == "generation 1: 40 songs, 3 workers").then_some(())
        });
        assert_active();
    }

    fn upgrade_under_load(&self) {
        let loads = self.load();
        let invocation = show("InvocationID");
        for _ in 0..2 {
            let before = main_pid();
            sh_ok("avalonctl upgrade");
            eventually("another main process", || (main_pid() != before).then_some(()));
            assert_active();
            eventually("the end of the former one", || (!processes().contains(&before)).then_some(()));
            eventually("its names taken over", || {
                Some(sh("avalonctl status")).filter(|(code, _)| *code == 0)
            });
            wait_status("generation 1: 40 songs, 3 workers");
            // The unit's filter of system calls allows it, and the new master has not inherited it.
            let (masters, workers): (Vec<Pid>, Vec<Pid>) =
                processes().into_iter().partition(|pid| *pid == main_pid());
            assert!(masters.into_iter().all(|master| policy(master) == BATCH));
            assert!(workers.into_iter().all(|worker| policy(worker) == OTHER));
        }
        // One that fails.
        let before = main_pid();
        sh_ok(
            "mv /usr/bin/avalon-master /usr/bin/avalon-master.good && ln -s /bin/false /usr/bin/avalon-master",
        );
        let (code, text) = sh("avalonctl upgrade");
        assert!(code == 1 && text.contains("exit code 1"), "{code} {text}");
        sh_ok("mv /usr/bin/avalon-master.good /usr/bin/avalon-master");
        // Longer than the watchdog has patience.
        let alive = Instant::now();
        eventually("some seconds", || (alive.elapsed() > Duration::from_secs(3)).then_some(()));
        assert_active();
        assert_eq!((show("NRestarts").as_str(), main_pid()), ("0", before));
        assert_eq!(show("InvocationID"), invocation);
        loads.into_iter().for_each(Load::assert_nothing_lost);
    }

    fn restart_without_database(&self) {
        // The rows of the upgraded master, and not those of an earlier one.
        store(5);
        sh_ok("systemctl reload avalon.service");
        fs::write(DATABASE, "no database any more").expect("a file");
        let begin = Instant::now();
        sh_ok("systemctl restart avalon.service");
        println!("restart with what was kept took {:?}", begin.elapsed());
        assert_eq!(self.artists(), 5);
        // One that came by an upgrade is waited for like any other.
        let journal = sh_ok("journalctl --no-pager -u avalon.service");
        assert!(
            !journal.contains("with signal SIGKILL") && !journal.contains("remains running"),
            "{journal}"
        );
        wait_status("generation 1: 50 songs, 3 workers, stale data; reload failed: ");
        assert_active();
        fs::remove_file(DATABASE).expect("removed");
        store(6);
        sh_ok("systemctl reload avalon.service");
        wait_status("60 songs, 3 workers");
        assert!(!show("StatusText").contains("stale"));
        self.wait_artists(6);
    }

    fn watchdog(&self) {
        let master = main_pid();
        let begin = Instant::now();
        kill(master, Signal::SIGSTOP).expect("the master");
        eventually("another master", || {
            let pid = main_pid();
            (pid != master && pid.as_raw() > 0 && show("ActiveState") == "active").then_some(())
        });
        println!("a stopped master was replaced within {:?}", begin.elapsed());
        assert_eq!(show("NRestarts"), "1");
        let journal = sh_ok("journalctl --no-pager -u avalon.service");
        assert!(journal.contains("Watchdog timeout"), "{journal}");
        self.wait_artists(6);
    }

    fn stop_during_upgrade(&self) {
        let before = main_pid();
        sh_ok("systemctl kill --kill-who=main --signal=USR2 avalon.service");
        eventually("a second set", || (processes().len() == 8).then_some(()));
        let second = "avalonctl --socket /run/avalon/control.2 status --json";
        eventually("a second master", || sh(second).1.contains("\"serving\"").then_some(()));
        assert_eq!(main_pid(), before);
        let begin = Instant::now();
        let before = sh_ok("journalctl --no-pager -u avalon.service");
        sh_ok("systemctl restart avalon.service");
        println!("two masters were stopped and one started within {:?}", begin.elapsed());
        assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
        assert_active();
        // No process had to be killed.
        let said = sh_ok("journalctl --no-pager -u avalon.service").split_off(before.len());
        assert!(!said.contains("timed out") && !said.contains("with signal SIGKILL"), "{said}");
        wait_status("generation 1: 60 songs, 3 workers");
        eventually("one master", || (processes().len() == 4).then_some(()));
    }

    fn stop(&self) {
        sh_ok("systemctl stop avalon.socket avalon.service");
        assert_eq!((show("Result").as_str(), show("ExecMainStatus").as_str()), ("success", "0"));
        assert!(processes().is_empty());
        assert!(!Path::new("/run/avalon").exists() && !Path::new("/run/avalon.sock").exists());
        assert!(std::net::TcpStream::connect(&self.address).is_err());
        // Without a server a scan is good all the same.
        scan_in_place_of_the_rows();
        sh_ok("systemctl start avalon-scan.service");
    }

    fn wrong_configuration(&self) {
        fs::write(CONFIG, "WORKERS = many\n").expect("settings");
        let (code, _) = sh("systemctl start avalon.service");
        assert_ne!(code, 0);
        assert_eq!((show("ActiveState").as_str(), show("ExecMainStatus").as_str()), ("failed", "2"));
        assert_eq!(show("NRestarts"), "0");
        let journal = sh_ok("journalctl --no-pager -u avalon.service -n 20");
        assert!(journal.contains("/etc/avalon/avalon.toml:1"), "{journal}");
    }
}
