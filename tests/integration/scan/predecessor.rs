//! The real avalonms 0.6.0 on a database of this program: it serves it, it writes its own rows into
//! it, and the next scan of this program restores the missing rows, without reading a file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::unchanged::scan_later;
use super::{Home, unpack};
use crate::harness::http::{Connection, get};
use crate::harness::{eventually, free_port};

/// A program of avalonms.
fn program(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers/avalonms/bin").join(name);
    assert!(path.exists(), "{} is missing; run scripts/install-test-deps", path.display());
    path
}

/// avalonms under Gunicorn, ended with the test.
struct Served {
    gunicorn: Child,
    address: String,
}

impl Served {
    fn start(home: &Home) -> Served {
        let settings = home.path("avalonms.py");
        fs::write(&settings, format!("DATABASE_URL = {:?}\nLOG_LEVEL = 30\n", home.url())).expect("file");
        let address = format!("127.0.0.1:{}", free_port());
        let mut command = Command::new(program("gunicorn"));
        command.args(["--bind", &address, "avalon.app.wsgi"]).env("AVALON_CONFIG", settings);
        let log = fs::File::create(home.path("gunicorn.log")).expect("file");
        let gunicorn = command.stdout(Stdio::null()).stderr(log).spawn().expect("Gunicorn");
        let served = Served { gunicorn, address };
        eventually("avalonms answers", || Connection::open(&served.address).ok());
        served
    }

    /// Id and fields of each song, in the order of the ids.
    fn songs(&self) -> Vec<Value> {
        let mut songs = get(&self.address, "/avalon/songs").success();
        songs.sort_by_key(|song| song["id"].to_string());
        songs
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // SIGKILL would leave the worker; SIGTERM ends both.
        let pid = nix::unistd::Pid::from_raw(self.gunicorn.id().cast_signed());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.gunicorn.wait();
    }
}

#[test]
fn avalonms_serves_and_rescans_our_database_and_our_next_scan_heals_it() {
    let home = Home::new();
    unpack(include_bytes!("../../fixtures/scan/music.tar.gz"), home.folder.path());
    // It dies of some of the broken files.
    fs::remove_dir_all(home.music().join("bad")).expect("remove");
    scan_later(&home, &home.url()).assert_exited(0);
    let tables = ["tracks", "albums", "artists", "genres"];
    let rows = || tables.map(|table| home.rows(&format!("SELECT id, quote(name) FROM {table} ORDER BY id")));
    let state = || home.rows("SELECT folder || hex(name), ctime_ns || coalesce(title, '') FROM avalon_files");
    let revision = || home.rows("SELECT CAST(one AS TEXT), CAST(counter AS TEXT) FROM avalon_revision");
    let (ours, ours_remembered) = (rows(), state());
    let served = Served::start(&home).songs();
    assert_eq!(served.len(), ours[0].len());
    let ids: Vec<String> = served.iter().map(|song| song["id"].to_string().replace(['-', '"'], "")).collect();
    assert_eq!(ids, home.ids());

    let mut rescan = Command::new(program("avalon-scan"));
    let rescan = rescan.args(["-q", "-d", &home.url()]).arg(home.music()).output().expect("avalonms");
    assert!(rescan.status.success(), "{}", String::from_utf8_lossy(&rescan.stderr));
    let theirs = rows();
    assert!(!theirs[0].is_empty() && theirs != ours, "avalonms wrote the same rows");
    assert_eq!(state(), ours_remembered);
    assert_eq!(revision(), [("1".to_owned(), "1".to_owned())]);

    let scan = home.scan([home.music()]);
    scan.assert_exited(0).assert_says("Read 0 files");
    assert_eq!(rows(), ours);
    assert_eq!(revision()[0].1, "2");
    assert_eq!(Served::start(&home).songs(), served);
    home.scan([home.music()]).assert_exited(0).assert_says("nothing has changed");
}
